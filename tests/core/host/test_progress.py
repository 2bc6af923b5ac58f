# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Progress bars appear on a terminal and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

CODE = "from m4sam_core.host.progress import tracked\nprint(sum(tracked(range(4), 'counting things', total=4)))"


def test_a_bar_on_a_terminal():
    master, terminal = pty.openpty()
    done = subprocess.run([sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=terminal, check=True, timeout=60)
    os.close(terminal)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert done.stdout == b"6\n"
    assert "counting things" in shown
    assert "100%" in shown


def test_nothing_in_a_pipe():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"6\n", b"")


def test_an_error_is_told_after_the_bar_of_its_loop_is_gone():
    code = (
        "import sys\n"
        "from m4sam_core.host.progress import end_bars, tracked\n"
        "held = tracked(range(4), 'counting things')\n"
        "try:\n"
        "    for _ in held:\n"
        "        raise OSError\n"
        "except OSError:\n"
        "    end_bars()\n"
        "    print('told', file=sys.stderr)\n"
    )
    master, terminal = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stderr=terminal, check=True, timeout=60)
    os.close(terminal)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert "counting things" in shown
    assert "counting things" not in shown.partition("told")[2]
    assert shown.rstrip().endswith("told")
