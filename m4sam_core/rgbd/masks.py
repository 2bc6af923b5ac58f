# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the values of a mask mean. Foreground is not always bright: labelling tools write 0 and 1, class ids, palettes.

`auto` understands what is beyond doubt and refuses the rest, because a mask read wrongly is an empty ground truth:

| values of the file | salient |
|---|---|
| dark and bright, with soft edges or without (8 or 16 bit, float 0..1) | what is above half of the range |
| 0 and one other value (0/1, one class id, one colour on black) | the other value |
| an alpha channel that varies | what is opaque; of a black and white picture, what is also white |
| several class ids, several colours, no black background | refused: say which, see `MaskRule` |
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m4sam_core.errors import ConfigError, InputError
from m4sam_core.rgbd.image_files import palette_indices, read_pixels

Mask = NDArray[np.uint8]
_WORDS = ("auto", "bright", "nonzero", "alpha")
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_FEW = 32  # a mask of no more values holds ids or clean edges, one of more is a soft picture
_DIM = 127  # what is not above is dark in an 8-bit mask
_BLACK = 40  # a channel below is black, as lossy files leave it
_SMALLEST_SHARE = 0.005  # colours of fewer pixels are the edges of others


@dataclass(frozen=True)
class MaskRule:
    """Which pixels are salient.

    Attributes:
        word: auto, bright (above half of the range), nonzero, alpha (opaque), or "values".
        values: with "values": those of the file (of a palette file its indices) that are salient.
    """

    word: str = "auto"
    values: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> MaskRule:
        """A rule from `auto`, `bright`, `nonzero`, `alpha`, or values such as `1,3-5`.

        Raises:
            ConfigError: none of these.
        """
        if text in _WORDS:
            return cls(text)
        values: set[int] = set()
        for part in text.split(","):
            match = _RANGE.fullmatch(part.strip())
            if match is None:
                raise ConfigError(f"mask values: expected {', '.join(_WORDS)} or values as in 1,3-5, got {text!r}")
            first = int(match.group(1))
            values.update(range(first, int(match.group(2) or first) + 1))
        return cls("values", frozenset(values))


AUTO = MaskRule()


@dataclass(frozen=True)
class ReadMask:
    """A mask and how it was understood.

    Attributes:
        mask (H, W): uint8, 255 where salient, else 0.
        note: what is unusual about the file, for people; None for dark and bright.
        dim_value: the one value of the file besides 0, where that is not bright and so may be a class's id; else None.
    """

    mask: Mask
    note: str | None = None
    dim_value: float | None = None

    @property
    def is_uniform(self) -> bool:
        """Whether all of it is salient, or nothing."""
        return bool(self.mask.size == 0 or self.mask.min() == self.mask.max())


def read_mask(path: Path, rule: MaskRule = AUTO) -> Mask:
    """Binary mask (H, W) uint8 of a file: 255 where salient, else 0.

    Raises:
        InputError: the file cannot be decoded, or its values do not say what is salient.
    """
    return understand_file(path, rule).mask


def read_ignored(path: Path) -> Mask:
    """What of a picture does not count, (H, W) uint8, 255 there: what is not black; by an alpha channel what is opaque.

    Raises:
        InputError: the file cannot be decoded.
    """
    grey, alpha = _split(read_pixels(path))
    if alpha is not None and alpha.min() != alpha.max():
        return _understand_alpha(grey, alpha > _half(alpha)).mask
    plane = np.nan_to_num(grey if grey.ndim == 2 else grey.max(axis=2))
    lossy = path.suffix.lower() in (".jpg", ".jpeg") and plane.max() > _BLACK
    return _binary(plane > (_BLACK if lossy else 0))


def understand_file(path: Path, rule: MaskRule = AUTO) -> ReadMask:
    """The mask of a file, and what had to be understood.

    Raises:
        InputError: as `read_mask`.
    """
    indices = palette_indices(path) if rule.word in ("auto", "values") else None
    if rule.word == "values" and indices is not None:
        return understand(indices, rule, str(path))
    read = understand(read_pixels(path), rule, str(path))
    if read.is_uniform and indices is not None and indices.size and indices.min() != indices.max():
        raise InputError(
            f"{path}: expected a palette in which what is salient has a colour of its own, got one in which several "
            f"numbers look the same; say which are salient with --mask-values, e.g. {indices.max()}"
        )
    return read


def understand(pixels: NDArray[Any], rule: MaskRule = AUTO, name: str = "mask") -> ReadMask:
    """The mask in an array.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4, alpha last), any type but complex.
        rule: what is salient.
        name: for the error.

    Raises:
        InputError: its values do not say what is salient.
    """
    grey, alpha = _split(pixels)
    if rule.word == "alpha":
        if alpha is None:
            raise InputError(f"{name}: expected a mask with an alpha channel, got none; choose other --mask-values")
        return ReadMask(_binary(alpha > _half(alpha)))
    if rule.word != "auto":
        plane = _one_plane(grey, name)
        if rule.word == "values":
            return ReadMask(_binary(np.isin(plane, sorted(rule.values))))
        return ReadMask(_binary(plane > (0 if rule.word == "nonzero" else _half(plane))))
    if alpha is not None and alpha.size and alpha.min() != alpha.max():
        return _understand_alpha(grey, alpha > _half(alpha))
    return _understand_colours(grey, name) if grey.ndim == 3 else _understand_values(grey, name)


def mixed_values(pixels: Iterable[NDArray[Any]]) -> list[int] | None:
    """The ids when masks of one source hold, together, several small ones of which each may hold one; else None.

    One frame shows class 1 only, the next one 1 and 2: taken alone the first would be read as a mask of 0 and 1.
    """
    seen: set[int] = set()
    for array in pixels:
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
            return None
        values, counts = np.unique(array, return_counts=True)
        if values.size > _FEW:
            return None
        if values[-1] > _half(array) and not _are_ids(values, counts, _half(array)):
            continue  # near black and near white, as lossy files leave them
        seen.update(int(value) for value in values)
    small = sorted(value for value in seen if 0 < value <= _DIM)
    return sorted(seen - {0}) if len(small) > 1 else None


def _split(pixels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Grey plane or colours, and alpha; colours with equal channels are a grey plane."""
    if pixels.ndim == 2:
        return pixels, None
    if pixels.shape[2] in (1, 2):
        return pixels[..., 0], pixels[..., 1] if pixels.shape[2] == 2 else None
    colour, alpha = pixels[..., :3], pixels[..., 3] if pixels.shape[2] == 4 else None
    grey = bool((colour == colour[..., :1]).all())
    return (np.ascontiguousarray(colour[..., 0]) if grey else colour), alpha


def _one_plane(grey: NDArray[Any], name: str) -> NDArray[Any]:
    if grey.ndim == 2:
        return grey
    raise InputError(f"{name}: expected a mask of one value per pixel, got a colour picture; save its class ids")


def _understand_alpha(grey: NDArray[Any], opaque: NDArray[np.bool_]) -> ReadMask:
    """White or black on nothing, a cut-out, or black and white with a border that is transparent."""
    plane = grey if grey.ndim == 2 else np.asarray(grey).max(axis=2)
    bright = plane > _half(plane)
    inside = plane[opaque]
    black_and_white = bool(inside.size) and bool(bright[opaque].any()) and bool((inside == 0).any())
    if black_and_white and np.unique(inside).size <= _FEW:
        return ReadMask(_binary(bright & opaque), "mask with alpha, read as white and opaque")
    return ReadMask(_binary(opaque), "mask in the alpha channel, read as opaque")


def _understand_values(grey: NDArray[Any], name: str) -> ReadMask:
    if np.issubdtype(grey.dtype, np.floating):
        grey = np.nan_to_num(np.asarray(grey, np.float32))
    values, counts = np.unique(grey, return_counts=True)
    half = _half(grey)
    if values.size == 1 and (values[0] == 0 or values[0] > half):
        note = "mask without a salient pixel" if values[0] == 0 else "mask without a background pixel"
        return ReadMask(_binary(grey != 0), note)
    if values.size == 2 and values[0] == 0:
        if values[1] > half:
            return ReadMask(_binary(grey != 0))
        told = f"mask of 0 and {values[1]:g}, read as background and salient"
        return ReadMask(_binary(grey != 0), told, float(values[1]))
    full = 2 * half
    low, high = 0.02 * full, 0.98 * full
    clear = values[-1] > half and values[0] <= half
    if values.size <= _FEW and (not clear or _are_ids(values, counts, half)):
        listed = ", ".join(f"{value:g}" for value in values[:8])
        raise InputError(
            f"{name}: expected a mask of two values, got {listed}{', ...' if values.size > 8 else ''}; "
            "say which are salient with --mask-values, e.g. nonzero or 1,3"
        )
    if not clear:
        raise InputError(
            f"{name}: expected a mask with dark and bright pixels, got {values[0]:g} to {values[-1]:g}; "
            "say what is salient with --mask-values"
        )
    soft = int(counts[(values > low) & (values < high)].sum()) > 0.02 * grey.size
    return ReadMask(_binary(grey > half), "mask is not black and white, cut at half of its range" if soft else None)


def _are_ids(values: NDArray[Any], counts: NDArray[Any], half: float) -> bool:
    """Whether the few values of a mask with a bright one are ids and no soft edge: {0, 1, 255}, a class and its border.

    The near-black of a class fills an area, and its border has one value; lossy files leave little of it around edges.
    """
    low, high, total = 0.04 * half, 1.96 * half, int(counts.sum())
    bright = int(counts[values >= high].sum())
    if values.size > 2 and (bright == 0 or int(counts[(values > low) & (values <= half)].sum()) > bright):
        return True
    near_black = (values > 0) & (values <= low)
    area, alone = int(counts[near_black].sum()), int(near_black.sum()) == 1
    large = area > _SMALLEST_SHARE * total and (area > bright or (alone and area > 4 * _SMALLEST_SHARE * total))
    return int((values > half).sum()) == 1 and large


def _understand_colours(colour: NDArray[Any], name: str) -> ReadMask:
    """One colour on black is a mask; more colours are classes."""
    pixels = np.asarray(colour)
    if pixels.dtype != np.uint8:
        pixels = (pixels.astype(np.float32) * (255 / (2 * _half(pixels)))).clip(0, 255).astype(np.uint8)
    value = pixels.max(axis=2)
    lit = value >= _BLACK
    if not lit.any():
        raise InputError(f"{name}: expected a mask of one colour on black, got a dark picture; save its class ids")
    steps = (pixels[lit] >> 6).astype(np.int32)  # four steps a channel: lossy files blur colours a little
    cells, counts = np.unique(steps @ np.array([16, 4, 1]), return_counts=True)
    main = cells[counts.argmax()]
    others = int(counts[cells != main].sum())
    if lit.all() or others > max(_SMALLEST_SHARE * lit.size, 0.2 * counts.max()):
        colours = "no black background" if lit.all() else f"{int((counts > _SMALLEST_SHARE * lit.size).sum())} colours"
        raise InputError(f"{name}: expected a mask of one colour on black, got {colours}; save its class ids as grey")
    return ReadMask(_binary(value > int(value[lit].max()) // 2), "coloured mask, read as one colour on black")


def _half(values: NDArray[Any]) -> float:
    """The middle of the range that the type, or for wider types the largest value, suggests."""
    if values.dtype in (np.uint8, np.bool_):
        return 0.5 if values.dtype == np.bool_ else _DIM
    largest = float(np.max(values)) if values.size else 0.0
    if np.issubdtype(values.dtype, np.floating):
        return 0.5 if largest <= 1 else _DIM if largest <= 255 else largest / 2
    return _DIM if largest <= 255 else 32767.0


def _binary(salient: NDArray[np.bool_]) -> Mask:
    return np.where(salient, np.uint8(255), np.uint8(0))
