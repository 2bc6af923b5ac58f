# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The measurements measure what they say. No figure is judged here: machines differ."""

import json
import math
import subprocess
import sys

import pytest

from m4sam_ros.bench.node import SIZES, has_events_executor
from m4sam_ros.bench.outputs import bench_outputs
from m4sam_ros.bench.probes import OBJECT_TOPICS, _figures, _stamp_ns, convert
from m4sam_ros.messages.convert import DEPTH_ENCODINGS, ENCODINGS, RGB_ENCODINGS

pytestmark = pytest.mark.ros

MS = 1_000_000


def test_every_encoding_is_timed():
    timed = convert(repeats=1)
    assert {f"{name} to rgb" for name in RGB_ENCODINGS} <= set(timed)
    assert {f"{name} to depth" for name in DEPTH_ENCODINGS} <= set(timed)
    assert set(ENCODINGS) == {name.split(" to ")[0] for name in timed} & set(ENCODINGS)
    assert all(math.isfinite(took) and took > 0 for took in timed.values())


def test_added_latency_counts_from_the_later_image():
    rgb = {100 * MS: 101 * MS, 200 * MS: 205 * MS, 300 * MS: 301 * MS}
    depth = {100 * MS: 104 * MS, 200 * MS: 202 * MS}
    mask = {100 * MS: 110 * MS, 200 * MS: 211 * MS, 300 * MS: 320 * MS}
    figures = _figures(rgb, depth, mask)
    assert figures["added_ms"]["p50"] == pytest.approx(6)
    assert figures["end_to_end_ms"]["p50"] == pytest.approx(11)
    assert (figures["rgb"], figures["depth"], figures["masks"]) == (3, 2, 3)


def test_no_mask_is_no_figure():
    assert _figures({1: 1}, {1: 1}, {})["added_ms"] == {"p50": None, "p95": None}


def test_stamp_of_serialised_messages_of_either_byte_order():
    little = bytes([0, 1, 0, 0]) + (3).to_bytes(4, "little") + (7).to_bytes(4, "little")
    big = bytes([0, 0, 0, 0]) + (3).to_bytes(4, "big") + (7).to_bytes(4, "big")
    assert _stamp_ns(little) == _stamp_ns(big) == 3_000_000_007


def m4sam(*arguments):
    command = [sys.executable, "-m", "m4sam_core.cli.main", *arguments]
    subprocess.run(command, check=True, timeout=550)


@pytest.mark.slow
def test_bench_node_writes_the_figures(tmp_path):
    m4sam("bench", "node", "--seconds", "2", "--json", str(tmp_path / "node.json"))
    result = json.loads((tmp_path / "node.json").read_text())
    assert set(result["added_latency_ms"]) == {"p50", "p95"}
    assert {"cpu_pct", "loss_pct", "publish_mask_720p_ms", "convert_us"} <= set(result)
    everything = [case["size"] for case in result["cases"] if case["after_mask_ms"] is not None]
    usual = [case for case in result["cases"] if case["executor"] == "single"]
    alone = [(case["size"], case["dds_profile"]) for case in usual if case["after_mask_ms"] is None]
    events = [case["size"] for case in result["cases"] if case["executor"] == "events"]
    assert events == (["640x480", "1280x720"] if has_events_executor() else [])
    assert alone == [("640x480", True), ("640x480", False), ("1280x720", True), ("1280x720", False)]
    assert everything == ["640x480", "1280x720"]
    assert all(0 <= case["loss_pct"] <= 100 for case in result["cases"])


@pytest.mark.slow
def test_soak_accounts_for_every_frame(tmp_path, nano_weights):
    file = tmp_path / "soak.json"
    m4sam("bench", "soak", "--model", str(nano_weights), "--frames", "240", "--period", "1", "--json", str(file))
    result = json.loads(file.read_text())
    assert result["frames_published"] == 240
    assert result["unexplained"] == 0
    assert result["frames_in"] + result["lost_in_transport"] == 240
    assert result["masks_out"] > 0
    assert len(result["trace"]) > 5


def test_every_output_costs_something_while_it_is_subscribed_to():
    by_size = bench_outputs(repeats=2)
    assert set(by_size) == set(SIZES)
    for by_topic in by_size.values():
        assert set(by_topic) == {*OBJECT_TOPICS, "all"}
        assert min(by_topic.values()) > 0.02  # an output nobody was found to listen to takes a microsecond or two
        assert by_topic["all"] > by_topic["confidence"]
