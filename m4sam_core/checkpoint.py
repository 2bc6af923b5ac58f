"""Our checkpoints: safetensors with the model's config inside, so that weights and architecture cannot disagree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    header = {**(metadata or {}), "format": FORMAT, "config": model.cfg.model_dump_json()}
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
    """Read a published `.pth`/`.pt` with torch's safe unpickler: tensors and plain containers only, no code.

    Raises:
        CheckpointError: missing, truncated, or holding anything that would need code to be run.
    """
    if not Path(path).is_file():
        raise CheckpointError(
            f"{path}: expected a weights file, found none; m4sam download NAME fetches published ones"
        )
    try:
        content = torch.load(str(path), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch's reader meets in a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: cannot read it safely as plain tensors ({reason}); it is damaged or holds pickled objects, "
            "which are never executed. Download it again from its publisher"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dictionary of tensors, got {type(content).__name__}")
    return content
