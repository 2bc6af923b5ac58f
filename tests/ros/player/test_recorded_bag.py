# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A bag recorded from the running node becomes a dataset with the node's masks as labels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.ros
TOPICS = ("/saliency/rgb/image", "/saliency/depth/image", "/saliency/mask")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_bag_of_the_running_node(bench, tmp_path, storage):
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore
    from sensor_msgs.msg import Image

    convert = pytest.importorskip("m4sam_training.bags.convert")

    bench.start()
    masks = bench.masks()
    camera = bench.camera()
    recorded: list[tuple[str, bytes]] = []
    counts = dict.fromkeys(TOPICS, 0)

    def record(topic):
        def callback(raw):
            recorded.append((topic, bytes(raw)))
            counts[topic] += 1

        bench.ros.create_subscription(Image, topic, callback, 50, raw=True)

    for topic in TOPICS:
        record(topic)
    from m4sam_ros.qos import listeners

    bench.until(lambda: listeners(bench.ros, "/saliency/rgb/image") > 1, "the recorder to be matched")
    bench.until(lambda: listeners(bench.ros, "/saliency/depth/image") > 1, "the recorder to be matched")
    stamps = [1000 + index / 10 for index in range(5)]
    for stamp in stamps:
        bench.step(camera, masks, stamp, depth_stamp=stamp + 0.003)
    bench.until(lambda: all(count >= len(stamps) for count in counts.values()), "all messages to be recorded")

    types = get_typestore(Stores.ROS2_HUMBLE)
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    with Writer(tmp_path / "run", version=8, storage_plugin=plugin) as writer:
        connections = {t: writer.add_connection(t, "sensor_msgs/msg/Image", typestore=types) for t in TOPICS}
        for index, (topic, raw) in enumerate(recorded):
            writer.write(connections[topic], 10**18 + index * 10**6, raw)

    report = convert.convert_bag(tmp_path / "run", "run", tmp_path / "out", convert.ConvertConfig(split="train"))
    assert report.videos == {"train/run_001": len(stamps)}
    assert report.labelled == len(stamps)
    expected = np.zeros(camera.depth.shape, np.uint8)
    expected[camera.square] = 255
    for stamp in stamps:
        name = f"{round(stamp * 1e9)}.png"
        video = tmp_path / "out" / "train" / "run_001"
        np.testing.assert_array_equal(cv2.imread(str(video / "depth" / name), -1), camera.depth)
        np.testing.assert_array_equal(cv2.imread(str(video / "mask" / name), -1), expected)
        np.testing.assert_array_equal(cv2.imread(str(video / "rgb" / name))[..., ::-1], camera.rgb)
