# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Numpy in, numpy out: the contract that the node and the command line build on."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.config import ModelConfig, PipelineConfig
from m4sam_core.errors import ConfigError, DeviceError, InputError, StreamError
from m4sam_core.pipeline import SaliencyPipeline

HEIGHT, WIDTH = 120, 160


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(ModelConfig.preset("nano"))


@pytest.fixture
def pipeline(model):
    return SaliencyPipeline(model, cpu())


def cpu(**values):
    return PipelineConfig.parse({"device": "cpu", **values})


def frame(seed=0, height=HEIGHT, width=WIDTH):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth = rng.integers(500, 4000, (height, width), dtype=np.uint16)
    return rgb, depth


def test_result_has_the_cameras_size_and_types(pipeline):
    rgb, depth = frame()
    result = pipeline.process(rgb, depth, 5.0)
    assert result.probability.shape == result.mask.shape == (HEIGHT, WIDTH)
    assert result.probability.dtype == np.float32
    assert result.mask.dtype == np.uint8
    assert set(np.unique(result.mask)) <= {0, 255}
    np.testing.assert_array_equal(result.mask > 0, result.probability > 0.5)
    assert 0 <= result.probability.min() <= result.probability.max() <= 1
    assert (result.stamp, result.scene_id, result.frame_index, result.reset_reason) == (5.0, 0, 0, None)
    assert not result.rgb_only
    assert result.wrote_memory
    assert result.memory_entries == 1
    assert list(result.timings_ms) == ["prepare", "encode", "memory", "total"]
    assert result.timings_ms["total"] >= sum(list(result.timings_ms.values())[:3]) * 0.99
    assert result.mask is result.mask, "computed once"


def test_threshold_is_applied(model):
    rgb, depth = frame()
    probability = SaliencyPipeline(model, cpu()).process(rgb, depth, 0.0).probability
    cut = float(np.quantile(probability, 0.7))
    mask = SaliencyPipeline(model, cpu(threshold=cut)).process(rgb, depth, 0.0).mask
    assert (mask > 0).mean() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (None, "no depth"),
        (np.zeros((HEIGHT, WIDTH), np.uint16), "valid pixels"),
        (np.full((HEIGHT, WIDTH), np.nan, np.float32), "valid pixels"),
        (np.ones((HEIGHT // 2, WIDTH), np.uint16), "expected 160x120"),
        (np.ones((HEIGHT, WIDTH), bool), "got bool"),
        ([[1.0] * WIDTH] * HEIGHT, "expected a numpy array (H, W), got list"),
        (torch.ones(HEIGHT, WIDTH), "got Tensor"),
    ],
)
def test_useless_depth_degrades_to_rgb_only(pipeline, depth, words):
    rgb, _ = frame()
    result = pipeline.process(rgb, depth, 0.0)
    assert result.rgb_only
    assert words in result.depth_note
    without = SaliencyPipeline(pipeline.model, cpu()).process(rgb, None, 0.0)
    np.testing.assert_array_equal(result.probability, without.probability)
    assert not pipeline.process(*frame(1), 0.1).rgb_only, "one bad map has no aftermath"


def test_depth_of_one_number_is_doubted_and_sparse_depth_is_not(pipeline):
    rgb, depth = frame()
    constant = pipeline.process(rgb, np.full_like(depth, 1500), 0.0)
    assert constant.depth_doubt == constant.depth_note
    assert "the same number" in constant.depth_doubt
    sparse = np.zeros_like(depth)
    sparse[::9, ::9] = depth[::9, ::9]
    few = pipeline.process(rgb, sparse, 0.1)
    assert "valid pixels" in few.depth_note
    assert few.depth_doubt is None, "its readings are what the sensor measured"


NOTHING = {
    "black": lambda rng: rng.normal(3, 2, (HEIGHT, WIDTH, 3)),
    "white": lambda rng: rng.normal(255, 2, (HEIGHT, WIDTH, 3)),
    "of one colour": lambda rng: rng.normal((120, 40, 90), 2, (HEIGHT, WIDTH, 3)),
}


@pytest.mark.parametrize("case", NOTHING)
def test_a_picture_of_nothing_has_an_empty_mask_and_leaves_the_stream_alone(model, case):
    dark = NOTHING[case](np.random.default_rng(1)).clip(0, 255).astype(np.uint8)
    disturbed, left_alone = (SaliencyPipeline(model, cpu()) for _ in range(2))
    first = disturbed.process(dark, None, 0.0)
    assert case in first.rgb_note
    assert first.memory_entries == 0
    assert (first.probability == 0).all()
    for number in range(4):
        stamp = 1 + number / 4
        result, expected = (each.process(*frame(number), stamp) for each in (disturbed, left_alone))
        assert (result.rgb_note, result.scene_id) == (None, 0)
        np.testing.assert_array_equal(result.probability, expected.probability)
        covered = disturbed.process(dark, None, stamp + 0.1)
        assert covered.mask.shape == (HEIGHT, WIDTH)
        assert not covered.mask.any()
        assert covered.frame_index == 2 * number + 2
        assert covered.memory_entries == result.memory_entries
    assert "gap" in disturbed.process(dark, None, 60.0).reset_reason, "clock and camera are looked at all the same"


def test_where_depth_shows_something_a_picture_of_nothing_is_looked_at(pipeline):
    _, depth = frame()
    result = pipeline.process(np.zeros((HEIGHT, WIDTH, 3), np.uint8), depth, 0.0)
    assert result.rgb_note is None
    assert result.probability.any()


LAYOUTS = {
    "by columns": np.asfortranarray,
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1])[:, ::-1],
    "upside down": lambda image: np.ascontiguousarray(image[::-1])[::-1],
    "a part of another": lambda image: np.pad(image, ((2, 3), (1, 4), *((0, 0),) * (image.ndim - 2)))[2:-3, 1:-4],
    "planes": lambda image: np.moveaxis(np.ascontiguousarray(np.moveaxis(image, -1, 0)), 0, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_how_an_array_lies_in_memory_changes_nothing(pipeline, layout):
    rgb, depth = frame()
    wanted = pipeline.process(rgb, depth, 0.0).probability
    other = SaliencyPipeline(pipeline.model, cpu())
    got = other.process(LAYOUTS[layout](rgb), LAYOUTS[layout](depth), 0.0)
    assert not got.rgb_only
    np.testing.assert_array_equal(got.probability, wanted)


SAME_DEPTH = {
    "big-endian": lambda depth: depth.astype(">u2"),
    "masked": lambda depth: np.ma.masked_array(np.where(depth < 900, 5, depth), depth < 900),
}


@pytest.mark.parametrize("kind", SAME_DEPTH)
def test_depth_of_other_kinds_of_arrays(pipeline, kind):
    rgb, depth = frame()
    depth[depth < 900] = 0
    wanted = pipeline.process(rgb, depth, 0.0).probability
    got = SaliencyPipeline(pipeline.model, cpu()).process(rgb, SAME_DEPTH[kind](depth), 0.0)
    assert not got.rgb_only
    np.testing.assert_array_equal(got.probability, wanted)


@pytest.mark.parametrize("stamp", [1_700_000_000_000_000_000, 1.7e12, "now", None, [1.0, 2.0]])
def test_what_is_no_time_in_seconds_is_refused(pipeline, stamp):
    with pytest.raises(InputError, match="stamp: expected seconds"):
        pipeline.process(*frame(), stamp)


def test_a_camera_that_cannot_be_told_apart_is_refused(pipeline):
    with pytest.raises(InputError, match="camera: expected something hashable, such as a tuple, got ndarray"):
        pipeline.process(*frame(), 0.0, camera=np.eye(3))


@pytest.mark.parametrize("stamp", [float("nan"), float("inf")])
def test_bad_input_is_refused_and_the_stream_unharmed(pipeline, stamp):
    rgb, depth = frame()
    pipeline.process(rgb, depth, 0.0)
    with pytest.raises(InputError, match="stamp"):
        pipeline.process(rgb, depth, stamp)
    with pytest.raises(InputError, match="float32"):
        pipeline.process(rgb.astype(np.float32), depth, 0.1)
    assert pipeline.process(rgb, depth, 0.1).frame_index == 1


def test_another_size_or_camera_starts_a_new_scene(pipeline):
    pipeline.process(*frame(), 0.0, camera="left")
    assert pipeline.process(*frame(height=60), 0.1, camera="left").reset_reason == "camera changed"
    result = pipeline.process(*frame(height=60), 0.2, camera="right")
    assert (result.scene_id, result.reset_reason) == (2, "camera changed")
    assert result.mask.shape == (60, WIDTH)


def test_reset_from_another_thread_is_reported_on_the_next_frame(pipeline):
    rgb, depth = frame()
    first = pipeline.process(rgb, depth, 0.0).probability
    pipeline.process(*frame(1), 0.1)
    caller = threading.Thread(target=pipeline.reset, args=("service call",))
    caller.start()
    caller.join()
    result = pipeline.process(rgb, depth, 0.2)
    assert (result.reset_reason, result.scene_id, result.frame_index) == ("service call", 1, 0)
    np.testing.assert_array_equal(result.probability, first)
    assert pipeline.process(*frame(1), 0.3).reset_reason is None


def test_reset_does_not_wait_for_the_frame_in_work(pipeline, monkeypatch):
    entered, go_on = threading.Event(), threading.Event()
    encode = pipeline.model.encode

    def slow_encode(*args, **kwargs):
        entered.set()
        assert go_on.wait(10)
        return encode(*args, **kwargs)

    monkeypatch.setattr(pipeline.model, "encode", slow_encode)
    results = []
    worker = threading.Thread(target=lambda: results.append(pipeline.process(*frame(), 0.0)))
    worker.start()
    assert entered.wait(10)
    pipeline.reset("now")
    pipeline.configure(cpu(threshold=0.9))
    assert worker.is_alive(), "both returned while the frame was still in work"
    go_on.set()
    worker.join(10)
    assert results[0].reset_reason is None
    assert results[0].threshold == 0.5
    following = pipeline.process(*frame(), 0.1)
    assert (following.reset_reason, following.threshold) == ("now", 0.9)


def test_two_threads_take_turns(pipeline):
    stamps = list(range(12))
    results = []

    def work():
        while stamps:
            try:
                index = stamps.pop(0)
            except IndexError:
                return
            results.append(pipeline.process(*frame(index), 1.0))

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(result.frame_index for result in results) == list(range(12)), "no frame lost, none mixed"


def test_configure_is_live(pipeline, tmp_path):
    rgb, depth = frame()
    pipeline.process(rgb, depth, 0.0)
    pipeline.configure(cpu(stream={"bank": {"capacity": 4}}))
    assert pipeline.cfg.stream.bank.capacity == 4
    result = pipeline.process(rgb, depth, 0.1)
    assert result.reset_reason == "memory settings changed"
    for name, value in (("device", "auto"), ("dtype", "auto"), ("threads", 7)):
        with pytest.raises(ConfigError, match=f"{name}: expected"):
            pipeline.configure(PipelineConfig.parse({"device": "cpu", name: value}))
    with pytest.raises(InputError, match=r"none.png: expected an image"):
        pipeline.configure(cpu(ignore_mask=str(tmp_path / "none.png")))
    assert (pipeline.cfg.stream.bank.capacity, pipeline.cfg.ignore_mask) == (4, ""), "refused settings change nothing"


def test_close(pipeline):
    pipeline.process(*frame(), 0.0)
    pipeline.close()
    pipeline.close()
    with pytest.raises(StreamError, match="after close"):
        pipeline.process(*frame(), 0.1)
    with pytest.raises(StreamError, match="after close"):
        pipeline.warm_up()


def test_warm_up_leaves_no_trace(model):
    warm, cold = SaliencyPipeline(model, cpu()), SaliencyPipeline(model, cpu())
    timings = warm.warm_up(HEIGHT, WIDTH)
    assert timings["total"] > 0
    ours, theirs = warm.process(*frame(), 7.0), cold.process(*frame(), 7.0)
    np.testing.assert_array_equal(ours.probability, theirs.probability)
    assert (ours.scene_id, ours.frame_index, ours.reset_reason) == (0, 0, None)


def test_bfloat16_is_close_and_float16_on_the_cpu_is_refused(model):
    rgb, depth = frame()
    exact = SaliencyPipeline(model, cpu()).process(rgb, depth, 0.0).probability
    rough = SaliencyPipeline(model, cpu(dtype="bfloat16", stream={"write_gate": {"enabled": False}}))
    for stamp in (0.0, 0.1, 0.2):
        result = rough.process(rgb, depth, stamp)
    assert result.memory_entries == 3
    assert np.abs(rough.process(rgb, depth, 9.0).probability - exact).mean() < 0.05
    with pytest.raises(DeviceError, match="bfloat16"):
        SaliencyPipeline(model, cpu(dtype="float16"))


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("x"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 byte")],
)
def test_out_of_memory_is_typed_and_the_stream_recovers(pipeline, monkeypatch, error):
    pipeline.process(*frame(), 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.model, "encode", lambda *_, **__: (_ for _ in ()).throw(error))
        with pytest.raises(DeviceError, match=r"out of memory; use a smaller model"):
            pipeline.process(*frame(), 0.1)
    assert pipeline.process(*frame(), 0.2).reset_reason.startswith("frame failed")


def test_from_name_takes_a_file(model, tmp_path):
    path = tmp_path / "nano.safetensors"
    save_checkpoint(path, model)
    loaded = SaliencyPipeline.from_name(path, cpu())
    ours = loaded.process(*frame(), 0.0).probability
    np.testing.assert_allclose(ours, SaliencyPipeline(model, cpu()).process(*frame(), 0.0).probability, atol=1e-5)


def test_a_model_without_memory_streams_too():
    cfg = ModelConfig.preset("nano")
    bare = build_model(cfg.model_copy(update={"memory": cfg.memory.model_copy(update={"enabled": False})}))
    pipeline = SaliencyPipeline(bare, cpu())
    results = [pipeline.process(*frame(), index / 15) for index in range(3)]
    assert [result.frame_index for result in results] == [0, 1, 2]
    assert [result.memory_entries for result in results] == [0, 0, 0]
    assert not any(result.wrote_memory for result in results)
    np.testing.assert_array_equal(results[0].probability, results[2].probability)
