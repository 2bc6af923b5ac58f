# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What the memory is shown in training: the mask asked for, the model's own, or a bad one that must not matter."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# Chances in one clip. Between them they leave the model's own masks, with which it has to live.
_PRIOR_ASKED, _PRIOR_BAD = 0.1, 0.5  # of a clip that the picture alone tells
_BAD_ON = 4  # a bad prior may stay for so many frames, as a mistake of the model's own would
_LATER_ASKED, _LATER_BAD = 0.1, 0.15
_STORY_PRIOR_ASKED, _STORY_ALL_ASKED, _STORY_PART = 0.5, 0.5, 0.25


@dataclass(frozen=True)
class Lesson:
    """What one clip asks for and what its memory is given.

    Attributes:
        mask (T, S, S): what the final mask should be, in [0, 1].
        picture_mask (T, S, S): what every picture alone says.
        taught (T, S, S): masks to remember, of the prior first and then of frames 0 to T-2.
        teach (T,): bool, which of them take the place of the model's own.
    """

    mask: FloatArray
    picture_mask: FloatArray
    taught: FloatArray
    teach: npt.NDArray[np.bool_]


def lesson(mask: FloatArray, label: npt.NDArray[np.uint8], rng: np.random.Generator) -> Lesson:
    """Draw what is asked for and remembered.

    Args:
        mask (T, S, S): what the clip asks for, in [0, 1].
        label (T, S, S): see `SynthFrame`.
        rng: source of the choice.
    """
    seen = (label > 0).astype(np.float32)
    if not is_story(mask, label):
        return Lesson(mask, mask, *_ordinary(mask, rng))
    teach = np.zeros(len(mask), bool)
    if _any_will_do(mask, label):
        asked = _choose(label, rng)
        teach[0] = True  # nothing else tells them apart
    else:
        asked = mask
        teach[0] = rng.random() < _STORY_PRIOR_ASKED
    if rng.random() < _STORY_ALL_ASKED:
        teach[1:] = True
    taught = np.concatenate([asked[:1], asked[:-1]])
    if rng.random() < _STORY_PART:
        taught[0] = spoiled(taught[0], "part", rng)
    return Lesson(asked, np.maximum(seen, asked), taught, teach)


def is_story(mask: FloatArray, label: npt.NDArray[np.uint8]) -> bool:
    """Whether the picture alone would mark more than is asked for."""
    return bool(((label > 0) & (mask < 0.1)).mean() > 1e-3)


def _any_will_do(mask: FloatArray, label: npt.NDArray[np.uint8]) -> bool:
    """Whether the first frame already holds more than one thing and asks for one of them."""
    return len(np.unique(label[0])) > 2 and is_story(mask[:1], label[:1])


def _choose(label: npt.NDArray[np.uint8], rng: np.random.Generator) -> FloatArray:
    """One of the things, or all but one."""
    things = np.unique(label[0][label[0] > 0])
    chosen = np.asarray(label == rng.choice(things), np.float32)
    if len(things) > 2 and rng.random() < 0.3:
        return (label > 0).astype(np.float32) - chosen
    return chosen


def _ordinary(mask: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    taught = np.concatenate([mask[:1], mask[:-1]])
    teach = np.zeros(len(mask), bool)
    draw = rng.random()
    if draw < _PRIOR_ASKED + _PRIOR_BAD:
        teach[0] = True
        if draw > _PRIOR_ASKED:
            how, seed, last = _drawn(rng), int(rng.integers(1 << 31)), int(rng.integers(1, 1 + _BAD_ON))
            teach[:last] = True
            taught[:last] = [spoiled(each, how, np.random.default_rng(seed)) for each in taught[:last]]
            return taught, teach
    draw = rng.random()
    if draw < _LATER_ASKED:
        teach[1:] = True
    elif draw < _LATER_ASKED + _LATER_BAD and len(mask) > 1:
        place = int(rng.integers(1, len(mask)))
        teach[place] = True
        taught[place] = spoiled(taught[place], _drawn(rng), rng)
    return taught, teach


BAD_PRIORS = ("flipped", "shifted", "empty", "full")
_TAUGHT_PRIORS = (*BAD_PRIORS, "shifted", "part", "elsewhere")  # what lies elsewhere is the hardest to doubt


def _drawn(rng: np.random.Generator) -> str:
    return _TAUGHT_PRIORS[int(rng.integers(len(_TAUGHT_PRIORS)))]


def spoiled(mask: FloatArray, how: str, rng: np.random.Generator) -> FloatArray:
    """A mask (S, S) that is wrong.

    Args:
        mask (S, S): the right one, in [0, 1].
        how: "flipped": a fifth of it, in patches; "shifted": by a quarter; "empty"; "full"; "part": a half of each
            thing; "elsewhere": its mirror image in another place.
        rng: source of the choice.

    Raises:
        ValueError: `how` is none of these.
    """
    if how == "flipped":
        field = cv2.resize(rng.random((12, 12), dtype=np.float32), mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
        return np.where(field < 0.2, 1 - mask, mask).astype(np.float32)
    if how == "shifted":
        quarter = (mask.shape[0] // 4, mask.shape[1] // 4)
        sign = rng.choice([-1, 1], 2)
        return np.roll(mask, (int(quarter[0] * sign[0]), int(quarter[1] * sign[1])), axis=(0, 1))
    if how == "empty":
        return np.zeros_like(mask)
    if how == "full":
        return np.ones_like(mask)
    if how == "part":
        return _halves(mask, float(rng.uniform(0, 2 * np.pi)))
    if how == "elsewhere":
        away = rng.integers(mask.shape[0] // 4, 3 * mask.shape[0] // 4, 2)
        return np.roll(mask[:, ::-1], (int(away[0]), int(away[1])), axis=(0, 1))
    raise ValueError(f"how: expected one of {', '.join(dict.fromkeys(_TAUGHT_PRIORS))}, got {how}")


def _halves(mask: FloatArray, angle: float) -> FloatArray:
    """What lies on one side of each thing's centre."""
    _, things, _, centres = cv2.connectedComponentsWithStats(np.asarray(mask > 0.5, np.uint8))
    rows, columns = np.indices(mask.shape)
    off_x, off_y = columns - centres[things, 0], rows - centres[things, 1]
    return np.where(np.cos(angle) * off_x + np.sin(angle) * off_y > 0, mask, 0).astype(np.float32)
