# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks for the frames of a bag: from its mask topic, from a folder of annotations, or from a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from m4sam_core.config import DepthConfig, PipelineConfig
from m4sam_core.errors import InputError
from m4sam_core.rgbd.bags.frames import BagFrame, Drops
from m4sam_core.rgbd.bags.topics import is_prediction
from m4sam_core.rgbd.depth_values import DEFAULT_UNIT_M
from m4sam_core.rgbd.image_files import IMAGE_SUFFIXES, read_pixels
from m4sam_core.rgbd.masks import AUTO, MaskRule, mixed_values, read_mask
from m4sam_training.data.predicted_masks import ANNOTATION, PSEUDO

if TYPE_CHECKING:
    from m4sam_core.pipeline import SaliencyPipeline

_MASKS = "mask"
_LOOK_AT = 8  # annotations that tell whether the folder holds class ids


@dataclass(frozen=True)
class Label:
    """One mask.

    Attributes:
        mask (H, W): uint8, 0 or 255.
        source: "annotation", "topic", or for predictions "pseudo: <model>" or "pseudo: topic <name>".
        confidence: of a pseudo label, mean |2p - 1| over the pixels that are salient or in doubt; None otherwise.
    """

    mask: np.ndarray
    source: str
    confidence: float | None = None


class Labeller:
    """The best mask there is: an annotation, else the mask topic's, else the model's."""

    def __init__(
        self,
        annotations: dict[str, Path],
        pipeline: SaliencyPipeline | None,
        model: str,
        min_confidence: float,
        rule: MaskRule,
        mask_topic: str | None,
    ) -> None:
        """See `make_labeller`."""
        predicted = mask_topic is not None and is_prediction(mask_topic)
        self._topic_source = f"{PSEUDO}topic {mask_topic}" if predicted else "topic"
        self._annotations, self._pipeline = annotations, pipeline
        self._model, self._min_confidence, self._rule = model, min_confidence, rule

    def __enter__(self) -> Labeller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipeline is not None:
            self._pipeline.close()

    @property
    def annotations(self) -> dict[str, Path]:
        """Files as `find_annotations` has them."""
        return self._annotations

    def new_scene(self, reason: str) -> None:
        """Start the model's memory anew."""
        if self._pipeline is not None:
            self._pipeline.reset(reason)

    def label(self, frame: BagFrame, video: str, drops: Drops) -> Label | None:
        """The frame's mask, or None; call it for every frame in order, so that the model's memory follows."""
        pseudo = self._pseudo(frame) if self._pipeline is not None else None
        path = annotation_of(self._annotations, video, str(frame.stamp_ns))
        if path is not None:
            try:
                mask = read_mask(path, self._rule)
                if mask.shape == frame.rgb.shape[:2]:
                    return Label(mask, ANNOTATION)
                drops.add("annotation of another size than rgb", f"{path}: {mask.shape}")
            except InputError as error:
                drops.add("annotation cannot be read", str(error))
        if frame.mask is not None:
            return Label(frame.mask, self._topic_source)
        if self._pipeline is not None and pseudo is None:
            drops.add("no pseudo label: nothing can be seen", str(frame.stamp_ns))
        elif pseudo is not None and (pseudo.confidence or 0) < self._min_confidence:
            drops.add("pseudo label below min_confidence", f"{frame.stamp_ns}: {pseudo.confidence:.2f}")
            return None
        return pseudo

    def _pseudo(self, frame: BagFrame) -> Label | None:
        """The model's mask; None for a picture in which nothing can be seen."""
        if self._pipeline is None:
            raise InputError("pseudo labels: expected a model, got none; give --model")
        result = self._pipeline.process(frame.rgb, frame.depth, frame.stamp_ns * 1e-9)
        if result.rgb_note is not None:
            return None
        probability = result.probability
        unsure = probability > 0.1
        confidence = float(np.abs(2 * probability[unsure] - 1).mean()) if unsure.any() else 1.0
        return Label(result.mask, f"{PSEUDO}{self._model}", confidence)


def find_annotations(annotations: Path | None, bag: str, drops: Drops, rule: MaskRule = AUTO) -> dict[str, Path]:
    """Mask files of a folder, by "<stamp_ns>" or, from a video's subfolder, "<video>/<stamp_ns>".

    A video's subfolder may hold its masks in a folder `mask`, as a dataset does.

    Args:
        annotations: the folder; None has none.
        bag: name of the bag, whose subfolder counts as the folder itself, and comes before it.
        drops: receives files that are named otherwise, and all but one of several for the same stamp.
        rule: which of their values are salient.

    Raises:
        InputError: the folder is missing, or its masks hold several class ids.
    """
    found: dict[str, Path] = {}
    if annotations is None:
        return found
    if not annotations.is_dir():
        raise InputError(f"{annotations}: expected a folder of masks <stamp_ns>.png, got none; check --annotations")
    paths = [path for path in annotations.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    for path in sorted(paths, key=lambda path: (-len(path.parts), IMAGE_SUFFIXES.index(path.suffix.lower()), path)):
        if not path.stem.isdigit():
            drops.add("annotation is not named by a stamp", str(path))
            continue
        folder = path.parent
        if folder.name.lower() == _MASKS and folder != annotations:
            folder = folder.parent
        key = path.stem if folder in (annotations, annotations / bag) else f"{folder.name}/{path.stem}"
        if key in found:
            drops.add("second annotation of a stamp", f"{path}, {found[key]} is taken")
        else:
            found[key] = path
    _check_values(found, rule)
    return found


def _check_values(annotations: dict[str, Path], rule: MaskRule) -> None:
    """Refuse annotations that hold several class ids, one a file or all in one, before half of them are taken."""
    paths = list(annotations.values())[:_LOOK_AT]
    try:
        ids = mixed_values(map(read_pixels, paths)) if rule == AUTO else None
    except InputError:
        return  # told when the file is used
    if ids is not None:
        listed = ", ".join(map(str, ids[:8]))
        raise InputError(f"{paths[0].parent}: expected masks of two values, got {listed}; say which with --mask-values")


def annotation_of(annotations: dict[str, Path], video: str, stem: str) -> Path | None:
    """The annotation of a frame, the video's own before the bag's."""
    return annotations.get(f"{video}/{stem}") or annotations.get(stem)


def count_strays(annotations: dict[str, Path], videos: Iterable[Path], drops: Drops) -> None:
    """Count the annotations that no frame took: all when none fits, else those of the recording's time.

    A folder may hold those of several recordings.

    Args:
        annotations: from `find_annotations`.
        videos: folders of the recording's videos.
        drops: receives them.
    """
    frames = [(video.name, path.stem) for video in videos for path in (video / "rgb").glob("*.png")]
    stamps, fitting = {int(stem) for _, stem in frames}, {key for _, key in frames} | {"/".join(key) for key in frames}
    strays = [path for key, path in annotations.items() if key not in fitting]
    if stamps and len(strays) < len(annotations):
        strays = [path for path in strays if min(stamps) <= int(path.stem) <= max(stamps)]
    drops.add("annotation without a frame of its stamp", str(strays[0]) if strays else "", len(strays))


def make_labeller(
    annotations: Path | None,
    model: str | None,
    bag: str,
    drops: Drops,
    min_confidence: float = 0.0,
    rule: MaskRule = AUTO,
    mask_topic: str | None = None,
    unit_m: float = DEFAULT_UNIT_M,
) -> Labeller:
    """Find the annotations and load the model.

    Args:
        annotations: folder with `<stamp_ns>.png`, in it or in subfolders `<video>` or `<bag>`.
        model: name or path of a model for pseudo labels.
        bag: name of the bag.
        drops: receives annotation files that are named otherwise.
        min_confidence: pseudo labels below are left out.
        rule: which values of annotations are salient.
        mask_topic: where the bag's own masks come from; those of the node are predictions, and are called so.
        unit_m: length of one count of 16-bit depth, for the model. Metres.

    Raises:
        InputError: the annotation folder is missing, or its masks hold several class ids.
        CheckpointError: the model is.
    """
    found = find_annotations(annotations, bag, drops, rule)
    pipeline = None
    if model is not None:
        from m4sam_core.pipeline import SaliencyPipeline

        pipeline = SaliencyPipeline.from_name(model, PipelineConfig(depth=DepthConfig(unit_m=unit_m)))
    return Labeller(found, pipeline, Path(model).name if model else "", min_confidence, rule, mask_topic)
