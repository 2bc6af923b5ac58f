# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What `/diagnostics` says of the node, once a second."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray

from m4sam_ros.node.intake.sync import Synchronizer
from m4sam_ros.node.metrics import Metrics, resident_bytes
from m4sam_ros.node.scenes import CAUSES
from m4sam_ros.report import drop_values, report_status


def diagnostics(
    node: str,
    stamp: Any,
    metrics: Metrics,
    synchronizer: Synchronizer | None,
    problem: str | None,
    extra: dict[str, object],
    sound: str = "ok",
) -> DiagnosticArray:
    """The node's health.

    Args:
        node: fully qualified name, the prefix of the status.
        stamp: `builtin_interfaces/Time` of the report.
        metrics: counters and rates.
        synchronizer: the pairing backend; None while inactive.
        problem: what is wrong just now, in one line.
        extra: more values, e.g. topics and QoS.
        sound: what to say when nothing is wrong.
    """
    counts, drops = metrics.totals()
    values: dict[str, object] = {
        "rgb_in_hz": metrics.rate_hz("rgb"),
        "depth_in_hz": metrics.rate_hz("depth"),
        "mask_out_hz": metrics.rate_hz("masks"),
        "rgb_in": counts["rgb"],
        "depth_in": counts["depth"],
        "masks_out": counts["masks"],
        "latency_ms_p50": metrics.latency_ms(50),
        "latency_ms_p95": metrics.latency_ms(95),
        "model_ms_p50": metrics.model_ms(50),
        "model_ms_p95": metrics.model_ms(95),
        "outputs_ms_p50": metrics.outputs_ms(50),
        "outputs_ms_p95": metrics.outputs_ms(95),
        "memory_bytes": resident_bytes(),
        "scene_resets": counts["resets"],
        "model_errors": counts["model_errors"],
        "output_errors": counts["output_errors"],
        "outputs_behind": counts["outputs_behind"],
        "bad_rgb_messages": counts["bad_rgb"],
        "bad_depth_messages": counts["bad_depth"],
        "depth_unusable_frames": counts["depth_unusable"],
        "blank_rgb_frames": counts["blank_rgb"],
        "repeated_frames": counts["repeated"],
        **extra,
    }
    if synchronizer is not None:
        values |= _pairing(synchronizer)
    values |= {f"scene_resets.{cause}": counts[f"new_scene.{cause}"] for cause in CAUSES}
    values |= drop_values(all_drops(drops, synchronizer))
    array = DiagnosticArray()
    array.header.stamp = stamp
    array.status = [report_status(node, problem, values, sound)]
    return array


def all_drops(drops: Counter[str], synchronizer: Synchronizer | None) -> Counter[str]:
    """Frames dropped by the node and by the pairing, by cause."""
    return drops + (synchronizer.drops if synchronizer is not None else Counter())


def _pairing(synchronizer: Synchronizer) -> dict[str, object]:
    skews_ms = np.abs(np.asarray(list(synchronizer.skews_s) or [np.nan])) * 1000
    counts = synchronizer.counts
    return {
        "pair_skew_ms_p50": float(np.percentile(skews_ms, 50)),
        "pair_skew_ms_max": float(skews_ms.max()),
        "pair_tolerance_ms": synchronizer.tolerance_s * 1000,
        "pairs": counts["pairs"],
        "pairs_held_depth": counts["held"],
        "frames_rgb_only": counts["rgb_only"],
        "time_jumps": counts["time_jumps"],
        "depth_unused": counts["depth_unused"],
    }
