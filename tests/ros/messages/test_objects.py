# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Objects as messages; vision_msgs and tf2_msgs are re-enacted from their definitions where they are not installed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from m4sam_core.objects import CameraModel, ObjectFinder

pytestmark = pytest.mark.ros


def message(**defaults):
    """A message class: its fields with their defaults, and no others."""

    class Message:
        def __init__(self, **fields):
            assert set(fields) <= set(defaults)
            for name, default in defaults.items():
                setattr(self, name, fields.get(name, default() if callable(default) else default))

    return Message


@pytest.fixture
def vision():
    from geometry_msgs.msg import Pose, PoseWithCovariance, Vector3
    from std_msgs.msg import Header

    point = message(x=0.0, y=0.0)
    pose_2d = message(position=point, theta=0.0)
    hypothesis = message(class_id="", score=0.0)
    return SimpleNamespace(
        BoundingBox2D=message(center=pose_2d, size_x=0.0, size_y=0.0),
        BoundingBox3D=message(center=Pose, size=Vector3),
        ObjectHypothesisWithPose=message(hypothesis=hypothesis, pose=PoseWithCovariance),
        Detection2D=message(header=Header, results=list, bbox=None, id=""),
        Detection3D=message(header=Header, results=list, bbox=None, id=""),
        Detection2DArray=message(header=Header, detections=list),
        Detection3DArray=message(header=Header, detections=list),
        VisionClass=message(class_id=0, class_name=""),
        LabelInfo=message(header=Header, class_map=list, threshold=0.0),
    )


@pytest.fixture
def found():
    """A thing with a position and one without."""
    mask, depth = np.zeros((120, 160), np.uint8), np.full((120, 160), 3.0, np.float32)
    mask[40:80, 40:100], depth[40:80, 40:100] = 255, 1.5
    mask[10:20, 120:140], depth[10:20, 120:140] = 255, 0
    return ObjectFinder().update(mask, None, depth, 0.0, camera=CameraModel(160, 120, 120, 120, 79.5, 59.5))


@pytest.fixture
def stamped():
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    return Header(stamp=Time(sec=3, nanosec=141592653), frame_id="camera_color_optical_frame")


def test_detections_carry_the_same_ids(vision, found, stamped):
    from m4sam_ros.messages.objects import detections_2d, detections_3d

    flat, deep = detections_2d(vision, stamped, found.objects), detections_3d(vision, stamped, found.objects)
    assert [item.id for item in flat.detections] == [str(item.id) for item in found.objects]
    (main,) = deep.detections  # one without a position is no detection in space
    assert main.id == str(found.main.id)
    assert main.results[0].hypothesis.class_id == "salient"
    box = flat.detections[0].bbox
    assert (box.center.position.x, box.center.position.y, box.size_x, box.size_y) == (70.0, 60.0, 60.0, 40.0)
    position = main.results[0].pose.pose.position
    np.testing.assert_allclose([position.x, position.y, position.z], found.main.centroid_m)
    assert main.bbox.size.x == pytest.approx(0.75, abs=0.06)
    for array in (flat, deep):
        assert {item.header.stamp.nanosec for item in array.detections} == {stamped.stamp.nanosec}


def test_label_info_says_what_the_masks_values_mean(vision, stamped):
    from m4sam_ros.messages.objects import label_info

    info = label_info(vision, stamped, 0.5)
    assert {item.class_id: item.class_name for item in info.class_map} == {0: "background", 255: "salient"}


def test_the_target_faces_away_from_the_camera(found, stamped):
    from m4sam_ros.messages.objects import target, target_transform

    pose = target(stamped, found.main)
    ray = np.array(found.main.centroid_m) / np.linalg.norm(found.main.centroid_m)
    forwards, up = turned(pose.pose.orientation, [1, 0, 0]), turned(pose.pose.orientation, [0, 0, 1])
    np.testing.assert_allclose(forwards, ray, atol=1e-6)
    assert up[1] < -0.9  # y points down in an optical frame
    tf2 = SimpleNamespace(TFMessage=message(transforms=list))
    (transform,) = target_transform(tf2, pose, "salient_object").transforms
    assert (transform.header, transform.child_frame_id) == (stamped, "salient_object")
    assert transform.transform.translation.z == pose.pose.position.z
    assert target(stamped, found.objects[1]) is None


def turned(quaternion, vector):
    axis, w = np.array([quaternion.x, quaternion.y, quaternion.z]), quaternion.w
    return vector + 2 * np.cross(axis, np.cross(axis, vector) + w * np.asarray(vector))


def test_markers_are_boxes_and_texts_of_those_with_a_position(found, stamped):
    from m4sam_ros.messages.objects import markers, read_marker_text

    array = markers(stamped, found.objects).markers
    assert [marker.action for marker in array] == [3, 0, 0]  # what was there before goes
    assert array[2].text == f"{found.main.id}*  {found.main.distance_m:.3f} m"
    assert read_marker_text(array[2].text) == (pytest.approx(found.main.distance_m, abs=1e-3), True)
    assert read_marker_text("something else") == (None, False)
    assert all(marker.header == stamped for marker in array)


@pytest.mark.parametrize("rectified", [False, True])
def test_calibration_survives_the_way_there_and_back(stamped, rectified):
    from sensor_msgs.msg import CameraInfo, RegionOfInterest

    from m4sam_ros.messages.camera_info import camera_info, camera_model

    info = CameraInfo(width=640, height=480, distortion_model="plumb_bob", d=[-0.2, 0.05, 0.0, 0.0, 0.0])
    info.k = [500.0, 0, 320, 0, 500.0, 240, 0, 0, 1]
    info.p = [480.0, 0, 310, 0, 0, 480.0, 230, 0, 0, 0, 1, 0]
    camera = camera_model(info, rectified=rectified)
    assert (camera.fx, camera.distortion) == ((480.0, ()) if rectified else (500.0, tuple(info.d)))
    assert camera_model(camera_info(camera, "plumb_bob", stamped), rectified=False) == camera
    info.roi = RegionOfInterest(x_offset=100, y_offset=50, width=320, height=240)
    part = camera_model(info, rectified=rectified)
    assert (part.width, part.height, part.cx, part.cy) == (320, 240, camera.cx - 100, camera.cy - 50)
    assert camera_model(info, rectified=rectified, shape=(240, 320)) == part
    assert camera_model(info, rectified=rectified, shape=(480, 640)) == camera  # the whole sensor, whatever roi says


def test_organised_points_are_pixels_and_dense_ones_are_not(found, stamped):
    from m4sam_core.objects.cloud import object_points
    from m4sam_core.objects.seen import FrameView
    from m4sam_ros.messages.cloud import point_cloud

    mask = (found.labels > 0).astype(np.uint8) * 255
    depth = np.where(mask > 0, np.float32(1.5), np.float32(3))
    view, _ = FrameView.of(mask, None, depth, 0.001, CameraModel(160, 120, 120, 120, 79.5, 59.5), None, None)
    organised = point_cloud(stamped, object_points(found, view, organised=True))
    dense = point_cloud(stamped, object_points(found, view, organised=False))
    assert (organised.height, organised.width, organised.is_dense) == (120, 160, False)
    assert (dense.height, dense.width, dense.is_dense) == (1, 2400, True)
    assert [field.name for field in dense.fields] == ["x", "y", "z", "rgb", "id"]
    grid = np.frombuffer(bytes(organised.data), np.float32).reshape(120, 160, 5)
    assert np.isfinite(grid[40:80, 40:100, :3]).all()
    assert np.isnan(grid[:40, :, :3]).all()
    assert len(dense.data) == dense.row_step * dense.height


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_background_has_holes_where_objects_and_holes_were(dtype):
    from m4sam_core.objects.registered import depth_background, grown

    depth, mask = np.full((60, 80), 1500, dtype), np.zeros((60, 80), np.uint8)
    depth[0], mask[20:30, 30:40] = 0, 255
    before = depth.copy()
    cleared = depth_background(depth, grown(mask, 3), None, None)
    gone = (cleared == 0) | np.isnan(cleared.astype(np.float64))
    expected = np.zeros_like(gone)
    expected[0] = expected[17:33, 27:43] = True
    np.testing.assert_array_equal(gone, expected)
    assert cleared.dtype == dtype
    np.testing.assert_array_equal(depth, before)
    half = depth_background(depth[::2, ::2], mask, None, None)
    assert half.shape == (30, 40)
    assert not np.nan_to_num(half[10:15, 15:20]).any()
    assert depth_background(depth[:, :30], mask, None, None) is None
