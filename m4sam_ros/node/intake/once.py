# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Topics that some publish with every image and others once, latched: camera_info, ignore_mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import QoSDurabilityPolicy

from m4sam_ros.qos import BEST_EFFORT, latched, volatile


class OnceOrOften:
    """A subscription that also asks for what was published before, where a publisher keeps it.

    Asking everybody would match latched publishers only.

    Args:
        node: the rclpy node.
        kind: message type.
        topic: relative name.
        callback: called with each message; with those of a latched publisher perhaps twice.

    Attributes:
        topic: resolved name.
    """

    def __init__(self, node: Any, kind: Any, topic: str, callback: Callable[[Any], None]) -> None:
        self._node, self._kind, self._name, self._callback = node, kind, topic, callback
        self._subscriptions = [node.create_subscription(kind, topic, callback, volatile(1, BEST_EFFORT))]
        self.topic = str(self._subscriptions[0].topic_name)

    def follow(self) -> None:
        """Ask a latched publisher that has come; called now and then."""
        if len(self._subscriptions) == 1 and any(
            info.qos_profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
            for info in self._node.get_publishers_info_by_topic(self.topic)
        ):
            self._subscriptions.append(
                self._node.create_subscription(self._kind, self._name, self._callback, latched())
            )

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
