# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Why does no mask come? One line, from what the node has seen since the last look."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import TYPE_CHECKING

from m4sam_ros.node.diagnostics import all_drops
from m4sam_ros.node.reasons import Facts, InputFacts, why
from m4sam_ros.node.scenes import CAUSES

if TYPE_CHECKING:
    from m4sam_ros.node.metrics import Metrics
    from m4sam_ros.node.session import ActiveSession
    from m4sam_ros.settings import NodeConfig

REPEAT_S = 30.0
_NUMBER = re.compile(r"\b\d+(\.\d+)?\b")


class Repeats:
    """Which lines are due in a log: a new one at once, one that goes on every `REPEAT_S`."""

    def __init__(self) -> None:
        self._said: tuple[str, float] | None = None

    def due(self, line: str | None, now_s: float) -> bool:
        """Whether to log it; the same with other figures is nothing new, None ends what went on."""
        if line is None:
            self._said = None
            return False
        kind = _NUMBER.sub("", line)
        if self._said is not None and self._said[0] == kind and now_s - self._said[1] < REPEAT_S:
            return False
        self._said = (kind, now_s)
        return True


class Watch:
    """Looks at an active session every `watchdog_period_s` and says what is wrong.

    Args:
        session: `ActiveSession`.
        metrics: `Metrics` of its node.
        environment: what this machine lacks, "" when nothing.
    """

    def __init__(self, session: ActiveSession, metrics: Metrics, environment: str = "") -> None:
        self._session = session
        self._environment = environment
        self._metrics = metrics
        self._problem: str | None = None
        self._repeats = Repeats()
        self._start()

    def look(
        self, cfg: NodeConfig, depth_note: str, clock: str, masks: tuple[str, int] = ("", 1)
    ) -> tuple[str | None, str | None]:
        """Call it about once a second.

        Args:
            cfg: `NodeConfig`.
            depth_note: why the last frame was processed without depth, "" when it was not.
            clock: what is wrong with simulated time, "" when nothing is.
            masks: the mask's topic and how many publish it.

        Returns:
            what is wrong just now (None: nothing), and the line to log now (None: nothing new).
        """
        now = time.monotonic()
        if now - self._since < cfg.watchdog_period_s:
            return self._problem, None
        facts = self._facts(cfg, depth_note, clock, now)
        facts.mask_topic, facts.mask_publishers = masks
        self._start()
        self._problem = why(facts)
        return self._problem, self._problem if self._repeats.due(self._problem, now) else None

    def _start(self) -> None:
        self._since = time.monotonic()
        self._counts, self._drops = self._metrics.totals()
        self._drops = all_drops(self._drops, self._session.intake.synchronizer)
        self._pairing = Counter(self._session.intake.synchronizer.counts)

    def _facts(self, cfg: NodeConfig, depth_note: str, clock: str, now: float) -> Facts:
        session, metrics = self._session, self._metrics
        counts, drops = metrics.totals()
        counts.subtract(self._counts)
        pairing = Counter(session.intake.synchronizer.counts)
        pairing.subtract(self._pairing)
        drops = all_drops(drops, session.intake.synchronizer) - self._drops
        busy_since = session.busy_since
        inputs = {
            name: InputFacts(
                topic=image.topic,
                publishers=image.subscription.publishers,
                received=counts[name],
                bad=counts[f"bad_{name}"],
                last_error=metrics.last_error(f"bad_{name}"),
                incompatible_policy=image.incompatible_policy,
                foreign_type=image.subscription.foreign_type(),
                kind=image.subscription.type_name,
                late=drops["late"] if name == "rgb" else pairing["depth_late"],
            )
            for name, image in (("rgb", session.intake.rgb), ("depth", session.intake.depth))
        }
        return Facts(
            rgb=inputs["rgb"],
            depth=inputs["depth"],
            enabled=cfg.enabled,
            masks=counts["masks"],
            busy_s=now - busy_since if busy_since is not None else 0.0,
            model_error=metrics.last_error("model_errors") if counts["model_errors"] else "",
            missing_depth=cfg.sync.missing_depth,
            tolerance_s=session.intake.synchronizer.tolerance_s,
            nearest_miss_s=session.intake.synchronizer.nearest_miss_s,
            clock=clock,
            environment=self._environment,
            drops=dict(drops),
            unpaired=pairing["rgb_only"],
            depth_note=depth_note,
            time_jumps=pairing["time_jumps"],
            period_s=now - self._since,
            new_scenes={cause: counts[f"new_scene.{cause}"] for cause in CAUSES if counts[f"new_scene.{cause}"] > 0},
            scene_text={cause: metrics.last_error(f"new_scene.{cause}") for cause in CAUSES},
            blank_rgb=metrics.last_error("blank_rgb") if 2 * counts["blank_rgb"] > counts["masks"] else "",
            frozen=metrics.last_error("repeated") if counts["repeated"] else "",
            camera_info=metrics.last_error("camera_info") if counts["camera_info"] else "",
            doubt=metrics.last_error("doubtful_image") if 2 * counts["doubtful_image"] > counts["masks"] else "",
        )
