# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a memory carries what was salient: clips in which only the past can tell, what bad masks cost, situations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from m4sam_core.model.m4sam import M4SAM
from m4sam_core.stream.recurrence import unroll_clip
from m4sam_training.edge.data import as_model_sees
from m4sam_training.edge.teaching import BAD_PRIORS, is_story, spoiled
from m4sam_training.synth.clip import DrawScene, draw_room, generate_clip
from m4sam_training.synth.scene import Scene, SceneStyle
from m4sam_training.synth.scenes.arrivals import draw_arrival
from m4sam_training.synth.scenes.situations import SITUATIONS, SituationBuilder
from m4sam_training.synth.scenes.stories import StoryBuilder, draw_story
from m4sam_training.synth.scenes.streets import draw_street

FIRST_STORY_SEED, FIRST_ORDINARY_SEED, FIRST_SHIFT_SEED = 1_700_000, 1_720_000, 1_740_000
FIRST_SITUATION_SEED, FIRST_ARRIVAL_SEED = 1_600_000, 1_760_000
FPS = 8.0
SHIFT_WITHIN = 10  # frames
_AFTER = 5  # frames after which a bad prior must be forgotten

Arrays = dict[str, npt.NDArray[np.generic]]
Remembered = Callable[[int, Tensor], Tensor]
_Maps = npt.NDArray[np.float32]


def memory_rows(model: M4SAM, style: SceneStyle, clips: int, ordinary: int, shifts: int) -> dict[str, dict[str, float]]:
    """Overlap of masks (IoU at 0.5) with what is asked for, by how the memory was treated.

    Args:
        model: the network, in evaluation mode.
        style: what scenes are made of; of pictures that no training saw.
        clips: stories, 8 frames each.
        ordinary: plain clips, and as many into which things come; 8 frames each.
        shifts: clips in which attention must shift, 18 frames each.

    Returns:
        "only the past can tell": as shipped, inverted memory, memory off, over the frames in which the picture alone
        would mark more. "the picture tells": the same, and each of `BAD_PRIORS` in place of the prior, over the frames
        from the sixth on; "things come in": as shipped, inverted memory, memory off, over such frames; "attention
        shifts": the mean over the frames from the tenth after the change.
    """
    size_px = model.cfg.input_size_px
    stories = held_out(style, draw_story, FIRST_STORY_SEED, clips, 8, size_px)
    plain = held_out(style, draw_room, FIRST_ORDINARY_SEED, ordinary, 8, size_px)
    come = held_out(style, draw_arrival, FIRST_ARRIVAL_SEED, ordinary, 8, size_px)
    moved = [clip for kind in ("leaves", "outshone") for clip in _shifting(style, kind, shifts, size_px)]
    return {
        "only the past can tell": _treatments(model, stories, _ambiguous),
        "the picture tells": _treatments(model, plain, _late) | _bad_priors(model, plain),
        "things come in": _treatments(model, come, _late),
        "attention shifts": {"as shipped": _mean(_scores(model, moved, _own, partial(_late, first=_shift_frame())))},
    }


def situation_rows(model: M4SAM, style: SceneStyle, clips: int) -> dict[str, dict[str, float]]:
    """What pictures of each kind of situation cost (`SituationBuilder`), and streets, two frames a clip.

    Args:
        model: the network, in evaluation mode.
        style: what scenes are made of; of pictures that no training saw.
        clips: of each kind.

    Returns:
        by kind: IoU at 0.5 as shipped and with memory off, and, where frames without anything salient were drawn,
        "marked where nothing is salient", a share of the picture.
    """
    rows = {}
    draws: dict[str, DrawScene] = {kind: partial(_situation, kind) for kind in SITUATIONS} | {"street": draw_street}
    for kind, draw in draws.items():
        shown = held_out(style, draw, FIRST_SITUATION_SEED, clips, 2, model.cfg.input_size_px)
        final, coarse, marked = [], [], []
        for clip in shown:
            maps = _play(model, clip, _own(clip))
            every = np.ones(len(maps[0]), bool)
            final += _overlaps(maps[0], clip, every)
            coarse += _overlaps(maps[1], clip, every)
            empty = ~(_unit_mask(clip) > 0.5).any(axis=(1, 2))
            marked += [float((prob > 0.5).mean()) for prob in maps[0][empty]]
        rows[kind] = {"as shipped": _mean(final), "memory off": _mean(coarse)}
        if marked:
            rows[kind]["marked where nothing is salient"] = _mean(marked)
    return rows


def _situation(
    kind: str,
    style: SceneStyle,
    rng: np.random.Generator,
    aspect: float,
    stamps: npt.NDArray[np.float64],  # noqa: ARG001 (one signature)
) -> Scene:
    return SituationBuilder(style, rng, aspect).situation(kind)


def held_out(
    style: SceneStyle, draw: DrawScene, first_seed: int, clips: int, frames: int, size_px: int
) -> list[Arrays]:
    """Clips as the model sees them, 240x320 at 8 frames/s before."""
    seeds = range(first_seed, first_seed + clips)
    shown = (generate_clip(seed, frames, 240, 320, FPS, style, severity=0.3, draw=draw) for seed in seeds)
    return [as_model_sees(clip, size_px) for clip in shown]


def _shift_frame() -> int:
    """The first frame that must show the new thing: changes lie within the first six."""
    return 6 + SHIFT_WITHIN


def _shifting(style: SceneStyle, kind: str, clips: int, size_px: int) -> list[Arrays]:
    def draw(style: SceneStyle, rng: np.random.Generator, aspect: float, stamps: npt.NDArray[np.float64]) -> Scene:
        return StoryBuilder(style, rng, aspect).story(kind, stamps[:6])

    return held_out(style, draw, FIRST_SHIFT_SEED, clips, _shift_frame() + 2, size_px)


# ------------------------------------------------------------------------------------------- treatments


def _own(clip: Arrays) -> Remembered:
    """The model's own masks; but of equals the first frame is told which one is meant."""
    return partial(_remember, _told(clip), None)


def _inverted(clip: Arrays) -> Remembered:
    """The opposite of every mask and prior that `_own` would remember."""
    return partial(_remember, _told(clip), _invert)


def _spoilt(how: str, clip: Arrays) -> Remembered:
    bad = torch.from_numpy(spoiled(_unit_mask(clip)[0], how, np.random.default_rng(0)))
    return partial(_remember, bad[None, None], None)


def _remember(prior: Tensor | None, change: Callable[[Tensor], Tensor] | None, number: int, mask: Tensor) -> Tensor:
    mask = prior if number < 0 and prior is not None else mask
    return mask if change is None else change(mask)


def _invert(mask: Tensor) -> Tensor:
    return 1 - mask


def _told(clip: Arrays) -> Tensor | None:
    mask, label = _unit_mask(clip), np.asarray(clip["label"], np.uint8)
    return torch.from_numpy(mask[:1, None]) if is_story(mask[:1], label[:1]) else None


# ---------------------------------------------------------------------------------------------- scores


def _treatments(
    model: M4SAM, clips: Sequence[Arrays], wanted: Callable[[Arrays], npt.NDArray[np.bool_]]
) -> dict[str, float]:
    with_memory, without = [], []
    for clip in clips:
        final, coarse = _play(model, clip, _own(clip))
        with_memory += _overlaps(final, clip, wanted(clip))
        without += _overlaps(coarse, clip, wanted(clip))
    return {
        "as shipped": _mean(with_memory),
        "inverted memory": _mean(_scores(model, clips, _inverted, wanted)),
        "memory off": _mean(without),
    }


def _bad_priors(model: M4SAM, clips: Sequence[Arrays]) -> dict[str, float]:
    return {f"prior {how}": _mean(_scores(model, clips, partial(_spoilt, how), _late)) for how in BAD_PRIORS}


def _scores(
    model: M4SAM,
    clips: Sequence[Arrays],
    treatment: Callable[[Arrays], Remembered],
    wanted: Callable[[Arrays], npt.NDArray[np.bool_]],
) -> list[float]:
    return [iou for clip in clips for iou in _overlaps(_play(model, clip, treatment(clip))[0], clip, wanted(clip))]


def _play(model: M4SAM, clip: Arrays, remembered: Remembered) -> tuple[_Maps, _Maps]:
    """Final and coarse masks (T, S, S) in [0, 1]."""
    rgb = torch.from_numpy(np.asarray(clip["rgb"], np.float32) / 255).permute(0, 3, 1, 2)[None]
    depth = torch.from_numpy(np.asarray(clip["depth"], np.float32) / 65535)[None, :, None]
    with torch.inference_mode():
        out = unroll_clip(model, rgb, depth, aux=False, remembered=remembered)
    return out.mask_prob[0, :, 0].numpy(), torch.sigmoid(out.coarse_logits[-1])[0, :, 0].numpy()


def _overlaps(prob: _Maps, clip: Arrays, frames: npt.NDArray[np.bool_]) -> list[float]:
    """IoU at 0.5 in those frames that ask for anything."""
    wanted = _unit_mask(clip) > 0.5
    found = prob > 0.5
    return [
        float((found[t] & wanted[t]).sum() / (found[t] | wanted[t]).sum())
        for t in np.flatnonzero(frames & wanted.any(axis=(1, 2)))
    ]


def _ambiguous(clip: Arrays) -> npt.NDArray[np.bool_]:
    """Frames in which the picture alone would mark more than is asked for."""
    mask, label = _unit_mask(clip), np.asarray(clip["label"], np.uint8)
    return np.array([is_story(mask[t : t + 1], label[t : t + 1]) for t in range(len(mask))])


def _late(clip: Arrays, first: int = _AFTER) -> npt.NDArray[np.bool_]:
    """Frames from the sixth, or another one, on."""
    return np.arange(len(clip["mask"])) >= first


def _unit_mask(clip: Arrays) -> _Maps:
    return np.asarray(clip["mask"], np.float32) / np.float32(255)


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else float("nan")
