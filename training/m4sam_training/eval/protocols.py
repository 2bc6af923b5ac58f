"""How scores are averaged and what was published: one table of protocols, one of results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from m4sam_core.errors import ConfigError


@dataclass(frozen=True)
class Protocol:
    """One way of turning masks into a row of numbers (docs/evaluation.md).

    Attributes:
        name: what `--protocol` takes.
        minmax: stretch each predicted frame to [0, 1] first.
        average: over all frames, or over each video's mean.
        columns: the scores it prints; names of `m4sam_training.eval.scoring.summary`.
    """

    name: str
    minmax: bool
    average: Literal["frame", "video"]
    columns: tuple[str, ...]


_ALL = ("S", "E_mean", "E_max", "E_adaptive", "F_mean", "F_max", "F_adaptive", "MAE")

PROTOCOLS: dict[str, tuple[Protocol, ...]] = {
    # The published M4-SAM numbers: mean of the 256-threshold E curve, adaptive F.
    "m4sam": (Protocol("m4sam", True, "frame", ("E_mean", "S", "F_adaptive", "MAE")),),
    # DViSal's toolbox, as is usual in salient object detection: the best threshold of the curves.
    "dvsod": (Protocol("dvsod", True, "frame", ("E_max", "S", "F_max", "MAE")),),
    # Every video counts the same, however long.
    "vidsod": (Protocol("vidsod", True, "video", ("E_mean", "S", "F_max", "MAE")),),
    "full": tuple(
        Protocol(f"{average}{'' if minmax else ', no min-max'}", minmax, average, _ALL)
        for minmax in (True, False)
        for average in ("frame", "video")
    ),
}

# Dataset -> method -> scores of the M4-SAM paper, protocol m4sam.
PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    "rdvs": {
        "M4-SAM": {"E_mean": 0.927, "S": 0.878, "F_adaptive": 0.802, "MAE": 0.027},
        "depth = copy of rgb": {"E_mean": 0.858, "S": 0.740, "F_adaptive": 0.623, "MAE": 0.047},
        "depth = black": {"E_mean": 0.895, "S": 0.857, "F_adaptive": 0.768, "MAE": 0.029},
        "LoRA": {"E_mean": 0.904, "S": 0.864, "F_adaptive": 0.764, "MAE": 0.031},
        "no memory": {"E_mean": 0.908, "S": 0.874, "F_adaptive": 0.775, "MAE": 0.030},
        "memory, no gated fusion": {"E_mean": 0.910, "S": 0.871, "F_adaptive": 0.787, "MAE": 0.029},
    },
    "dvisal": {"M4-SAM": {"E_mean": 0.925, "S": 0.850, "F_adaptive": 0.828}},
    "vidsod100": {"M4-SAM": {"E_mean": 0.936, "S": 0.912, "MAE": 0.016}},
}


def get_protocols(name: str) -> tuple[Protocol, ...]:
    """The rows that `--protocol name` prints.

    Raises:
        ConfigError: unknown name; the text lists the known ones.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {name!r}")
    return PROTOCOLS[name]
