# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What a user sees in Rerun: the layout, and how frames and figures become its entities. No ROS here."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.optional import require
from m4sam_core.host.processes import ManagedProcess
from m4sam_core.rgbd.pictures import MASK_COLOR, draw_overlay
from m4sam_ros.report import Report
from m4sam_ros.viewer.settings import ViewConfig

APPLICATION = "m4sam"
OVERLAY, RGB, DEPTH, MASK, CAMERA, LOG = "overlay", "camera/rgb", "camera/depth", "mask", "camera", "log"
OBJECTS, POINTS, TARGET = "objects/boxes", "objects/points", "objects/target"
SALIENT_CLASS = 255
_TIMELINE = "stamp"
_START_TIMEOUT_S = 20.0
_STOP = ((signal.SIGTERM, 1.0), (signal.SIGKILL, 1.0))
_MILLIMETRES_PER_METRE = 1000.0
#: Diagnostics shown as curves: plot, curve, key of the node's report.
CURVES = (
    ("latency_ms", "p50", "latency_ms_p50"),
    ("latency_ms", "p95", "latency_ms_p95"),
    ("latency_ms", "model_p50", "model_ms_p50"),
    ("rate_hz", "rgb_in", "rgb_in_hz"),
    ("rate_hz", "masks_out", "mask_out_hz"),
)


class RerunStream:
    """Sends frames and figures to a Rerun viewer, window, page or file.

    Raises:
        ConfigError: rerun is not installed.
        InputError: its viewer does not start, or the port is taken.
    """

    def __init__(self, cfg: ViewConfig) -> None:
        require("rerun", "viewer", "rerun-sdk")
        import rerun

        self._rr = rerun
        self._quality = cfg.jpeg_quality
        self._viewer: ManagedProcess | None = None
        self.where = ""
        self._rr.init(APPLICATION, spawn=False)
        mode = _resolved(cfg.mode)
        if mode == "file":
            self._rr.save(cfg.file, default_blueprint=self._blueprint())
            self.where = f"recording to {Path(cfg.file).absolute()}"
        else:
            self._viewer, self.where = _start_viewer(cfg, mode)
            url = f"rerun+http://{_reachable(cfg.bind)}:{cfg.port}/proxy"
            self._rr.connect_grpc(url, default_blueprint=self._blueprint())
        classes = [(0, "background", (0, 0, 0, 0)), (SALIENT_CLASS, "salient", MASK_COLOR)]
        self._rr.log("/", self._rr.AnnotationContext(classes), static=True)

    def frame(self, stamp_s: float, rgb: np.ndarray, mask: np.ndarray, caption: str) -> None:
        """One image and its mask."""
        self._at(stamp_s)
        overlay = draw_overlay(rgb, mask, caption=caption)
        self._rr.log(OVERLAY, self._rr.Image(overlay).compress(jpeg_quality=self._quality))
        self._rr.log(RGB, self._rr.Image(rgb).compress(jpeg_quality=self._quality))
        self._rr.log(MASK, self._rr.SegmentationImage(mask))
        self._rr.log("plots/area/salient_pct", self._rr.Scalars(100.0 * float(np.count_nonzero(mask)) / mask.size))

    def depth(self, stamp_s: float, depth: np.ndarray) -> None:
        """Depth (H, W), uint16 millimetres or float32 metres."""
        self._at(stamp_s)
        meter = _MILLIMETRES_PER_METRE if depth.dtype == np.uint16 else 1.0
        holes = depth if depth.dtype == np.uint16 else np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0)
        self._rr.log(DEPTH, self._rr.DepthImage(holes, meter=meter, colormap=self._rr.components.Colormap.Turbo))

    def boxes(
        self,
        stamp_s: float,
        centres: np.ndarray,
        sizes: np.ndarray,
        turns: np.ndarray,
        texts: list[str],
        *,
        has_target: bool,
    ) -> None:
        """Boxes of the objects in the camera's frame, in place of those of before.

        Where they say that there is no target, or nothing in space at all, what was shown of these ends: the node sends
        no message of what has no place.

        Args:
            stamp_s: of their image. Seconds.
            centres: (N, 3). Metres.
            sizes: (N, 3). Metres.
            turns: (N, 4) quaternions x y z w.
            texts: written at each.
            has_target: one of them is the main object.
        """
        self._at(stamp_s)
        boxes = self._rr.Boxes3D(
            centers=centres, half_sizes=sizes / 2, quaternions=turns, labels=texts, colors=MASK_COLOR
        )
        self._rr.log(OBJECTS, boxes)
        for entity, shown in ((TARGET, has_target), (POINTS, len(texts) > 0)):
            if not shown:
                self._rr.log(entity, self._rr.Clear(recursive=False))

    def points(self, stamp_s: float, positions: np.ndarray, rgb: np.ndarray) -> None:
        """Points of the objects: (N, 3) metres in the camera's frame, (N, 3) uint8."""
        self._at(stamp_s)
        self._rr.log(POINTS, self._rr.Points3D(positions, colors=rgb, radii=0.002))

    def target(self, stamp_s: float, position: tuple[float, float, float]) -> None:
        """Where the main object is, metres in the camera's frame."""
        self._at(stamp_s)
        self._rr.log(TARGET, self._rr.Points3D([position], colors=[255, 214, 64], radii=0.02, labels=["target"]))

    def calibration(self, matrix: list[float], width: int, height: int) -> None:
        """Pinhole of the camera, row-major 3x3; makes the 3D view."""
        pinhole = self._rr.Pinhole(image_from_camera=np.reshape(matrix, (3, 3)), resolution=(width, height))
        self._rr.log(CAMERA, pinhole, static=True)

    def report(self, report: Report) -> None:
        """One of the node's diagnostic reports."""
        self._at(report.stamp_s)
        for plot, curve, key in CURVES:
            number = report.number(key)
            if number is not None:
                self._rr.log(f"plots/{plot}/{curve}", self._rr.Scalars(number))
        for cause, count in report.drops.items():
            self._rr.log(f"plots/drops/{cause}", self._rr.Scalars(count))
        if report.problem:
            self.note(report.stamp_s, report.problem, warning=True)

    def note(self, stamp_s: float, text: str, warning: bool = False) -> None:
        """A line of the log."""
        self._at(stamp_s)
        self._rr.log(LOG, self._rr.TextLog(text, level="WARN" if warning else "INFO"))

    def check_alive(self) -> bool:
        """Whether the viewer still runs; a file always does."""
        return self._viewer is None or self._viewer.exit_code is None

    def close(self) -> None:
        """Send what is left and end the viewer's server (the window, too)."""
        self._rr.disconnect()
        if self._viewer is not None:
            self._viewer.stop(_STOP)

    def _at(self, stamp_s: float) -> None:
        self._rr.set_time(_TIMELINE, timestamp=stamp_s)

    def _blueprint(self) -> Any:
        """Large overlay; rgb, depth, 3D and mask beside it; curves and the log below."""
        import rerun.blueprint as rrb

        images = rrb.Vertical(
            rrb.Spatial2DView(origin=RGB, name="rgb"),
            rrb.Tabs(
                rrb.Spatial2DView(origin=DEPTH, name="depth"),
                rrb.Spatial3DView(origin="/", contents=[f"{CAMERA}/**", "objects/**"], name="3D"),
                rrb.Spatial2DView(origin=MASK, name="mask"),
                active_tab=0,
            ),
        )
        latency = rrb.TimeSeriesView(origin="plots/latency_ms", name="latency, ms")
        rate = rrb.TimeSeriesView(origin="plots/rate_hz", name="rate, Hz")
        drops = rrb.TimeSeriesView(origin="plots/drops", name="dropped frames by cause")
        area = rrb.TimeSeriesView(origin="plots/area", name="salient area, %")
        figures = rrb.Horizontal(
            latency, rate, rrb.Tabs(drops, area, active_tab=0), rrb.TextLogView(origin=LOG, name="events")
        )
        top = rrb.Horizontal(rrb.Spatial2DView(origin=OVERLAY, name="overlay"), images, column_shares=[2, 1])
        return rrb.Blueprint(
            rrb.Vertical(top, figures, row_shares=[3, 1]), rrb.TimePanel(state="collapsed"), collapse_panels=True
        )


def _resolved(mode: str) -> str:
    if mode != "auto":
        return mode
    return "window" if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") else "web"


def _reachable(bind: str) -> str:
    """Where this process finds a server that listens on `bind`."""
    return "127.0.0.1" if bind in ("0.0.0.0", "::") else bind


def _start_viewer(cfg: ViewConfig, mode: str) -> tuple[ManagedProcess, str]:
    """Rerun's own program: only it can be told which address to listen on, its SDK opens its port to the network."""
    beside = Path(sys.executable).with_name("rerun")
    program = str(beside) if beside.is_file() else shutil.which("rerun")
    if program is None:
        raise InputError("viewer: expected the program `rerun` of rerun-sdk, got none; run `pip install rerun-sdk`")
    if _listens(_reachable(cfg.bind), cfg.port):
        raise InputError(f"viewer: expected port {cfg.port} to be free, got it taken; give another -p port:=...")
    command = [program, "--bind", cfg.bind, "--port", str(cfg.port), "--memory-limit", cfg.memory_limit]
    if mode == "web":
        command += ["--serve-web", "--web-viewer-port", str(cfg.web_port), "--server-memory-limit", cfg.memory_limit]
    # `rerun` of the wheel is a script that starts the real program: the whole session ends together.
    viewer = ManagedProcess("rerun", command, os.environ, None)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _listens(_reachable(cfg.bind), cfg.port):
        if viewer.exit_code is not None or time.monotonic() > deadline:
            viewer.stop(_STOP)
            raise InputError(f"viewer: rerun did not come up on {cfg.bind}:{cfg.port}; its output is above")
        time.sleep(0.05)
    data = f"rerun%2Bhttp%3A%2F%2F{_reachable(cfg.bind)}%3A{cfg.port}%2Fproxy"
    page = f"http://{_reachable(cfg.bind)}:{cfg.web_port}/?url={data}"
    return viewer, f"open {page}" if mode == "web" else "in Rerun's window"


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0
