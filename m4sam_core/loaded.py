# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Weights on a device, in an engine: loaded once, for as many streams as there are cameras."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from m4sam_core.backends.cache import Source, source_of
from m4sam_core.backends.choice import TORCH, open_backend
from m4sam_core.backends.compiled import CompiledNetwork
from m4sam_core.checkpoint import BFLOAT16_IOU, read_header
from m4sam_core.config import PipelineConfig
from m4sam_core.devices import check_dtype, device_errors, resolve_device
from m4sam_core.download import digest_of
from m4sam_core.errors import ConfigError
from m4sam_core.host.scheduling import ThreadPlace
from m4sam_core.model.inference import specialise
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.model_files import resolve_model
from m4sam_core.release import load_model
from m4sam_core.stream.recurrence import Network
from m4sam_core.stream.sharing import GatheredNetwork, Turns

_LOG = logging.getLogger(__name__)
FIXED = ("device", "backend", "dtype", "threads", "affinity", "priority")
"""Settings that a model is loaded for; another value needs another load."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network that any number of pipelines may use, also from several threads.

    Attributes:
        network: what the streams drive.
        backend: the engine's name, or torch.
        device: where its tensors are.
        dtype: of what torch computes under autocast.
        cfg: what it was loaded for, see `FIXED`.
        threads: how many compute it; 0: the engine's choice.
        place: where they run.
        turn: held by a pipeline from before it prepares a frame until its masks are there. On a CPU frames take turns,
            in the order of asking; on a GPU they are gathered into batches instead, and the turn is free.
    """

    network: Network
    backend: str
    device: torch.device
    dtype: torch.dtype
    cfg: PipelineConfig
    threads: int
    place: ThreadPlace
    turn: AbstractContextManager[None] = field(repr=False)

    def take_thread(self) -> None:
        """The calling thread computes a frame now, with as many helpers as the model was loaded for."""
        self.place.take()
        if self.threads and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)

    def check(self, cfg: PipelineConfig) -> None:
        """Complain when it was loaded for other settings.

        Raises:
            ConfigError: naming the setting.
        """
        for name in FIXED:
            if getattr(cfg, name) != getattr(self.cfg, name):
                raise ConfigError(
                    f"{name}: expected {getattr(self.cfg, name)!r} as when the model was loaded, "
                    f"got {getattr(cfg, name)!r}; load it anew to change it"
                )


def take_model(model: M4SAM, cfg: PipelineConfig) -> LoadedModel:
    """A model in memory: it is moved to the device, set to evaluation and prepared for inference.

    Args:
        model: the network. Backend `auto` leaves it to torch.
        cfg: `FIXED` counts.

    Raises:
        ConfigError: the device's name is not understood, or a backend asked for by name is not installed.
        DeviceError: the device is not there or cannot do `cfg.dtype` or `cfg.backend`.
    """
    device, place = resolve_device(cfg.device), ThreadPlace(cfg.affinity, cfg.priority)
    with place.adopting():
        if cfg.backend not in ("auto", TORCH):
            compiled = open_backend(source_of(model.eval()), cfg, device, _LOG.info)
            if compiled is not None:
                return _compiled(compiled, cfg, cfg.threads, place)
        return _of_torch(model, cfg, device, cfg.threads, place, bfloat16_iou=0.0)


def load_for_inference(
    name_or_path: str | Path,
    cfg: PipelineConfig,
    progress: Callable[[str], None] | None = None,
    threads: int | None = None,
) -> LoadedModel:
    """A model by name or path, for inference alone.

    Args:
        name_or_path: see `model_files.resolve_model`; `.pth` and `.pt` files are read as the published release.
        cfg: `FIXED` counts.
        progress: told what takes time when a backend meets this model for the first time; the log by default.
        threads: in place of `cfg.threads`, e.g. what was measured for 0.

    Raises:
        CheckpointError: not found, damaged or made for another model.
        ConfigError: see `take_model`.
        DeviceError: see `take_model`.
    """
    path = resolve_model(name_or_path)
    device = resolve_device(cfg.device)  # before the seconds that loading takes
    place = ThreadPlace(cfg.affinity, cfg.priority)
    threads = cfg.threads if threads is None else threads
    source = Source(str(path), digest_of(path), partial(load_model, path))
    with place.adopting():
        asked = cfg.model_copy(update={"threads": threads})
        compiled = open_backend(source, asked, device, progress or _LOG.info)
        if compiled is not None:
            return _compiled(compiled, cfg, threads, place)
        model = source.load()
        kept = float(read_header(path).get(BFLOAT16_IOU, 0.0)) if path.suffix == ".safetensors" else 0.0
        loaded = _of_torch(model, cfg, device, threads, place, kept)
        with device_errors(device):
            specialise(model, loaded.dtype)  # nobody else holds this model
        return loaded


def _compiled(network: CompiledNetwork, cfg: PipelineConfig, threads: int, place: ThreadPlace) -> LoadedModel:
    # Where the engine takes and leaves tensors, wherever it computes; and the precision of what torch still does.
    device, dtype = torch.device("cpu"), torch.float32
    return LoadedModel(network, network.backend, device, dtype, cfg, threads, place, Turns())


def _of_torch(
    model: M4SAM, cfg: PipelineConfig, device: torch.device, threads: int, place: ThreadPlace, bfloat16_iou: float
) -> LoadedModel:
    dtype = check_dtype(cfg.dtype, device, bfloat16_iou)
    if threads:
        torch.set_num_threads(threads)
    with device_errors(device):
        model.to(device).eval().fold()
    if device.type == "cuda":
        return LoadedModel(GatheredNetwork(model), TORCH, device, dtype, cfg, threads, place, nullcontext())
    return LoadedModel(model, TORCH, device, dtype, cfg, threads, place, Turns())
