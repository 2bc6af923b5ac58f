# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masked depth, regions, the identity backend, counters: the parts of the node that need no graph."""

from __future__ import annotations

import numpy as np
import pytest

from m4sam_core.config import RoiConfig
from m4sam_ros.node.backends import NearHalf
from m4sam_ros.node.metrics import Metrics, resident_bytes

pytestmark = pytest.mark.ros


def square(height=40, width=60):
    mask = np.zeros((height, width), np.uint8)
    mask[10:20, 30:50] = 255
    return mask


@pytest.mark.parametrize(
    ("encoding", "dtype", "out", "nothing"),
    [
        ("16UC1", np.uint16, "16UC1", 0),
        ("mono16", np.uint16, "mono16", 0),
        ("32FC1", np.float32, "32FC1", np.nan),
        ("64FC1", np.float32, "32FC1", np.nan),
        ("16UC1; compressedDepth png", np.uint16, "16UC1", 0),
    ],
)
def test_masked_depth_keeps_its_type(encoding, dtype, out, nothing):
    from m4sam_ros.node.outputs import masked_depth

    depth = np.full((40, 60), 1500, dtype)
    masked, written_as = masked_depth(depth, square(), encoding)
    assert (written_as, masked.dtype) == (out, dtype)
    np.testing.assert_array_equal(masked, np.where(square() > 0, depth, np.asarray(nothing, dtype)))


def test_masked_depth_of_another_size():
    from m4sam_core.objects.registered import seen_by_depth
    from m4sam_ros.node.outputs import masked_depth

    seen = seen_by_depth(square(), (20, 30), None, None)
    masked, _ = masked_depth(np.full((20, 30), 1500, np.uint16), seen, "16UC1")
    assert masked[5:10, 15:25].min() == 1500
    assert masked.sum() == 50 * 1500


@pytest.mark.needs_ros_install("vision_msgs")
def test_detections_are_boxes_of_the_regions(bench):
    from vision_msgs.msg import Detection2DArray

    bench.start()
    masks = bench.masks()
    camera = bench.camera()
    heard = bench.listen(Detection2DArray, "/saliency/detections")
    bench.until(
        lambda: bench.ros.get_publishers_info_by_topic("/saliency/detections"), "the detections to be announced"
    )
    for i in range(10):
        bench.step(camera, masks, 1 + i / 10)
    bench.until(lambda: heard, "detections")
    (detection,) = heard[-1].detections
    assert (detection.bbox.size_x, detection.bbox.size_y) == (16.0, 12.0)
    assert detection.results[0].hypothesis.class_id == "salient"


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_identity_backend_marks_the_near_half(dtype):
    rgb, depth = np.zeros((40, 60, 3), np.uint8), np.full((40, 60), 3000, dtype)
    depth[10:20, 30:50] = 1000
    depth[0, :5] = 0
    if dtype == np.float32:
        depth[1, :5] = np.nan
    result = NearHalf().process(rgb, depth, 1.0)
    np.testing.assert_array_equal(result.mask, square())
    assert result.probability.max() == 1.0
    assert not result.rgb_only


def test_the_identity_backend_without_usable_depth():
    rgb = np.zeros((40, 60, 3), np.uint8)
    backend = NearHalf()
    assert backend.process(rgb, None, 1.0).depth_note == "no depth"
    result = backend.process(rgb, np.zeros((20, 30), np.uint16), 1.1)
    assert result.rgb_only
    assert not result.mask.any()
    assert not backend.process(rgb, np.zeros((40, 60), np.uint16), 1.2).mask.any()


def test_the_identity_backend_counts_scenes():
    rgb = np.zeros((8, 8, 3), np.uint8)
    backend = NearHalf()
    assert backend.process(rgb, None, 1.0, "front").scene_id == 0
    backend.reset("requested")
    second = backend.process(rgb, None, 1.1, "front")
    assert (second.scene_id, second.frame_index, second.reset_reason) == (1, 0, "requested")
    assert backend.process(rgb, None, 1.2, "front").reset_reason is None
    assert backend.process(rgb, None, 1.3, "rear").reset_reason == "camera changed"


def test_metrics_throttle_problems_but_count_all():
    metrics = Metrics()
    assert metrics.problem("bad_rgb", "first") == "first"
    assert metrics.problem("bad_rgb", "second") is None
    assert metrics.problem("bad_depth", "other") == "other"
    assert metrics.problem("bad_rgb", "third", every_s=0.0) == "third (3 so far)"
    assert metrics.last_error("bad_rgb") == "third"
    assert metrics.counts["bad_rgb"] == 3


def test_metrics_of_nothing_and_of_something():
    metrics = Metrics()
    assert np.isnan(metrics.latency_ms(50))
    assert metrics.rate_hz("masks") == 0
    for latency in (10.0, 20.0, 30.0):
        metrics.processed(latency, latency / 2)
    assert metrics.latency_ms(50) == 20
    assert metrics.model_ms(50) == 10
    assert metrics.counts["masks"] == 3
    assert metrics.rate_hz("masks") > 0
    assert resident_bytes() > 1e6


def test_what_does_not_count_is_not_marked():
    rgb, depth = np.zeros((80, 80, 3), np.uint8), np.full((80, 80), 3000, np.uint16)
    depth[:40] = 1000
    ignored = np.zeros((80, 80), np.uint8)
    ignored[:, 60:] = 255
    mask = NearHalf(RoiConfig(x=16)).process(rgb, depth, 0.0, ignored=ignored).mask
    assert mask[:40, 16:60].all()
    assert np.count_nonzero(mask) == 40 * 44
