# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks that were drawn after a bag was converted find their way into its videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.frames import Drops
from m4sam_core.rgbd.image_files import image_size, write_png
from m4sam_core.rgbd.masks import MaskRule, read_mask
from m4sam_training.bags.labels import annotation_of
from m4sam_training.data.predicted_masks import note_drawn, read_predicted


def add_late_masks(video: Path, annotations: dict[str, Path], rule: MaskRule, drops: Drops) -> int:
    """Bring a video's masks up to date with a folder of annotations; what was drawn wins over predictions.

    Args:
        video: folder of a video in the m4sam layout.
        annotations: files by "<stem>" or "<video>/<stem>"; see `find_annotations`.
        rule: which of their values are salient.
        drops: receives annotations that cannot be used.

    Returns:
        masks that are drawn now: new ones, ones that were drawn anew, and predictions that somebody confirmed.
    """
    predicted = read_predicted(video).keys()
    drawn: dict[str, Path | None] = {}  # None where the very mask is in place already
    for rgb in sorted((video / "rgb").glob("*.png")):
        path = annotation_of(annotations, video.name, rgb.stem)
        if path is None:
            continue
        try:
            mask = read_mask(path, rule)
        except InputError as error:
            drops.add("annotation cannot be read", str(error))
            continue
        if mask.shape != image_size(rgb):
            drops.add("annotation of another size than rgb", f"{path}: {mask.shape}")
            continue
        target = video / "mask" / f"{rgb.stem}.png"
        if not (target.is_file() and np.array_equal(read_mask(target), mask)):
            drawn[rgb.stem] = path
        elif rgb.stem in predicted:
            drawn[rgb.stem] = None
    if drawn:
        note_drawn(video, drawn)  # first: stopped in between, the next run writes the masks that are missing
    for stem, file in drawn.items():
        if file is not None:
            write_png(video / "mask" / f"{stem}.png", read_mask(file, rule))
    return len(drawn)
