# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The Rerun viewer and the configurations of RViz and Foxglove."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from m4sam_core.errors import ConfigError
from m4sam_ros import names

pytestmark = pytest.mark.ros

REPO = Path(__file__).resolve().parents[3]
VIEWER = "m4sam_ros.viewer"
FIGURES = ("/plots/rate_hz/masks_out", "/log")
PUBLISHED = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
IN_SPACE = {names.MARKERS, names.POINTS, names.TARGET}


@pytest.fixture
def clip(tmp_path):
    for name, pixels in (("rgb", np.zeros((48, 64, 3), np.uint8)), ("depth", np.full((48, 64), 900, np.uint16))):
        (tmp_path / "clip" / name).mkdir(parents=True)
        for index in range(30):
            cv2.imwrite(str(tmp_path / "clip" / name / f"{index}.png"), pixels)
    return tmp_path / "clip"


def listening(port: int) -> set[str]:
    """Local addresses, in the kernel's hexadecimal, on which something listens at `port`."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, _, number = line.split()[1].rpartition(":")
            if line.split()[3] == "0A" and int(number, 16) == port:
                found.add(address)
    return found


def test_recording_holds_images_masks_and_figures(bench, clip, tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    file = tmp_path / "run.rrd"
    bench.start()
    viewer = bench.execute(VIEWER, "mode:=file", f"file:={file}")
    player = bench.execute("m4sam_ros.player", f"source:={clip}", "wait_for_subscribers:=2", "fps:=15.0")
    bench.until(lambda: not player.alive, "the end of the clip")
    code, _ = viewer.stop()
    assert code == 0, viewer.log
    assert "Traceback" not in viewer.log
    printed = contents(file)
    for entity in ("/overlay", "/camera/rgb", "/camera/depth", "/mask", "/objects/boxes", "/objects/points", *FIGURES):
        assert entity in printed, entity


def contents(file):
    """What Rerun's own program says of a recording."""
    beside = Path(sys.executable).with_name("rerun")
    rerun = str(beside) if beside.is_file() else shutil.which("rerun")
    return subprocess.run([rerun, "rrd", "print", "-v", file], capture_output=True, text=True, check=True).stdout


def test_what_has_no_place_any_more_is_not_shown_any_more(bench, tmp_path):
    """The node is silent about it, and silence would leave the last place on the screen."""
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    from tests.ros.node.objects.test_outputs import calibrate

    bench.start()
    masks, camera, tell = bench.masks(), bench.camera(), calibrate(bench)
    file = tmp_path / "run.rrd"
    viewer = bench.execute(VIEWER, "mode:=file", f"file:={file}", "max_rate_hz:=200.0")
    stamps = (1 + index / 15 for index in range(1000))

    def shot(count):
        for _ in range(count):
            tell()
            bench.step(camera, masks, next(stamps))
            bench.spin(0.05)

    topics = ("markers", "target", "points")
    bench.until(lambda: all(bench.ros.count_subscribers(f"/saliency/{topic}") for topic in topics), "the viewer")
    shot(10)
    camera.depth[:] = 0  # nothing has a place
    shot(10)
    assert viewer.stop()[0] == 0, viewer.log
    cleared = [chunk for chunk in contents(file).split("Chunk(") if "Clear" in chunk]
    for entity in ("/objects/target", "/objects/points"):
        assert any(entity in chunk for chunk in cleared), entity


def test_page_is_served_to_this_machine_only(bench, unused_ports):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    port, web_port = unused_ports
    viewer = bench.execute(VIEWER, "mode:=web", f"port:={port}", f"web_port:={web_port}")
    bench.until(lambda: "open http://127.0.0.1" in viewer.log, "the viewer")
    bench.until(lambda: listening(web_port), "the page")
    assert listening(port) == listening(web_port) == {"0100007F"}
    assert viewer.stop()[0] == 0, viewer.log
    bench.until(lambda: not listening(port), "Rerun to end")


@pytest.fixture
def unused_ports():
    import socket

    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def test_rerun_is_optional(monkeypatch):
    from m4sam_ros.viewer.rerun_stream import RerunStream
    from m4sam_ros.viewer.settings import ViewConfig

    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigError, match="pip install rerun-sdk"):
        RerunStream(ViewConfig())


def test_rviz_shows_topics_the_node_publishes():
    config = yaml.safe_load((REPO / "config/rviz/saliency.rviz").read_text())
    displays = config["Visualization Manager"]["Displays"]
    topics = set(re.findall(r"/saliency/([\w/]+)", str(displays)))
    assert {"overlay", "mask", *IN_SPACE} <= topics <= PUBLISHED
    assert len({display["Name"] for display in displays}) == len(displays)


def test_foxglove_layout_is_whole():
    layout = json.loads((REPO / "config/foxglove/saliency.json").read_text())
    panels = layout["configById"]
    assert set(re.findall(r"'([\w ]+!\w+)'", str(layout["layout"]))) == set(panels)
    topics = {panel["imageMode"]["imageTopic"] for name, panel in panels.items() if name.startswith("Image!")}
    topics |= {topic for name, panel in panels.items() if name.startswith("3D!") for topic in panel["topics"]}
    topics = {topic.removeprefix("/saliency/") for topic in topics}
    assert {"overlay", "mask", *IN_SPACE} <= topics <= PUBLISHED
    node = REPO / "m4sam_ros" / "node"
    known = "".join((node / name).read_text() for name in ("diagnostics.py", "session.py", "intake/intake.py"))
    for key in re.findall(r'key==\\"(?:drops\.)?(\w+)', json.dumps(panels)):
        assert f'"{key}"' in known, key
