# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The recorder as a process over DDS."""

import json
import shutil
import signal
import sys
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from m4sam_core.errors import InputError
from tests.ros.rig.process import NodeProcess

pytestmark = pytest.mark.ros

RECORDER = "m4sam_ros.recorder"


class Graph:
    """Stands in for camera and node: rgb, mask and diagnostics on their topics."""

    def __init__(self, bench) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image

        self.bench = bench
        self.rgb = bench.ros.create_publisher(Image, "/saliency/rgb/image", QoSProfile(depth=100))
        self.mask = bench.ros.create_publisher(Image, "/saliency/mask", QoSProfile(depth=100))
        self.diagnostics = bench.ros.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def record(self, *parameters: str):
        recorder = self.bench.execute(RECORDER, *parameters)
        self.wait_for_listeners()
        return recorder

    def wait_for_listeners(self) -> None:
        publishers = (self.rgb, self.mask, self.diagnostics)
        self.bench.until(lambda: all(p.get_subscription_count() for p in publishers), "the recorder")
        self.bench.spin(0.3)

    def shoot(
        self,
        stamp_ns: int,
        mask_first: bool = False,
        rgb: bool = True,
        mask: np.ndarray | None = None,
        rgb_shape: tuple[int, int] | None = None,
        encoding: str = "rgb8",
        mask_encoding: str = "mono8",
    ) -> None:
        from builtin_interfaces.msg import Time
        from std_msgs.msg import Header

        from m4sam_ros.messages.convert import numpy_to_image

        header = Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id="eye")
        if mask is None:
            mask = np.zeros((48, 64), np.uint8)
            mask[10:30, 10:30] = 255
        messages = [(self.mask, numpy_to_image(mask, "mono8", header))]
        messages[0][1].encoding = mask_encoding
        if rgb:
            picture = numpy_to_image(np.full((*(rgb_shape or mask.shape), 3), 90, np.uint8), "rgb8", header)
            picture.encoding = encoding
            messages.insert(1 if mask_first else 0, (self.rgb, picture))
        for publisher, message in messages:
            publisher.publish(message)
            self.bench.spin(0.01)

    def diagnose(self, name: str, **values: int) -> None:
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

        pairs = [KeyValue(key=key.replace("__", "."), value=str(value)) for key, value in values.items()]
        self.diagnostics.publish(DiagnosticArray(status=[DiagnosticStatus(name=name, values=pairs)]))


@pytest.fixture
def graph(bench):
    return Graph(bench)


def finished(bench, recorder, out) -> dict:
    bench.until(lambda: not recorder.alive, "the recorder to end")
    assert recorder.popen.returncode == 0, recorder.log
    assert "Traceback" not in recorder.log
    return json.loads((out / "summary.json").read_text())


def test_recording_of_n_frames(bench, graph, tmp_path):
    out = tmp_path / "out"
    recorder = graph.record(f"out:={out}", "max_frames:=10")
    sent = []
    for index in range(10):
        if index == 5:
            graph.diagnose("/saliency/m4sam: saliency", drops__busy=3, drops__bad_rgb=0, rgb_in=13)
            graph.diagnose("/other/m4sam: saliency", drops__busy=99)
            bench.spin(0.2)
        sent.append(time.time_ns())
        graph.shoot(sent[-1], mask_first=index % 2 == 1)
    summary = finished(bench, recorder, out)
    assert summary["frames_in"] == summary["frames_out"] == summary["frames_written"] == 10
    assert summary["masks_without_rgb"] == 0
    assert summary["drops"] == {"busy": 3}
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"] < 5000
    assert summary["rate_hz"] > 0
    assert sorted(int(path.stem) for path in (out / "masks").iterdir()) == sent
    assert cv2.VideoCapture(str(out / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 10
    assert cv2.imread(str(out / "contact_sheet.png")) is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_finishes_every_file(bench, graph, tmp_path, number):
    out = tmp_path / "out"
    recorder = graph.record(f"out:={out}")
    for index in range(12):
        graph.shoot(index * 33_000_000)
    bench.until(lambda: len(list((out / "masks").glob("[0-9]*.png"))) == 12, "the masks")
    code, seconds = recorder.stop(number)
    assert (code, seconds < 3) == (0, True), recorder.log
    summary = finished(bench, recorder, out)
    assert summary["latency_ms"] == {"p50": None, "p95": None}, "stamps of 1970 are no wall clock"
    assert cv2.VideoCapture(str(out / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 12
    assert not list(out.rglob("*partial*"))


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="no prlimit")
@pytest.mark.parametrize("masks", ["true", "false"])
def test_a_disk_that_takes_no_more_ends_it_and_leaves_whole_files(bench, ros_env, tmp_path, masks):
    """A limit of the file size stands in for the full disk: writing fails in the same places, and needs no root."""
    out = tmp_path / "out"
    graph = Graph(bench)
    words = ["--ros-args", "-p", f"out:={out}", "-p", f"masks:={masks}", "-p", "sheet:=false"]
    command = ["prlimit", "--fsize=8000", sys.executable, "-m", RECORDER, *words]
    # Whoever measures coverage keeps records of each process, which are larger.
    unmeasured = {name: value for name, value in ros_env.items() if not name.startswith("COVERAGE_")}
    recorder = NodeProcess(command, unmeasured, tmp_path / "record.log")
    bench.processes.append(recorder)
    graph.wait_for_listeners()
    noise = np.where(np.random.default_rng(0).random((240, 320)) < 0.5, np.uint8(255), np.uint8(0))
    for index in range(150):  # more than its queue holds
        if not recorder.alive:
            break
        graph.shoot(index * 33_000_000, mask=None if index < 10 else noise)
    code = recorder.popen.wait(20) if masks == "true" else recorder.stop(signal.SIGINT)[0]
    assert code == 1, recorder.log
    assert recorder.log.count("recording stopped: ") == 1
    assert "Traceback" not in recorder.log
    found = {path.name for path in out.rglob("*") if path.is_file()}
    written = {f"{index * 33_000_000}.png" for index in range(10)} | {"overlay.mp4"}
    assert found == (written if masks == "true" else set())  # its video broke off: it has no name
    assert all(cv2.imread(str(path)) is not None for path in out.rglob("*.png"))
    if masks == "true":
        assert cv2.VideoCapture(str(out / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 10


@pytest.mark.slow
def test_a_disk_of_30_mb_ends_it_and_leaves_whole_masks(bench, graph, disk):
    out = disk / "out"
    recorder = graph.record(f"out:={out}", "video:=false", "sheet:=false")
    noise = np.where(np.random.default_rng(0).random((960, 1280)) < 0.5, np.uint8(255), np.uint8(0))
    for index in range(1000):
        if not recorder.alive:
            break
        graph.shoot(index * 33_000_000, rgb=False, mask=noise)
    assert recorder.popen.wait(20) == 1, recorder.log
    (line,) = (line for line in recorder.log.splitlines() if "recording stopped: " in line)
    assert str(out) in line
    assert "the disk is full" in line
    assert "Traceback" not in recorder.log
    masks = list((out / "masks").iterdir())
    assert len(masks) > 50
    assert all(np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), noise) for path in masks)
    assert not (out / "summary.json").exists()


def test_a_disk_that_is_nearly_full_leaves_a_finished_video(tmp_path, monkeypatch):
    from m4sam_ros.recorder import recording

    left = iter([10 * recording.LEAST_FREE_BYTES] * 10 + [1000])
    monkeypatch.setattr(recording.shutil, "disk_usage", lambda _path: SimpleNamespace(free=next(left)))
    session = recording.Recording(tmp_path)
    frame = recording.RecordedFrame(0, np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8), "")
    with pytest.raises(InputError, match="the disk is full"):
        for _ in range(20):
            session.add(frame)
    session.close(None)
    assert cv2.VideoCapture(str(tmp_path / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 10
    assert not (tmp_path / "summary.json").exists()


def test_idle_timeout_and_masks_without_image(bench, graph, tmp_path):
    out = tmp_path / "out"
    recorder = graph.record(f"out:={out}", "idle_timeout_s:=1.5", "video:=false")
    for index in range(3):
        graph.shoot(index * 33_000_000, rgb=index != 1)
    summary = finished(bench, recorder, out)
    assert (summary["frames_in"], summary["frames_out"], summary["masks_without_rgb"]) == (2, 3, 1)
    assert not (out / "overlay.mp4").exists()
    assert "1 of 3 masks came without their image on /saliency/rgb/image: no overlay shows them" in recorder.log


def test_images_that_cannot_be_shown_cost_only_themselves(bench, graph, tmp_path):
    out = tmp_path / "out"
    recorder = graph.record(f"out:={out}", "idle_timeout_s:=1.5", "video:=false")
    graph.shoot(0)
    graph.shoot(33_000_000, encoding="bgr9")
    graph.shoot(66_000_000, rgb_shape=(24, 32))
    graph.shoot(99_000_000, mask_encoding="mono9")
    graph.shoot(133_000_000)
    summary = finished(bench, recorder, out)
    assert (summary["frames_out"], summary["frames_written"], summary["masks_without_rgb"]) == (5, 4, 2)
    assert (summary["drops"]["recorder_bad_rgb"], summary["drops"]["recorder_bad_mask"]) == (2, 1)
    assert len(list((out / "masks").glob("*.png"))) == 4
    assert "whose masks are kept: 2; the last: expected an image of the mask's size 64x48, got 32x24" in recorder.log
    assert "masks that cannot be read: 1; the last: mask encoding" in recorder.log
    assert "came without their image" not in recorder.log


def test_a_looped_bag_replaces_masks_and_that_is_said(bench, graph, tmp_path):
    out = tmp_path / "out"
    recorder = graph.record(f"out:={out}", "idle_timeout_s:=1.5", "video:=false")
    for index in (0, 1, 2, 0, 1, 2):
        graph.shoot(index * 33_000_000)
        bench.spin(0.05)
    summary = finished(bench, recorder, out)
    assert (summary["frames_written"], summary["masks_replaced"]) == (6, 3)
    assert "3 of 6 masks had the stamp of an earlier one and replaced its file; does a bag loop?" in recorder.log


def test_a_recording_of_nothing_says_so(bench, tmp_path):
    recorder = bench.execute(RECORDER, f"out:={tmp_path / 'out'}")
    bench.until((tmp_path / "out" / "masks").exists, "it to begin")
    bench.spin(0.5)
    assert recorder.stop(signal.SIGINT)[0] == 0
    assert "no mask came on /saliency/mask; is the node running?" in recorder.log


def test_nothing_comes(bench, tmp_path):
    recorder = bench.execute(RECORDER, f"out:={tmp_path / 'out'}", "start_timeout_s:=0.5")
    bench.until(lambda: not recorder.alive, "it to give up")
    assert recorder.popen.returncode == 1
    assert "no mask on /saliency/mask" in recorder.log


def test_output_is_required(bench):
    recorder = bench.execute(RECORDER)
    bench.until(lambda: not recorder.alive, "the error")
    assert recorder.popen.returncode == 2
    assert "out:=DIR" in recorder.log


def test_player_node_and_recorder_lose_nothing(bench, tmp_path):
    """The demo's graph, with the node's model-free backend: every frame becomes a mask or is told as late."""
    clip = tmp_path / "clip"
    for name, pixels in (("rgb", np.zeros((48, 64, 3), np.uint8)), ("depth", np.full((48, 64), 900, np.uint16))):
        (clip / name).mkdir(parents=True)
        for index in range(30):
            cv2.imwrite(str(clip / name / f"{index}.png"), pixels)
    out = tmp_path / "out"
    bench.start()
    recorder = bench.execute(RECORDER, f"out:={out}", "idle_timeout_s:=2.0")
    player = bench.execute("m4sam_ros.player", f"source:={clip}", "wait_for_subscribers:=2", "fps:=10.0")
    bench.until(lambda: not player.alive, "the end of the clip")
    assert player.popen.returncode == 0, player.log
    summary = finished(bench, recorder, out)
    late = summary["drops"].pop("busy", 0)
    assert (summary["frames_in"], summary["frames_out"] + late, summary["drops"]) == (30, 30, {})
    assert summary["frames_out"] > 15
