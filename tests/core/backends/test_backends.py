# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Every engine gives PyTorch's masks, keeps the stream's promises, and believes nothing in the cache unseen."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal

import numpy as np
import pytest
import torch

from m4sam_core.backends.engines import ENGINES
from m4sam_core.backends.export import read_manifest
from m4sam_core.config import PipelineConfig
from m4sam_core.errors import CheckpointError, ConfigError, DeviceError, InputError
from m4sam_core.pipeline import SaliencyPipeline

INSTALLED = [name for name in ("openvino", "onnxruntime") if ENGINES[name].installed]
pytestmark = pytest.mark.skipif(not INSTALLED, reason="neither openvino nor onnxruntime is installed, with onnx")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    monkeypatch.setenv("M4SAM_CACHE", str(cache))


def frames(count):
    rng = np.random.default_rng(1)
    rgb = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    depth = np.kron(rng.integers(600, 4000, (6, 8)), np.ones((20, 20))).astype(np.uint16)
    return [(np.roll(rgb, 4 * t, 1), np.roll(depth, 4 * t, 1), t / 15) for t in range(count)]


def opened(checkpoint, backend, notes=None):
    cfg = PipelineConfig(device="cpu", backend=backend, threads=1)
    return SaliencyPipeline.from_name(checkpoint, cfg, progress=(notes if notes is not None else []).append)


def masks(pipeline, count=6):
    return np.stack([pipeline.process(*frame).probability for frame in frames(count)])


@pytest.fixture(scope="module")
def reference(checkpoint):
    return masks(opened(checkpoint, "torch"))


@pytest.mark.parametrize("backend", INSTALLED)
def test_masks_are_those_of_torch(checkpoint, reference, backend):
    pipeline = opened(checkpoint, backend)
    assert pipeline.backend == backend
    ours = masks(pipeline)
    assert np.abs(ours - reference).max() <= 1e-4
    assert np.abs(reference[0] - reference[-1]).max() > 1e-2, "the frames must not all look the same"


@pytest.mark.parametrize("backend", INSTALLED)
def test_after_a_reset_a_stream_is_fresh_bit_for_bit(checkpoint, backend):
    pipeline = opened(checkpoint, backend)
    first = masks(pipeline, 4)
    pipeline.reset("again")
    np.testing.assert_array_equal(masks(pipeline, 4), first)
    np.testing.assert_array_equal(masks(opened(checkpoint, backend), 4), first)


def test_auto_takes_openvino_where_it_is_equal(checkpoint):
    pipeline = opened(checkpoint, "auto")
    assert pipeline.backend == ("openvino" if "openvino" in INSTALLED else "torch")


def test_auto_says_why_it_goes_on_with_torch(checkpoint, tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache should be")
    monkeypatch.setenv("M4SAM_CACHE", str(blocked))
    notes = []
    assert opened(checkpoint, "auto", notes).backend == "torch"
    if "openvino" in INSTALLED:
        assert "cache folder" in notes[-1]
    with pytest.raises(ConfigError, match="M4SAM_CACHE"):
        opened(checkpoint, INSTALLED[0])


def test_an_engine_with_other_masks_is_refused(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("M4SAM_CACHE", str(tmp_path))
    monkeypatch.setattr("m4sam_core.backends.cache.largest_difference", lambda *_: 0.01)
    with pytest.raises(DeviceError, match=r"0\.01 away; set backend to torch"):
        opened(checkpoint, INSTALLED[0])
    notes = []
    assert opened(checkpoint, "auto", notes).backend == "torch"


@pytest.mark.parametrize("damage", ["truncated", "other version", "no manifest", "blob"])
def test_a_damaged_cache_is_made_again(checkpoint, reference, cache, damage):
    backend = INSTALLED[0]
    opened(checkpoint, backend)
    (folder,) = (path for path in (cache / "graphs").iterdir() if path.is_dir())
    if damage == "truncated":
        data = (folder / "encode.onnx").read_bytes()
        (folder / "encode.onnx").write_bytes(data[: len(data) // 2])
    elif damage == "other version":
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "format": "m4sam-graphs-0"}))
    elif damage == "no manifest":
        (folder / "manifest.json").unlink()
    else:
        for path in folder.glob("*/*.blob"):
            path.chmod(0o600)
            path.write_bytes(b"\0" * 1000)
    if damage != "blob":
        with pytest.raises(CheckpointError, match="export the model again"):
            read_manifest(folder)
    pipeline = opened(checkpoint, backend)
    assert np.abs(masks(pipeline) - reference).max() <= 1e-4
    read_manifest(folder)


def test_another_size_is_an_error(checkpoint):
    network = opened(checkpoint, INSTALLED[0]).model
    with pytest.raises(InputError, match="96"):
        network.encode(torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64))


def test_settings_that_do_not_go_together(checkpoint):
    for cfg in (
        {"backend": "tensorrt"},
        {"backend": "onnxruntime", "dtype": "mixed"},
        {"backend": "torch", "dtype": "mixed"},
    ):
        with pytest.raises((ConfigError, DeviceError), match="set "):
            SaliencyPipeline.from_name(checkpoint, PipelineConfig.parse({"device": "cpu", **cfg}))
    pipeline = opened(checkpoint, "torch")
    with pytest.raises(ConfigError, match="backend"):
        pipeline.configure(PipelineConfig(device="cpu", backend="auto", threads=1))


def _open_in_process(checkpoint, cache, results):
    os.environ["M4SAM_CACHE"] = str(cache)
    torch.set_num_threads(1)
    results.put(float(masks(opened(checkpoint, INSTALLED[0]), 2).sum()))


def test_two_processes_and_a_kill_leave_a_good_cache(checkpoint, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    started = [context.Process(target=_open_in_process, args=(checkpoint, tmp_path, results)) for _ in range(3)]
    for process in started:
        process.start()
    while not list(tmp_path.glob("graphs/*")):
        started[0].join(0.05)
    os.kill(started[0].pid, signal.SIGKILL)
    for process in started:
        process.join(240)
    assert [process.exitcode for process in started[1:]] == [0, 0]
    found = {results.get(timeout=5) for _ in started[1:]}
    assert len(found) == 1
    (folder,) = (path for path in (tmp_path / "graphs").iterdir() if path.is_dir() and not path.name.startswith("."))
    read_manifest(folder)
    shutil.rmtree(tmp_path / "graphs")
