"""What the node publishes, each topic computed only while somebody subscribes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from m4sam_core.rgbd.pictures import draw_overlay
from m4sam_ros.messages.compressed import rgb_to_compressed
from m4sam_ros.messages.convert import image_writer
from m4sam_ros.names import DEPTH_MASKED, DETECTIONS, MASK, OVERLAY, OVERLAY_COMPRESSED, PROBABILITY
from m4sam_ros.qos import make_publisher, volatile
from m4sam_ros.settings import NodeConfig

try:
    from vision_msgs.msg import BoundingBox2D, Detection2D, Detection2DArray, ObjectHypothesisWithPose
except ImportError:
    Detection2DArray = None

SALIENT_CLASS = "salient"


class Outputs:
    """The publishers and what goes out on them.

    Args:
        node: the rclpy node.
        cfg: `qos` is read once; `outputs` may be replaced by assigning `cfg`.
        on_incompatible: called with topic and policy when a subscriber cannot be matched.
    """

    def __init__(self, node: Any, cfg: NodeConfig, on_incompatible: Callable[[str, str], None]) -> None:
        self.cfg = cfg
        self._node = node
        self._written = image_writer()
        kinds: dict[str, Any] = {
            MASK: Image,
            PROBABILITY: Image,
            OVERLAY: Image,
            OVERLAY_COMPRESSED: CompressedImage,
            DEPTH_MASKED: Image,
        }
        if Detection2DArray is not None:
            kinds[DETECTIONS] = Detection2DArray
        self._publishers = {
            name: make_publisher(
                node,
                kind,
                name,
                volatile(cfg.qos.output_depth),
                partial(on_incompatible, name),
            )
            for name, kind in kinds.items()
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The topics there are, relative."""
        return tuple(self._publishers)

    def publish(self, frame: Any, rgb: np.ndarray, depth: np.ndarray | None, result: Any) -> list[str]:
        """Send out one frame's results.

        Args:
            frame: `rgb_msg` and `depth_msg`, whose headers are copied.
            rgb: (H, W, 3) uint8.
            depth: (h, w) uint16 or float32, None without.
            result: `SaliencyResult`.

        Returns:
            The outputs published.
        """
        header = frame.rgb_msg.header
        outputs = self.cfg.outputs
        self._publishers[MASK].publish(self._written(result.mask, "mono8", header))
        sent = [MASK]
        if self._wanted(PROBABILITY, outputs.probability):
            probability = np.ascontiguousarray(result.probability, np.float32)
            self._publishers[PROBABILITY].publish(self._written(probability, "32FC1", header))
            sent.append(PROBABILITY)
        sent += self._publish_overlay(header, rgb, result)
        if depth is not None and self._wanted(DEPTH_MASKED, outputs.depth_masked):
            pixels, encoding = masked_depth(depth, result.mask, getattr(frame.depth_msg, "encoding", ""))
            self._publishers[DEPTH_MASKED].publish(self._written(pixels, encoding, frame.depth_msg.header))
            sent.append(DEPTH_MASKED)
        if DETECTIONS in self._publishers and self._wanted(DETECTIONS, outputs.detections):
            regions = salient_regions(result.mask, result.probability, outputs.detection_min_area)
            self._publishers[DETECTIONS].publish(_detections(header, regions))
            sent.append(DETECTIONS)
        return sent

    def destroy(self) -> None:
        """Take the topics out of the graph."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}

    def _publish_overlay(self, header: Any, rgb: np.ndarray, result: Any) -> list[str]:
        enabled = self.cfg.outputs.overlay
        wanted = [name for name in (OVERLAY, OVERLAY_COMPRESSED) if self._wanted(name, enabled)]
        if not wanted:
            return []
        overlay = draw_overlay(rgb, result.mask, self.cfg.outputs.overlay_alpha, left_out=result.region.left_out)
        if OVERLAY in wanted:
            self._publishers[OVERLAY].publish(self._written(overlay, "rgb8", header))
        if OVERLAY_COMPRESSED in wanted:
            self._publishers[OVERLAY_COMPRESSED].publish(rgb_to_compressed(overlay, header))
        return wanted

    def _wanted(self, name: str, enabled: bool) -> bool:
        return enabled and self._publishers[name].get_subscription_count() > 0


def masked_depth(depth: np.ndarray, mask: np.ndarray, encoding: str) -> tuple[np.ndarray, str]:
    """The depth input where the mask is set, no reading elsewhere (0; NaN for metres, REP 118).

    Args:
        depth: (h, w) uint16 or float32.
        mask: (H, W) uint8 0/255.
        encoding: of the depth message, "" for a compressed one.

    Returns:
        (h, w) of depth's type, and its encoding.
    """
    if mask.shape != depth.shape:
        mask = cv2.resize(mask, (depth.shape[1], depth.shape[0]), interpolation=cv2.INTER_NEAREST)
    metres = depth.dtype == np.float32
    masked = np.where(mask > 0, depth, np.asarray(np.nan if metres else 0, depth.dtype))
    return masked, "32FC1" if metres else "mono16" if encoding == "mono16" else "16UC1"


def salient_regions(
    mask: np.ndarray, probability: np.ndarray, min_area: float
) -> list[tuple[float, float, float, float, float]]:
    """Connected regions of the mask, largest first.

    Args:
        mask: (H, W) uint8 0/255.
        probability: (H, W) float32 in [0, 1].
        min_area: smallest region, as a share of the image.

    Returns:
        (centre x, centre y, width, height, mean probability) of each; pixels.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    regions = []
    for index in sorted(range(1, count), key=lambda i: -stats[i, cv2.CC_STAT_AREA]):
        x, y, width, height, area = (int(value) for value in stats[index])
        if area < min_area * mask.size:
            break
        window = (slice(y, y + height), slice(x, x + width))
        score = float(probability[window][labels[window] == index].mean())
        regions.append((x + width / 2, y + height / 2, float(width), float(height), score))
    return regions


def _detections(header: Any, regions: list[tuple[float, float, float, float, float]]) -> Any:
    array = Detection2DArray(header=header)
    for x, y, width, height, score in regions:
        box = BoundingBox2D(size_x=width, size_y=height)
        # vision_msgs 4 nests the centre's position, vision_msgs 3 does not.
        centre = getattr(box.center, "position", box.center)
        centre.x, centre.y = x, y
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = SALIENT_CLASS
        hypothesis.hypothesis.score = score
        array.detections.append(Detection2D(header=header, bbox=box, results=[hypothesis]))
    return array
