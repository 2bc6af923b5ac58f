# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Several streams on one network: turns are fair, batches are the single frames."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.config import ModelConfig, PipelineConfig
from m4sam_core.errors import ConfigError
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_core.stream.sharing import GatheredNetwork, Turns

WAIT_S = 20


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(ModelConfig.preset("nano")).eval()


def frames(seed, count=6):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    depth = rng.integers(500, 4000, (120, 160), dtype=np.uint16)
    return [(np.roll(base, 3 * index, axis=1), np.roll(depth, 3 * index, axis=1)) for index in range(count)]


def run(pipeline, seed):
    return [pipeline.process(*frame, 0.1 * index).probability for index, frame in enumerate(frames(seed))]


def together(jobs):
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_turns_go_round_in_the_order_of_asking():
    turns, order, asked = Turns(), [], threading.Semaphore(0)

    def camera(name):
        asked.release()
        for _ in range(50):
            with turns:
                order.append(name)

    with turns:
        threads = [threading.Thread(target=camera, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
            assert asked.acquire(timeout=WAIT_S)
        while len(turns._queue) < 3:
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join(WAIT_S)
    assert len(order) == 150
    shared = order[: 3 * min(order.index(name) + 1 for name in "abc")]
    assert sorted(shared[:3]) == ["a", "b", "c"]


def test_a_turn_may_be_taken_again_by_its_holder_only():
    turns, entered = Turns(), threading.Event()

    def other():
        with turns:
            entered.set()

    with turns:
        with turns:
            thread = threading.Thread(target=other)
            thread.start()
        assert not entered.wait(0.05)
    assert entered.wait(WAIT_S)
    thread.join(WAIT_S)
    with turns:
        pass


def test_a_busy_stream_leaves_the_others_their_share():
    """Each asks again at once; whoever gives the turn back stands at the end of the queue."""
    turns, counts, stop = Turns(), [0, 0, 0], threading.Event()

    def camera(number):
        while not stop.is_set():
            with turns:
                counts[number] += 1
                stop.wait(0.002)

    threads = [threading.Thread(target=camera, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    stop.wait(0.6)
    stop.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert min(counts) > 5
    assert min(counts) > 0.7 * max(counts)  # a machine that is busy holds up now this one, now that


def test_streams_that_share_weights_give_their_own_masks_bit_for_bit(model):
    cfg = PipelineConfig(device="cpu")
    alone = [run(SaliencyPipeline(model, cfg), seed) for seed in range(3)]
    first = SaliencyPipeline(model, cfg)
    cameras = [first, *(SaliencyPipeline(first.loaded, cfg) for _ in range(2))]
    assert all(camera.model is first.model for camera in cameras)
    shared = [None] * 3

    def job(number):
        shared[number] = run(cameras[number], number)

    together([lambda number=number: job(number) for number in range(3)])
    for ours, theirs in zip(shared, alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_happens_to_one_stream_does_not_reach_the_others(model):
    cfg = PipelineConfig(device="cpu")
    alone = run(SaliencyPipeline(model, cfg), 0)
    first = SaliencyPipeline(model, cfg)
    second = SaliencyPipeline(first.loaded, cfg.model_copy(update={"threshold": 0.9}))
    ours = []
    for index, frame in enumerate(frames(0)):
        second.reset("test")
        second.process(*frames(9)[index], float(index))
        ours.append(first.process(*frame, 0.1 * index).probability)
        if index == 3:
            second.close()
            second = SaliencyPipeline(first.loaded)
    np.testing.assert_array_equal(ours, alone)


def test_settings_of_the_load_cannot_differ(model):
    first = SaliencyPipeline(model, PipelineConfig(device="cpu"))
    with pytest.raises(ConfigError, match=r"threads: expected 0 as when the model was loaded, got 3"):
        SaliencyPipeline(first.loaded, PipelineConfig(device="cpu", threads=3))


class Gated:
    """A network whose first batch waits until the others have come."""

    def __init__(self, network):
        self.network, self.input_size_px = network, network.input_size_px
        self.batches, self.entered, self.open = [], threading.Event(), threading.Event()
        self.poison = None

    def __getattr__(self, name):
        return getattr(self.network, name)

    def encode(self, rgb, depth, *, aux=True):
        self.batches.append(rgb.shape[0])
        self.entered.set()
        assert self.open.wait(WAIT_S)
        if self.poison is not None and bool((rgb == self.poison).flatten(1).all(dim=1).any()):
            raise RuntimeError("a frame that breaks its batch")
        return self.network.encode(rgb, depth, aux=aux)


def gathered(model, count):
    """Encode one frame, and `count` more that come meanwhile; (network, features or errors)."""
    gated = Gated(model)
    network, found = GatheredNetwork(gated), [None] * (count + 1)
    side = model.input_size_px

    def job(number):
        images = torch.Generator().manual_seed(number)
        rgb, depth = torch.rand(1, 3, side, side, generator=images), torch.rand(1, 1, side, side, generator=images)
        if number == 2:
            rgb = torch.full_like(rgb, 0.25)
        try:
            with torch.inference_mode():
                found[number] = network.encode(rgb, depth), model.encode(rgb, depth, aux=False)
        except RuntimeError as error:
            found[number] = error

    return gated, network, found, job


def one_and_then_three(gated, network, job):
    """While the first frame is held in the network, three more come; then all go on."""
    threads = [threading.Thread(target=job, args=(number,)) for number in range(4)]
    threads[0].start()
    assert gated.entered.wait(WAIT_S)
    for thread in threads[1:]:
        thread.start()
    while len(network._waiting) < 3:
        threading.Event().wait(0.001)
    gated.open.set()
    for thread in threads:
        thread.join(WAIT_S)


def test_frames_that_wait_are_encoded_together(model):
    gated, network, found, job = gathered(model, 3)
    one_and_then_three(gated, network, job)
    assert gated.batches == [1, 3]
    for ours, theirs in found:
        for name in ("fused", "query", "key", "detail"):
            torch.testing.assert_close(getattr(ours.memory, name), getattr(theirs.memory, name), rtol=1e-4, atol=1e-5)


def test_a_frame_that_fails_fails_alone(model):
    gated, network, found, job = gathered(model, 3)
    gated.poison = 0.25
    one_and_then_three(gated, network, job)
    assert isinstance(found[2], RuntimeError)
    assert all(isinstance(found[number], tuple) for number in (0, 1, 3))
