# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The number of threads is measured once, kept, and never changes the masks."""

from __future__ import annotations

import json
import pwd

import pytest
import torch

from m4sam_core.bench import threads as module
from m4sam_core.bench.threads import candidates, choose, measure, quickest_threads
from m4sam_core.build import build_model
from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.config import ModelConfig, PipelineConfig
from m4sam_core.errors import ConfigError
from m4sam_core.loaded import load_for_inference
from m4sam_core.pipeline import SaliencyPipeline

CPU = PipelineConfig(device="cpu", backend="torch")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    save_checkpoint(path, build_model(ModelConfig.preset("nano")))
    return path


@pytest.fixture(autouse=True)
def _threads_as_before():
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.mark.parametrize(
    ("ms", "chosen"),
    [
        ({1: 50.0, 2: 30.0}, 2),
        ({1: 31.0, 2: 30.0}, 1),
        ({1: 80.0, 2: 45.0, 3: 33.0, 4: 31.0, 8: 30.0}, 3),
        ({1: 20.0, 2: 25.0}, 1),
    ],
)
def test_the_fewest_within_a_tenth_of_the_fastest(ms, chosen):
    assert choose(ms, dict.fromkeys(ms, 1e-6)) == chosen


def test_a_count_that_changes_the_masks_is_not_taken():
    assert choose({1: 50.0, 2: 20.0, 3: 30.0}, {1: 0.0, 2: 1e-3, 3: 1e-5}) == 3
    assert choose({1: 50.0, 2: 20.0}, {1: 0.0, 2: float("nan")}) == 1


def test_counts_up_to_all_cores():
    assert candidates(2) == [1, 2]
    assert candidates(5) == [1, 2, 3, 4, 5]
    assert candidates(16) == [1, 2, 3, 4, 6, 8, 12, 16]


def test_measured_once_and_again_when_the_file_is_damaged(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("M4SAM_CACHE", str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(module, "allowed_cores", lambda: frozenset({0, 1}))
    told, measured = [], []
    result = {"threads": 2, "ms": {1: 2.0, 2: 1.0}, "difference": {1: 0.0, 2: 0.0}}
    monkeypatch.setattr(module, "measure", lambda *_: measured.append(1) or result)
    assert quickest_threads(weights, CPU, told.append) == 2
    assert quickest_threads(weights, CPU, told.append) == 2
    assert (len(measured), len(told)) == (1, 2)
    (file,) = (tmp_path / "threads").iterdir()
    for damage in ("{", "[]", '{"threads": "two"}', '{"threads": 0}'):
        file.write_text(damage)
        assert quickest_threads(weights, CPU, told.append) == 2
    assert len(measured) == 5
    quickest_threads(weights, CPU.model_copy(update={"dtype": "bfloat16"}), told.append)
    assert len(measured) == 6
    assert json.loads(file.read_text())["threads"] == 2


@pytest.mark.parametrize("cache", ["/dev/null/cache", None])
def test_where_nothing_can_be_kept_it_is_measured_each_time(weights, monkeypatch, cache):
    """A read-only robot, a user without a home."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    if cache is None:
        monkeypatch.delenv("M4SAM_CACHE", raising=False)
    else:
        monkeypatch.setenv("M4SAM_CACHE", cache)
    monkeypatch.setattr(module, "allowed_cores", lambda: frozenset({0, 1}))
    monkeypatch.setattr(module, "measure", lambda *_: {"threads": 2, "ms": {1: 2.0, 2: 1.0}})
    told = []
    assert quickest_threads(weights, CPU, told.append) == 2
    assert any("made again at the next start" in line and "set M4SAM_CACHE" in line for line in told)


def test_nothing_is_measured_for_one_core(weights, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(module, "measure", lambda *_: pytest.fail("measured"))
    assert quickest_threads(weights, CPU, pytest.fail) == 1


def test_a_measurement_compares_each_count_with_one_thread(weights):
    found = measure(weights, CPU, [1, 2])
    assert set(found["ms"]) == set(found["difference"]) == {1, 2}
    assert all(ms > 0 for ms in found["ms"].values())
    assert found["difference"][1] == 0.0
    assert found["difference"][2] <= 1e-4
    assert found["threads"] in (1, 2)


def test_what_was_measured_is_in_force_for_each_frame(weights):
    loaded = load_for_inference(weights, CPU, threads=2)
    pipeline = SaliencyPipeline(loaded, CPU)
    torch.set_num_threads(1)
    pipeline.process(*module.textured_view(0, 48, 64), 0.0)
    assert torch.get_num_threads() == 2
    assert (loaded.threads, loaded.cfg.threads) == (2, 0)
    pipeline.configure(CPU)


def test_cores_that_are_not_there_are_refused_before_loading():
    with pytest.raises(ConfigError, match="affinity"):
        load_for_inference("default", CPU.model_copy(update={"affinity": "4000"}))
