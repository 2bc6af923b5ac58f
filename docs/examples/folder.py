# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks for a folder of images: python docs/examples/folder.py CLIP OUT.

CLIP has rgb/ and depth/, files of one frame named alike; OUT receives a PNG for each frame, 0 or 255.
"""

from __future__ import annotations

import sys
from pathlib import Path

from m4sam_core import SaliencyPipeline
from m4sam_core.predict_folder import list_frames
from m4sam_core.rgbd.depth_files import read_depth
from m4sam_core.rgbd.image_files import read_rgb, write_png

FPS = 15.0


def main(clip: Path, out: Path, model: str = "default") -> None:
    """Segment every frame in the order of the numbers in their names."""
    out.mkdir(parents=True, exist_ok=True)
    pipeline = SaliencyPipeline.from_name(model)
    for index, frame in enumerate(list_frames(clip / "rgb", clip / "depth")):
        depth = read_depth(frame.depth) if frame.depth else None  # None: from colour alone
        result = pipeline.process(read_rgb(frame.rgb), depth, stamp=index / FPS)
        write_png(out / f"{frame.stem}.png", result.mask)
        if result.reset_reason:
            print(f"{frame.stem}: scene {result.scene_id} begins ({result.reset_reason})")
    pipeline.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
