# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Which masks of a video nobody drew: `pseudo_labels.csv` beside its folders, one row for each.

A mask that a model made is no ground truth, however it came into a dataset. It may be trained on, and is scored on only
with a warning (docs/labelling.md).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m4sam_core.errors import InputError
from m4sam_core.host.files import write_text
from m4sam_core.host.plain_yaml import load_yaml
from m4sam_core.rgbd.video_yaml import VIDEO_YAML, write_video_yaml

PREDICTED_FILE = "pseudo_labels.csv"
PSEUDO = "pseudo: "
"""What the source of a mask that a model made begins with, in video.yaml and in the file."""
ANNOTATION = "annotation"
"""The source of a mask that somebody drew."""
_COLUMNS = ["stem", "confidence", "source"]


@dataclass(frozen=True)
class PredictedMask:
    """A mask that a model made.

    Attributes:
        source: "pseudo: <model>", or "pseudo: topic <name>" for one that was recorded.
        confidence: mean |2p - 1| over the pixels that are salient or in doubt, in [0, 1]; None: not known.
    """

    source: str
    confidence: float | None = None


def read_predicted(video: Path) -> dict[str, PredictedMask]:
    """Stem to what is known of its mask; empty for a video without such masks.

    Args:
        video: folder of a video in the m4sam layout.

    Raises:
        InputError: the file is not as `write_predicted` leaves it.
    """
    path = video / PREDICTED_FILE
    if not path.is_file():
        return {}
    try:
        head, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
        if head != _COLUMNS:
            raise ValueError(f"columns {','.join(head)}")
        return {stem: PredictedMask(source, float(number) if number else None) for stem, number, source in rows}
    except (ValueError, OSError) as error:
        wanted = ",".join(_COLUMNS)
        raise InputError(f"{path}: expected a table of {wanted}, got {error}; mend or remove it") from None


def write_predicted(video: Path, masks: Mapping[str, PredictedMask]) -> None:
    """Write the file whole, or remove it when no mask is a prediction.

    Args:
        video: folder of a video in the m4sam layout.
        masks: by stem.
    """
    path = video / PREDICTED_FILE
    if not masks:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    rows = (
        [stem, "" if mask.confidence is None else f"{mask.confidence:.4f}", mask.source]
        for stem, mask in sorted(masks.items())
    )
    csv.writer(text).writerows([_COLUMNS, *rows])
    write_text(path, text.getvalue())


def predicted_stems(video: Path, labels: Collection[str], stems: Collection[str]) -> set[str]:
    """Which of a video's masks are predictions.

    Args:
        video: its folder.
        labels: sources by its video.yaml.
        stems: of the frames that have a mask.

    Raises:
        InputError: as `read_predicted`.
    """
    known = read_predicted(video).keys()
    if labels and all(label.startswith(PSEUDO) for label in labels):
        return set(stems)  # also of a video that was converted before topics had rows
    return known & set(stems)


def note_drawn(video: Path, drawn: Collection[str]) -> None:
    """Name people as a source of a video's masks, and strike the predictions that they drew over.

    Args:
        video: folder of a video in the m4sam layout, with its masks as they are now.
        drawn: stems of the masks that were drawn.

    Raises:
        InputError: as `read_predicted`.
        ConfigError: video.yaml cannot be read.
    """
    path = video / VIDEO_YAML
    values: dict[str, Any] = load_yaml(path) if path.is_file() else {}
    said = values.get("labels") or []
    labels = [str(label) for label in (said if isinstance(said, list) else [said])]
    masks = {mask.stem for mask in (video / "mask").glob("*.png")}
    listed = read_predicted(video)
    unlisted = predicted_stems(video, labels, masks) - listed.keys()
    sources = [label for label in labels if label.startswith(PSEUDO)]
    listed |= {stem: PredictedMask(" or ".join(sources)) for stem in unlisted}
    left = {stem: mask for stem, mask in listed.items() if stem not in drawn}
    write_predicted(video, left)
    kept = {label for label in labels if not label.startswith(PSEUDO)}
    values["labels"] = sorted({*kept, ANNOTATION, *(mask.source for mask in left.values())})
    write_video_yaml(path, values)
