"""Why does no mask come? One line, from what the node has seen since the last look."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from m4sam_ros.node.diagnostics import all_drops

REPEAT_S = 30.0
# In one period. A looping bag makes two with each loop.
MANY_JUMPS = 8


class Watch:
    """Looks at an active session every `watchdog_period_s` and says what is wrong.

    Args:
        session: `ActiveSession`.
        metrics: `Metrics` of its node.
    """

    def __init__(self, session: Any, metrics: Any) -> None:
        self._session = session
        self._metrics = metrics
        self._problem: str | None = None
        self._said: tuple[str, float] | None = None
        self._start()

    def look(self, cfg: Any, depth_note: str, waiting_for_clock: bool) -> tuple[str | None, str | None]:
        """Call it about once a second.

        Args:
            cfg: `NodeConfig`.
            depth_note: why the last frame was processed without depth, "" when it was not.
            waiting_for_clock: simulated time is asked for and has not begun.

        Returns:
            what is wrong just now (None: nothing), and the line to log now (None: nothing new).
        """
        now = time.monotonic()
        if now - self._since < cfg.watchdog_period_s:
            return self._problem, None
        facts = self._facts(cfg, depth_note, waiting_for_clock, now)
        self._start()
        self._problem = why_no_mask(facts) or why_unsteady(facts) or why_no_depth(facts)
        if self._problem is None:
            self._said = None
            return None, None
        if self._said is not None and self._said[0] == self._problem and now - self._said[1] < REPEAT_S:
            return self._problem, None
        self._said = (self._problem, now)
        return self._problem, self._problem

    def _start(self) -> None:
        self._since = time.monotonic()
        self._counts, self._drops = self._metrics.totals()
        self._drops = all_drops(self._drops, self._session.synchronizer)
        self._pairing = Counter(self._session.synchronizer.counts)

    def _facts(self, cfg: Any, depth_note: str, waiting_for_clock: bool, now: float) -> Facts:
        session, metrics = self._session, self._metrics
        counts, drops = metrics.totals()
        counts.subtract(self._counts)
        pairing = Counter(session.synchronizer.counts)
        pairing.subtract(self._pairing)
        drops = all_drops(drops, session.synchronizer) - self._drops
        busy_since = session.busy_since
        inputs = {
            name: InputFacts(
                topic=image.topic,
                publishers=image.subscription.publishers,
                received=counts[name],
                bad=counts[f"bad_{name}"],
                last_error=metrics.last_error(f"bad_{name}"),
                incompatible_policy=image.incompatible_policy,
                late=drops["late"] if name == "rgb" else pairing["depth_late"],
            )
            for name, image in (("rgb", session.rgb), ("depth", session.depth))
        }
        return Facts(
            rgb=inputs["rgb"],
            depth=inputs["depth"],
            enabled=cfg.enabled,
            masks=counts["masks"],
            busy_s=now - busy_since if busy_since is not None else 0.0,
            model_error=metrics.last_error("model_errors") if counts["model_errors"] else "",
            missing_depth=cfg.sync.missing_depth,
            tolerance_s=session.synchronizer.tolerance_s,
            nearest_miss_s=session.synchronizer.nearest_miss_s,
            waiting_for_clock=waiting_for_clock,
            drops=dict(drops),
            depth_note=depth_note,
            time_jumps=pairing["time_jumps"],
        )


@dataclass
class InputFacts:
    """One input since the last look.

    Attributes:
        topic: its resolved name.
        publishers: how many there are now.
        received: messages since the last look.
        bad: unusable messages since the last look.
        last_error: what was wrong with the last bad one, ever.
        incompatible_policy: QoS policy that a publisher could not satisfy, None when there was none.
        late: messages whose stamp did not advance.
    """

    topic: str
    publishers: int = 0
    received: int = 0
    bad: int = 0
    last_error: str = ""
    incompatible_policy: str | None = None
    late: int = 0


@dataclass
class Facts:
    """The node since the last look.

    Attributes:
        rgb: the rgb input.
        depth: the depth input.
        enabled: parameter `enabled`.
        masks: masks published.
        busy_s: how long the current frame has been inferred, 0 when idle. Seconds.
        model_error: the last error of the model since the last look, "" without.
        missing_depth: policy.
        tolerance_s: pairing tolerance now.
        nearest_miss_s: distance of the nearest depth of the last frame without partner, None without.
        waiting_for_clock: use_sim_time is set and /clock is silent.
        drops: frames dropped since the last look, by cause.
        depth_note: why the model could not use the depth of the last frame, "" when it could.
        time_jumps: how often a stream's stamps jumped.
    """

    rgb: InputFacts
    depth: InputFacts
    enabled: bool = True
    masks: int = 0
    busy_s: float = 0.0
    model_error: str = ""
    missing_depth: str = "hold"
    tolerance_s: float = 0.0
    nearest_miss_s: float | None = None
    waiting_for_clock: bool = False
    drops: dict[str, int] = field(default_factory=dict)
    depth_note: str = ""
    time_jumps: int = 0


def why_no_mask(facts: Facts) -> str | None:
    """One line saying why nothing is published and what to do; None when masks come or are not wanted."""
    if facts.masks > 0 or not facts.enabled:
        return None
    for problem in (_input_problem(facts.rgb, facts), _model_problem(facts)):
        if problem is not None:
            return f"no mask: {problem}"
    if facts.missing_depth == "drop":
        problem = _input_problem(facts.depth, facts) or _pairing_problem(facts)
        return f"no mask: {problem}"
    if facts.drops:
        causes = ", ".join(f"{count} {cause}" for cause, count in sorted(facts.drops.items()))
        return f"no mask: every frame was dropped ({causes}); see docs/troubleshooting.md"
    return "no mask: the first frames are on their way"


def why_unsteady(facts: Facts) -> str | None:
    """One line when stamps jump about so often that no scene lasts; None otherwise."""
    if facts.time_jumps < MANY_JUMPS:
        return None
    inputs = f"{facts.rgb.topic} has {facts.rgb.publishers} publisher(s), {facts.depth.topic} {facts.depth.publishers}"
    return f"the stamps of the inputs jumped {facts.time_jumps} times; {inputs}; do two cameras share a name?"


def why_no_depth(facts: Facts) -> str | None:
    """One line saying why masks are made without depth; None when depth is used, or no masks are made."""
    if facts.masks == 0 or not facts.enabled:
        return None
    problem = _input_problem(facts.depth, facts)
    if problem is None and facts.depth_note:
        problem = f"the model cannot use {facts.depth.topic}: {facts.depth_note}"
    return None if problem is None else f"masks from rgb alone: {problem}"


def _input_problem(facts: InputFacts, node: Facts) -> str | None:
    topic = facts.topic
    if facts.received == 0:
        if facts.publishers == 0:
            return f"no publisher on {topic}; start the camera or remap the input (ros2 topic list)"
        if facts.incompatible_policy is not None:
            return (
                f"QoS mismatch on {topic}: its publisher's {facts.incompatible_policy} does not satisfy the node's; "
                "set qos.reliability:=auto or best_effort"
            )
        clock = " and /clock is silent while use_sim_time is set" if node.waiting_for_clock else ""
        return f"{facts.publishers} publisher(s) on {topic} but no message{clock}; is the camera streaming?"
    if facts.bad == facts.received:
        return f"every message on {topic} is unusable: {facts.last_error}"
    if facts.late >= facts.received - facts.bad:
        return f"the stamps of {topic} do not advance; the driver must stamp its messages"
    return None


def _model_problem(facts: Facts) -> str | None:
    if facts.model_error:
        return f"the model fails: {facts.model_error}"
    if facts.busy_s > 0:
        return f"the model has been busy with one frame for {facts.busy_s:.1f} s; choose a smaller one (model:=edge)"
    return None


def _pairing_problem(facts: Facts) -> str:
    miss = facts.nearest_miss_s
    if miss is None:
        return "no depth message has come near an rgb frame yet"
    apart = f"{miss * 1000:.0f} ms" if miss < 10 else f"{miss:.0f} s"
    remedy = "are both stamped by the same clock?" if miss > 1 else "set sync.tolerance_s or sync.depth_stamp_offset_s"
    tolerance = f"{facts.tolerance_s * 1000:.0f} ms"
    return f"no pairs within the tolerance of {tolerance}, the nearest depth is {apart} away; {remedy}"
