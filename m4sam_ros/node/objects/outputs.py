# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the node publishes of the objects: one search per frame, and only while somebody subscribes to any of it.

Everything carries the header of the colour image, to the nanosecond, so that consumers may join it by exact stamps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from m4sam_core.objects import ObjectFinder, SceneObjects
from m4sam_core.objects.cloud import object_points
from m4sam_core.objects.seen import FrameView
from m4sam_ros import names
from m4sam_ros.messages import objects as messages
from m4sam_ros.messages.camera_info import camera_info
from m4sam_ros.messages.cloud import cloud_writer
from m4sam_ros.messages.convert import image_writer, to_ros_bytes
from m4sam_ros.node.objects.background import DepthBackground, fresh
from m4sam_ros.node.objects.calibration import Calibration, no_frame
from m4sam_ros.qos import latched, make_publisher, volatile
from m4sam_ros.settings import NodeConfig

try:
    import vision_msgs.msg as vision
except ImportError:
    vision = None
try:
    import tf2_msgs.msg as tf2
except ImportError:
    tf2 = None

_OF_OBJECTS = (
    names.LABELS, names.OBJECTS, names.DETECTIONS, names.MARKERS, names.TARGET, names.POINTS,
)  # fmt: skip
_IN_SPACE = (names.OBJECTS, names.MARKERS, names.TARGET, names.POINTS, *names.BUNDLE)
# Lines of a mask are runs already: filtering them takes four times as long. OpenCV before 4.11 decides by itself.
_PNG_FILTER = ("IMWRITE_PNG_FILTER", "IMWRITE_PNG_FILTER_NONE")
_PNG_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1, *(getattr(cv2, name) for name in _PNG_FILTER if hasattr(cv2, name))]


@dataclass(frozen=True)
class _Shot:
    """One frame on its way out."""

    header: Any
    rgb: np.ndarray
    depth: np.ndarray | None
    depth_encoding: str
    result: Any
    view: FrameView
    found: SceneObjects | None


class ObjectOutputs:
    """The publishers and what goes out on them.

    Args:
        node: the rclpy node.
        cfg: `qos` and `outputs.target_tf` are read once; the rest may be replaced by assigning `cfg`.
        on_incompatible: called with topic and policy when a subscriber cannot be matched.
    """

    def __init__(self, node: Any, cfg: NodeConfig, on_incompatible: Callable[[str, str], None]) -> None:
        self._cfg = cfg
        self._node = node
        self._written, self._cloud = image_writer(), cloud_writer()
        self._finder = ObjectFinder(cfg.objects)
        rectified = cfg.objects.image_is_rectified
        self.colour = Calibration(lambda: str(node.resolve_topic_name(names.RGB)), rectified)
        self.depth = Calibration(lambda: str(node.resolve_topic_name(names.DEPTH)), rectified)
        self.background = DepthBackground(
            cfg,
            partial(self._wanted, names.DEPTH_BACKGROUND),
            partial(self._image, names.DEPTH_BACKGROUND),
            self.colour,
            self.depth,
        )
        self.note: str | None = None
        self._frame_problem: str | None = None
        self.found: SceneObjects | None = None
        self._labelled: float | None = None
        kinds: dict[str, Any] = {
            names.MASK_COMPRESSED: CompressedImage,
            names.LABELS: Image,
            names.CONFIDENCE: Image,
            names.MARKERS: MarkerArray,
            names.TARGET: PoseStamped,
            names.POINTS: PointCloud2,
            names.DEPTH_BACKGROUND: Image,
            names.BUNDLE_IMAGE: Image,
            names.BUNDLE_DEPTH: Image,
            names.BUNDLE_MASK: Image,
            names.BUNDLE_INFO: CameraInfo,
        }
        if vision is not None:
            kinds |= {names.DETECTIONS: vision.Detection2DArray, names.OBJECTS: vision.Detection3DArray}
        profiles = {name: volatile(cfg.qos.output_depth) for name in kinds}
        if vision is not None:
            kinds[names.LABEL_INFO], profiles[names.LABEL_INFO] = vision.LabelInfo, latched()
        if tf2 is not None and cfg.outputs.target_tf:
            kinds[names.TF], profiles[names.TF] = tf2.TFMessage, volatile(100)
        self._publishers = {
            name: make_publisher(node, kind, name, profiles[name], partial(on_incompatible, name))
            for name, kind in kinds.items()
        }

    @property
    def cfg(self) -> NodeConfig:
        """The settings in force."""
        return self._cfg

    @cfg.setter
    def cfg(self, cfg: NodeConfig) -> None:
        self._cfg = self.background.cfg = cfg
        self._finder.configure(cfg.objects)
        self.colour.rectified = self.depth.rectified = cfg.objects.image_is_rectified

    @property
    def names(self) -> tuple[str, ...]:
        """The topics there are, relative."""
        return tuple(self._publishers)

    def publish(
        self, frame: Any, rgb: np.ndarray, depth: np.ndarray | None, result: Any, *, everything: bool = False
    ) -> None:
        """Send out one frame's objects.

        Args:
            frame: `rgb_msg` and `depth_msg`.
            rgb: (H, W, 3) uint8.
            depth: (h, w) uint16 or float32, None without.
            result: `SaliencyResult`.
            everything: whether anybody subscribes or not.
        """
        wanted = {name for name in self._publishers if everything or self._wanted(name)}
        if self.background.follows_camera and not everything:
            wanted.discard(names.DEPTH_BACKGROUND)
        if not wanted:
            return
        depth, doubt = fresh(frame, depth, self._cfg.sync.depth_stamp_offset_s)
        if result.depth_doubt is not None:
            depth, doubt = None, result.depth_doubt
        camera, flaw = self.colour.of(result.mask.shape)
        view, note = FrameView.of(
            result.mask,
            result.probability if wanted & {*_OF_OBJECTS, names.TF} else None,
            depth,
            self._cfg.depth.unit_m,
            camera,
            None if depth is None else self.depth.of(depth.shape[:2])[0],
            rgb,
        )
        note = flaw or doubt or note
        found = None
        if wanted & {*_OF_OBJECTS, names.TF} or self._mask_of_main(wanted):
            found = self._finder.look(result.mask, view, note, result.stamp, result.scene_id)
            note = found.note
        self.found, self.note = found, note
        self._frame_problem = no_frame(frame.rgb_msg.header.frame_id)
        encoding = getattr(frame.depth_msg, "encoding", "")
        self._send(_Shot(frame.rgb_msg.header, rgb, depth, encoding, result, view, found), wanted)

    def report(self) -> dict[str, object]:
        """For the diagnostics: objects in the last frame, and why they have no position."""
        if self.found is None and self.note is None:
            return {}
        return {"objects": len(self.found.objects) if self.found is not None else 0, "objects_note": self.note or ""}

    @property
    def problem(self) -> str | None:
        """What keeps an output that somebody subscribes to from being published, or from being of use."""
        if any(self._wanted(name) for name in _IN_SPACE if name in self._publishers):
            problem = self.note or self._frame_problem
            if problem:
                return problem
        return self.background.problem if self.background.follows_camera else None

    def destroy(self) -> None:
        """Take the topics out of the graph."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}

    def _wanted(self, name: str) -> bool:
        switch = names.SWITCHES.get(name, name)
        enabled = bool(getattr(self._cfg.outputs, switch, True))
        return enabled and self._publishers[name].get_subscription_count() > 0

    def _mask_of_main(self, wanted: set[str]) -> bool:
        return self._cfg.outputs.bundle_mask == "main" and bool(wanted & set(names.BUNDLE))

    def _send(self, shot: _Shot, wanted: set[str]) -> None:
        """Small messages first: who steers by them should not wait for clouds."""
        if wanted & {names.TARGET, names.TF}:
            self._target(shot, wanted)
        for name, send in (
            (names.OBJECTS, self._objects),
            (names.DETECTIONS, self._detections),
            (names.LABEL_INFO, self._label_info),
            (names.MARKERS, self._markers),
            (names.DEPTH_BACKGROUND, self._depth_background),
            (names.LABELS, self._labels),
            (names.CONFIDENCE, self._confidence),
            (names.MASK_COMPRESSED, self._mask_compressed),
        ):
            if name in wanted:
                send(shot)
        if wanted & set(names.BUNDLE):
            self._bundle(shot)
        if names.POINTS in wanted:
            self._points(shot)

    def _image(self, name: str, pixels: np.ndarray, encoding: str, header: Any) -> None:
        self._publishers[name].publish(self._written(pixels, encoding, header))

    def _labels(self, shot: _Shot) -> None:
        if shot.found is not None:
            self._image(names.LABELS, shot.found.labels, "mono16", shot.header)

    def _confidence(self, shot: _Shot) -> None:
        """How sure each pixel's class is: the probability on the mask, its complement beside it; 0 where it is none."""
        sure = cv2.convertScaleAbs(shot.result.probability, alpha=255) ^ ~shot.result.mask
        unseen = shot.result.region.left_out
        if shot.result.rgb_note is not None:
            sure[:] = 0
        elif unseen is not None:
            sure[unseen] = 0
        self._image(names.CONFIDENCE, sure, "mono8", shot.header)

    def _mask_compressed(self, shot: _Shot) -> None:
        _, png = cv2.imencode(".png", shot.result.mask, _PNG_FAST)
        picture = CompressedImage(header=shot.header, format="mono8; png compressed mono8", data=to_ros_bytes(png))
        self._message(names.MASK_COMPRESSED, picture)

    def _depth_background(self, shot: _Shot) -> None:
        """By the frame's own mask."""
        if shot.depth is not None:
            own = self.background.by_own_mask(shot.result.mask, shot.result.stamp)
            self.background.publish(shot.header, shot.depth, shot.depth_encoding, own)

    def _objects(self, shot: _Shot) -> None:
        if shot.found is not None:
            self._message(names.OBJECTS, messages.detections_3d(vision, shot.header, shot.found.objects))

    def _detections(self, shot: _Shot) -> None:
        if shot.found is not None:
            least = self._cfg.outputs.detection_min_area * shot.result.mask.size
            large = [item for item in shot.found.objects if item.area_px >= least]
            self._message(names.DETECTIONS, messages.detections_2d(vision, shot.header, large))

    def _label_info(self, shot: _Shot) -> None:
        """Latched; again when the threshold changes."""
        threshold = self._cfg.threshold
        if self._labelled != threshold:
            self._labelled = threshold
            self._message(names.LABEL_INFO, messages.label_info(vision, shot.header, threshold))

    def _markers(self, shot: _Shot) -> None:
        if shot.found is not None:
            self._message(names.MARKERS, messages.markers(shot.header, shot.found.objects))

    def _points(self, shot: _Shot) -> None:
        if shot.found is not None and shot.view.depth is not None and shot.view.camera is not None:
            organised = self._cfg.outputs.points_layout == "organised"
            points = object_points(shot.found, shot.view, organised=organised)
            self._message(names.POINTS, self._cloud(shot.header, points))

    def _target(self, shot: _Shot, wanted: set[str]) -> None:
        main = None if shot.found is None else shot.found.main
        pose = None if main is None else messages.target(shot.header, main)
        if pose is None:
            return
        if names.TF in wanted:
            self._message(names.TF, messages.target_transform(tf2, pose, self._cfg.outputs.target_frame))
        if names.TARGET in wanted:
            self._message(names.TARGET, pose)

    def _bundle(self, shot: _Shot) -> None:
        """All four, or none: they are for consumers that join by exact stamps."""
        depth, camera = shot.view.depth, shot.view.camera
        if depth is None or camera is None:
            return
        height, width = shot.view.shape
        metres = depth.sample((slice(0, height), slice(0, width)), 1)
        mask, rgb = self._bundle_mask(shot), shot.rgb
        if self._cfg.outputs.bundle_rectify and camera.distortion:
            rgb, metres = camera.rectify(rgb, smooth=True), camera.rectify(metres, smooth=False)
            mask, camera = camera.rectify(mask, smooth=False), camera.rectified()
        lens = self.colour.distortion_model if camera.distortion else "plumb_bob"
        self._message(names.BUNDLE_INFO, camera_info(camera, lens, shot.header))
        self._image(names.BUNDLE_MASK, mask, "mono8", shot.header)
        self._image(names.BUNDLE_DEPTH, metres, "32FC1", shot.header)
        self._image(names.BUNDLE_IMAGE, rgb, "rgb8", shot.header)

    def _bundle_mask(self, shot: _Shot) -> np.ndarray:
        if self._cfg.outputs.bundle_mask == "all" or shot.found is None:
            return np.asarray(shot.result.mask)
        main = shot.found.main
        return (shot.found.labels == (main.id if main is not None else -1)).view(np.uint8) * np.uint8(255)

    def _message(self, name: str, message: Any) -> None:
        self._publishers[name].publish(message)
