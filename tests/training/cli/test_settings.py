# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The page of training settings is made from the schema, and says everything about each one."""

from __future__ import annotations

from pathlib import Path

from m4sam_core.cli.main import main
from m4sam_training.cli.settings import page, settings
from m4sam_training.train.config import TrainConfig, load_train_config

PAGE = Path(__file__).resolve().parents[3] / "docs" / "training_settings.md"


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), "m4sam settings --markdown > docs/training_settings.md"


def test_every_setting_has_a_meaning_and_says_what_is_allowed():
    found = list(settings(TrainConfig, TrainConfig()))
    assert len(found) > 90
    assert [item.name for item in found if not item.meaning or not item.allowed] == []
    numbers = [item for item in found if item.default.replace(".", "").replace("e-", "").isdigit()]
    assert [item.name for item in numbers if not item.allowed.startswith(("[", "("))] == [], "a number has a range"


def test_defaults_are_those_of_a_run_and_may_be_given():
    """What the page calls the default can be written on the command line, and changes nothing."""
    one_of_two = "model.trunk."  # the page lists both kinds of trunk
    given = [
        f"{item.name}={item.default}"
        for item in settings(TrainConfig, TrainConfig())
        if item.default and not item.name.startswith(one_of_two)
    ]
    assert load_train_config(None, given) == TrainConfig()


def test_a_part_is_printed_and_an_unknown_one_refused(capsys):
    assert main(["settings", "optim.lr"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("optim.lr = 0.001   (0, 10]")
    assert shown.count("\n    ") == 3
    assert main(["settings", "speed"]) == 2
    assert "expected the beginning of a name, got 'speed'; they begin with preset, model" in capsys.readouterr().err
