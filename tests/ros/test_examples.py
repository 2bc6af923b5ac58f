# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""docs/examples/camera.py in a process of its own, fed over real DDS."""

from __future__ import annotations

import re
import signal

import pytest

pytestmark = pytest.mark.ros


def test_camera(bench):
    remaps = ("-r", "rgb:=/saliency/rgb/image", "-r", "depth:=/saliency/depth/image")
    watcher = bench.run_script("docs/examples/camera.py", "--ros-args", *remaps)
    camera = bench.camera(width=160, height=120)

    def segmented() -> bool:
        camera.shoot(segmented.stamp)
        segmented.stamp += 0.1
        bench.spin(0.1)
        return len(re.findall(r"\d\.\d{3}: \d+\.\d% stands out", watcher.log)) >= 3

    segmented.stamp = 1.0
    bench.until(segmented, "three frames to be segmented")
    code, _ = watcher.stop(signal.SIGINT)
    assert code == 0
    assert "Traceback" not in watcher.log
