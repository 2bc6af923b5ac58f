# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A model's masks for every annotated frame of a dataset, clip by clip as published or streamed as on the robot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from m4sam_core.config import DepthConfig, PipelineConfig
from m4sam_core.errors import InputError
from m4sam_core.rgbd.clip_folder import frame_times
from m4sam_core.vision.images import resize_prob
from m4sam_training.data.frames import Clip, clip_tensors, read_clip
from m4sam_training.data.layouts import DepthKind
from m4sam_training.data.videos import FALLBACK_FPS, Frame, Irregularity, Scan, Video

if TYPE_CHECKING:
    from m4sam_core.model.m4sam import M4SAM

DEFAULT_CLIP_LENGTH = 16
Fault = Callable[[Video], Callable[[Clip], Clip]]
"""Made anew for every video; receives its clips in order."""


@dataclass(frozen=True)
class Prediction:
    """One frame's result.

    Attributes:
        video: name of the video.
        frame: its files.
        mask_prob (H, W): float32 in [0, 1] at the ground truth's size.
        ground_truth (H, W): uint8, 0 or 255.
        rgb (H, W, 3): uint8, for pictures.
        stored (H, W): the 8-bit mask as read from a file, which is scored as it is; None for a model's prediction.
    """

    video: str
    frame: Frame
    mask_prob: np.ndarray
    ground_truth: np.ndarray
    rgb: np.ndarray
    stored: np.ndarray | None = None


@dataclass(frozen=True)
class PredictConfig:
    """How the model is run.

    Attributes:
        mode: "clip": clips of `clip_length`, the memory restarted at each (the published protocol); "stream": the
            robot's pipeline over every frame of the video at its stamp, depth as the robot prepares it; only annotated
            frames are handed out.
        clip_length: frames per clip.
        depth_kind: real, synthetic, black or copy_rgb.
        double_sigmoid: pass the probability through a second sigmoid, as the published test does (hidden but for
            rounding by the min-max that follows).
        fault: changes clips before the model sees it; for `m4sam robustness`.
    """

    mode: Literal["clip", "stream"] = "clip"
    clip_length: int = DEFAULT_CLIP_LENGTH
    depth_kind: DepthKind = "real"
    double_sigmoid: bool = False
    fault: Fault | None = None


def predict_scan(
    model: M4SAM, scan: Scan, cfg: PredictConfig, dropped: list[Irregularity] | None = None
) -> Iterator[Prediction]:
    """Predict every annotated frame, video by video.

    A video with a file that cannot be decoded goes on without that frame; it is added to `dropped`.

    Args:
        model: in evaluation mode, on its device.
        scan: the split.
        cfg: mode and depth.
        dropped: receives what could not be read.
    """
    for video in scan.videos:
        change = cfg.fault(video) if cfg.fault else None
        runner = _ClipRunner(model) if cfg.mode == "clip" else _StreamRunner(model, video)
        seen = video.annotated if cfg.mode == "clip" else video.frames
        try:
            for start in range(0, len(seen), cfg.clip_length):
                wanted = seen[start : start + cfg.clip_length]
                frames, clip = _read_sound(video, wanted, cfg, dropped if dropped is not None else [])
                if not frames:
                    continue
                results = runner.run(frames, change(clip) if change else clip)
                for frame, rgb, truth, mask_prob in zip(frames, clip.rgb, clip.mask, results, strict=True):
                    if mask_prob is None:
                        continue
                    final = 1 / (1 + np.exp(-mask_prob)) if cfg.double_sigmoid else mask_prob
                    yield Prediction(video.name, frame, final, truth, rgb)
        finally:
            runner.close()


def _read_sound(
    video: Video, wanted: Sequence[Frame], cfg: PredictConfig, dropped: list[Irregularity]
) -> tuple[list[Frame], Clip]:
    frames, parts = [], []
    for frame in wanted:
        try:
            parts.append(read_clip(video, [frame], cfg.depth_kind))
            frames.append(frame)
        except InputError as error:
            dropped.append(Irregularity(frame.rgb, f"cannot be decoded: {error}"))
    rgb, depth, mask = (tuple(getattr(part, name)[0] for part in parts) for name in ("rgb", "depth", "mask"))
    return frames, Clip(rgb, depth, mask, video.depth_unit_m)


class _ClipRunner:
    """Clips by themselves, as published: the memory starts anew at each."""

    def __init__(self, model: M4SAM) -> None:
        self._model = model
        self._device = next(model.parameters()).device

    def run(self, _frames: Sequence[Frame], clip: Clip) -> list[np.ndarray | None]:
        from m4sam_core.stream.recurrence import unroll_clip

        rgb, depth, _ = clip_tensors(clip, self._model.input_size_px)
        with torch.inference_mode():
            output = unroll_clip(
                self._model, rgb[None].to(self._device), depth[None].to(self._device), "policy", aux=False
            )
        return [resize_prob(output.mask_prob[:, t], *truth.shape) for t, truth in enumerate(clip.mask)]

    def close(self) -> None:
        """Nothing is held."""


class _StreamRunner:
    """One endless stream per video, through the pipeline the robot runs."""

    def __init__(self, model: M4SAM, video: Video) -> None:
        from m4sam_core.pipeline import SaliencyPipeline

        device = str(next(model.parameters()).device)
        settings = PipelineConfig(device=device, depth=DepthConfig(unit_m=video.depth_unit_m or 0.001))
        self._pipeline = SaliencyPipeline(model, settings)
        stems = [frame.stem for frame in video.frames]
        offsets = frame_times(stems, video.info, assumed_fps=FALLBACK_FPS).offsets_ns
        self._stamps_s = {stem: offset * 1e-9 for stem, offset in zip(stems, offsets, strict=True)}

    def run(self, frames: Sequence[Frame], clip: Clip) -> list[np.ndarray | None]:
        results: list[np.ndarray | None] = []
        for frame, rgb, depth in zip(frames, clip.rgb, clip.depth, strict=True):
            result = self._pipeline.process(rgb, depth, self._stamps_s[frame.stem])
            results.append(None if frame.mask is None else result.probability)
        return results

    def close(self) -> None:
        self._pipeline.close()
