# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The examples in docs/examples and README's loop run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from m4sam_core.cli.main import main
from m4sam_core.rgbd.bags.write import ImageBagWriter

REPO = Path(__file__).resolve().parents[2]
FRAMES = 3
STAMPS_NS = [10**18 + index * 66_000_000 for index in range(FRAMES)]


def frame(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A red square before a grey wall that moves a little, and its depth in millimetres."""
    rgb, depth = np.full((120, 160, 3), 120, np.uint8), np.full((120, 160), 3000, np.uint16)
    square = slice(40, 80), slice(50 + 4 * index, 90 + 4 * index)
    rgb[square], depth[square] = (230, 30, 30), 900
    return rgb, depth


@pytest.fixture
def clip(tmp_path):
    """A folder where README expects the demo's clip."""
    clip = tmp_path / "demo_out" / "clip"
    for kind in ("rgb", "depth"):
        (clip / kind).mkdir(parents=True)
    for index in range(FRAMES):
        rgb, depth = frame(index)
        cv2.imwrite(str(clip / "rgb" / f"{index}.png"), rgb[..., ::-1])
        cv2.imwrite(str(clip / "depth" / f"{index}.png"), depth)
    return clip


def run(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_square_found(mask: np.ndarray, index: int) -> None:
    truth = frame(index)[1] < 1000
    found = mask > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.5


def test_folder(clip, tmp_path):
    shown = run(str(REPO / "docs/examples/folder.py"), str(clip), "out", cwd=tmp_path)
    assert shown == ""
    for index in range(FRAMES):
        assert_square_found(cv2.imread(str(tmp_path / "out" / f"{index}.png"), cv2.IMREAD_GRAYSCALE), index)


def test_onnx_stream(clip, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    assert main(["export", str(tmp_path / "exported")]) == 0
    run(str(REPO / "docs/examples/onnx_stream.py"), "exported", str(clip), "out", cwd=tmp_path)
    for index in range(FRAMES):
        assert_square_found(cv2.imread(str(tmp_path / "out" / f"{index}.png"), cv2.IMREAD_GRAYSCALE), index)


def test_bag(tmp_path):
    with ImageBagWriter(tmp_path / "bag") as writer:
        for index, stamp_ns in enumerate(STAMPS_NS):
            rgb, depth = frame(index)
            writer.write_image("/camera/color/image_raw", rgb, "rgb8", stamp_ns, "camera")
            writer.write_image("/camera/depth/image_raw", depth, "16UC1", stamp_ns, "camera")
    shown = run(str(REPO / "docs/examples/bag.py"), "bag", "out", cwd=tmp_path)
    assert "rgb /camera/color/image_raw, depth /camera/depth/image_raw" in shown
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == [str(stamp_ns) for stamp_ns in STAMPS_NS]
    overlay = cv2.imread(str(tmp_path / "out" / f"{STAMPS_NS[-1]}.png"))[..., ::-1].astype(int)
    changed = np.abs(overlay - frame(FRAMES - 1)[0]).sum(axis=2) > 0
    assert 0.05 < changed.mean() < 0.5


def test_loop_of_the_readme(clip, tmp_path):
    text = (REPO / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 16
    assert len(text.splitlines()) <= 100
    code = code.replace("/tmp/", f"{tmp_path}/")
    run("-c", code, cwd=tmp_path)
    for index in range(FRAMES):
        assert_square_found(cv2.imread(str(tmp_path / f"{index}_mask.png"), cv2.IMREAD_GRAYSCALE), index)
