# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Simulated time that jumps, stands still and starts anew: masks go on, reports keep their pace, the account closes."""

from __future__ import annotations

import time

import pytest

from tests.ros.kit import accounted, needs_events, quiet, seconds
from tests.ros.rig.camera import header

pytestmark = pytest.mark.ros

FPS = 20
TICKS = 5  # of /clock for each frame


class Simulator:
    """Simulated time, and a camera that is stamped by it."""

    def __init__(self, bench, camera, masks):
        self._bench, self._camera, self._masks = bench, camera, masks
        self.now_s = 0.0
        self.shot = 0
        self.start_clock()

    def start_clock(self):
        from rosgraph_msgs.msg import Clock

        self._kind = Clock
        self._clock = self._bench.ros.create_publisher(Clock, "/clock", 10)
        self._bench.until(self._clock.get_subscription_count, "the node to follow /clock")

    def stop_clock(self):
        self._bench.ros.destroy_publisher(self._clock)

    def tick(self):
        self._clock.publish(self._kind(clock=header(self.now_s, "").stamp))

    def run(self, frames, *, shoot=True):
        """So many periods of the camera."""
        for _ in range(frames):
            for _ in range(TICKS):
                self.now_s += 1 / FPS / TICKS
                self.tick()
                self._bench.spin(0.004)
            if shoot:
                self._camera.shoot(self.now_s)
                self.shot += 1

    def last_mask(self):
        """Of the last frame."""
        want = header(self.now_s, "").stamp
        self._bench.until(lambda: self._masks[-1].header.stamp == want, f"the mask of {self.now_s}")


@pytest.fixture
def reports(bench):
    """When each report of /diagnostics came, and the report."""
    from diagnostic_msgs.msg import DiagnosticArray

    heard = []
    bench.ros.create_subscription(
        DiagnosticArray, "/diagnostics", lambda msg: heard.append((time.monotonic(), msg)), 100
    )
    return heard


@pytest.mark.parametrize("executor", ["single", pytest.param("events", marks=needs_events)])
def test_jumps_pauses_and_restarts(bench, values, reports, nano_weights, executor):
    node = bench.start(
        "max_frame_age_s:=5.0",
        "watchdog_period_s:=1.0",
        "backend:=torch",
        f"executor:={executor}",
        model=str(nano_weights),
        ros_args=("-p", "use_sim_time:=true"),
    )
    masks = bench.masks()
    simulator = Simulator(bench, bench.camera(), masks)
    began, first = time.monotonic(), len(reports)

    def newest():
        return values(reports[-1][1].status[0])

    def late():
        """Frames that came late, by a report made after this call."""
        heard = len(reports)
        bench.until(lambda: len(reports) > heard + 1, "two reports")
        return int(newest().get("drops.late", 0))

    def go_on(frames=20):
        simulator.run(frames)
        simulator.last_mask()

    simulator.now_s = 100.0
    go_on()
    for now_s in (20.0, 1.0, 900.0, 897.0, 5000.0):  # resets of the simulation, and seeks in a recording
        simulator.now_s = now_s
        go_on()
    jumps = 5
    before = late()
    simulator.now_s -= 0.3  # a little back is a late frame, until the old time is reached again
    go_on(12)
    during = late() - before
    paused_at = simulator.now_s
    heard = len(reports)
    still = f"no message, and simulated time stands still at {paused_at:.3f} s"

    def paused():
        simulator.tick()
        bench.spin(0.05)
        return len(reports) >= heard + 3 and still in reports[-1][1].status[0].message

    bench.until(paused, "the watchdog to name the pause")
    assert abs(seconds(reports[-1][1]) - paused_at) < 1e-6
    go_on()
    simulator.stop_clock()
    heard = len(reports)
    bench.until(lambda: len(reports) >= heard + 2, "reports without a clock")
    simulator.start_clock()
    simulator.now_s = 3.0  # the simulator was started anew
    jumps += 1
    go_on()
    quiet(bench, masks)
    heard = len(reports)
    bench.until(lambda: len(reports) > heard, "the last report")
    elapsed_s = time.monotonic() - began
    report = newest()
    assert accounted(report), report
    assert int(report["rgb_in"]) == simulator.shot
    assert report["time_jumps"] == str(2 * jumps), report
    assert report.get("drops.too_old", "0") == "0", report
    assert 4 <= during <= 6, report
    assert int(report["drops.late"]) - during <= 4, report  # one around each of the four jumps back
    assert (report["scene_resets.time"], report["scene_resets.gap"]) == ("4", "2"), report
    # Late frames and jumps apart, each frame has its mask; on a loaded machine the newest of two wins.
    lost = int(report["drops.late"]) + int(report.get("drops.busy", 0)) + int(report.get("drops.time_jump", 0))
    assert len(masks) >= simulator.shot - lost
    assert elapsed_s - 5 <= len(reports) - first <= elapsed_s + 2
    assert max(b - a for (a, _), (b, _) in zip(reports[first:], reports[first + 1 :], strict=False)) < 4
    assert "Traceback" not in node.log
    assert node.log.count("the scene begins anew") <= 3, node.log
