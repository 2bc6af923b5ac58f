# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the arithmetic happens: which device, which type, how long, and what to say when memory runs out."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from m4sam_core.errors import ConfigError, DeviceError


def resolve_device(name: str) -> torch.device:
    """The torch device a setting means; `auto` is the first GPU where there is one, else the CPU.

    Raises:
        ConfigError: not auto, cpu, cuda or cuda:N.
        DeviceError: a GPU that is not there; never replaced by another device in silence.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise ConfigError(f"device: expected auto, cpu, cuda or cuda:N, got {name!r}")
    if kind == "cuda" and (not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count()):
        raise DeviceError(
            f"device: expected {name}, but torch {torch.__version__} sees {torch.cuda.device_count()} GPU(s); "
            "check the driver and that torch was built for CUDA (m4sam doctor), or set device to auto or cpu"
        )
    return torch.device(name)


LEAST_IOU = 0.98  # of masks with those of float32, on every clip of the gate set


def free_memory(device: torch.device) -> int | None:
    """Bytes that a program may still take: of the GPU, or of this machine or container; None where that is not told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    lines = _text("/proc/meminfo").splitlines()
    left = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    most, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if most.isdigit() and used.isdigit():
        left.append(max(0, int(most) - int(used)))
    return min(left, default=None)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def check_dtype(name: str, device: torch.device, bfloat16_iou: float = 0.0) -> torch.dtype:
    """The torch type a setting means, if the device can do it.

    `auto` never changes the answer: it is bfloat16 on a CPU with bfloat16 arithmetic when the weights are known to keep
    their masks in it, else float32.

    Args:
        name: see `PipelineConfig.dtype`.
        device: where torch computes.
        bfloat16_iou: least overlap of masks with those of float32, as it travels with the weights; 0: never measured.

    Raises:
        DeviceError: it cannot; never replaced by another type in silence.
    """
    if name == "auto":
        kept = device.type == "cpu" and bfloat16_iou >= LEAST_IOU and _cpu_has_bfloat16()
        return torch.bfloat16 if kept else torch.float32
    if name == "mixed":
        raise DeviceError(f"dtype: expected auto, float32, bfloat16 or float16 with torch, got mixed; {_MIXED_ADVICE}")
    if name == "float16" and device.type == "cpu":
        raise DeviceError("dtype: expected float32 or bfloat16 on the CPU, got float16; set dtype to bfloat16")
    if name == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError("dtype: this GPU cannot do bfloat16; set dtype to float16 or float32")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; oneDNN emulates it, slowly, on the others."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


_MIXED_ADVICE = "set backend to openvino (pip install 'm4sam_ros[openvino]'), or dtype to auto"
_INFERENCE_ADVICE = "use a smaller model, lower stream.bank.capacity, set dtype to bfloat16"


class device_errors:  # noqa: N801 - reads as the statement it is
    """Turns running out of memory into a DeviceError with advice.

    Args:
        device: named in the error.
        advice: what to do.
    """

    def __init__(self, device: torch.device, advice: str = _INFERENCE_ADVICE) -> None:
        self.device = device
        self.advice = advice

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        cpu_full = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or cpu_full:
            raise DeviceError(
                f"{self.device}: out of memory; {self.advice}, or free the device from other programs"
            ) from error


class Stopwatch:
    """Milliseconds between marks; waits for the GPU at each, so that the time is its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = self._last = time.perf_counter()
        self._ms: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """The stage `name` is done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._ms[name] = (now - self._last) * 1e3
        self._last = now

    def finish(self) -> dict[str, float]:
        """Milliseconds per stage, and their total."""
        return {**self._ms, "total": (time.perf_counter() - self._start) * 1e3}
