# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""A dataset's layout is told by its folders, and only where they leave no doubt."""

from __future__ import annotations

import pytest

from m4sam_core.cli.main import main
from m4sam_core.errors import ConfigError
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.layouts import LAYOUTS
from m4sam_training.data.recognise import layout_of


@pytest.mark.parametrize("irregular", [False, True])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_every_layout_is_told(tmp_path, layout, irregular):
    generate_dataset(tmp_path / "D", layout, 2, 5, 72, 96, 0, irregular)
    assert layout_of(tmp_path / "D") == layout
    assert layout_of(tmp_path / "D", "m4sam") == "m4sam", "what is said is not doubted"


def test_other_folders_are_refused_with_what_to_do(tmp_path, capsys):
    (tmp_path / "train" / "one" / "pictures").mkdir(parents=True)
    with pytest.raises(ConfigError, match="fit none"):
        layout_of(tmp_path)
    assert main(["dataset", "check", str(tmp_path)]) == 2
    assert "m4sam dataset info" in capsys.readouterr().err


def test_two_that_fit_are_named(tmp_path):
    for folder in ("rgb", "Gt"):
        (tmp_path / "train" / "one" / folder).mkdir(parents=True)
    with pytest.raises(ConfigError, match="fit rdvs and vidsod100; say which with --layout"):
        layout_of(tmp_path)


def test_commands_need_no_layout(tmp_path, capsys):
    generate_dataset(tmp_path / "D", "m4sam", 1, 5, 72, 96, 0, False)
    assert main(["dataset", "check", str(tmp_path / "D"), "--strict"]) == 0
    assert "layout: m4sam" in capsys.readouterr().out
    assert main(["dataset", "info", str(tmp_path / "D")]) == 0
    assert "train_1" in capsys.readouterr().out
    assert main(["dataset", "to-bag", str(tmp_path / "D"), "--out", str(tmp_path / "bags")]) == 0
    assert len(list((tmp_path / "bags").iterdir())) == 1


def test_listed_videos_may_have_spaces_in_their_names(tmp_path):
    generate_dataset(tmp_path, "dvisal", videos=1, frames=2, height=48, width=64)
    base = tmp_path / "DViSal_dataset"
    for listing in base.glob("*.txt"):
        name = listing.read_text().strip()
        (base / "data" / name).rename(base / "data" / f"my {name}")
        listing.write_text(f"/my {name}/\r\n")
    assert layout_of(tmp_path) == "dvisal"
