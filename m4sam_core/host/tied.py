"""Commands that do not outlive the process that starts them, however it dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

# Runs between fork and the command; prctl(1, ...) is PR_SET_PDEATHSIG, which stays in force across exec. A function
# called in the fork itself (preexec_fn) may deadlock where the parent has threads.
_TIE = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))
if os.getppid() != int(sys.argv[1]):
    sys.exit("its parent is gone already")
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error}")
"""


def tied(command: Sequence[str]) -> list[str]:
    """The command, made to get SIGTERM when the thread that starts it ends, also by SIGKILL.

    The command keeps the process id. Linux only; elsewhere the command is returned as it is.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *command]
