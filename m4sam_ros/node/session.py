# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One activation of the node: frames flow from the intake through the worker to the outputs.

The executor's thread runs the callbacks here and never waits for the model; the worker's thread decodes, infers and
publishes the mask. What else there is to publish has threads of its own (publishing.py).
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image

from m4sam_core.errors import InputError, M4SamError
from m4sam_core.rgbd.encodings import doubt_of, too_few_bits
from m4sam_ros.names import CAMERA_INFO, DEPTH_INFO, IGNORE_MASK
from m4sam_ros.node.backends import Backend
from m4sam_ros.node.intake.ignored import ignored_pixels
from m4sam_ros.node.intake.intake import Frame, Intake
from m4sam_ros.node.intake.once import OnceOrOften
from m4sam_ros.node.metrics import Metrics
from m4sam_ros.node.objects.calibration import depth_at_colour
from m4sam_ros.node.objects.capture import Capture
from m4sam_ros.node.outputs import Outputs
from m4sam_ros.node.publishing import Publishing, Segmented
from m4sam_ros.node.scenes import SceneLog
from m4sam_ros.node.standstill import Standstill
from m4sam_ros.node.worker import Worker
from m4sam_ros.settings import NodeConfig

_CAPTURE_POLL_S = 0.005


class ActiveSession:
    """Everything that exists only while the node is active.

    Args:
        node: the rclpy node.
        cfg: settings; `reconfigure` changes them.
        backend: the model.
        outputs: the publishers.
        metrics: counters.
        on_result: called in the worker's thread with each result.

    Raises:
        ConfigError: see `make_synchronizer`.
    """

    def __init__(
        self,
        node: Any,
        cfg: NodeConfig,
        backend: Backend,
        outputs: Outputs,
        metrics: Metrics,
        on_result: Callable[[Any], None],
    ) -> None:
        self._node = node
        self._cfg = cfg
        self._backend = backend
        self._outputs = outputs
        self._metrics = metrics
        self._on_result = on_result
        self._log = node.get_logger()
        self._closing = False
        self._capture: Capture | None = None
        self._scenes = SceneLog()
        self._standstill = Standstill()
        self.busy_since: float | None = None
        self.worker = Worker(self._take_turn, self._on_worker_error)
        self._publishing = Publishing(outputs, metrics, self._warn, self._decode_depth_quietly)
        self.intake = Intake(
            node, cfg, metrics, self._warn, self._awake, self._publishing.clear_depth, self.worker.post
        )
        self._ignored: np.ndarray | None = None
        self._ignore = OnceOrOften(node, Image, IGNORE_MASK, self._on_ignore_mask)
        self._info = OnceOrOften(node, CameraInfo, CAMERA_INFO, self._on_info)
        self._depth_info = OnceOrOften(node, CameraInfo, DEPTH_INFO, self._outputs.objects.depth.take)

    def reconfigure(self, cfg: NodeConfig) -> None:
        """Apply live settings.

        Raises:
            ConfigError: see `make_synchronizer`; nothing has changed then.
        """
        self.intake.reconfigure(cfg)
        self._cfg = cfg

    def follow_publishers(self) -> None:
        """Adapt to publishers that came or went; called about once a second."""
        self.intake.follow_publishers()
        for subscription in (self._info, self._depth_info, self._ignore):
            subscription.follow()

    def _awake(self) -> bool:
        """Whether frames are of interest: always while enabled, else for a capture."""
        return self._cfg.enabled or self._capture is not None

    @property
    def waiting(self) -> int:
        """Frames under way: they wait for their depth or the worker, or are being inferred."""
        return self.intake.synchronizer.waiting + self.worker.pending

    def capture(self, patience_s: float) -> str | None:
        """Take the next pair, enabled or not, and publish everything of it once.

        Called in the executor's thread, which meanwhile hands over images and nothing else.

        Returns:
            What to answer, None when no pair came in time.
        """
        capture = self._capture = Capture(time.monotonic())
        while not capture.wait(_CAPTURE_POLL_S):
            if time.monotonic() - capture.asked_at > patience_s:
                self._capture = None
                return None
            if capture.lost:
                self._capture, capture.lost = capture, False
            self.intake.poll()
        return capture.text

    def close(self, timeout_s: float) -> bool:
        """Unsubscribe and end the threads, the frames in work finished; returns whether they ended in time."""
        self._closing = True
        self.intake.close()
        for subscription in (self._info, self._depth_info, self._ignore):
            subscription.destroy()
        until = time.monotonic() + timeout_s
        ended = self.worker.stop(timeout_s)
        return self._publishing.stop(max(0.0, until - time.monotonic())) and ended

    # ---------------------------------------------------------------------------- executor's thread

    def _on_info(self, msg: CameraInfo) -> None:
        self._outputs.objects.colour.take(msg)
        if self._scenes.calibration.changed(msg):
            self._backend.reset("camera calibration changed")

    def _on_ignore_mask(self, msg: Image) -> None:
        """Goes for every frame until the next one comes; a moving arm is not paired, its mask is grown a little."""
        try:
            self._ignored = ignored_pixels(msg, self._ignore.topic)
        except InputError as error:
            self._warn("bad_ignore_mask", str(error))

    # ------------------------------------------------------------------------------ worker's thread

    def _take_turn(self, frame: Frame) -> None:
        """Stand in line with the cameras that share the weights, and only then look for the newest frame."""
        with self._backend.turn():
            if self._closing:
                self._metrics.drop("inactive")
                return
            self._process(frame)

    def _process(self, frame: Frame) -> None:
        frame = self.intake.newest(frame, self.worker.withdraw)
        started = time.monotonic()
        capture = self._capture if self._capture is not None and frame.arrived >= self._capture.asked_at else None
        if not self._cfg.enabled and capture is None:
            self._metrics.drop("disabled")
            return
        if 0 < self._cfg.max_frame_age_s < started - frame.arrived:
            self._metrics.drop("too_old")
            return
        try:
            rgb = self.intake.rgb.decode(frame.rgb_msg)
        except InputError as error:
            self._metrics.drop("bad_rgb")
            self._warn("bad_rgb", str(error))
            return
        sensed = self.intake.sensed_depth(frame, self._warn)
        depth = self.intake.fitted_depth(sensed, frame, rgb.shape[:2], self._warn)
        self._note_doubts(frame, rgb)
        self._note_standstill(rgb, depth, started)
        frame_id = frame.rgb_msg.header.frame_id
        self.busy_since = started
        try:
            seen = depth_at_colour(depth, rgb.shape[:2], self._outputs.objects.colour, self._outputs.objects.depth)
            result = self._backend.process(rgb, seen, frame.stamp, frame_id, self._ignored)
        except InputError as error:  # an image that the model cannot take; the stream is unharmed
            self._metrics.drop("bad_rgb")
            self._warn("bad_rgb", f"{self.intake.rgb.topic} {error}")
            return
        finally:
            self.busy_since = None
        self._note_scene(result, rgb.shape[0], rgb.shape[1], frame_id)
        model_ms = (time.monotonic() - started) * 1000
        if self._closing:
            self._metrics.drop("inactive")
            return
        if depth is not None and result.rgb_only:
            self._warn("depth_unusable", f"{self.intake.depth.topic}: {result.depth_note}; going on from rgb alone")
        if result.rgb_note is not None:
            self._warn("blank_rgb", f"{self.intake.rgb.topic}: {result.rgb_note} The mask is empty")
        self._outputs.publish_mask(frame, result)
        self._metrics.processed((time.monotonic() - frame.arrived) * 1000, model_ms)
        if capture is not None:
            self._capture = None
        self._on_result(result)
        self._publishing.hand_over(Segmented(frame, rgb, depth, sensed, result, capture, time.monotonic()))

    def _note_doubts(self, frame: Frame, rgb: np.ndarray) -> None:
        """Name images that are hardly what their messages say."""
        doubts = {self.intake.rgb.topic: doubt_of(frame.rgb_msg) or too_few_bits(frame.rgb_msg, rgb)}
        if frame.depth_msg is not None and self.intake.depth.topic not in doubts:
            doubts[self.intake.depth.topic] = doubt_of(frame.depth_msg)
        for topic, doubt in doubts.items():
            if doubt is not None:
                self._warn("doubtful_image", f"{topic} {doubt}")

    def _note_standstill(self, rgb: np.ndarray, depth: np.ndarray | None, now_s: float) -> None:
        """Count a frame of a camera that repeats itself; a simulation has no noise and may well stand still."""
        problem = self._standstill.problem(rgb, depth, now_s, (self.intake.rgb.topic, self.intake.depth.topic))
        if problem is not None and not self._node.get_parameter("use_sim_time").value:
            self._metrics.problem("repeated", problem)

    def _note_scene(self, result: Any, height: int, width: int, frame_id: str) -> None:
        """Count a scene that began anew by its cause, and say so now and then."""
        began = self._scenes.new_scene(result.reset_reason, height, width, frame_id)
        if result.reset_reason is not None and result.scene_id > 0:
            self._metrics.count("resets")
            text = began.text if began is not None else result.reset_reason
            line = self._metrics.problem("new_scene", f"scene {result.scene_id}: {text}")
            if line is not None:
                self._log.info(line)
            if began is not None:
                self._metrics.problem(f"new_scene.{began.cause}", began.text)
        wrong = self._scenes.calibration.contradiction(height, width, frame_id)
        if wrong is not None:
            self._warn("camera_info", f"{self._info.topic}: camera_info: {wrong}")

    def _decode_depth_quietly(self, frame: Frame, rgb_size: tuple[int, int]) -> Any:
        """The worker's thread warns of the same message, or of the next."""
        sensed = self.intake.sensed_depth(frame, _silently)
        return self.intake.fitted_depth(sensed, frame, rgb_size, _silently)

    def _on_worker_error(self, error: Exception) -> None:
        if self._closing:
            # Publishers vanish under a frame that is still being finished when the process is told to stop.
            return
        self._metrics.drop("model_error")
        what = f"{type(error).__name__}: {error}" if not isinstance(error, M4SamError) else str(error)
        text = self._metrics.problem("model_errors", what)
        if text is not None:
            trace = "" if isinstance(error, M4SamError) else "\n" + "".join(traceback.format_exception(error))
            self._log.error(f"frame lost, the model failed: {text}{trace}")
        self._backend.reset("the model failed")

    def _warn(self, kind: str, text: str) -> None:
        throttled = self._metrics.problem(kind, text)
        if throttled is not None:
            self._log.warning(throttled)


def _silently(_kind: str, _text: str) -> None:
    """Somebody else warns."""
