# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Camera images in, masks out: what the ROS node, the command line and the evaluation all call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from m4sam_core.config import PipelineConfig
from m4sam_core.devices import Stopwatch, device_errors
from m4sam_core.errors import InputError, StreamError
from m4sam_core.host.memory import keep_freed_memory
from m4sam_core.loaded import LoadedModel, load_for_inference, take_model
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.result import SaliencyResult, result_of
from m4sam_core.rgbd.masks import read_ignored
from m4sam_core.stream.session import StreamSession
from m4sam_core.vision.prepare import FramePreparation

_LATEST_S = 1e11  # the year 5138; a larger number counts something shorter than seconds


class SaliencyPipeline:
    """One camera's pipeline from numpy images to masks.

    One thread processes frames (a lock makes a second one wait); `reset`, `configure` and `close` may be called from
    any thread at any time and do not wait for the frame in work: they take effect before the next one.

    Several cameras may share one set of weights: `SaliencyPipeline(first.loaded, cfg)` is another stream with a memory
    of its own. Pipelines that share take turns, see `LoadedModel.turn`.

    Attributes:
        loaded: the weights on their device.

    Example:
        >>> pipeline = SaliencyPipeline.from_name("default")
        >>> result = pipeline.process(rgb, depth_mm, stamp=0.0)
        >>> result.mask.shape == rgb.shape[:2]
        True
    """

    def __init__(self, model: M4SAM | LoadedModel, cfg: PipelineConfig | None = None) -> None:
        """Take a model into service.

        Args:
            model: the network, see `loaded.take_model`; or one that is loaded, which other pipelines may use, too.
            cfg: everything else; for a loaded model what it was loaded for, when absent.

        Raises:
            ConfigError: the device's name is not understood, a backend asked for by name is not installed, or a loaded
                model was loaded for other settings.
            DeviceError: the device is not there or cannot do `cfg.dtype` or `cfg.backend`.
            InputError: the picture of `cfg.ignore_mask` cannot be read.
        """
        if isinstance(model, LoadedModel):
            cfg = cfg or model.cfg
            model.check(cfg)
            self.loaded = model
        else:
            cfg = cfg or PipelineConfig()
            self.loaded = take_model(model, cfg)
        keep_freed_memory()
        self._cfg = cfg
        self.model = self.loaded.network
        self.backend, self.device = self.loaded.backend, self.loaded.device
        self._ignored = _read_ignore_mask(cfg.ignore_mask)
        self._session = StreamSession(self.model, self._cfg.stream)
        self._preparation = FramePreparation(self.model.input_size_px, self.device)
        self._work = threading.Lock()  # held while a frame is processed
        self._mail = threading.Lock()  # guards the three fields below, never held for long
        self._wanted_reset: str | None = None
        self._wanted_cfg: tuple[PipelineConfig, NDArray[np.uint8] | None] | None = None
        self._closed = False

    @classmethod
    def from_name(
        cls,
        name_or_path: str | Path = "default",
        cfg: PipelineConfig | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> SaliencyPipeline:
        """Load a model by name or path and take it into service, for inference alone; see `loaded.load_for_inference`.

        Raises:
            CheckpointError: not found, damaged or made for another model.
            ConfigError: see `__init__`.
            DeviceError: see `__init__`.
        """
        return cls(load_for_inference(name_or_path, cfg or PipelineConfig(), progress))

    @property
    def cfg(self) -> PipelineConfig:
        """The settings in force from the next frame on."""
        with self._mail:
            return self._cfg if self._wanted_cfg is None else self._wanted_cfg[0]

    @property
    def refused(self) -> str | None:
        """What the system did not allow of `affinity` and `priority`, None when nothing."""
        return self.loaded.place.refused

    @property
    def memory_bytes(self) -> int:
        """Bytes that the stream's memory holds."""
        return self._session.memory_bytes

    def turn(self) -> AbstractContextManager[None]:
        """This stream's turn among those that share its weights; `process` takes it by itself.

        Whoever waits for a newer frame takes it before, and looks for the newest when it is there.
        """
        return self.loaded.turn

    def warm_up(self, height: int = 480, width: int = 640) -> dict[str, float]:
        """Process two made-up frames, so that the first real one is not slow; leaves no trace in the stream.

        Args:
            height: rows of the camera image. Pixels.
            width: columns of the camera image. Pixels.

        Returns:
            timings of the second frame, see `SaliencyResult.timings_ms`.

        Raises:
            DeviceError: out of memory.
            StreamError: the pipeline is closed.
        """
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        depth = np.linspace(1.0, 3.0, height * width, dtype=np.float32).reshape(height, width)
        with self.turn(), self._work, self.loaded.place.adopting():
            self._check_open()
            preparation = FramePreparation(self.model.input_size_px, self.device)
            session = StreamSession(self.model, self._cfg.stream)
            for stamp in (0.0, 1.0):
                result = self._process(preparation, session, noise, depth, stamp, None, None)
                _ = result.mask
        return result.timings_ms

    def process(
        self,
        rgb: NDArray[np.uint8],
        depth: NDArray[Any] | None,
        stamp: float,
        camera: Hashable = None,
        ignored: NDArray[Any] | None = None,
    ) -> SaliencyResult:
        """Segment the next frame of the stream.

        Args:
            rgb (H, W, 3): uint8 in R, G, B order.
            depth (H, W): uint16 counts of `cfg.depth.unit_m`, float metres, uint8 relative depth, or None. Whatever is
                wrong with it only degrades the frame to rgb alone, with `depth_note`.
            stamp: time of the frame. Seconds.
            camera: whatever tells cameras apart (frame_id, intrinsics); a change starts a new scene.
            ignored (H, W): not 0 for pixels of this frame that do not count, besides those of `cfg.ignore_mask`.

        Raises:
            InputError: unusable rgb or stamp, or nothing of the picture counts; the stream is unharmed.
            DeviceError: out of memory; the stream starts a new scene with the next frame.
            StreamError: the pipeline is closed.
        """
        seconds = _seconds(stamp)
        try:
            hash(camera)
        except TypeError:
            got = type(camera).__name__
            raise InputError(f"camera: expected something hashable, such as a tuple, got {got}") from None
        with self.turn(), self._work:
            self.loaded.take_thread()
            self._take_mail()
            return self._process(self._preparation, self._session, rgb, depth, seconds, camera, ignored)

    def reset(self, reason: str = "requested") -> None:
        """Start a new scene with the next frame; it reports `reason`. Any thread; does not wait."""
        with self._mail:
            self._wanted_reset = reason

    def configure(self, cfg: PipelineConfig) -> None:
        """Change settings from the next frame on. Any thread; does not wait.

        Raises:
            ConfigError: device, backend, dtype, threads, affinity or priority would change; they need a new pipeline.
            InputError: the picture of `cfg.ignore_mask` cannot be read; the settings stay as they were.
        """
        mask = _read_ignore_mask(cfg.ignore_mask)
        with self._mail:
            self.loaded.check(cfg)
            self._wanted_cfg = cfg, mask

    def close(self) -> None:
        """Refuse further frames; memory is freed with the last reference. A frame in work is finished."""
        with self._mail:
            self._closed = True

    def _take_mail(self) -> None:
        self._check_open()
        with self._mail:
            wanted, self._wanted_cfg = self._wanted_cfg, None
            reason, self._wanted_reset = self._wanted_reset, None
            if wanted is not None:
                self._cfg, self._ignored = wanted
        if wanted is not None:
            self._session.configure(self._cfg.stream)
        if reason is not None:
            self._session.reset(reason)

    def _check_open(self) -> None:
        if self._closed:
            raise StreamError("pipeline: expected an open one, got a frame after close(); make a new pipeline")

    def _process(
        self,
        preparation: FramePreparation,
        session: StreamSession,
        rgb: NDArray[np.uint8],
        depth: NDArray[Any] | None,
        stamp_s: float,
        camera: Hashable,
        ignored: NDArray[Any] | None,
    ) -> SaliencyResult:
        watch = Stopwatch(self.device)
        half = self.loaded.dtype != torch.float32
        with device_errors(self.device), torch.autocast(self.device.type, self.loaded.dtype, half):
            prepared = preparation.prepare(rgb, depth, self._cfg, (self._ignored, ignored))
            watch.mark("prepare")
            camera = (prepared.region.place, camera)
            if prepared.rgb_note is None:
                frame = session.step(prepared.rgb, prepared.depth, stamp_s, prepared.cues, camera, watch.mark)
            else:
                frame = session.pass_over(self.model.input_size_px, stamp_s, camera)
        return result_of(frame, prepared, self._cfg.threshold, stamp_s, watch.finish())


def _seconds(stamp: Any) -> float:
    try:
        seconds = float(stamp)
    except (TypeError, ValueError):
        seconds = float("nan")
    if not np.isfinite(seconds):
        raise InputError(f"stamp: expected seconds, got {stamp}; give the time of the image")
    if abs(seconds) > _LATEST_S:
        raise InputError(f"stamp: expected seconds, got {stamp}; are these nanoseconds? divide by 1e9")
    return seconds


def _read_ignore_mask(path: str) -> NDArray[np.uint8] | None:
    return read_ignored(Path(path).expanduser()) if path else None
