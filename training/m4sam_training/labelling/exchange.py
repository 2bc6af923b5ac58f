# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A folder for a labelling tool out of a dataset, and a tool's file back into it (docs/labelling.md)."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from m4sam_core.errors import InputError
from m4sam_core.host.files import scratch_folder, sync, whole_folder
from m4sam_core.host.outputs import check_new_folder
from m4sam_core.host.progress import tracked
from m4sam_core.rgbd.image_files import exif_orientation, image_size, write_png
from m4sam_training.data.names import safe_name
from m4sam_training.data.predicted_masks import note_drawn, read_predicted
from m4sam_training.labelling.coco import COCO_FILE, CocoWriter, read_coco
from m4sam_training.labelling.cvat import CVAT_FILE, CvatWriter, read_cvat
from m4sam_training.labelling.frames import (
    FRAMES_FILE,
    IMAGES_FOLDER,
    LABEL,
    LabelFrame,
    read_frames,
    write_frames,
)
from m4sam_training.labelling.label_studio import LABEL_STUDIO_FILE, LabelStudioWriter, read_label_studio
from m4sam_training.labelling.returned import Parsed, Returned

Format = Literal["coco", "cvat", "label-studio"]
FORMATS: tuple[Format, ...] = ("coco", "cvat", "label-studio")
FILES: dict[Format, str] = {"coco": COCO_FILE, "cvat": CVAT_FILE, "label-studio": LABEL_STUDIO_FILE}
Accept = Literal["changed", "all"]
ACCEPTS: tuple[Accept, ...] = ("changed", "all")
_NAMED = 5
_LOST = (
    "expected the mask it was exported with, or a correction, got none, as of every image nobody drew on: was the mask "
    "loaded into the tool? When nothing is salient there, --accept all"
)
_LARGEST_BYTES = 1 << 31


@dataclass
class ImportReport:
    """What became of a tool's file.

    Attributes:
        drawn: masks that are ground truth now.
        unchanged: predictions that came back as they were and stay predictions.
        untouched: frames without a mask that came back without one.
        absent: exported frames that the file does not mention.
        several: images that more than one person submitted.
        filled: of the masks that are ground truth now, those whose outlines may have been meant with holes.
        left_out: what could not be used, one line each.
    """

    drawn: int = 0
    unchanged: int = 0
    untouched: int = 0
    absent: int = 0
    several: int = 0
    filled: int = 0
    left_out: list[str] = field(default_factory=list)


class ToolWriter(Protocol):
    """The file of one tool: frames in their order, then written."""

    def add(self, frame: LabelFrame, mask: np.ndarray | None) -> None:
        """One frame with its mask (H, W), uint8, 0 or 255; None without one."""

    def write(self, folder: Path) -> None:
        """Write what was added."""


def export_frames(
    frames: Sequence[tuple[LabelFrame, Path]], data: Path, out: Path, formats: Sequence[Format], address: str = ""
) -> None:
    """Write images, the table of frames and a file for each tool; the folder appears when it is complete.

    Args:
        frames: from `choose_frames`, with the files of their images.
        data: the dataset.
        out: new or empty folder.
        formats: which files to write.
        address: of the images for Label Studio; "": as it serves local files beside the folder.

    Raises:
        ConfigError: the folder is not empty, or a package is missing.
        InputError: a mask cannot be read, or an image is turned by its EXIF orientation.
    """
    check_new_folder(out)
    where = address or f"/data/local-files/?d={out.resolve().name}/{IMAGES_FOLDER}/"
    opened: dict[Format, Callable[[], ToolWriter]] = {
        "coco": CocoWriter, "cvat": CvatWriter, "label-studio": lambda: LabelStudioWriter(where)
    }  # fmt: skip
    writers = [opened[name]() for name in dict.fromkeys(formats)]
    with whole_folder(out) as draft:
        (draft / IMAGES_FOLDER).mkdir()
        write_frames(draft / FRAMES_FILE, [frame for frame, _ in frames])
        for frame, image in tracked(frames, "exporting"):
            _link(image, draft / IMAGES_FOLDER / frame.name)
            mask = frame.mask(data)
            for writer in writers:
                writer.add(frame, mask)
        for writer in writers:
            writer.write(draft)


def import_labels(
    file: Path,
    table: Path,
    data: Path,
    accept: Accept = "changed",
    salient: Collection[str] = (LABEL,),
    *,
    skip: bool = False,
) -> ImportReport:
    """Bring the masks of a tool's file into the dataset, as ground truth.

    Nothing is written before the whole file was looked at.

    Args:
        file: COCO JSON, Label Studio JSON, CVAT XML, or a zip archive that holds one of them.
        table: the exported folder, or its frames.csv.
        data: the dataset, in the m4sam layout.
        accept: "changed": masks that differ from the dataset's, and those that the tool says a person made; "all":
            somebody looked at every image of the file, also where nothing was changed or nothing is salient.
        salient: names of the labels that are salient.
        skip: leave out what cannot be used instead of refusing the file.

    Raises:
        InputError: the file or the table cannot be read; without `skip`, an image of an unknown name, of another size
            than its frame, of a frame that the dataset does not have, or whose mask was lost on the way.
        ConfigError: a package is missing.
    """
    frames, parsed = read_frames(table), read_file(file, salient)
    report = ImportReport(several=parsed.several, left_out=list(parsed.flaws))
    usable: list[tuple[LabelFrame, Returned]] = []
    images: dict[Path, dict[str, Path]] = {}
    for name, returned in parsed.images.items():
        frame = frames.get(name)
        flaw = "expected an exported image, got a name that is not in the table" if frame is None else None
        if frame is not None:
            flaw = _misfit(frame, returned, data, images)
        if frame is None or flaw is not None:
            report.left_out.append(f"{name}: {flaw}")
        else:
            usable.append((frame, returned))
    lost = _lost(usable, data) if accept == "changed" else []
    report.left_out += [f"{frame.name}: {_LOST}" for frame in lost]
    usable = [item for item in usable if item[0] not in lost]
    if report.left_out and not skip:
        more = f"; and {len(report.left_out) - _NAMED} more" if len(report.left_out) > _NAMED else ""
        raise InputError(
            f"{file}: {'; '.join(report.left_out[:_NAMED])}{more}. Nothing was written; --skip-flawed takes the rest"
        )
    report.absent = len(frames.keys() - parsed.images.keys())
    drawn: dict[Path, list[LabelFrame]] = {}
    folders = {frame.folder(data) for frame, _ in usable}
    predicted = {folder: read_predicted(folder).keys() for folder in folders}
    with scratch_folder(data / "labels") as scratch:
        for frame, returned in usable:
            if _take(frame, returned, data, accept, scratch):
                drawn.setdefault(frame.folder(data), []).append(frame)
                report.filled += returned.filled
            elif frame.stem in predicted[frame.folder(data)]:
                report.unchanged += 1
            elif frame.mask_file(data) is None:
                report.untouched += 1
        for folder, taken in drawn.items():
            # Noted first: stopped in between, the same file says the same again. The other way round, a mask that is
            # in place and still noted as a prediction would pass for one that nobody touched.
            note_drawn(folder, [frame.stem for frame in taken])
            for frame in taken:
                if (made := _aside(scratch, frame)).is_file():
                    frame.mask_path(data).parent.mkdir(exist_ok=True)
                    os.replace(made, frame.mask_path(data))
            sync(folder)
            report.drawn += len(taken)
    return report


def read_file(file: Path, salient: Collection[str]) -> Parsed:
    """A tool's file, whichever of the formats it is in.

    Raises:
        InputError: it is in none, or damaged.
    """
    try:
        text = _text_of(file)
    except (OSError, UnicodeDecodeError, zipfile.BadZipFile, RuntimeError) as error:
        raise InputError(f"{file}: expected a tool's file, got {error}; export it anew") from None
    try:
        if text.lstrip("\ufeff \n\r\t").startswith("<"):
            return read_cvat(text.lstrip("\ufeff \n\r\t"), salient)
        values: Any = json.loads(text)
        if isinstance(values, list):
            return read_label_studio(values, salient)
        if isinstance(values, dict):
            return read_coco(values, salient)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{file}: expected JSON or XML, got {error}; export it anew") from None
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    raise InputError(f"{file}: expected COCO, Label Studio or CVAT, got {type(values).__name__}; export it anew")


def _text_of(file: Path) -> str:
    if not zipfile.is_zipfile(file):
        return file.read_text(encoding="utf-8")
    with zipfile.ZipFile(file) as archive:
        listed = (info for info in archive.infolist() if not info.filename.startswith("__MACOSX/"))
        inside = [info for info in listed if info.filename.lower().endswith((".xml", ".json"))]
        if len(inside) != 1 or inside[0].file_size > _LARGEST_BYTES:
            names = ", ".join(info.filename for info in inside[:_NAMED]) or "none"
            raise RuntimeError(f"an archive with {names} where one .xml or .json was expected")
        return archive.read(inside[0]).decode("utf-8")


def _misfit(frame: LabelFrame, returned: Returned, data: Path, images: dict[Path, dict[str, Path]]) -> str | None:
    """Why a mask cannot go to its frame; None when it can. `images` remembers the pictures of each video by stem."""
    parts = (frame.split, frame.video, frame.stem)
    image = None
    if all(map(safe_name, parts)):
        folder = frame.folder(data) / "rgb"
        if folder not in images:
            images[folder] = {path.stem: path for path in folder.glob("*")}
        image = images[folder].get(frame.stem)
    if image is None:
        return f"expected the frame {'/'.join(parts)} in {data}, got none; give the dataset it came from"
    size = image_size(image)
    if returned.mask.size and returned.mask.shape != size:
        height, width = returned.mask.shape
        return f"expected a mask of {size[1]}x{size[0]} px, got {width}x{height}"
    return None


def _lost(usable: Sequence[tuple[LabelFrame, Returned]], data: Path) -> list[LabelFrame]:
    """Frames whose mask is gone, where no frame came back with the mask it was exported with.

    A tool that was given the images alone returns nothing for each that nobody has drawn on yet.
    """
    gone: list[LabelFrame] = []
    for frame, returned in usable:
        if returned.confirmed:
            continue
        before = frame.mask(data)
        if before is None or not before.any():
            continue
        if returned.mask.any() and returned.is_like(before):
            return []
        if not returned.mask.any():
            gone.append(frame)
    return gone


def _take(frame: LabelFrame, returned: Returned, data: Path, accept: Accept, scratch: Path) -> bool:
    """Whether a mask is a person's; it is then written aside, unless the dataset has it as it is."""
    mask = returned.mask if returned.mask.size else np.zeros((frame.height, frame.width), np.uint8)
    before = frame.mask(data)
    same = replace(returned, mask=mask).is_like(before) if before is not None else not mask.any()
    if same and accept == "changed" and not returned.confirmed:
        return False
    if before is None or not np.array_equal(before, mask):
        write_png(_aside(scratch, frame), mask)
    return True


def _aside(scratch: Path, frame: LabelFrame) -> Path:
    return scratch / frame.split / frame.video / f"{frame.stem}.png"


def _link(image: Path, target: Path) -> None:
    """The image under another name, without a copy where the file system can do so."""
    if exif_orientation(image) != 1:
        raise InputError(
            f"{image}: expected an image as it is stored, got an EXIF orientation, by which tools turn it and what is "
            "drawn on it; remove it, e.g. with `exiftool -Orientation= FILE`"
        )
    try:
        os.link(image.resolve(), target)
    except OSError:
        shutil.copyfile(image, target)
