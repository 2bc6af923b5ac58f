# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Executable `record`: masks, overlay video, contact sheet and figures of what a saliency node publishes."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from visualization_msgs.msg import MarkerArray

from m4sam_core.errors import InputError, M4SamError
from m4sam_ros.messages.compressed import compressed_to_rgb
from m4sam_ros.messages.convert import image_to_numpy, image_to_rgb
from m4sam_ros.names import DIAGNOSTICS, LABELS, MARKERS, MASK, NAMESPACE, RGB, STATE, transported
from m4sam_ros.parameters import declare_fixed
from m4sam_ros.qos import MatchedSubscription, latched
from m4sam_ros.recorder.figures import MAX_LATENCY_MS, Figures
from m4sam_ros.recorder.objects import ObjectDetails
from m4sam_ros.recorder.recording import RecordedFrame, Recording
from m4sam_ros.recorder.settings import RecordConfig
from m4sam_ros.report import reports_in, scene_caption
from m4sam_ros.runner import EXIT_FAILED, EXIT_OK, run_node

WAITING_IMAGES = 64
WRITE_QUEUE = 128
WRITE_TIMEOUT_S = 30.0
CHECK_PERIOD_S = 0.1
_WRITER_NICENESS = 10
IMAGE_PATIENCE_S = 1.0
OBJECTS_PATIENCE_S = 0.3
_BAD_RGB, _BAD_MASK = "recorder_bad_rgb", "recorder_bad_mask"


@dataclass(frozen=True)
class _Arrival:
    """A mask, when it came (monotonic seconds), how late that was, and what the node said of its scene."""

    mask_msg: Any
    at: float
    latency_ms: float
    scene: str


class Recorder(Node):
    """Callbacks only hand over; one thread draws and writes.

    Raises:
        ConfigError: a parameter is not allowed.
        InputError: the output folder cannot be written.
    """

    def __init__(self) -> None:
        super().__init__("record", namespace=NAMESPACE)
        self.exit_code: int | None = None
        self._writer: threading.Thread | None = None
        self._cfg = declare_fixed(self, RecordConfig)
        self._recording = _new_recording(self._cfg)
        self.figures = Figures()
        self._images: OrderedDict[int, Any] = OrderedDict()
        self._masks_before_image: OrderedDict[int, _Arrival] = OrderedDict()
        self._scene = ""
        self._last_flaw: dict[str, str] = {}
        self._queue: queue.Queue[tuple[_Arrival, Any] | None] = queue.Queue(WRITE_QUEUE)
        self._began = self._last_message = time.monotonic()
        transport = self._cfg.image_transport
        rgb_topic = transported(self.resolve_topic_name(RGB), transport)
        self._inputs = [
            self._listen(Image if transport == "raw" else CompressedImage, rgb_topic, self._on_rgb),
            self._listen(Image, MASK, self._on_mask),
        ]
        self._details = ObjectDetails() if self._cfg.objects else None
        if self._details is not None:
            self._inputs += [
                self._listen(Image, LABELS, self._details.take_labels),
                self._listen(MarkerArray, MARKERS, self._details.take_markers),
            ]
        self.create_subscription(DiagnosticStatus, STATE, self._on_state, latched())
        self.create_subscription(DiagnosticArray, DIAGNOSTICS, self._on_diagnostics, 10)
        self.create_timer(CHECK_PERIOD_S, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._writer = threading.Thread(target=self._write, name="record", daemon=True)
        self._writer.start()

    def destroy_node(self) -> None:
        """Write what has arrived, finish the files, leave the graph; `exit_code` is not 0 when that failed."""
        if self._writer is not None:
            self._give_up_on_images(patience_s=0.0)
            with contextlib.suppress(queue.Full):  # the disk does not answer
                self._queue.put(None, timeout=WRITE_TIMEOUT_S)
            self._writer.join(WRITE_TIMEOUT_S)
            self._finish(stuck=self._writer.is_alive())
        super().destroy_node()

    def _finish(self, stuck: bool) -> None:
        if stuck:
            self._stop_with(
                f"the disk has not answered for {WRITE_TIMEOUT_S:.0f} s; files without their name are partial"
            )
            return
        summary = None if self.figures.write_error else self.figures.summary(self._recording)
        try:
            self._recording.close(summary)
        except M4SamError as error:
            self._stop_with(str(error))
        else:
            if summary is None:
                self._stop_with(self.figures.write_error)
                return
            for line in self._remarks():
                self.get_logger().warning(line)
            sys.stdout.write(json.dumps(summary) + "\n")
            sys.stdout.flush()

    def _remarks(self) -> list[str]:
        """What is missing of a recording that was finished."""
        recording, (rgb, mask) = self._recording, self._inputs[:2]
        unreadable = self.figures.drops[_BAD_MASK]
        remarks = (
            [f"masks that cannot be read: {unreadable}; the last: {self._last_flaw[_BAD_MASK]}"] if unreadable else []
        )
        if not recording.frames:
            return remarks or [f"no mask came on {mask.topic}; is the node running?"]
        unusable = self.figures.drops[_BAD_RGB]
        if unusable:
            last = self._last_flaw[_BAD_RGB]
            remarks.append(f"images that cannot be shown, whose masks are kept: {unusable}; the last: {last}")
        if unusable < recording.without_rgb:
            count = f"{recording.without_rgb - unusable} of {recording.frames}"
            remarks.append(f"{count} masks came without their image on {rgb.topic}: no overlay shows them")
        if recording.replaced:
            count = f"{recording.replaced} of {recording.frames}"
            remarks.append(f"{count} masks had the stamp of an earlier one and replaced its file; does a bag loop?")
        return remarks

    def _stop_with(self, reason: str) -> None:
        """End with exit code 1; said once."""
        if self.exit_code != EXIT_FAILED:
            self.get_logger().error(f"recording stopped: {reason}")
        self.exit_code = EXIT_FAILED

    # ---------------------------------------------------------------------------- executor's thread

    def _listen(self, kind: Any, topic: str, callback: Any) -> MatchedSubscription:
        return MatchedSubscription(
            self,
            kind,
            topic,
            callback,
            depth=self._cfg.qos_depth,
            reliability="auto",
            on_incompatible=lambda policy: self.get_logger().warning(f"{topic}: a publisher's {policy} does not match"),
        )

    def _on_rgb(self, msg: Any) -> None:
        self._last_message = time.monotonic()
        self.figures.frames_in += 1
        self._images[stamp_ns(msg)] = msg
        while len(self._images) > WAITING_IMAGES:
            self._images.popitem(last=False)
        waiting = self._masks_before_image.pop(stamp_ns(msg), None)
        if waiting is not None:
            self._hand_over(waiting, msg)

    def _on_mask(self, msg: Any) -> None:
        if self._is_full():
            return
        self._last_message = time.monotonic()
        latency_ms = (self.get_clock().now().nanoseconds - stamp_ns(msg)) * 1e-6
        self.figures.mask_arrived(self._last_message, latency_ms)
        arrival = _Arrival(msg, self._last_message, latency_ms, self._scene)
        image = self._images.get(stamp_ns(msg))
        if image is None:
            # Two topics: a mask can overtake its image.
            self._masks_before_image[stamp_ns(msg)] = arrival
        else:
            self._hand_over(arrival, image)

    def _is_full(self) -> bool:
        return 0 < self._cfg.max_frames <= self.figures.frames_out

    def _hand_over(self, arrival: _Arrival, image: Any) -> None:
        try:
            self._queue.put_nowait((arrival, image))
        except queue.Full:
            self.figures.drops["recorder_busy"] += 1

    def _give_up_on_images(self, patience_s: float) -> None:
        """Masks whose image has not come for that long are written without it."""
        now = time.monotonic()
        for stamp, arrival in list(self._masks_before_image.items()):
            if now - arrival.at >= patience_s:
                self._hand_over(self._masks_before_image.pop(stamp), None)

    def _on_state(self, msg: Any) -> None:
        self._scene = scene_caption(msg)

    def _on_diagnostics(self, msg: Any) -> None:
        for report in reports_in(msg, self.get_namespace()):
            self.figures.node_drops = report.drops

    def _check(self) -> None:
        """Follow the publishers; end on time-outs and when writing failed."""
        for subscription in self._inputs:
            subscription.follow()
        self._give_up_on_images(IMAGE_PATIENCE_S)
        now = time.monotonic()
        started = self.figures.frames_out > 0
        full = self._is_full() and not self._masks_before_image
        idle = started and 0 < self._cfg.idle_timeout_s < now - self._last_message
        if self.figures.write_error:
            self._stop_with(self.figures.write_error)
        elif full or idle:
            self.exit_code = EXIT_OK
        elif not started and 0 < self._cfg.start_timeout_s < now - self._began:
            topic = self._inputs[1].topic
            self.get_logger().error(f"no mask on {topic} within {self._cfg.start_timeout_s:g} s; is the node running?")
            self.exit_code = EXIT_FAILED

    # ------------------------------------------------------------------------------- writer's thread

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # what is recorded goes first; Linux has priorities per thread
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _WRITER_NICENESS)
        while (job := self._queue.get()) is not None:
            if self.figures.write_error:
                continue  # whoever hands over must not wait for a queue that nobody empties
            try:
                if (frame := self._frame(*job)) is not None:
                    self._recording.add(frame)
            except (OSError, M4SamError) as error:
                self.figures.write_error = str(error)

    def _frame(self, arrival: _Arrival, image: Any) -> RecordedFrame | None:
        """A mask with its image; without an image that cannot be shown, and None without the mask. Both are counted."""
        try:
            mask = image_to_numpy(arrival.mask_msg, "mask")
        except M4SamError as error:
            self._note_flaw(_BAD_MASK, str(error))
            return None
        rgb = None
        try:
            if image is not None:
                rgb = compressed_to_rgb(image) if isinstance(image, CompressedImage) else image_to_rgb(image)
        except M4SamError as error:
            self._note_flaw(_BAD_RGB, str(error))
        if rgb is not None and rgb.shape[:2] != mask.shape:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (mask.shape, rgb.shape)]
            self._note_flaw(_BAD_RGB, f"expected an image of the mask's size {sizes[0]}, got {sizes[1]}")
            rgb = None
        stamp = stamp_ns(arrival.mask_msg)
        latency = f"   {arrival.latency_ms:.0f} ms" if abs(arrival.latency_ms) < MAX_LATENCY_MS else ""
        caption = f"{self.figures.since_first_s(stamp):6.2f} s{latency}   {arrival.scene}".rstrip()
        found = None if self._details is None else self._details.of(stamp, OBJECTS_PATIENCE_S)
        tags, record = ([], None) if found is None else found
        return RecordedFrame(stamp, rgb, mask, caption, tags, record)

    def _note_flaw(self, cause: str, text: str) -> None:
        if not self.figures.drops[cause]:
            self.get_logger().warning(f"{text}; the recording goes on, and counts such as {cause}")
        self.figures.drops[cause] += 1
        self._last_flaw[cause] = text


def stamp_ns(msg: Any) -> int:
    """Header stamp in nanoseconds."""
    return int(msg.header.stamp.sec) * 10**9 + int(msg.header.stamp.nanosec)


def _new_recording(cfg: RecordConfig) -> Recording:
    if not cfg.out:
        raise InputError("out: expected a folder to write to; give -p out:=DIR")
    return Recording(
        Path(cfg.out).expanduser(),
        masks=cfg.masks,
        video=cfg.video,
        sheet_tiles=cfg.sheet_tiles if cfg.sheet else 0,
        video_fps=cfg.video_fps,
        alpha=cfg.overlay_alpha,
    )


def main(args: Sequence[str] | None = None) -> int:
    """Console entry point `record`."""
    return run_node(Recorder, args)
