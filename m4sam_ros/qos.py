# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Quality of service: inputs that match what publishers offer, and reports when they cannot."""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import InvalidHandle
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSPolicyKind, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from m4sam_core.errors import ConfigError

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)
RELIABLE = QoSReliabilityPolicy.RELIABLE
BEST_EFFORT = QoSReliabilityPolicy.BEST_EFFORT
# A new subscription is matched by then.
_HANDOVER_S = 0.5


def volatile(depth: int, reliability: QoSReliabilityPolicy = RELIABLE) -> QoSProfile:
    """Keep-last profile of images: what is missed is gone."""
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=QoSDurabilityPolicy.VOLATILE,
    )


def latched() -> QoSProfile:
    """The last message is kept for whoever subscribes later."""
    return QoSProfile(depth=1, reliability=RELIABLE, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


def matching_reliabilities(offered: list[QoSReliabilityPolicy]) -> tuple[QoSReliabilityPolicy, ...]:
    """What an input should ask for.

    Best effort matches every publisher; reliable loses no image on a busy network but matches only reliable ones. While
    nobody publishes an input asks for both, so that the first frame of whoever comes is not lost.

    Args:
        offered: reliability of each publisher of the topic.
    """
    if not offered:
        return RELIABLE, BEST_EFFORT
    return (RELIABLE,) if all(reliability == RELIABLE for reliability in offered) else (BEST_EFFORT,)


def make_publisher(
    node: Any, kind: Any, topic: str, profile: QoSProfile, on_incompatible: Callable[[str], None]
) -> Any:
    """A publisher whose QoS users may override, and which reports subscribers that cannot be matched."""
    overrides = QoSOverridingOptions(overridden(node, node.resolve_topic_name(topic), "publisher"))
    events = PublisherEventCallbacks(incompatible_qos=lambda event: on_incompatible(policy_name(event)))
    return node.create_publisher(kind, topic, profile, event_callbacks=events, qos_overriding_options=overrides)


def listeners(node: Any, topic: str) -> int:
    """How many nodes subscribe to a topic; one may do so more than once, see `MatchedSubscription`."""
    infos = node.get_subscriptions_info_by_topic(topic)
    return len({(info.node_namespace, info.node_name) for info in infos})


def policy_name(event: Any) -> str:
    """Which policy an incompatible-QoS event blames, e.g. "reliability"."""
    kind = event.last_policy_kind
    # A number or one of two enums, by release.
    name = kind.name if hasattr(kind, "name") else QoSPolicyKind(kind).name
    return str(name).lower().removeprefix("rmw_qos_policy_")


class _WithInfo:
    """A subscription's callback that takes a message and its `MessageInfo`.

    rclpy goes by the signature; its EventsExecutor then hands over both as one tuple, the other executors as two
    arguments.
    """

    __signature__ = inspect.signature(lambda message, info: None)  # noqa: ARG005 - only its shape counts

    def __init__(self, callback: Callable[[Any, Any], None]) -> None:
        self._callback = callback

    def __call__(self, *given: Any) -> None:
        message, info = given if len(given) == 2 else given[0]
        self._callback(message, info)


class MatchedSubscription:
    """A subscription that follows its publishers' reliability without losing a message.

    It may be two subscriptions for a while: as long as nobody publishes, and while one takes over from the other. What
    comes by both is given once.

    Args:
        node: the rclpy node.
        kind: message type.
        topic: name, resolved by the node as usual.
        callback: called with each message, and with rclpy's `MessageInfo` if it takes two arguments.
        depth: history.
        reliability: "auto", "reliable" or "best_effort".
        on_incompatible: called with the name of the policy that a publisher could not satisfy.
    """

    def __init__(
        self,
        node: Any,
        kind: Any,
        topic: str,
        callback: Callable[..., None],
        *,
        depth: int,
        reliability: str,
        on_incompatible: Callable[[str], None],
    ) -> None:
        self._node = node
        self._kind = kind
        self._topic = topic
        self._with_info = len(inspect.signature(callback).parameters) == 2
        self._callback = callback
        self._depth = depth
        self._on_incompatible = on_incompatible
        self.topic = node.resolve_topic_name(topic)
        self._overridden = overridden(node, self.topic, "subscription")
        self._auto = reliability == "auto" and QoSPolicyKind.RELIABILITY not in self._overridden
        self._fixed = (BEST_EFFORT,) if reliability == "best_effort" else (RELIABLE,)
        self._changing = threading.Lock()
        self._seen: deque[int] = deque(maxlen=4 * depth)
        self._created_at = 0.0
        self._subscriptions: dict[QoSReliabilityPolicy, Any] = {}
        self.reliability = RELIABLE
        self.follow()

    @property
    def type_name(self) -> str:
        """Of the messages it takes, e.g. sensor_msgs/msg/Image."""
        return f"{self._kind.__module__.partition('.')[0]}/msg/{self._kind.__name__}"

    @property
    def publishers(self) -> int:
        """How many publishers there are."""
        return self._node.count_publishers(self.topic)

    def foreign_type(self) -> str:
        """Another type that somebody publishes on this topic, "" when nobody does."""
        infos = self._node.get_publishers_info_by_topic(self.topic)
        return next((str(info.topic_type) for info in infos if info.topic_type != self.type_name), "")

    def follow(self) -> QoSReliabilityPolicy | None:
        """Match the publishers there are now; returns the new reliability when it changed."""
        wanted = matching_reliabilities(self._offered()) if self._auto else self._fixed
        now = time.monotonic()
        with self._changing:
            for reliability in wanted:
                if reliability not in self._subscriptions:
                    self._subscriptions[reliability] = self._create(reliability)
                    self._created_at = now
            ended = [
                kept for kept in self._subscriptions if kept not in wanted and now - self._created_at > _HANDOVER_S
            ]
            gone = [self._subscriptions.pop(reliability) for reliability in ended]
            before, self.reliability = self.reliability, wanted[0]
        for subscription in gone:
            self._node.destroy_subscription(subscription)
        return self.reliability if self.reliability != before else None

    def take_waiting(self) -> list[tuple[Any, Any]]:
        """What has arrived and no callback has had yet: (message, `MessageInfo`), oldest first, one history at most."""
        with self._changing:
            taken = [pair for subscription in self._subscriptions.values() for pair in self._take(subscription)]
            return [pair for pair in taken if self._is_new(pair[1])]

    def destroy(self) -> None:
        """Unsubscribe."""
        with self._changing:
            gone, self._subscriptions = self._subscriptions, {}
        for subscription in gone.values():
            self._node.destroy_subscription(subscription)

    def _take(self, subscription: Any) -> list[tuple[Any, Any]]:
        taken: list[tuple[Any, Any]] = []
        handle = subscription.handle
        # Another thread may unsubscribe meanwhile.
        with contextlib.suppress(InvalidHandle), handle:
            while len(taken) < self._depth:
                one = handle.take_message(self._kind, False)
                if one is None:
                    break
                taken.append(one)
        return taken

    def _arrived(self, message: Any, info: Any) -> None:
        with self._changing:
            new = self._is_new(info)
        if new:
            self._callback(message, info) if self._with_info else self._callback(message)

    def _is_new(self, info: Any) -> bool:
        """Whether it did not come by the other subscription already; not every RMW tells."""
        stamp = info["source_timestamp"]
        if stamp and stamp in self._seen:
            return False
        self._seen.append(stamp)
        return True

    def _offered(self) -> list[QoSReliabilityPolicy]:
        infos = self._node.get_publishers_info_by_topic(self.topic)
        return [info.qos_profile.reliability for info in infos if info.topic_type == self.type_name]

    def _create(self, reliability: QoSReliabilityPolicy) -> Any:
        return self._node.create_subscription(
            self._kind,
            self._topic,
            _WithInfo(self._arrived),
            volatile(self._depth, reliability),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(policy_name(event))
            ),
            qos_overriding_options=QoSOverridingOptions(self._overridden),
        )

    def _incompatible(self, policy: str) -> None:
        if self._auto and policy == "reliability":
            self.follow()
        else:
            self._on_incompatible(policy)


def overridden(node: Any, topic: str, entity: str) -> list[QoSPolicyKind]:
    """The policies that the user overrides for a topic.

    rclpy would declare every policy as a read-only parameter with the first value it sees, and take that value also
    when the node wants another one later; so only what was given is declared.

    Args:
        node: the rclpy node.
        topic: resolved name.
        entity: "publisher" or "subscription".

    Raises:
        ConfigError: a value that ROS has no such policy for.
    """
    prefix = f"qos_overrides.{topic}.{entity}"
    names = {kind: f"{prefix}.{kind.name.lower()}" for kind in OVERRIDABLE}
    given = {kind: value for kind, name in names.items() if (value := _given(node, name)) is not None}
    for kind, value in given.items():
        _check_override(names[kind], value, kind)
    return [*given]


def _check_override(name: str, value: Any, kind: QoSPolicyKind) -> None:
    if kind == QoSPolicyKind.DEPTH:
        sound, expected = type(value) is int and 0 <= value < 2**31, "messages, 0 or more"
    else:
        policies = QoSHistoryPolicy if kind == QoSPolicyKind.HISTORY else QoSReliabilityPolicy
        known = [str(short) for short in policies.short_keys() if short != "unknown"]
        sound, expected = str(value).lower() in known, f"one of {', '.join(known)}"
    if not sound:
        raise ConfigError(f"{name}: expected {expected}, got {value!r}; mend the parameter")


def _given(node: Any, parameter: str) -> Any:
    """The value that was given for a parameter, declared or not; None without."""
    if node.has_parameter(parameter):
        return node.get_parameter(parameter).value
    given = node.declare_parameter(parameter, None, ParameterDescriptor(dynamic_typing=True)).value
    node.undeclare_parameter(parameter)
    return given
