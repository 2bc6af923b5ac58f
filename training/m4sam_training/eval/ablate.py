# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The rows of the paper's tables as settings: train and score each one (docs/training.md#tables)."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from m4sam_core.checkpoint import load_checkpoint
from m4sam_core.errors import ConfigError, M4SamError
from m4sam_core.host.files import write_json
from m4sam_core.rgbd.masks import MaskRule
from m4sam_training.data.index.split import indexed_split
from m4sam_training.data.layouts import LAYOUTS
from m4sam_training.data.videos import Irregularity, grouped
from m4sam_training.eval.evaluate import evaluate
from m4sam_training.eval.predict_dataset import PredictConfig, predict_scan
from m4sam_training.train.config import TrainConfig, load_train_config
from m4sam_training.train.log import read_metrics

LOGGER = logging.getLogger("m4sam.ablate")
FULL = "M4-SAM"
SCORES = ("E_mean", "S", "F_adaptive", "MAE")


@dataclass(frozen=True)
class Variant:
    """One row of one of the paper's tables.

    Attributes:
        group: the table: what is varied, or comparison.
        name: the value it takes.
        settings: `key=value` on top of the run's own.
        paper: name of the paper's row in `PUBLISHED`, or "".
        paper_memory_gb: the paper's training memory, or None.
        note: what it is, where the settings do not tell.
    """

    group: str
    name: str
    settings: tuple[str, ...] = ()
    paper: str = ""
    paper_memory_gb: float | None = None
    note: str = ""

    @property
    def folder(self) -> str:
        """Folder of its run; rows with the same settings share one."""
        if self.settings == SAM2_UNET:
            return "sam2_unet"
        words = [setting.split(".")[-1].replace("=", "-") for setting in self.settings]
        return "_".join(words).replace("+", "and") or "full"


# One encoder for each modality, as the paper's rows with a branch for each: its memory claim is about these.
DUAL_LORA = ("model.encoders=dual", "model.adapter.kind=lora", "model.adapter.alpha=4")
# Presets `sam2_unet` of model and training, spelt out so that they go on top of any model's size.
SAM2_UNET = (
    *("model.rgb_norm=imagenet", "model.depth=rgb_features", "model.outlines=false", "model.adapter.kind=bottleneck"),
    *("model.fusion.kind=none", "model.memory.enabled=false"),
    *("loss.bce=weighted", "loss.structure_mae=0", "loss.coarse_weights=[1, 1, 1]"),
)
_BRANCHES = "an encoder for each modality"

VARIANTS: tuple[Variant, ...] = (
    Variant("comparison", "M4-SAM", (), FULL),
    Variant("comparison", "LoRA, two encoders", DUAL_LORA, "LoRA", 14.25, _BRANCHES),
    Variant("comparison", "SAM2-UNet's design", SAM2_UNET, note="rgb alone, no memory; trained with this recipe"),
    Variant("adapter", "none", ("model.adapter.kind=none",), "none"),
    Variant(
        "adapter", "bottleneck", ("model.encoders=dual", "model.adapter.kind=bottleneck"), "", 14.66, note=_BRANCHES
    ),
    Variant("adapter", "LoRA", DUAL_LORA, "LoRA", 14.25, _BRANCHES),
    Variant("adapter", "Conv-LoRA", ("model.adapter.kind=conv_lora", "model.adapter.top_k=1"), "Conv-LoRA"),
    Variant("adapter", "MoE-LoRA", (), FULL, 11.62, "one encoder"),
    Variant("top-k", "1", ("model.adapter.top_k=1",), "top-k 1"),
    Variant("top-k", "2", (), FULL),
    Variant("top-k", "3", ("model.adapter.top_k=3",), "top-k 3"),
    Variant("memory", "off", ("model.memory.enabled=false",), "no memory"),
    Variant("memory", "on, no gated fusion", ("model.memory.feature=x_e1+x_d2",), "memory, no gated fusion"),
    Variant("memory", "on, gated fusion", (), FULL),
    Variant("feature", "X_D^1", ("model.memory.feature=gated+x_d1",), "feature X_D^1"),
    Variant("feature", "X_D^2", (), FULL),
    Variant("feature", "X_D^1 and X_D^2", ("model.memory.feature=gated+x_d1+x_d2",), "feature X_D^1 and X_D^2"),
    Variant("depth", "real", (), FULL),
    Variant("depth", "black", ("data.depth_kind=black",), "depth = black"),
    Variant("depth", "copy of rgb", ("model.depth=rgb_features",), "depth = copy of rgb"),
    Variant("clip", "2 frames", ("data.clip_length=2",), "clip 2"),
    Variant("clip", "4 frames", (), FULL),
    Variant("clip", "6 frames", ("data.clip_length=6",), "clip 6"),
)
_RECIPES = {"m4sam": "rosbag"}
GROUPS = tuple(dict.fromkeys(variant.group for variant in VARIANTS))


@dataclass(frozen=True)
class AblationJob:
    """What all rows on one dataset have in common.

    Attributes:
        config: YAML settings, a file or a name, or None.
        settings: `key=value` for every row.
        data: the dataset's folder.
        out: folder of all runs.
        processes: training processes per run; above 1 torchrun starts them.
        split: what is scored.
    """

    config: Path | None
    settings: tuple[str, ...]
    data: Path
    out: Path
    processes: int = 1
    split: str = "test"

    def train_config(self, variant: Variant) -> TrainConfig:
        """The settings of one row.

        Raises:
            ConfigError: see `load_train_config`.
        """
        return load_train_config(self.config, (*self.settings, *variant.settings))

    @property
    def dataset(self) -> str:
        """The layout of its data, by which the paper's rows are found."""
        return self.train_config(VARIANTS[0]).data.layout

    def command(self, variant: Variant) -> list[str]:
        """The command that trains one row; it goes on where an earlier attempt stopped."""
        launcher = [sys.executable, "-m"]
        if self.processes > 1:
            launcher += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(self.processes), "-m"]
        words = ["train", "--data", str(self.data), "--out", str(self.out / variant.folder), "--resume", "auto"]
        words += ["--config", str(self.config)] if self.config is not None else []
        for setting in (*self.settings, *variant.settings):
            words += ["--set", setting]
        return [*launcher, "m4sam_core.cli.main", *words]


def make_jobs(
    data: Sequence[str], config: Path | None, settings: Sequence[str], out: Path, processes: int, split: str
) -> list[AblationJob]:
    """One job for each dataset, each in a folder of its own where there are several.

    Args:
        data: folders, or LAYOUT=FOLDER, which takes the recipe of that dataset unless `config` is given.
        config: YAML settings of every row.
        settings: `key=value` for every row.
        out: folder of all runs.
        processes: see `AblationJob`.
        split: see `AblationJob`.

    Raises:
        ConfigError: two datasets of one layout.
    """
    jobs = []
    for text in data:
        layout, found, folder = text.partition("=")
        if not found or layout not in LAYOUTS:
            jobs.append(AblationJob(config, tuple(settings), Path(text), out, processes, split))
            continue
        named = (f"data.layout={layout}",) if config is not None else ()
        place = out / layout if len(data) > 1 else out
        recipe = config if config is not None else Path(_RECIPES.get(layout, layout))
        jobs.append(AblationJob(recipe, (*named, *settings), Path(folder), place, processes, split))
    if len({job.out for job in jobs}) < len(jobs):
        raise ConfigError("--data: expected LAYOUT=FOLDER with different layouts where it is repeated")
    return jobs


def choose_variants(groups: Sequence[str]) -> tuple[Variant, ...]:
    """The rows of some groups, all when none is named.

    Raises:
        ConfigError: a group that does not exist.
    """
    unknown = sorted(set(groups) - set(GROUPS))
    if unknown:
        raise ConfigError(f"--only: expected some of {', '.join(GROUPS)}, got {', '.join(unknown)}")
    return tuple(variant for variant in VARIANTS if not groups or variant.group in groups)


def run_variant(job: AblationJob, variant: Variant) -> dict[str, Any]:
    """Train and score one row, or read its result.json when that was done before.

    Returns:
        scores by name, trainable_parameters, peak_memory_gb, train_s.

    Raises:
        M4SamError: the training failed; its own message has been printed.
    """
    folder = job.out / variant.folder
    cfg = job.train_config(variant)
    wanted = {"config": cfg.model_dump_json(), "data": str(job.data.resolve()), "split": job.split}
    done = folder / "result.json"
    if done.is_file():
        result = json.loads(done.read_text(encoding="utf-8"))
        others = [name for name, value in wanted.items() if result.get(name, value) != value]  # older ones say less
        if others:
            got = f"got another run's (other {', '.join(others)})"
            raise ConfigError(f"{done}: expected the result of these settings, {got}; choose another --out")
        return dict(result)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    code = subprocess.run(job.command(variant), env=environment, check=False).returncode
    if code != 0:
        raise M4SamError(f"ablation {variant.group} {variant.name}: training ended with code {code}; see above")
    result = {**_score(job, cfg, folder), **_cost(folder), **wanted}
    write_json(done, result)
    return result


def _score(job: AblationJob, cfg: TrainConfig, folder: Path) -> dict[str, Any]:
    model = load_checkpoint(folder / "last.safetensors", "cuda" if torch.cuda.is_available() else "cpu")
    read = cfg.data.depth_kind, MaskRule.parse(cfg.data.mask_values), cfg.data.depth_coding
    scan = indexed_split(job.data, cfg.data.layout, job.split, *read, annotated_only=True)
    dropped: list[Irregularity] = []
    predictions = predict_scan(model, scan, PredictConfig(depth_kind=cfg.data.depth_kind), dropped)
    values = evaluate(predictions, "m4sam", dropped).as_dict()
    for line in (*grouped(dropped), *filter(None, [scan.warning()])):
        LOGGER.warning("%s: %s", folder.name, line)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {**{name: values[name] for name in SCORES}, "trainable_parameters": trainable}


def _cost(folder: Path) -> dict[str, float | None]:
    entries = [entry for entry in read_metrics(folder) if "clips_per_s" in entry]
    if not entries:
        return {"peak_memory_gb": None, "clips_per_s": None}
    rates = sorted(entry["clips_per_s"] for entry in entries)
    return {"peak_memory_gb": max(e["peak_memory_gb"] for e in entries), "clips_per_s": rates[len(rates) // 2]}
