# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""One activation of the node: frames flow from the inputs through the pairing and the worker to the outputs.

The executor's thread runs the callbacks here and never waits for the model; the worker's thread decodes, infers and
publishes the mask. Both take messages from DDS and pair them, under a lock that is never held while inferring: on a
busy machine the executor's thread may be late, so the worker looks for newer frames itself before it begins one. What
else there is to publish has threads of its own (publishing.py).
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image

from m4sam_core.errors import InputError, M4SamError
from m4sam_core.rgbd.depth_values import fit_depth, is_registered, same_shape
from m4sam_core.rgbd.encodings import image_to_numpy
from m4sam_core.rgbd.pairing import Pair
from m4sam_ros.names import CAMERA_INFO, DEPTH, DEPTH_INFO, IGNORE_MASK, RGB
from m4sam_ros.node.backends import Backend
from m4sam_ros.node.inputs import Arrived, ImageInput
from m4sam_ros.node.metrics import Metrics
from m4sam_ros.node.objects.capture import Capture
from m4sam_ros.node.outputs import Outputs
from m4sam_ros.node.publishing import Publishing, Segmented
from m4sam_ros.node.scenes import SceneLog
from m4sam_ros.node.sync import make_synchronizer
from m4sam_ros.node.worker import Worker
from m4sam_ros.qos import BEST_EFFORT, volatile
from m4sam_ros.settings import NodeConfig

_CAPTURE_POLL_S = 0.005


@dataclass(frozen=True)
class Frame:
    """What the worker gets.

    Attributes:
        rgb_msg: the rgb message.
        depth_msg: the depth message, None without.
        stamp: of the rgb message, seconds.
        arrived: when the rgb message came, monotonic seconds.
    """

    rgb_msg: Any
    depth_msg: Any
    stamp: float
    arrived: float


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
        self._pairing = threading.Lock()
        self._overtook: dict[str, int] = {}
        self._capture: Capture | None = None
        self._scenes = SceneLog()
        self.busy_since: float | None = None
        self.synchronizer = make_synchronizer(cfg.sync)
        self.worker = Worker(self._take_turn, self._on_worker_error)
        self._publishing = Publishing(outputs, metrics, self._warn, partial(self._decode_depth, warn=_say_nothing))
        self.rgb = ImageInput(node, RGB, cfg.image_transport, self._on_image, cfg, self._on_incompatible)
        self.depth = ImageInput(node, DEPTH, cfg.depth_transport, self._on_image, cfg, self._on_incompatible)
        self._ignored: np.ndarray | None = None
        self._ignore = node.create_subscription(Image, IGNORE_MASK, self._on_ignore_mask, volatile(1, BEST_EFFORT))
        self._info = node.create_subscription(CameraInfo, CAMERA_INFO, self._on_info, volatile(1, BEST_EFFORT))
        self._depth_info = node.create_subscription(
            CameraInfo, DEPTH_INFO, self._outputs.objects.depth.take, volatile(1, BEST_EFFORT)
        )

    def reconfigure(self, cfg: NodeConfig) -> None:
        """Apply live settings.

        Raises:
            ConfigError: see `make_synchronizer`; nothing has changed then.
        """
        if cfg.sync != self._cfg.sync:
            successor = make_synchronizer(cfg.sync)
            with self._pairing:
                self._retire_synchronizer()
                self.synchronizer = successor
        self._cfg = cfg

    @property
    def _awake(self) -> bool:
        """Whether frames are of interest: always while enabled, else for a capture."""
        return self._cfg.enabled or self._capture is not None

    @property
    def waiting(self) -> int:
        """Frames under way: they wait for their depth or the worker, or are being inferred."""
        return self.synchronizer.waiting + self.worker.pending

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
            with self._pairing:
                self._hand_over(self._pair([*self.rgb.take_waiting(), *self.depth.take_waiting()]))
        return capture.text

    def follow_publishers(self) -> None:
        """Adapt the inputs to publishers that came or went."""
        for image in (self.rgb, self.depth):
            changed = image.subscription.follow()
            if changed is not None:
                self._log.info(f"{image.topic}: its publishers changed; now subscribed {changed.name.lower()}")

    def close(self, timeout_s: float) -> bool:
        """Unsubscribe and end the threads, the frames in work finished; returns whether they ended in time."""
        self._closing = True
        self.rgb.subscription.destroy()
        self.depth.subscription.destroy()
        self._node.destroy_subscription(self._info)
        self._node.destroy_subscription(self._depth_info)
        self._node.destroy_subscription(self._ignore)
        with self._pairing:
            self._retire_synchronizer()
        until = time.monotonic() + timeout_s
        ended = self.worker.stop(timeout_s)
        return self._publishing.stop(max(0.0, until - time.monotonic())) and ended

    def _retire_synchronizer(self) -> None:
        """Its counters end with it; the drops go on counting in the metrics."""
        self.synchronizer.clear()
        self._metrics.absorb(self.synchronizer.drops)

    # ---------------------------------------------------------------------------- executor's thread

    def _on_image(self, first: Arrived) -> None:
        """Pair it and everything else that has come meanwhile, so that a late thread still hands over the newest."""
        with self._pairing:
            # The worker may have taken what came after it.
            batch = [] if first.order < self._overtook.pop(first.base, first.order) else [first]
            if not batch and first.base == RGB:
                self._metrics.count("rgb")
                self._metrics.drop("busy")
            self._hand_over(self._pair([*batch, *self.rgb.take_waiting(), *self.depth.take_waiting()]))

    def _hand_over(self, frames: list[Frame]) -> None:
        """The newest to the worker."""
        if frames:
            displaced = self.worker.post(frames[-1])
            self._metrics.drop("busy", len(frames) - 1 + (displaced is not None))

    def _pair(self, batch: list[Arrived]) -> list[Frame]:
        """The frames that these messages complete, oldest first."""
        pairs: list[Pair[Arrived, Arrived]] = []
        for arrived in sorted(batch, key=lambda arrived: arrived.order):
            pairs += self._take_rgb(arrived) if arrived.base == RGB else self._take_depth(arrived)
        frames = [
            Frame(pair.rgb.msg, pair.depth.msg if pair.depth is not None else None, pair.rgb_stamp, pair.rgb.at)
            for pair in pairs
        ]
        self._publishing.clear_depth(frames)
        return frames

    def _take_rgb(self, arrived: Arrived) -> list[Pair[Arrived, Arrived]]:
        self._metrics.count("rgb")
        if not self._awake:
            self._metrics.drop("disabled")
            return []
        try:
            self.rgb.check(arrived.msg)
        except InputError as error:
            self._metrics.drop("bad_rgb")
            self._warn("bad_rgb", str(error))
            return []
        return self.synchronizer.add_rgb(_seconds(arrived.msg), arrived)

    def _take_depth(self, arrived: Arrived) -> list[Pair[Arrived, Arrived]]:
        self._metrics.count("depth")
        if not self._awake:
            return []
        try:
            self.depth.check(arrived.msg)
        except InputError as error:
            self._warn("bad_depth", str(error))
            return []
        return self.synchronizer.add_depth(_seconds(arrived.msg), arrived)

    def _on_info(self, msg: CameraInfo) -> None:
        self._outputs.objects.colour.take(msg)
        if self._scenes.calibration.changed(msg):
            self._backend.reset("camera calibration changed")

    def _on_ignore_mask(self, msg: Image) -> None:
        """Goes for every frame until the next one comes; a moving arm is not paired, its mask is grown a little."""
        try:
            pixels = image_to_numpy(msg, self._ignore.topic_name)
            self._ignored = pixels if pixels.ndim == 2 else pixels.max(axis=2)
        except InputError as error:
            self._warn("bad_ignore_mask", str(error))

    def _on_incompatible(self, topic: str, policy: str) -> None:
        self._warn("qos_incompatible", f"{topic}: a publisher's {policy} does not satisfy the node's QoS")
        self.follow_publishers()

    # ------------------------------------------------------------------------------ worker's thread

    def _newest(self, frame: Frame) -> Frame:
        """This frame, or the newest of those that came since it was handed over."""
        with self._pairing:
            batch = [*self.rgb.take_waiting(), *self.depth.take_waiting()]
            self._overtook |= {arrived.base: arrived.order for arrived in batch}
            frames = [frame, *self.worker.withdraw(), *self._pair(batch)]
        self._metrics.drop("busy", len(frames) - 1)
        return frames[-1]

    def _take_turn(self, frame: Frame) -> None:
        """Stand in line with the cameras that share the weights, and only then look for the newest frame."""
        with self._backend.turn():
            if self._closing:
                self._metrics.drop("inactive")
                return
            self._process(frame)

    def _process(self, frame: Frame) -> None:
        frame = self._newest(frame)
        started = time.monotonic()
        capture = self._capture if self._capture is not None and frame.arrived >= self._capture.asked_at else None
        if not self._cfg.enabled and capture is None:
            self._metrics.drop("disabled")
            return
        if 0 < self._cfg.max_frame_age_s < started - frame.arrived:
            self._metrics.drop("too_old")
            return
        try:
            rgb = self.rgb.decode(frame.rgb_msg)
        except InputError as error:
            self._metrics.drop("bad_rgb")
            self._warn("bad_rgb", str(error))
            return
        depth = self._decode_depth(frame, rgb.shape[:2], self._warn)
        frame_id = frame.rgb_msg.header.frame_id
        self.busy_since = started
        try:
            result = self._backend.process(rgb, depth, frame.stamp, frame_id, self._ignored)
        except InputError as error:  # an image that the model cannot take; the stream is unharmed
            self._metrics.drop("bad_rgb")
            self._warn("bad_rgb", f"{self.rgb.topic} {error}")
            return
        finally:
            self.busy_since = None
        self._note_scene(result, rgb.shape[0], rgb.shape[1], frame_id)
        model_ms = (time.monotonic() - started) * 1000
        if self._closing:
            self._metrics.drop("inactive")
            return
        if depth is not None and result.rgb_only:
            self._warn("depth_unusable", f"{self.depth.topic}: {result.depth_note}; going on from rgb alone")
        self._outputs.publish_mask(frame, result)
        self._metrics.processed((time.monotonic() - frame.arrived) * 1000, model_ms)
        if capture is not None:
            self._capture = None
        self._on_result(result)
        self._publishing.hand_over(Segmented(frame, rgb, depth, result, capture, time.monotonic()))

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
        wrong = self._scenes.calibration.contradiction(height, width)
        if wrong is not None:
            self._warn("camera_info", f"{self._info.topic_name}: camera_info: {wrong}")

    def _decode_depth(self, frame: Frame, rgb_size: tuple[int, int], warn: Callable[[str, str], None]) -> Any:
        """Depth at the size of rgb where it is registered; None, or of another shape, which is refused, where not."""
        msg = frame.depth_msg
        if msg is None:
            return None
        try:
            depth = self.depth.decode(msg)
        except InputError as error:
            warn("bad_depth", str(error))
            return None
        theirs, ours = msg.header.frame_id, frame.rgb_msg.header.frame_id
        if depth.shape == rgb_size and theirs and theirs != ours:
            text = f"{self.depth.topic}: depth is in frame {theirs!r}, rgb in {ours!r}; it is taken for registered"
            warn("depth_frame", f"{text}: turn on the driver's alignment of depth to colour, or positions are off")
        if depth.shape == rgb_size or not same_shape(depth.shape, rgb_size):
            return depth
        sizes = f"{depth.shape[1]}x{depth.shape[0]}, rgb {rgb_size[1]}x{rgb_size[0]}"
        if not is_registered(depth, theirs, rgb_size, ours):
            text = f"{self.depth.topic}: depth of {theirs!r} is {sizes} of {ours!r}, not registered to each other"
            warn("depth_unregistered", f"{text}; turn on the driver's alignment of depth to colour")
            return None
        warn("depth_resized", f"{self.depth.topic}: depth is {sizes}; it is resized, and has to be registered")
        return fit_depth(depth, *rgb_size)

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


def _say_nothing(_kind: str, _text: str) -> None:
    """The worker's thread says it of the same message, or of the next."""


def _seconds(msg: Any) -> float:
    stamp = msg.header.stamp
    return float(stamp.sec) + stamp.nanosec * 1e-9
