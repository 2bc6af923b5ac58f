# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what goes in comes out, and everything else is refused with a reason."""

from __future__ import annotations

import argparse
import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from m4sam_core.build import build_model
from m4sam_core.checkpoint import (
    FORMAT,
    below_prefix,
    load_checkpoint,
    read_header,
    read_pickled_weights,
    save_checkpoint,
)
from m4sam_core.config import ModelConfig
from m4sam_core.errors import CheckpointError
from m4sam_core.model.m4sam import M4SAM
from m4sam_core.release import load_release_checkpoint, load_sam2_trunk


@pytest.fixture(scope="module")
def model() -> M4SAM:
    torch.manual_seed(0)
    return build_model(ModelConfig.preset("nano"))


@pytest.fixture
def saved(model: M4SAM, tmp_path: Path) -> Path:
    path = tmp_path / "nano.safetensors"
    save_checkpoint(path, model, {"licence": "Apache-2.0"})
    return path


def test_round_trip(model: M4SAM, saved: Path) -> None:
    loaded = load_checkpoint(saved)
    assert loaded.cfg == model.cfg
    assert not loaded.training
    assert all(torch.equal(t, model.state_dict()[name]) for name, t in loaded.state_dict().items())
    assert read_header(saved)["licence"] == "Apache-2.0"


def test_half_precision_storage_loads_as_float32(model: M4SAM, tmp_path: Path) -> None:
    model = copy.deepcopy(model)
    wide = "mask_decoder.steps.1.running_var"
    model.get_buffer(wide).fill_(2e5)  # seen in training, and beyond float16
    save_checkpoint(tmp_path / "half.safetensors", model, dtype=torch.float16)
    loaded = load_checkpoint(tmp_path / "half.safetensors")
    name = "fuser.block1.conv1.weight"
    assert loaded.state_dict()[name].dtype == torch.float32
    torch.testing.assert_close(loaded.state_dict()[name], model.state_dict()[name], atol=1e-3, rtol=1e-3)
    assert torch.equal(loaded.get_buffer(wide), model.get_buffer(wide))


def test_saving_replaces_the_file_in_one_step(model: M4SAM, saved: Path) -> None:
    save_checkpoint(saved, model)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_an_unwritable_place_is_named(model: M4SAM, saved: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot write"):
        save_checkpoint(saved / "below_a_file.safetensors", model)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found none"):
        load_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 7, 500, -1])
def test_truncated_file(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="truncated"):
        load_checkpoint(saved)


def test_foreign_safetensors(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=f"expected format {FORMAT}"):
        load_checkpoint(tmp_path / "x.safetensors")


def _rewrite(saved: Path, **changes: torch.Tensor | None) -> None:
    from safetensors import safe_open

    with safe_open(str(saved), framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    save_file(tensors, saved, metadata=header)


KEY = "decoder.coarse_heads.0.bias"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({KEY: None}, f"1 missing: {KEY}"),
        ({"surprise": torch.zeros(1)}, "1 unexpected: surprise"),
        ({KEY: torch.zeros(7)}, rf"{KEY} \(7,\), expected \(1,\)"),
        ({KEY: torch.tensor([float("nan")])}, f"1 NaN or infinite: {KEY}"),
    ],
)
def test_model_files_that_do_not_fit_are_named(saved: Path, changes: dict[str, torch.Tensor], message: str) -> None:
    _rewrite(saved, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


def test_a_config_from_the_future_is_refused(model: M4SAM, saved: Path) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, saved, metadata={"format": FORMAT, "config": '{"warp_drive": 9}'})
    with pytest.raises(CheckpointError, match="warp_drive"):
        load_checkpoint(saved)


class _Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.marker,)  # type: ignore[return-value]  # what an attacker would write


def test_a_pickled_object_is_never_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"model": _Hostile(marker)}, protocol=2))
    torch.save({"model": _Hostile(marker)}, tmp_path / "evil_zip.pth")
    for name in ("evil.pth", "evil_zip.pth"):  # the old format and the zipped one
        with pytest.raises(CheckpointError, match="never executed"):
            load_release_checkpoint(tmp_path / name)
    assert not marker.exists()


def test_a_release_file_that_is_another_model_is_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"8438 missing: .* and 8430 more; 1 unexpected: conv.weight"):
        load_release_checkpoint(tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="expected a dictionary"):
        load_release_checkpoint(tmp_path / "list.pth")


TRUNK = ("patch_embed.proj.weight", "blocks.0.attn.qkv.bias", "blocks.11.mlp.layers.1.weight", "pos_embed")
WEIGHTS = {f"image_encoder.trunk.{name}": torch.full((2, 3), float(number)) for number, name in enumerate(TRUNK)}


def _prefixed(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in weights.items()}


WRAPPERS = {
    "bare": lambda w: w,
    "model": lambda w: {"model": w},
    "lightning": lambda w: {"state_dict": _prefixed(w, "model."), "hyper_parameters": {"lr": 0.1}, "epoch": 3},
    "lightning with a loss": lambda w: {"state_dict": {**_prefixed(w, "net."), "loss.weight": torch.ones(2)}},
    "nested": lambda w: {"model": {"state_dict": w}},
    "ddp": lambda w: {"model": _prefixed(w, "module.")},
    "compiled": lambda w: {"model": _prefixed(w, "_orig_mod.")},
    "ddp of compiled": lambda w: {"model": _prefixed(w, "module._orig_mod.")},
    "a compiled part": lambda w: {"model": {k.replace("trunk.", "trunk._orig_mod."): v for k, v in w.items()}},
    "fsdp": lambda w: {"model": {k.replace("trunk.", "trunk._fsdp_wrapped_module."): v for k, v in w.items()}},
    "averaged": lambda w: {"model_ema": {**_prefixed(w, "module."), "n_averaged": torch.tensor(7)}},
    "beside its average": lambda w: {"model": w, "ema": {k: v + 1 for k, v in w.items()}},
    "average in one dictionary": lambda w: {**_prefixed({k: v + 1 for k, v in w.items()}, "ema_model."), **w},
    "numpy": lambda w: {"model": w, "best": np.float64(0.02), "epoch": np.int64(3), "curve": np.arange(3.0)},
    "settings": lambda w: {"model": w, "args": argparse.Namespace(lr=0.1, name="x")},
    "an optimiser": lambda w: {"model": w, "optimizer": {"state": {0: {"step": 1}}, "param_groups": [{"lr": 0.1}]}},
    "half": lambda w: {"model": {k: v.bfloat16() for k, v in w.items()}},
    "the trunk alone": lambda w: {k.removeprefix("image_encoder.trunk."): v for k, v in w.items()},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_training_programs_put_around_weights_is_taken_off(wrapper: str, tmp_path: Path) -> None:
    torch.save(WRAPPERS[wrapper](WEIGHTS), tmp_path / "w.pt")
    found = below_prefix(read_pickled_weights(tmp_path / "w.pt"), TRUNK)
    assert found.keys() == set(TRUNK)
    for number, name in enumerate(TRUNK):
        torch.testing.assert_close(found[name].float(), torch.full((2, 3), float(number)))


def test_weights_of_another_model_are_left_as_they_are_for_the_message() -> None:
    assert below_prefix({"head.weight": 1}, TRUNK) == {"head.weight": 1}
    assert set(below_prefix({"model.pos_embed": 1, "model.surprise": 2, "loss.w": 3}, TRUNK)) == {
        "pos_embed",
        "surprise",
    }


def test_a_trunk_that_was_trained_in_parallel_loads(tmp_path: Path) -> None:
    model = build_model(ModelConfig.preset("tiny"))
    weights = {f"image_encoder.trunk.{name}": value for name, value in model.trunk.hiera.state_dict().items()}
    torch.save({"state_dict": _prefixed(weights, "module._orig_mod."), "best": np.float64(0.1)}, tmp_path / "w.pt")
    load_sam2_trunk(model, tmp_path / "w.pt")


class _Tracker:
    """What a training program keeps beside the weights."""


def test_what_cannot_be_read_is_named_without_colours(tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, "tracker": _Tracker()}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"it holds .*_Tracker.*never executed") as caught:
        read_pickled_weights(tmp_path / "w.pt")
    assert "\x1b" not in str(caught.value)
