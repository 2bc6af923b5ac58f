# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The stream: equal to the clip, equal after a reset, constant for ever."""

from __future__ import annotations

import gc
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.config import DepthConfig, ModelConfig, StreamConfig
from m4sam_core.stream.recurrence import unroll_clip
from m4sam_core.stream.session import StreamSession
from m4sam_core.vision.cues import describe_frame
from m4sam_core.vision.depth import prepare_depth

SIZE = 64


@pytest.fixture(scope="module")
def model():
    """Random weights whose batch statistics fit their input, so that frames and memory matter to the result."""
    torch.manual_seed(0)
    model = build_model(ModelConfig.preset("nano"))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.5
        if isinstance(module, torch.nn.ConvTranspose2d):
            torch.nn.init.normal_(module.weight, std=0.2)
    rgb, depth = clip(4)
    with torch.no_grad():
        for _ in range(4):
            unroll_clip(model, rgb[None], depth[None], generator=torch.Generator().manual_seed(0))
        model.mask_decoder.head.weight.mul_(10)
    return model.eval()


def clip(frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(1, 4, SIZE, SIZE, generator=generator)
    end = torch.rand(1, 4, SIZE, SIZE, generator=generator)
    mix = torch.linspace(0, 1, frames).view(frames, 1, 1, 1)
    both = start * (1 - mix) + end * mix
    return both[:, :3], both[:, 3:]


def ungated(**bank):
    return StreamConfig.parse({"bank": bank, "write_gate": {"enabled": False}})


def run(session, rgb, depth, start_s=0.0, fps=15.0):
    return [session.step(rgb[t : t + 1], depth[t : t + 1], start_s + t / fps) for t in range(len(rgb))]


def masks(frames):
    return torch.cat([frame.mask_prob for frame in frames])


@pytest.mark.parametrize("policy", ["sampled", "clip16", "sliding"])
@pytest.mark.parametrize("deep_update", ["always", "never"])
def test_stream_equals_clip(model, policy, deep_update):
    rgb, depth = clip(16)
    cfg = ungated(policy=policy).model_copy(update={"deep_update": deep_update})
    streamed = masks(run(StreamSession(model, cfg), rgb, depth))
    with torch.no_grad():
        whole = unroll_clip(model, rgb[None], depth[None], deep_update=deep_update).mask_prob[0]
    assert streamed.std() > 1e-3
    assert (streamed - whole).abs().max() <= 3e-5, "the ring reads its entries in another order"
    drift = (streamed[1:] - streamed[:-1]).abs().max()
    assert drift > 1e-4, "a constant output would prove nothing"


def test_memory_matters_to_the_result(model):
    rgb, depth = clip(8)
    remembered = masks(run(StreamSession(model, ungated()), rgb, depth))
    alone = StreamSession(model, ungated()).step(rgb[7:], depth[7:], 0.0).mask_prob
    assert (remembered[7:] - alone).abs().max() > 1e-4


@pytest.mark.parametrize("policy", ["sampled", "clip16", "sliding"])
def test_reset_equals_fresh_bit_for_bit(model, policy):
    rgb, depth = clip(25, seed=1)
    other_rgb, other_depth = clip(20, seed=2)
    cfg = StreamConfig.parse({"bank": {"policy": policy}})
    used = StreamSession(model, cfg)
    run(used, other_rgb, other_depth)
    used.reset("requested")
    again = run(used, rgb, depth)
    fresh = run(StreamSession(model, cfg), rgb, depth)
    assert torch.equal(masks(again), masks(fresh))
    assert [frame.wrote_memory for frame in again] == [frame.wrote_memory for frame in fresh]
    assert again[0].reset_reason == "requested"
    assert again[0].scene_id == 1
    assert again[1].reset_reason is None
    assert fresh[0].reset_reason is None


def test_clip16_restarts_like_the_release(model):
    rgb, depth = clip(32, seed=3)
    streamed = run(StreamSession(model, ungated(policy="clip16")), rgb, depth)
    with torch.no_grad():
        second = unroll_clip(model, rgb[None, 16:], depth[None, 16:], deep_update="always").mask_prob[0]
    assert (masks(streamed[16:]) - second).abs().max() <= 3e-5
    assert all(frame.reset_reason is None for frame in streamed)


@pytest.mark.parametrize(
    ("second", "reason"),
    [((0.05, None), "time went back by 0.050 s"), ((5.1, None), "gap of 5.00 s"), ((0.2, "left"), "camera changed")],
)
def test_hard_events_reset(model, second, reason):
    rgb, depth = clip(3)
    session = StreamSession(model, ungated())
    session.step(rgb[:1], depth[:1], 0.1)
    stamp_s, camera = second
    frame = session.step(rgb[1:2], depth[1:2], stamp_s, camera=camera)
    alone = StreamSession(model, ungated()).step(rgb[1:2], depth[1:2], 0.0)
    assert frame.reset_reason == reason
    assert (frame.scene_id, frame.frame_index, frame.memory_entries) == (1, 0, 1)
    assert torch.equal(frame.mask_prob, alone.mask_prob)
    assert session.step(rgb[2:], depth[2:], stamp_s + 0.1, camera=camera).frame_index == 1


def test_time_going_back_twice_resets_twice(model):
    rgb, depth = clip(2)
    session = StreamSession(model, ungated())
    reasons = [session.step(rgb[:1], depth[:1], stamp_s).reset_reason for stamp_s in (9.0, 9.1, 3.0, 3.1, 1.0)]
    assert [reason is not None for reason in reasons] == [False, False, True, False, True]


def pictures(seed, count):
    """A textured view drifting slowly, and its depth; another seed is another place."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 1, (1, 4, 24, 32)).astype(np.float32))
    scene = torch.nn.functional.interpolate(coarse, size=(240, 320), mode="bicubic", align_corners=False).clamp(0, 1)
    for index in range(count):
        view = scene[0].roll(index, dims=2).numpy()
        rgb = (view[:3].transpose(1, 2, 0) * 255).astype(np.uint8)
        yield rgb, view[3] * 3 + 0.5


def test_a_cut_resets_and_the_mask_is_that_of_a_fresh_start(model):
    lenient = {"min_agreement": 0, "min_confidence": 0, "max_area_jump": 1000, "min_sharpness": 0, "min_exposure": 0}
    session = StreamSession(model, StreamConfig.parse({"write_gate": lenient}))
    stream = [*pictures(0, 20), *pictures(1, 20)]
    log = []
    for index, (rgb, metres) in enumerate(stream):
        prepared = prepare_depth(metres, 240, 320, DepthConfig())
        tensors = clip(1, seed=index // 20)
        log.append(session.step(*tensors, index / 15, describe_frame(rgb, prepared)))
    resets = [index for index, frame in enumerate(log) if frame.reset_reason]
    assert resets == [21], "one reset, one frame after the cut, which is the confirmation"
    assert not log[20].wrote_memory, "the first odd frame is not remembered"
    assert log[20].refusal is None or log[20].scene.suspect
    fresh = StreamSession(model, ungated()).step(*clip(1, seed=1), 0.0)
    assert torch.equal(log[21].mask_prob, fresh.mask_prob)


def test_a_failing_frame_starts_a_new_scene(model, monkeypatch):
    rgb, depth = clip(4)
    session = StreamSession(model, ungated())
    run(session, rgb[:2], depth[:2])
    with monkeypatch.context() as patch:
        patch.setattr(model, "segment", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            session.step(rgb[2:3], depth[2:3], 1.0)
    frame = session.step(rgb[3:], depth[3:], 1.1)
    assert frame.reset_reason == "frame failed: ZeroDivisionError"
    assert torch.equal(frame.mask_prob, StreamSession(model, ungated()).step(rgb[3:], depth[3:], 0.0).mask_prob)


def test_configure_keeps_the_scene_unless_the_memory_changes(model):
    rgb, depth = clip(6)
    session = StreamSession(model, ungated())
    run(session, rgb[:2], depth[:2])
    session.configure(StreamConfig.parse({"scene": {"sensitivity": 0.2}, "write_gate": {"enabled": False}}))
    assert session.step(rgb[2:3], depth[2:3], 0.3).frame_index == 2
    session.configure(ungated(capacity=5))
    frame = session.step(rgb[3:4], depth[3:4], 0.4)
    assert frame.reset_reason == "memory settings changed"
    assert frame.memory_entries == 1


def test_results_are_plain_tensors_without_gradients(model):
    rgb, depth = clip(2)
    frames = run(StreamSession(model, ungated()), rgb, depth)
    assert all(frame.mask_prob.is_inference() for frame in frames)
    assert frames[0].mask_prob.data_ptr() != frames[1].mask_prob.data_ptr()


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def soak(model, frames, settle):
    """(bank bytes, live tensors, resident bytes) after `settle` frames and at the end of the endless stream."""
    rgb, depth = clip(60)
    session = StreamSession(model, StreamConfig())
    samples = []
    for index in range(frames):
        t = index % 60
        session.step(rgb[t : t + 1], depth[t : t + 1], index / 15)
        if index in (settle, frames - 1):
            gc.collect()
            tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
            samples.append((session.memory_bytes, tensors, resident_bytes()))
    return samples


def test_nothing_grows_over_200_frames(model):
    (held, tensors, _), (held_later, tensors_later, _) = soak(model, 200, settle=40)
    assert held_later == held > 0
    assert tensors_later == tensors


@pytest.mark.slow
def test_2000_frames_of_flat_memory(model):
    (held, tensors, resident), (held_later, tensors_later, resident_later) = soak(model, 2000, settle=200)
    assert held_later == held > 0
    assert tensors_later == tensors
    assert resident_later <= 1.01 * resident
