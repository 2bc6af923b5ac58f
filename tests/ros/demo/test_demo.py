# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`make demo`'s program: real player, node and recorder over DDS, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.ros

FRAMES = 12


@pytest.fixture
def clip(tmp_path) -> Path:
    folder = tmp_path / "clip"
    rng = np.random.default_rng(0)
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for index in range(FRAMES):
        rgb = rng.integers(0, 255, (48, 64, 3), np.uint8)
        depth = np.full((48, 64), 3000, np.uint16)
        depth[10:30, 10 + index : 30 + index] = 1000
        cv2.imwrite(str(folder / "rgb" / f"{index:04d}.png"), rgb)
        cv2.imwrite(str(folder / "depth" / f"{index:04d}.png"), depth)
    return folder


def demo_command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "m4sam_ros.demo", *map(str, arguments)]


def our_processes(marker: str) -> list[int]:
    """Processes whose environment carries the marker."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_clip_goes_through_and_is_reported(clip, ros_env, tmp_path):
    out = tmp_path / "out"
    command = demo_command("--clip", clip, "--out", out, "--model", "identity")
    shown = subprocess.run(command, env=ros_env, capture_output=True, text=True, timeout=120, check=False)
    assert shown.returncode == 0, shown.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames_published"] == FRAMES
    assert summary["frames_out"] == len(list((out / "masks").glob("*.png"))) > 0
    assert summary["frames_out"] + sum(summary["drops"].values()) == FRAMES
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]
    assert summary["ready_s"] > 0
    assert f"{FRAMES} published" in shown.stdout
    assert cv2.imread(str(out / "contact_sheet.png")) is not None
    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    recorded = json.loads((out / "logs" / "recorder.log").read_text().splitlines()[-1])
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == summary["frames_out"] - recorded["masks_without_rgb"]


def test_without_a_clip_one_is_generated(ros_env, tmp_path):
    pytest.importorskip("m4sam_training", reason="`m4sam clip` is one of the offline tools")
    out = tmp_path / "out"
    command = demo_command("--out", out, "--model", "identity", "--frames", 4)
    shown = subprocess.run(command, env=ros_env, capture_output=True, text=True, timeout=240, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "4 published" in shown.stdout
    assert len(list((out / "clip" / "rgb").iterdir())) == 4


def test_a_missing_model_is_said_at_once(clip, ros_env, tmp_path):
    command = demo_command("--clip", clip, "--out", tmp_path / "out", "--model", "/nonexistent.safetensors")
    shown = subprocess.run(command, env=ros_env, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 1
    assert "did not become active" in shown.stderr
    assert "/nonexistent.safetensors" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_folder_without_depth_is_refused(tmp_path):
    (tmp_path / "rgb").mkdir()
    (tmp_path / "rgb" / "0.png").touch()
    command = demo_command("--clip", tmp_path, "--out", tmp_path / "out")
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 1
    assert "expected folders rgb/ and depth/ with images, got none in depth/" in shown.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_ends_every_process(clip, ros_env, tmp_path, number):
    marker = f"M4SAM_DEMO_TEST={tmp_path}"
    env = {**ros_env, "M4SAM_DEMO_TEST": str(tmp_path)}
    command = demo_command("--clip", clip, "--out", tmp_path / "out", "--model", "identity")
    demo = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    all_of_them, the_first = 4, 2
    enough = all_of_them if number in (signal.SIGTERM, signal.SIGKILL) else the_first
    wait_until(lambda: len(our_processes(marker)) >= enough or demo.poll() is not None)
    assert demo.poll() is None
    os.kill(demo.pid, number)
    _, errors = demo.communicate(timeout=60)
    if number == signal.SIGKILL:
        wait_until(lambda: our_processes(marker) == [])
    else:
        assert demo.returncode == 130
        assert errors.strip() == "demo: stopped"
        assert our_processes(marker) == []


def wait_until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
