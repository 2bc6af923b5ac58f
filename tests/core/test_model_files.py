# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""From a model's name to its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from m4sam_core import model_files
from m4sam_core.errors import CheckpointError
from m4sam_core.model_files import cache_dir, resolve_model


@pytest.fixture
def places(tmp_path, monkeypatch):
    """(packaged folder, cache folder), both empty."""
    packaged, cache = tmp_path / "packaged", tmp_path / "cache"
    packaged.mkdir()
    cache.mkdir()
    monkeypatch.setattr(model_files, "packaged_weights_dir", lambda: packaged)
    monkeypatch.setenv("M4SAM_CACHE", str(cache))
    return packaged, cache


@pytest.mark.parametrize("name", ["default", "edge"])
def test_packaged_names(places, name):
    packaged, _ = places
    (packaged / "edge.safetensors").touch()
    assert resolve_model(name) == packaged / "edge.safetensors"


def test_missing_package_data_says_so(places):
    with pytest.raises(CheckpointError, match="reinstall"):
        resolve_model("default")


def test_a_path(places, tmp_path, monkeypatch):
    file = tmp_path / "mine.safetensors"
    file.touch()
    assert resolve_model(file) == file
    assert resolve_model(str(file)) == file
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_model("~/mine.safetensors") == file
    monkeypatch.chdir(tmp_path)
    assert resolve_model("mine.safetensors") == Path("mine.safetensors")


@pytest.mark.parametrize("given", ["big", "big.pth"])
def test_a_name_in_the_cache(places, given):
    _, cache = places
    (cache / "big.pth").touch()
    assert resolve_model(given) == cache / "big.pth"


@pytest.mark.parametrize("name", ["nothing", "", "../cache/big.pth", "folder/nothing.safetensors"])
def test_unknown_models_are_refused_with_the_known_ones(places, name):
    packaged, cache = places
    (packaged / "edge.safetensors").touch()
    (cache / "big.pth").touch()
    with pytest.raises(CheckpointError, match="known here: default, edge, big"):
        resolve_model(name)


def test_a_folder_is_not_a_model(places, tmp_path):
    with pytest.raises(CheckpointError, match="found none"):
        resolve_model(tmp_path)


def test_cache_defaults_to_home(monkeypatch):
    monkeypatch.setenv("M4SAM_CACHE", " ")
    monkeypatch.setenv("HOME", "/somewhere")
    assert cache_dir() == Path("/somewhere/.cache/m4sam")
