# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The run's settings: presets, precedence, and refusal of what is wrong or hostile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from m4sam_core.config import ModelConfig
from m4sam_core.errors import ConfigError
from m4sam_training.train.config import TrainConfig, load_train_config

FOLDER = Path(__file__).parents[3] / "config" / "train"
CONFIGS = sorted(FOLDER.glob("*.yaml"))


def flat(values: dict, prefix: str = "") -> dict:
    leaves = {}
    for key, value in values.items():
        if isinstance(value, dict):
            leaves.update(flat(value, f"{prefix}{key}."))
        else:
            leaves[prefix + key] = value
    return leaves


def test_a_checkpoint_brings_its_architecture_unless_other_settings_were_given():
    rosbag = FOLDER / "rosbag.yaml"
    cfg = load_train_config(rosbag, ["model.preset=edge", "init.trunk=null", "init.checkpoint=edge"])
    assert cfg.model == ModelConfig.preset("edge")
    assert cfg.augment.max_severity == 3
    assert load_train_config(FOLDER / "edge_finetune.yaml").model == ModelConfig.preset("edge")
    with pytest.raises(ConfigError, match=r"another one: model\.trunk\.kind"):
        load_train_config(rosbag, ["init.checkpoint=edge"])
    with pytest.raises(ConfigError, match=r"another one: model\.memory\.key_dim; leave these out"):
        load_train_config(FOLDER / "edge_finetune.yaml", ["model.memory.key_dim=8"])


def test_every_difference_between_release_and_paper_is_this_list():
    release = flat(TrainConfig.parse({"preset": "release"}).model_dump(mode="json"))
    paper = flat(TrainConfig.parse({"preset": "paper"}).model_dump(mode="json"))
    assert release.keys() == paper.keys()
    different = {key: (release[key], paper[key]) for key in release if release[key] != paper[key]}
    assert different == {
        "preset": ("release", "paper"),
        "model.adapter.combine": ("release", "paper"),
        "model.adapter.full_qv": (False, True),
        "model.adapter.alpha": (1.0, 4.0),
        "model.adapter.bn_momentum": (0.19, 0.1),
        "model.memory.prior_norm": ("batch", "sample"),
        "loss.bce": ("scalar", "weighted"),
        "loss.structure_mae": (0.3, 0.0),
        "loss.final_input": ("prob_as_logit", "logit"),
        "loss.coarse_weights": ([0.6, 0.8, 1.0], [1.0, 1.0, 1.0]),
        "loss.edge.start": (0.2, 1.0),
        "loss.edge.gain": (0.6, 0.0),
        "loss.edge.ramp_epochs": (20, 0),
        "loss.final.structure": (0.7, 1.0),
        "loss.final.focal": (0.8, 0.0),
        "loss.final.dice": (0.5, 0.0),
        "loss.final.mae": (0.9, 0.0),
        "loss.moe_weight": (0.8, 1.0),
        "optim.epochs": (60, 50),
        "optim.deep_update": ("random", "always"),
    }


def test_release_follows_the_published_recipe():
    cfg = TrainConfig()
    assert (cfg.optim.lr, cfg.optim.lr_adapter, cfg.optim.lr_min) == (1e-3, 1e-4, 1e-7)
    assert (cfg.optim.weight_decay, cfg.optim.grad_clip, cfg.optim.amp) == (5e-4, 0.0, "off")
    assert (cfg.data.batch_size, cfg.data.clip_length, cfg.optim.epochs) == (4, 4, 60)
    assert (cfg.augment.flip_probability, cfg.augment.rotate_probability, cfg.augment.crop_px) == (0.5, 0.2, 30)
    assert cfg.model.input_size_px == 352
    assert cfg.model.trunk.size == "large"


def test_settings_survive_a_round_trip():
    cfg = TrainConfig.parse({"preset": "paper", "model": {"preset": "nano"}, "optim": {"lr": 0.5}})
    assert TrainConfig.parse(json.loads(cfg.model_dump_json())) == cfg


def test_file_then_assignments_win_over_the_preset(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("preset: paper\nmodel: {preset: nano}\noptim: {lr: 1e-4, epochs: 7}\n")
    cfg = load_train_config(path, ["optim.epochs=9", "model.adapter.top_k=3", "loss.final.mae=0.25"])
    assert cfg.optim.lr == 1e-4
    assert cfg.optim.epochs == 9
    assert cfg.loss.bce == "weighted"
    assert cfg.loss.final.mae == 0.25
    assert cfg.model.input_size_px == 64
    assert cfg.model.adapter.top_k == 3
    assert cfg.model.adapter.combine == "paper"


def test_off_may_be_written_without_quotes():
    cfg = load_train_config(None, ["optim.amp=off", "optim.sync_bn=off"])
    assert (cfg.optim.amp, cfg.optim.sync_bn) == ("off", "off")


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("optim.learning_rate=1", "optim.learning_rate: unknown setting; known ones here: epochs, lr"),
        ("speed=1", "speed: unknown setting; known ones here: preset, model"),
        ("model.adapter.rang=4", "model.adapter.rang: unknown setting; known ones here: kind, rank"),
        ("optim.epochs=-1", "optim.epochs: Input should be greater than or equal to 1, got -1"),
        ("optim.amp=fp8", "optim.amp"),
        ("optim.lr_adapter=1e-9", "optim.lr_min: expected at most lr and lr_adapter, which fall to it, got 1e-07"),
        ("preset=arxiv", "preset: expected one of release, paper, sam2_unet, got 'arxiv'"),
        ("model.preset=huge", "model.preset: expected one of release, large"),
        ("optim.lr", "--set: expected NAME=VALUE"),
        ("=3", "--set: expected NAME=VALUE"),
        ("optim..lr=3", "--set: expected NAME=VALUE"),
        ("optim=[1", "--set optim: expected plain YAML"),
    ],
)
def test_wrong_assignments_are_named(assignment, told):
    with pytest.raises(ConfigError) as caught:
        load_train_config(None, [assignment])
    assert told in str(caught.value)


def bomb() -> str:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join(['*a' + str(i - 1)] * 9)}]" for i in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (bomb(), "aliases are not accepted"),
        ("run: !!python/object/apply:os.system ['touch owned']", "could not determine a constructor"),
        ("[" * 4000 + "]" * 4000, "expected plain YAML"),
        ("x: " + "y" * 1_000_001, "at most 1000000 bytes"),
        ("- a\n- b\n", "expected a mapping of settings, got list"),
        ("a: b: c", "expected plain YAML"),
    ],
    ids=["bomb", "object", "deep", "large", "list", "broken"],
)
def test_hostile_or_broken_files_are_refused(tmp_path, monkeypatch, text, told):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_train_config(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "owned").exists()


def test_a_missing_file_and_a_binary_file_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="readable UTF-8 YAML file"):
        load_train_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="readable UTF-8 YAML file"):
        load_train_config(tmp_path / "bad.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path):
    # The later parts of the packaged recipe begin with the weights of the part before, which are not here.
    begin = (
        ["init.checkpoint=edge"]
        if path.stem in ("edge_picture", "edge_picture_again", "edge_memory", "edge_agreement", "edge_arrivals")
        else []
    )
    assert load_train_config(path, begin).optim.epochs >= 1


def test_the_documented_configs_are_shipped():
    assert {path.stem for path in CONFIGS} >= {"rdvs", "vidsod100", "dvisal", "rosbag", "smoke"}
