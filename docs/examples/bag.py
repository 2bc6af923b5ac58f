# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks for a recording, without ROS: python docs/examples/bag.py BAG OUT.

BAG is a rosbag2 (mcap or sqlite3) or a ROS 1 bag with colour and depth registered to it. OUT receives a picture for
each pair, named after the colour image's stamp in nanoseconds, with what stands out marked. Needs the package rosbags.
"""

from __future__ import annotations

import sys
from pathlib import Path

from m4sam_core import SaliencyPipeline
from m4sam_core.rgbd.bags.frames import Drops, read_frames
from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.bags.topics import choose_topics
from m4sam_core.rgbd.image_files import write_png
from m4sam_core.rgbd.pictures import draw_overlay


def main(bag: Path, out: Path, model: str = "default") -> None:
    """Find the topics, pair their images by stamp as the node does, and segment each pair."""
    out.mkdir(parents=True, exist_ok=True)
    pipeline = SaliencyPipeline.from_name(model)
    drops = Drops()
    with BagSource(bag) as source:
        topics = choose_topics(source)
        print(f"rgb {topics.rgb}, depth {topics.depth}")
        for frame in read_frames(source, topics, drops):
            result = pipeline.process(frame.rgb, frame.depth, frame.stamp_ns * 1e-9, camera=frame.frame_id)
            write_png(out / f"{frame.stamp_ns}.png", draw_overlay(frame.rgb, result.mask))
    pipeline.close()
    for reason, count in drops.counts.items():
        print(f"left out, {reason}: {count}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
