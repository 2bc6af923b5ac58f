# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Our checkpoints: safetensors with the model's config inside, so that weights and architecture cannot disagree."""

from __future__ import annotations

import argparse
import codecs
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from m4sam_core.config import ModelConfig
from m4sam_core.errors import CheckpointError, ConfigError
from m4sam_core.host.files import write_bytes
from m4sam_core.host.outputs import advice

if TYPE_CHECKING:
    from m4sam_core.model.m4sam import M4SAM

FORMAT = "m4sam-1"
BFLOAT16_IOU = "bfloat16_iou"  # header: least overlap of masks in bfloat16 with those in float32
_WRAPPERS = (
    *("model", "state_dict", "model_state_dict", "model_state", "module", "net", "network", "weights", "params"),
    *("ema", "model_ema", "ema_model", "state_dict_ema", "ema_state_dict", "params_ema"),
)
_PARTS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_SHOWN = 8  # how many keys an error names before it counts the rest


def save_checkpoint(
    path: str | Path,
    model: M4SAM,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model's weights and config, atomically: a reader sees the old file or the whole new one.

    Args:
        path: file to write, by custom `*.safetensors`.
        model: the network.
        metadata: more text to keep in the header, e.g. licence or training data.
        dtype: store floating-point weights in this precision; as they are when absent. They load back as float32.
            Buffers stay as they are: a running variance can be beyond float16.

    Raises:
        CheckpointError: the file cannot be written.
    """
    weights = {name for name, _ in model.named_parameters()}
    tensors = {
        name: (value.to(dtype) if dtype is not None and name in weights else value).detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    _write(path, tensors, {**(metadata or {}), "format": FORMAT, "config": model.cfg.model_dump_json()})


def update_header(path: str | Path, changes: Mapping[str, str]) -> None:
    """Add text to the header of one of our checkpoints, or replace it; the weights stay, byte for byte.

    Raises:
        CheckpointError: missing, truncated or foreign file, or one that cannot be written.
    """
    header, tensors = _read(path, weights=True)
    _write(path, tensors, {**header, **changes})


def _write(path: str | Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    try:
        write_bytes(Path(path), save(tensors, metadata=header))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write: {error}; {advice(error)}") from error


def read_header(path: str | Path) -> dict[str, str]:
    """The text header of one of our checkpoints: format, config and whatever was saved beside them.

    Raises:
        CheckpointError: missing, truncated or foreign file.
    """
    header, _ = _read(path, weights=False)
    return header


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> M4SAM:
    """Build the model a checkpoint describes and load its weights.

    Args:
        path: file written by `save_checkpoint`.
        device: where the model goes.

    Returns:
        the model in evaluation mode, float32.

    Raises:
        CheckpointError: missing, truncated, foreign, wrong shapes, or NaN; every key is named.
    """
    from m4sam_core.build import build_model

    header, tensors = _read(path, weights=True)
    model = build_model(_config(path, header))
    copy_weights(model.state_dict(), tensors, str(path), "the model its own config describes")
    return model.to(device).eval()


def read_config(path: str | Path) -> ModelConfig:
    """The architecture that one of our checkpoints describes.

    Raises:
        CheckpointError: missing, truncated or foreign file, or a config that is not understood.
    """
    return _config(path, read_header(path))


def _config(path: str | Path, header: Mapping[str, str]) -> ModelConfig:
    try:
        return ModelConfig.parse(json.loads(header["config"]))
    except (ConfigError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path}: its model config is not understood ({error}); update m4sam, or train the model anew"
        ) from error


def _read(path: str | Path, *, weights: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: expected a checkpoint file, found none; give a path to a *.safetensors file")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
        # Not file.get_tensor: safetensors 0.8 leaks some hundred bytes a tensor there, and a node may load for years.
        tensors = load(Path(path).read_bytes()) if weights else {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({error}); it may be truncated, copy or download it again. "
            "A published .pth is read by load_release_checkpoint"
        ) from error
    if header.get("format") != FORMAT or "config" not in header:
        raise CheckpointError(
            f"{path}: expected format {FORMAT}, got {header.get('format')!r}; use one that m4sam train wrote"
        )
    return header, tensors


def copy_weights(target: Mapping[str, Tensor], source: Mapping[str, Any], path: str, what: str) -> None:
    """Copy every tensor of `target` from `source`, all or nothing.

    Args:
        target: live tensors by name, changed in place.
        source: what the file holds.
        path: the file, for messages.
        what: the model wanted, for messages.

    Raises:
        CheckpointError: missing, unexpected, mis-shaped, non-tensor or non-finite entries, each named.
    """
    problems = [
        ("missing", sorted(target.keys() - source.keys())),
        ("unexpected", sorted(source.keys() - target.keys())),
        ("not a tensor", sorted(k for k in target.keys() & source.keys() if not isinstance(source[k], Tensor))),
    ]
    tensors = {k: v for k, v in source.items() if k in target and isinstance(v, Tensor)}
    wrong = [
        f"{k} {tuple(v.shape)}, expected {tuple(target[k].shape)}"
        for k, v in tensors.items()
        if v.shape != target[k].shape
    ]
    bad = [k for k, v in tensors.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]
    problems += [("of another shape", sorted(wrong)), ("NaN or infinite", sorted(bad))]
    found = [f"{len(keys)} {kind}: {_list(keys)}" for kind, keys in problems if keys]
    if found:
        raise CheckpointError(
            f"{path}: does not fit {what}; " + "; ".join(found) + ". Check that this is the right file"
        )
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])


def _list(keys: list[str]) -> str:
    rest = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def read_pickled_weights(path: str | Path) -> dict[str, Any]:
    """Read a published or trained `.pth`/`.pt` without running code: tensors, plain containers, numbers of numpy.

    Wrappers that training programs put around the weights are taken off: the dictionary that holds a model among an
    optimiser and other things (a moving average only where there is nothing else), and what DDP, FSDP and
    torch.compile put into names.

    Raises:
        CheckpointError: missing, truncated, or holding anything that would need code to be run, which is named.
    """
    if not Path(path).is_file():
        raise CheckpointError(
            f"{path}: expected a weights file, found none; m4sam download NAME fetches published ones"
        )
    try:
        if Path(path).suffix == ".safetensors":
            content: Any = load(Path(path).read_bytes())
        else:
            with torch.serialization.safe_globals(_harmless()):
                content = torch.load(str(path), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch's reader meets in a damaged file
        raise CheckpointError(
            f"{path}: cannot read it safely as plain tensors ({_reason(path, error)}); it is damaged or holds pickled "
            "objects, which are never executed. Save its weights alone, or download it again from its publisher"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dictionary of tensors, got {type(content).__name__}")
    return _plain_names(_unwrapped(content))


def below_prefix(source: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """The entries that have the wanted names, whatever module of another program stands in front of them.

    Args:
        source: a file's weights.
        wanted: names, of which some decide where the others are.

    Returns:
        everything, where the names begin as wanted or nothing fits; else what lies below the prefix that fits best.
    """
    names = sorted(wanted)
    for anchor in (names[0], names[len(names) // 2], names[-1]):
        prefixes = {key[: -len(anchor)] for key in source if key == anchor or key.endswith(f".{anchor}")}
        if prefixes:
            best = min(prefixes, key=lambda p: (-sum(p + name in source for name in names), "ema" in p, len(p)))
            return {key[len(best) :]: value for key, value in source.items() if key.startswith(best)}
    return dict(source)


def _unwrapped(content: dict[str, Any]) -> dict[str, Any]:
    """The innermost dictionary of a model's weights."""
    while not any(isinstance(value, Tensor) and value.ndim for value in content.values()):
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), dict)), None)
        if not inner:
            return content
        content = inner
    return content


def _plain_names(weights: dict[str, Any]) -> dict[str, Any]:
    """Names without what frameworks put into them; without the counter of an averaged model."""
    plain = {".".join(part for part in str(key).split(".") if part not in _PARTS): key for key in weights}
    if len(plain) < len(weights):  # two names would become one
        return weights
    return {name: weights[key] for name, key in plain.items() if name != "n_averaged"}


def _harmless() -> list[Any]:
    """What may be built besides tensors: numbers and arrays of numpy under their names of either version, settings."""
    scalar, rebuilt = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"]
    plain = [np.dtype, np.ndarray, *kinds, argparse.Namespace, codecs.encode]
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):  # torch 2.5 takes no other names
        return [*plain, scalar, rebuilt]
    rooms = ("numpy.core.multiarray", "numpy._core.multiarray")
    named = [
        (value, f"{room}.{name}") for room in rooms for value, name in ((scalar, "scalar"), (rebuilt, "_reconstruct"))
    ]
    return [*plain, *named]


def _reason(path: str | Path, error: Exception) -> str:
    """Why torch refused a file: what it holds, where torch can tell, else the first line of its text, uncoloured."""
    named = getattr(torch.serialization, "get_unsafe_globals_in_checkpoint", None)
    if named is not None:
        try:
            with torch.serialization.safe_globals(_harmless()):
                objects = sorted(named(str(path)))
        except Exception:  # noqa: BLE001 (no pickle at all)
            objects = []
        if objects:
            return f"it holds {_list(objects)}"
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
