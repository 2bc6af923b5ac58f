# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A run's settings from its file and the command line, held against the weights it starts from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from m4sam_core.config import ModelConfig
from m4sam_core.errors import ConfigError
from m4sam_core.host.plain_yaml import load_yaml, parse_assignments
from m4sam_core.host.share import find_recipe
from m4sam_core.model_files import resolve_model
from m4sam_core.release import architecture
from m4sam_training.train.config.nested import differences, merge
from m4sam_training.train.config.train_config import TrainConfig


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
