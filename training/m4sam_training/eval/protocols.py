# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
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

# The published M4-SAM numbers and those of RDVS: mean of the 256-threshold E curve, adaptive F.
_M4SAM = Protocol("m4sam", True, "frame", ("E_mean", "S", "F_adaptive", "MAE"))
# DVSOD-Evaluation (DViSal): adaptive E and F of its own definition.
_DVSOD = Protocol("dvsod", True, "frame", ("E_dvsod", "S", "F_dvsod", "MAE"))
# ViDSOD-100's evaluator: maps as they are, E without a threshold, F of the mean precision and recall.
_VIDSOD = Protocol("vidsod", False, "frame", ("E_soft", "S", "F_mean_pr", "MAE"))

PROTOCOLS: dict[str, tuple[Protocol, ...]] = {
    "m4sam": (_M4SAM,),
    "dvsod": (_DVSOD,),
    "vidsod": (_VIDSOD,),
    "full": tuple(
        Protocol(f"{average}{'' if minmax else ', no min-max'}", minmax, average, _ALL)
        for minmax in (True, False)
        for average in ("frame", "video")
    ),
    "all": (_M4SAM, _DVSOD, _VIDSOD),
}

# Dataset -> method -> scores of the M4-SAM paper, protocol m4sam.
PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    "rdvs": {
        "M4-SAM": {"E_mean": 0.927, "S": 0.878, "F_adaptive": 0.802, "MAE": 0.027},
        "depth = copy of rgb": {"E_mean": 0.858, "S": 0.740, "F_adaptive": 0.623, "MAE": 0.047},
        "depth = black": {"E_mean": 0.895, "S": 0.857, "F_adaptive": 0.768, "MAE": 0.029},
        "none": {"E_mean": 0.839},
        "Conv-LoRA": {"E_mean": 0.900},
        "feature X_D^1": {"E_mean": 0.918},
        "feature X_D^1 and X_D^2": {"E_mean": 0.909},
        "top-k 1": {"E_mean": 0.903},
        "top-k 3": {"E_mean": 0.914},
        "clip 2": {"E_mean": 0.897},
        "clip 6": {"E_mean": 0.908},
        "LoRA": {"E_mean": 0.904, "S": 0.864, "F_adaptive": 0.764, "MAE": 0.031},
        "no memory": {"E_mean": 0.908, "S": 0.874, "F_adaptive": 0.775, "MAE": 0.030},
        "memory, no gated fusion": {"E_mean": 0.910, "S": 0.871, "F_adaptive": 0.787, "MAE": 0.029},
    },
    "dvisal": {"M4-SAM": {"E_mean": 0.925, "S": 0.850, "F_adaptive": 0.828}},
    "vidsod100": {"M4-SAM": {"E_mean": 0.936, "S": 0.912, "MAE": 0.016}},
}


@dataclass(frozen=True)
class Quoted:
    """A row of another paper: copied, not measured here, and not to be ranked across protocols.

    Attributes:
        method: its name.
        scores: as that paper prints them, under the names of the nearest measure of ours.
        source: the paper or table.
        protocol: how it scores, as far as it is known.
    """

    method: str
    scores: dict[str, float]
    source: str
    protocol: str


_RDVS = "RDVS': min-max, E mean over 256 thresholds, adaptive F"
_OWN = "its own; which E and F is not known here"
_DAQ = ("SAM-DAQ's comparison table", "SAM-DAQ's; which F is not known here")

QUOTED: dict[str, tuple[Quoted, ...]] = {
    "rdvs": (
        Quoted("DCTNet+", {"E_mean": 0.907}, "RDVS; .907 to .909 by source", _RDVS),
        Quoted("SAM-DAQ", {"E_mean": 0.913, "S": 0.879, "F_adaptive": 0.827, "MAE": 0.026}, "SAM-DAQ", _OWN),
        Quoted("RDVSv2, flow", {"S": 0.899}, "RDVSv2's baseline", _OWN),
        Quoted("RDVSv2, no flow", {"S": 0.883}, "RDVSv2's baseline", _OWN),
        Quoted("KAN-SAM", {"S": 0.854}, *_DAQ),
        Quoted("SAM2-UNet", {"S": 0.843}, *_DAQ),
        Quoted("MDSAM", {"S": 0.791}, *_DAQ),
    ),
    "dvisal": (
        Quoted("KAN-SAM", {"E_mean": 0.885, "F_adaptive": 0.783}, "KAN-SAM", _OWN),
        Quoted("KAN-SAM", {"F_adaptive": 0.783, "MAE": 0.052}, *_DAQ),
        Quoted("SAM-DAQ", {"F_adaptive": 0.818, "MAE": 0.046}, "SAM-DAQ", _OWN),
        Quoted("SAM2-UNet", {"F_adaptive": 0.747, "MAE": 0.064}, *_DAQ),
        Quoted("MDSAM", {"F_adaptive": 0.715, "MAE": 0.071}, *_DAQ),
    ),
    "vidsod100": (
        Quoted("KAN-SAM", {"E_mean": 0.912, "MAE": 0.025}, "KAN-SAM", _OWN),
        Quoted("KAN-SAM", {"F_adaptive": 0.846, "MAE": 0.025}, *_DAQ),
        Quoted("SAM-DAQ", {"F_adaptive": 0.868, "MAE": 0.020}, "SAM-DAQ", _OWN),
        Quoted("SAM2-UNet", {"F_adaptive": 0.829, "MAE": 0.025}, *_DAQ),
        Quoted("MDSAM", {"F_adaptive": 0.815, "MAE": 0.026}, *_DAQ),
    ),
}


def get_protocols(name: str) -> tuple[Protocol, ...]:
    """The rows that `--protocol name` prints.

    Raises:
        ConfigError: unknown name; the text lists the known ones.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {name!r}")
    return PROTOCOLS[name]
