"""Quality of service: inputs that match what publishers offer, and reports when they cannot."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import InvalidHandle
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSPolicyKind, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)
RELIABLE = QoSReliabilityPolicy.RELIABLE
BEST_EFFORT = QoSReliabilityPolicy.BEST_EFFORT


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


def matching_reliability(offered: list[QoSReliabilityPolicy], current: QoSReliabilityPolicy) -> QoSReliabilityPolicy:
    """What an input should ask for.

    Best effort matches every publisher; reliable loses no image on a busy network but matches only reliable ones.

    Args:
        offered: reliability of each publisher of the topic.
        current: kept while nobody publishes.
    """
    if not offered:
        return current
    return RELIABLE if all(reliability == RELIABLE for reliability in offered) else BEST_EFFORT


def make_publisher(
    node: Any, kind: Any, topic: str, profile: QoSProfile, on_incompatible: Callable[[str], None]
) -> Any:
    """A publisher whose QoS users may override, and which reports subscribers that cannot be matched."""
    overrides = QoSOverridingOptions(overridden(node, node.resolve_topic_name(topic), "publisher"))
    events = PublisherEventCallbacks(incompatible_qos=lambda event: on_incompatible(policy_name(event)))
    return node.create_publisher(kind, topic, profile, event_callbacks=events, qos_overriding_options=overrides)


def policy_name(event: Any) -> str:
    """Which policy an incompatible-QoS event blames, e.g. "reliability"."""
    kind = event.last_policy_kind
    # A number or one of two enums, by release.
    name = kind.name if hasattr(kind, "name") else QoSPolicyKind(kind).name
    return str(name).lower().removeprefix("rmw_qos_policy_")


class MatchedSubscription:
    """A subscription that follows its publishers' reliability without losing a message.

    While nobody publishes it is best effort, which matches whoever comes. When all publishers turn out to be reliable
    it becomes so, too: the new subscription stands beside the old one until its first message has come.

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
        start = RELIABLE if reliability == "reliable" else BEST_EFFORT
        self.reliability = matching_reliability(self._offered(), start) if self._auto else start
        self._changing = threading.Lock()
        self._seen: deque[int] = deque(maxlen=4 * depth)
        self._leaving: Any = None
        self._subscription = self._create()

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
        wanted = matching_reliability(self._offered(), self.reliability) if self._auto else self.reliability
        changes = wanted != self.reliability
        with self._changing:
            gone, self._leaving = self._leaving, self._subscription if changes else None
            if changes:
                self.reliability = wanted
                self._subscription = self._create()
        if gone is not None:  # the camera has been silent since the last change
            self._node.destroy_subscription(gone)
        return wanted if changes else None

    def take_waiting(self) -> list[tuple[Any, Any]]:
        """What has arrived and no callback has had yet: (message, `MessageInfo`), oldest first, one history at most."""
        with self._changing:
            taken = [pair for one in (self._leaving, self._subscription) if one is not None for pair in self._take(one)]
            return [pair for pair in taken if self._is_new(pair[1])]

    def destroy(self) -> None:
        """Unsubscribe."""
        with self._changing:
            leaving, self._leaving = self._leaving, None
        for subscription in (leaving, self._subscription):
            if subscription is not None:
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

    def _arrived(self, subscription: Any, message: Any, info: Any) -> None:
        """The first message of a new subscription ends the old one, whose last messages go before it."""
        with self._changing:
            messages, ended = [(message, info)], None
            if self._leaving is not None and subscription is self._subscription:
                ended, self._leaving = self._leaving, None
                messages = [*self._take(ended), *messages]
            messages = [pair for pair in messages if self._is_new(pair[1])]
        for one, its_info in messages:
            self._callback(one, its_info) if self._with_info else self._callback(one)
        if ended is not None:
            self._node.destroy_subscription(ended)

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

    def _create(self) -> Any:
        made: list[Any] = []

        def arrived(message: Any, info: Any) -> None:
            self._arrived(made[0], message, info)

        made.append(
            self._node.create_subscription(
                self._kind,
                self._topic,
                arrived,
                volatile(self._depth, self.reliability),
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=lambda event: self._on_incompatible(policy_name(event))
                ),
                qos_overriding_options=QoSOverridingOptions(self._overridden),
            )
        )
        return made[0]


def overridden(node: Any, topic: str, entity: str) -> list[QoSPolicyKind]:
    """The policies that the user overrides for a topic.

    rclpy would declare every policy as a read-only parameter with the first value it sees, and take that value also
    when the node wants another one later; so only what was given is declared.

    Args:
        node: the rclpy node.
        topic: resolved name.
        entity: "publisher" or "subscription".
    """
    prefix = f"qos_overrides.{topic}.{entity}"
    return [kind for kind in OVERRIDABLE if _is_given(node, f"{prefix}.{kind.name.lower()}")]


def _is_given(node: Any, parameter: str) -> bool:
    """Whether a value was given for a parameter, declared or not."""
    if node.has_parameter(parameter):
        return True
    given = node.declare_parameter(parameter, None, ParameterDescriptor(dynamic_typing=True)).value
    node.undeclare_parameter(parameter)
    return given is not None
