# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""How long one RGB-D frame takes, stage by stage, with a full memory."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from m4sam_core.model.m4sam import M4SAM
from m4sam_core.stream.bank import RingBank
from m4sam_core.stream.recurrence import MemoryState, WriteDecision, step

DType = Literal["float32", "bfloat16", "float16"]


class StageClock:
    """Collects the milliseconds spent in named parts of a model, while attached."""

    def __init__(self, synchronise: Callable[[], object]) -> None:
        self.spent_ms: dict[str, float] = defaultdict(float)
        self._synchronise = synchronise
        self._started: dict[str, float] = {}

    def now_ms(self) -> float:
        """A clock reading after all queued work is done."""
        self._synchronise()
        return time.perf_counter() * 1e3

    @contextmanager
    def attached(self, model: M4SAM) -> Iterator[StageClock]:
        """Time every stage of `model` inside the block."""
        handles = []
        for stage, modules in _stages(model).items():
            for module in modules:
                handles.append(module.register_forward_pre_hook(self._starter(stage)))
                handles.append(module.register_forward_hook(self._stopper(stage)))
        plain_read = model.read

        def read(*args: Any, **kwargs: Any) -> Tensor:
            start = self.now_ms()
            out = plain_read(*args, **kwargs)
            self.spent_ms["memory read"] += self.now_ms() - start
            return out

        model.read = read  # type: ignore[method-assign]  # a verb, not a module: it has no hooks
        try:
            yield self
        finally:
            del model.read
            for handle in handles:
                handle.remove()

    def _starter(self, stage: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self._started[stage] = self.now_ms()

        return hook

    def _stopper(self, stage: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self.spent_ms[stage] += self.now_ms() - self._started[stage]

        return hook


def _stages(model: M4SAM) -> dict[str, list[nn.Module]]:
    stages: dict[str, list[nn.Module]] = {
        "trunk": [model.trunk],
        "cross-modal fusion": list(model.fusions),
        "receptive fields": list(model.receptive),
        "decoder": list(model.decoder.ups),
    }
    if model.has_memory:
        if model.gated_fusion is not None:
            stages["gated fusion"] = [model.gated_fusion]
        stages["memory keys"] = [model.key_path]
        stages["mask from memory"] = [model.fuser, model.sensory_update, model.mask_decoder]
        stages["memory write"] = [model.value_path, model.value_path.deep_update]
    return stages


def bench_model(
    model: M4SAM,
    *,
    frames: int,
    warmup: int,
    entries: int,
    dtype: DType = "float32",
    device: str = "cpu",
    side_px: int | None = None,
    on_frame: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Time single frames of a stream whose memory holds `entries` frames already.

    Args:
        model: any M4SAM; moved to `device` and folded.
        frames: frames timed.
        warmup: frames run before.
        entries: memory entries read by every frame.
        dtype: precision of the arithmetic (autocast).
        device: cpu, cuda or cuda:N.
        side_px: side of the square input; the model's own when absent.
        on_frame: called after every frame, e.g. to move a progress bar.

    Returns:
        ms_per_frame {mean, p50, p95}, frames_per_s, peak_rss_mb, peak_gpu_mb (on CUDA), stages_ms and stages_share
        (means), and what was measured where.
    """
    model = model.to(device).eval()
    model.fold()
    side = side_px or model.input_size_px
    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(1, 3, side, side, generator=generator).to(device)
    depth = torch.rand(1, 1, side, side, generator=generator).to(device)
    on_cuda = torch.device(device).type == "cuda"
    clock = StageClock(torch.cuda.synchronize if on_cuda else lambda: None)
    autocast = torch.autocast(torch.device(device).type, getattr(torch, dtype), enabled=dtype != "float32")

    totals = []
    with torch.inference_mode(), autocast, clock.attached(model):
        state = _filled_memory(model, rgb, depth, entries)
        for index in range(warmup + frames):
            if index == warmup:
                clock.spent_ms.clear()
            start = clock.now_ms()
            features = model.encode(rgb, depth, aux=False)
            step(model, features, state, lambda _: WriteDecision(slot=0))
            if index >= warmup:
                totals.append(clock.now_ms() - start)
            on_frame()
    stages = {name: spent / frames for name, spent in clock.spent_ms.items()}
    mean = float(np.mean(totals))
    stages["everything else"] = mean - sum(stages.values())
    result: dict[str, Any] = {
        "ms_per_frame": {"mean": mean, "p50": float(np.median(totals)), "p95": float(np.percentile(totals, 95))},
        "frames_per_s": 1e3 / mean,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "stages_ms": stages,
        "stages_share": {name: ms / mean for name, ms in stages.items()},
        "settings": {"frames": frames, "entries": entries, "dtype": dtype, "device": device, "side_px": side},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "machine": machine(device),
    }
    if on_cuda:
        result["peak_gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return result


def _filled_memory(model: M4SAM, rgb: Tensor, depth: Tensor, entries: int) -> MemoryState:
    """A memory of `entries` copies of one frame: what is in them does not change the time to read them."""
    bank = RingBank(entries)
    state = MemoryState(bank)
    features = model.encode(rgb, depth, aux=False)
    step(model, features, state, lambda _: WriteDecision())
    if model.has_memory:
        key, value = bank.read_view()
        key, value = key.clone(), value.clone()
        for _ in range(entries - 1):
            bank.write(key, value)
    return state


def machine(device: str) -> dict[str, Any]:
    """What a row of a speed table must name: processor, threads, torch, and the commit it was measured at."""
    return {
        "cpu": processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.device(device).type == "cuda" else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
    }


def machine_now(device: str) -> dict[str, Any]:
    """`machine`, and how busy it is: cores and the load average of the last minute."""
    return {**machine(device), "cores": os.cpu_count(), "load_average_1min": round(os.getloadavg()[0], 2)}


def processor() -> str:
    """The processor's name."""
    names = (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name"))
    return next(names, platform.processor())


def _commit() -> str | None:
    command, here = ["git", "describe", "--always", "--dirty"], Path(__file__).parent  # git from PATH
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return None
    return done.stdout.strip() or None


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
