"""Options that several commands share, checked with the project's own errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from m4sam_core.errors import ConfigError
from m4sam_training.layouts import DEPTH_KINDS, DepthKind

if TYPE_CHECKING:
    from m4sam_core.model import M4SAM


def depth_kind_of(text: str) -> DepthKind:
    """The depth kind of that name.

    Raises:
        ConfigError: unknown.
    """
    for kind in DEPTH_KINDS:
        if kind == text:
            return kind
    raise ConfigError(f"depth_kind: expected one of {', '.join(DEPTH_KINDS)}, got {text!r}")


def mode_of(text: str) -> Literal["clip", "stream"]:
    """The evaluation mode of that name.

    Raises:
        ConfigError: unknown.
    """
    if text == "clip":
        return "clip"
    if text == "stream":
        return "stream"
    raise ConfigError(f"mode: expected clip or stream, got {text!r}")


def load_for_evaluation(checkpoint: Path, device: str) -> M4SAM:
    """A model in evaluation mode on a device; `.pth` files are taken for published checkpoints.

    Raises:
        CheckpointError: missing, damaged or foreign file.
        ConfigError: a device that is not there.
    """
    import torch

    from m4sam_core.checkpoint import load_checkpoint
    from m4sam_core.release import load_release_checkpoint

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device: expected cpu on this machine, got {device!r}; no CUDA device is visible")
    model = load_release_checkpoint(checkpoint) if checkpoint.suffix == ".pth" else load_checkpoint(checkpoint)
    return model.to(device).eval()
