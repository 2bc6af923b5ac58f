# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the node publishes, each topic computed only while somebody subscribes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from m4sam_core.objects.depth import only_where
from m4sam_core.rgbd.pictures import draw_overlay
from m4sam_ros.messages.compressed import rgb_to_compressed
from m4sam_ros.messages.convert import image_writer
from m4sam_ros.names import DEPTH_MASKED, MASK, OVERLAY, OVERLAY_COMPRESSED, PROBABILITY
from m4sam_ros.node.objects.calibration import mask_at_depth
from m4sam_ros.node.objects.outputs import ObjectOutputs
from m4sam_ros.qos import make_publisher, volatile
from m4sam_ros.settings import NodeConfig


class Outputs:
    """The publishers and what goes out on them.

    Args:
        node: the rclpy node.
        cfg: `qos` is read once; `outputs` may be replaced by assigning `cfg`.
        on_incompatible: called with topic and policy when a subscriber cannot be matched.
    """

    def __init__(self, node: Any, cfg: NodeConfig, on_incompatible: Callable[[str, str], None]) -> None:
        self._cfg = cfg
        self._node = node
        self._everything = False
        self.objects = ObjectOutputs(node, cfg, on_incompatible)
        self._written = image_writer()
        kinds: dict[str, Any] = {
            MASK: Image,
            PROBABILITY: Image,
            OVERLAY: Image,
            OVERLAY_COMPRESSED: CompressedImage,
            DEPTH_MASKED: Image,
        }
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
        return (*self._publishers, *self.objects.names)

    @property
    def cfg(self) -> NodeConfig:
        """The settings in force."""
        return self._cfg

    @cfg.setter
    def cfg(self, cfg: NodeConfig) -> None:
        self._cfg = self.objects.cfg = cfg

    def publish_mask(self, frame: Any, result: Any) -> None:
        """Send out a frame's mask, before anything else of it is computed.

        Args:
            frame: `rgb_msg`, whose header is copied, and its `stamp`.
            result: `SaliencyResult`.
        """
        self._publishers[MASK].publish(self._written(result.mask, "mono8", frame.rgb_msg.header))
        self.objects.background.take_mask(result.mask, frame.stamp, result.depth_doubt)

    def publish(
        self,
        frame: Any,
        rgb: np.ndarray,
        depth: np.ndarray | None,
        result: Any,
        *,
        sensed: np.ndarray | None = None,
        everything: bool = False,
    ) -> None:
        """Send out the rest of one frame's results, in another thread than the masks.

        Args:
            frame: `rgb_msg` and `depth_msg`, whose headers are copied.
            rgb: (H, W, 3) uint8.
            depth: at the size of rgb, uint16 or float32, None without.
            result: `SaliencyResult`.
            sensed: (h, w) the depth as the sensor sent it, whose calibration goes for `depth_masked`; None: as `depth`.
            everything: whether anybody subscribes or not.
        """
        header = frame.rgb_msg.header
        outputs, self._everything = self.cfg.outputs, everything
        self.objects.publish(frame, rgb, depth, result, everything=everything)
        if self._wanted(PROBABILITY, outputs.probability):
            probability = np.ascontiguousarray(result.probability, np.float32)
            self._publishers[PROBABILITY].publish(self._written(probability, "32FC1", header))
        self._publish_overlay(header, rgb, result)
        own = depth if sensed is None or depth is None else sensed
        if own is not None and result.depth_doubt is None and self._wanted(DEPTH_MASKED, outputs.depth_masked):
            self._publish_depth_masked(frame, own, result.mask)

    def destroy(self) -> None:
        """Take the topics out of the graph."""
        self.objects.destroy()
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}

    def _publish_depth_masked(self, frame: Any, depth: np.ndarray, mask: np.ndarray) -> None:
        seen = mask_at_depth(mask, depth.shape, self.objects.colour, self.objects.depth)
        if seen is None:
            return
        pixels, encoding = masked_depth(depth, seen, getattr(frame.depth_msg, "encoding", ""))
        self._publishers[DEPTH_MASKED].publish(self._written(pixels, encoding, frame.depth_msg.header))

    def _publish_overlay(self, header: Any, rgb: np.ndarray, result: Any) -> None:
        enabled = self.cfg.outputs.overlay
        wanted = [name for name in (OVERLAY, OVERLAY_COMPRESSED) if self._wanted(name, enabled)]
        if not wanted:
            return
        overlay = draw_overlay(rgb, result.mask, self.cfg.outputs.overlay_alpha, left_out=result.region.left_out)
        if OVERLAY in wanted:
            self._publishers[OVERLAY].publish(self._written(overlay, "rgb8", header))
        if OVERLAY_COMPRESSED in wanted:
            self._publishers[OVERLAY_COMPRESSED].publish(rgb_to_compressed(overlay, header))

    def _wanted(self, name: str, enabled: bool) -> bool:
        return self._everything or (enabled and self._publishers[name].get_subscription_count() > 0)


def masked_depth(depth: np.ndarray, mask: np.ndarray, encoding: str) -> tuple[np.ndarray, str]:
    """The depth input where the mask is set, no reading elsewhere (0; NaN for metres, REP 118).

    Args:
        depth: (h, w) uint16 or float32.
        mask: (h, w), not 0 where it is set.
        encoding: of the depth message, "" for a compressed one.

    Returns:
        (h, w) of depth's type, and its encoding.
    """
    metres = depth.dtype == np.float32
    masked = only_where(mask > 0, depth, np.nan if metres else 0)
    return masked, "32FC1" if metres else "mono16" if encoding == "mono16" else "16UC1"
