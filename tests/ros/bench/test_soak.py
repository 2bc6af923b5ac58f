# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A long run: memory flat, latency flat, every frame accounted for. M4SAM_SOAK_FRAMES=30000 for the long proof."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]

FRAMES = int(os.environ.get("M4SAM_SOAK_FRAMES", "3000"))
MODEL = os.environ.get("M4SAM_SOAK_MODEL", "")


def test_memory_and_accounts_stay_flat(bench, nano_weights, values):
    from diagnostic_msgs.msg import DiagnosticArray

    node = bench.start(model=MODEL or str(nano_weights))
    masks = bench.masks()
    camera = bench.camera(width=320, height=240)
    rng = np.random.default_rng(0)
    sizes, paces = {}, []
    started = time.monotonic()
    for i in range(FRAMES):
        camera.rgb[:] = np.roll(camera.rgb, 3, axis=1)
        camera.depth[:] = np.roll(camera.depth, 3, axis=1)
        if i % 500 == 250:
            camera.rgb[:] = rng.integers(0, 255, 3, dtype=np.uint8)  # a cut
        bench.step(camera, masks, 10 + i / 15)
        masks.clear()
        if i % (FRAMES // 10) == FRAMES // 10 - 1:
            now = time.monotonic()
            paces.append((now - started) / (FRAMES // 10) * 1000)
            started = now
            sizes[i + 1] = node.rss_bytes / 1e6
            print(f"{i + 1} frames: RSS {sizes[i + 1]:.1f} MB, {paces[-1]:.1f} ms per frame", flush=True)
    reports = bench.listen(DiagnosticArray, "/diagnostics")
    bench.until(lambda: reports, "a report")
    report = values(reports[-1].status[0])
    print({name: report[name] for name in ("rgb_in", "masks_out", "scene_resets", "latency_ms_p50", "latency_ms_p95")})
    settled = sizes[FRAMES // 10 * 2]
    assert sizes[FRAMES // 10 * 10] < settled * 1.01 + 1
    drops = sum(int(value) for name, value in report.items() if name.startswith("drops."))
    assert int(report["rgb_in"]) == int(report["masks_out"]) + drops
    assert "Traceback" not in node.log
