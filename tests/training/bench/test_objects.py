# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark's clips know the truth, and its scores notice when it is missed."""

from __future__ import annotations

import numpy as np
import pytest

from m4sam_core.objects import ObjectFinder
from m4sam_training.bench import object_clips
from m4sam_training.bench.objects import IdentityScore, PositionScore, _follow, _score_identity, _score_positions


@pytest.fixture(scope="module")
def clip():
    scene = next(object_clips.scenes_of_several(1))
    return list(object_clips.render(scene, 3, 4)), object_clips.camera_of(scene)


def test_the_true_centroid_is_where_the_pixels_are(clip):
    (frame, *_), camera = clip
    for number, centroid in frame.centroids.items():
        rows, columns = np.nonzero(frame.owner == number)
        x, y, z = centroid
        assert camera.fx * x / z + camera.cx == pytest.approx(columns.mean(), abs=5)
        assert camera.fy * y / z + camera.cy == pytest.approx(rows.mean(), abs=5)


def test_objects_are_found_where_they_are(clip):
    seen, camera = clip
    found, score, identity = list(_follow(seen, camera, None)), PositionScore(), IdentityScore()
    _score_positions(seen, found, score)
    _score_identity(seen, found, identity)
    assert score.as_dict()["median_pct"] < 2
    assert identity.as_dict()["consistency"] == 1
    assert identity.reused == 0


def test_scores_notice_what_is_wrong(clip):
    seen, camera = clip
    halved = [ObjectFinder().update(f.mask, None, f.depth / 2, f.stamp_s, camera=camera) for f in seen]
    score, identity = PositionScore(), IdentityScore()
    _score_positions(seen, halved, score)
    assert score.as_dict()["median_pct"] > 40
    finder = ObjectFinder()
    forgetful = [
        finder.update(frame.mask, None, frame.depth, frame.stamp_s, scene_id=index, camera=camera)
        for index, frame in enumerate(seen)
    ]
    _score_identity(seen, forgetful, identity)
    assert identity.as_dict()["consistency"] == 0.25


def test_things_taken_for_one_are_no_kept_identity(clip):
    seen, camera = clip
    number = max(seen[0].centroids)
    alone = [object_clips.replace(frame, mask=(frame.owner == number).view(np.uint8) * 255) for frame in seen[:1]]
    found = list(_follow(alone + seen[1:], camera, None))
    for answer in found[1:]:
        answer.labels[answer.labels > 0] = found[0].objects[0].id
    score = IdentityScore()
    _score_identity(seen, found, score)
    assert score.merged >= len(seen) - 1
    assert score.reused == 0


def test_a_board_hides_the_largest_thing_for_two_seconds(clip):
    seen, _ = clip
    late = [object_clips.replace(frame, stamp_s=frame.stamp_s + 1.4) for frame in seen]
    hidden = object_clips.occluded(late)
    assert hidden[0].centroids == late[0].centroids
    assert len(hidden[-1].centroids) < len(late[-1].centroids)
    assert (hidden[-1].mask > 0).sum() < (late[-1].mask > 0).sum()
