# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The node's subscriptions: rgb and depth, raw or compressed, checked on arrival and decoded by the worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from m4sam_core.rgbd.compressed import compressed_to_rgb
from m4sam_core.rgbd.compressed_depth import compressed_depth_to_numpy, compressed_to_depth
from m4sam_core.rgbd.encodings import check_depth_message, check_rgb_message, image_to_depth, image_to_rgb
from m4sam_ros.names import DEPTH, RGB, transported
from m4sam_ros.qos import MatchedSubscription
from m4sam_ros.settings import NodeConfig

# A message cannot have waited longer than this; the clocks are not the same then.
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class Arrived:
    """A message of an input.

    Attributes:
        base: which input, `RGB` or `DEPTH`.
        msg: the message.
        at: when it came to this process, monotonic seconds.
        order: sorts messages of several inputs by their coming.
    """

    base: str
    msg: Any
    at: float
    order: int


def _nothing_to_check(_msg: Any, _topic: str) -> None:
    """A compressed message shows what it holds only when it is decoded."""


class ImageInput:
    """One image topic.

    Args:
        node: the rclpy node.
        base: relative name of the raw topic.
        transport: "raw", "compressed" or "compressedDepth"; image_transport's suffix is added to the resolved base.
        callback: called with each message that comes; what else has come meanwhile is had from `take_waiting`.
        cfg: for `qos`.
        on_incompatible: called with the topic and the policy that a publisher could not satisfy.

    Attributes:
        topic: resolved name of what is subscribed.
        incompatible_policy: last policy that a publisher could not satisfy, None before any.
    """

    def __init__(
        self,
        node: Any,
        base: str,
        transport: str,
        callback: Callable[[Arrived], None],
        cfg: NodeConfig,
        on_incompatible: Callable[[str, str], None],
    ) -> None:
        self._base = base
        self._kind, self._check, self._decode = _READERS[base, transport]
        self.incompatible_policy: str | None = None
        self._on_incompatible = on_incompatible
        self.subscription = MatchedSubscription(
            node,
            self._kind,
            transported(node.resolve_topic_name(base), transport),
            lambda msg, info: callback(self._arrived(msg, info)),
            depth=cfg.qos.input_depth,
            reliability=cfg.qos.reliability,
            on_incompatible=self._incompatible,
        )
        self.topic = self.subscription.topic

    def take_waiting(self) -> list[Arrived]:
        """The messages that have come and were not given to the callback yet, oldest first."""
        return [self._arrived(msg, info) for msg, info in self.subscription.take_waiting()]

    def _arrived(self, msg: Any, info: Any) -> Arrived:
        """A message may have waited in DDS for this thread; not every RMW says since when."""
        received = info["received_timestamp"]
        waited_s = (time.time_ns() - received) * 1e-9 if received > 0 else 0.0
        at = time.monotonic() - (waited_s if 0 < waited_s < _LONGEST_WAIT_S else 0.0)
        return Arrived(self._base, msg, at, received or info["source_timestamp"])

    def check(self, msg: Any) -> None:
        """Refuse at once what can be told without decoding.

        Raises:
            InputError: naming topic and field.
        """
        self._check(msg, self.topic)

    def decode(self, msg: Any) -> np.ndarray:
        """The pixels: (H, W, 3) uint8 rgb, or (H, W) uint16 or float32 depth.

        Raises:
            InputError: naming topic and field.
        """
        return self._decode(msg, self.topic)

    def _incompatible(self, policy: str) -> None:
        self.incompatible_policy = policy
        self._on_incompatible(self.topic, policy)


_READERS: dict[tuple[str, str], tuple[Any, Callable[[Any, str], None], Callable[[Any, str], np.ndarray]]] = {
    (RGB, "raw"): (Image, check_rgb_message, image_to_rgb),
    (RGB, "compressed"): (CompressedImage, _nothing_to_check, compressed_to_rgb),
    (DEPTH, "raw"): (Image, check_depth_message, image_to_depth),
    (DEPTH, "compressed"): (CompressedImage, _nothing_to_check, compressed_to_depth),
    (DEPTH, "compressedDepth"): (CompressedImage, _nothing_to_check, compressed_depth_to_numpy),
}
