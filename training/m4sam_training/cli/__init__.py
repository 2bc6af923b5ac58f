# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The offline commands of `m4sam`, one file each; setup.py registers this table under `m4sam.commands`."""

from __future__ import annotations

from m4sam_core.cli.table import Entry, Table

COMMANDS: Table = {
    "clip": Entry("m4sam_training.cli.clip", "Write a generated RGB-D clip."),
    "dataset": Entry("m4sam_training.cli.dataset", "List, check and generate datasets."),
    "bag": Entry("m4sam_training.cli.bag", "Convert between rosbags and dataset folders; run a model on a bag."),
    "label": Entry("m4sam_training.cli.label", "Masks to COCO, CVAT and Label Studio, and corrected ones back."),
    "eval": Entry("m4sam_training.cli.eval", "Score predicted masks against ground truth."),
    "robustness": Entry("m4sam_training.cli.robustness", "Score a model under sensor faults."),
    "train": Entry("m4sam_training.cli.train", "Train or fine-tune a model."),
    "settings": Entry("m4sam_training.cli.settings", "Every setting of a training run, with range and unit."),
    "edge": Entry("m4sam_training.cli.edge", "Make and measure the packaged edge weights."),
    "ablate": Entry("m4sam_training.cli.ablate", "Train and score the variants of a model."),
    "bench": {
        "scenes": Entry("m4sam_training.cli.bench_scenes", "Recall and false alarms of the scene-change detector."),
        "objects": Entry(
            "m4sam_training.cli.bench_objects", "Position and identity of objects against generated truth."
        ),
        "dataset": Entry(
            "m4sam_training.cli.bench_dataset", "Time and memory of index, check and loader on many frames."
        ),
        "train": Entry(
            "m4sam_training.cli.bench_train", "Time and memory of training steps; speed of the data pipeline."
        ),
    },
}
