"""Quality of service: inputs that match what publishers offer, and reports when they cannot."""

from __future__ import annotations

import contextlib
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
    """A subscription that follows its publishers' reliability.

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
        self._callback = callback
        self._depth = depth
        self._on_incompatible = on_incompatible
        self.topic = node.resolve_topic_name(topic)
        self._overridden = overridden(node, self.topic, "subscription")
        self._auto = reliability == "auto" and QoSPolicyKind.RELIABILITY not in self._overridden
        start = BEST_EFFORT if reliability == "best_effort" else RELIABLE
        self.reliability = matching_reliability(self._offered(), start) if self._auto else start
        self._subscription = self._create()

    @property
    def publishers(self) -> int:
        """How many publishers there are."""
        return self._node.count_publishers(self.topic)

    def follow(self) -> QoSReliabilityPolicy | None:
        """Match the publishers there are now; returns the new reliability when it changed."""
        wanted = matching_reliability(self._offered(), self.reliability) if self._auto else self.reliability
        if wanted == self.reliability:
            return None
        self.reliability = wanted
        self._node.destroy_subscription(self._subscription)
        self._subscription = self._create()
        return wanted

    def take_waiting(self) -> list[tuple[Any, Any]]:
        """What has arrived and no callback has had yet: (message, `MessageInfo`), oldest first, one history at most."""
        taken: list[tuple[Any, Any]] = []
        handle = self._subscription.handle
        # Another thread may unsubscribe meanwhile.
        with contextlib.suppress(InvalidHandle), handle:
            while len(taken) < self._depth:
                one = handle.take_message(self._kind, False)
                if one is None:
                    break
                taken.append(one)
        return taken

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _offered(self) -> list[QoSReliabilityPolicy]:
        infos = self._node.get_publishers_info_by_topic(self.topic)
        return [info.qos_profile.reliability for info in infos]

    def _create(self) -> Any:
        return self._node.create_subscription(
            self._kind,
            self._topic,
            self._callback,
            volatile(self._depth, self.reliability),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._on_incompatible(policy_name(event))
            ),
            qos_overriding_options=QoSOverridingOptions(self._overridden),
        )


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
