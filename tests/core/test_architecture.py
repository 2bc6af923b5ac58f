"""Who may import whom, and that the core stays light to import."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
LINTER = shutil.which("lint-imports", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(LINTER is None, reason="import-linter needs Python 3.11")
def test_import_contracts():
    shown = subprocess.run([LINTER, "--no-cache"], cwd=REPO, capture_output=True, text=True, timeout=120, check=False)
    assert shown.returncode == 0, shown.stdout


@pytest.mark.parametrize("module", ["m4sam_core", "m4sam_core.config", "m4sam_core.cli.main"])
def test_import_is_light(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'cv2', 'rclpy', 'sam2') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"
