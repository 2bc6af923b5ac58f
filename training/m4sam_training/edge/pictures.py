# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Real photographs for the clips: a folder that the project does not hold, checked against a list of hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from m4sam_core.errors import InputError
from m4sam_core.host.files import whole_file

MANIFEST = Path(__file__).with_name("pictures.sha256")
_SIDE_PX = 320
_LEAST_AREA, _MOST_AREA = 0.03, 0.6  # of the photograph; what is larger touches its border
_LEAST_CONTRAST = 25.0  # grey levels between a thing's rim and the board around it


def add_pictures(source: Path, assets: Path) -> dict[str, int]:
    """Fill stills/ (things cut out of objects/) and clutter/ (photographs of grocery/); what is there is kept.

    Args:
        source: folder with objects/ and grocery/ (docs/models.md names their public sources).
        assets: the folder that clips are rendered from.

    Returns:
        number of files by folder.

    Raises:
        InputError: a photograph of the list is missing or another one.
    """
    verify(source, MANIFEST)
    stills, clutter = assets / "stills", assets / "clutter"
    stills.mkdir(parents=True, exist_ok=True)
    clutter.mkdir(parents=True, exist_ok=True)
    for path in sorted((source / "objects").glob("*.jpg")):
        target = stills / f"{path.stem}.png"
        if target.exists() or (still := cut_out(_read(path))) is None:
            continue
        _write(target, ".png", still)
    for path in sorted((source / "grocery").glob("*.jpg")):
        if not (clutter / path.name).exists():
            _write(clutter / path.name, ".jpg", _read(path))
    return {"stills": len(list(stills.glob("*.png"))), "clutter": len(list(clutter.glob("*.jpg")))}


def verify(source: Path, manifest: Path) -> None:
    """Check every file that a list of `<sha256>  <path>` lines names.

    Raises:
        InputError: one is missing or another one.
    """
    for line in manifest.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = source / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise InputError(
                f"{path}: expected the photograph with SHA-256 {digest}, found "
                f"{'another one' if path.is_file() else 'none'}; fetch it from the source that docs/models.md names"
            )


def cut_out(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """The one thing on a plain board, as BGRA (S, S, 4); None where board and thing cannot be told apart.

    Args:
        photo (H, W, 3): BGR.
    """
    height, width = photo.shape[:2]
    soft = cv2.bilateralFilter(photo, 7, 30, 7).astype(np.float32)
    apart = np.abs(soft - _board(soft)).max(axis=2)
    threshold, _ = cv2.threshold(np.clip(apart, 0, 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    mask = (apart > max(16.0, 0.7 * threshold)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    largest = max(contours, key=cv2.contourArea)
    filled = np.zeros((height, width), np.uint8)
    cv2.drawContours(filled, [largest], -1, 255, -1)
    left, top, wide, high = cv2.boundingRect(largest)
    whole = left > 2 and top > 2 and left + wide < width - 2 and top + high < height - 2
    area = float((filled > 0).mean())
    compact = cv2.contourArea(largest) > 0.8 * cv2.contourArea(cv2.convexHull(largest))
    rim = cv2.morphologyEx(filled, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    if not (whole and compact and _LEAST_AREA < area < _MOST_AREA and float(apart[rim].mean()) > _LEAST_CONTRAST):
        return None
    side = round(max(wide, high) * 1.06)
    centre = (left + wide / 2, top + high / 2)
    shift = np.array([[1, 0, side / 2 - centre[0]], [0, 1, side / 2 - centre[1]]], np.float64)
    alpha = cv2.GaussianBlur(cv2.erode(filled, np.ones((3, 3), np.uint8)), (3, 3), 0)
    bgra = cv2.warpAffine(np.dstack([photo, alpha]), shift, (side, side))
    return np.asarray(cv2.resize(bgra, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _board(soft: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The board without the thing: a curved plane through the photograph's border, but for what does not fit there."""
    height, width = soft.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    terms = np.stack(
        [np.ones_like(rows), rows / height, columns / width, (rows / height) ** 2, (columns / width) ** 2], -1
    )
    rim = np.ones((height, width), bool)
    rim[height // 12 : -(height // 12), width // 12 : -(width // 12)] = False
    inlier = rim
    for _ in range(3):
        plane = np.linalg.lstsq(terms[inlier], soft[inlier], rcond=None)[0]
        board = terms @ plane
        off = np.abs(soft - board).max(axis=2)
        inlier = rim & (off <= np.quantile(off[rim], 0.7))
    return np.asarray(board, np.float32)


def _read(path: Path) -> npt.NDArray[np.uint8]:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(f"{path}: expected a photograph, could not decode it; fetch it again")
    return np.asarray(picture, np.uint8)


def _write(path: Path, suffix: str, picture: npt.NDArray[np.uint8]) -> None:
    with whole_file(path) as draft:
        draft.write_bytes(cv2.imencode(suffix, picture)[1].tobytes())
