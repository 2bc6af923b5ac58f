# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The real node with a model that misbehaves as the first argument says; run as a process by the tests."""

from __future__ import annotations

import sys
import time
from functools import partial

import numpy as np

from m4sam_core.errors import DeviceError
from m4sam_ros.environment import split_cameras
from m4sam_ros.node.backends import NearHalf
from m4sam_ros.node.outputs import Outputs
from m4sam_ros.node.saliency_node import LEAVE_AFTER_S, SaliencyNode
from m4sam_ros.runner import run_nodes


class Sleepy(NearHalf):
    """Waits half a minute in every frame."""

    def process(self, rgb, depth, stamp, camera=None, ignored=None):
        print("inferring", flush=True)
        time.sleep(30)
        return super().process(rgb, depth, stamp, camera, ignored)


class Computing(NearHalf):
    """Computes for half a minute in one native call after the other, as a model does."""

    def process(self, rgb, depth, stamp, camera=None, ignored=None):
        print("inferring", flush=True)
        end = time.monotonic() + 30
        matrix = np.random.default_rng(0).random((1200, 1200))
        while time.monotonic() < end:
            matrix = np.clip(matrix @ matrix, 0, 1)
        return super().process(rgb, depth, stamp, camera, ignored)


class Slow(NearHalf):
    """Takes a fifth of a second, like a large model on a small machine."""

    def process(self, rgb, depth, stamp, camera=None, ignored=None):
        time.sleep(0.2)
        return super().process(rgb, depth, stamp, camera, ignored)


class Hogging(NearHalf):
    """Computes in Python for a fifth of a second, which starves the other threads, and says when it begins."""

    def process(self, rgb, depth, stamp, camera=None, ignored=None):
        print(f"inferring {stamp} at {time.time()}", flush=True)
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            sum(range(1000))
        return super().process(rgb, depth, stamp, camera, ignored)


class Second(NearHalf):
    """Takes a second and says when it begins."""

    def process(self, rgb, depth, stamp, camera=None, ignored=None):
        print(f"inferring {stamp}", flush=True)
        time.sleep(1.0)
        return super().process(rgb, depth, stamp, camera, ignored)


class Raising(NearHalf):
    """Fails on frames 3, 4 and 5."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def failure(self):
        return RuntimeError("the convolution went wrong")

    def process(self, rgb, depth, stamp, camera=None, ignored=None):
        self.calls += 1
        if self.calls in (3, 4, 5):
            raise self.failure()
        return super().process(rgb, depth, stamp, camera, ignored)


class OutOfMemory(Raising):
    """Runs out of memory on frames 3, 4 and 5, as the pipeline reports it."""

    def failure(self):
        return DeviceError("cuda:0: out of memory; use a smaller model, lower stream.bank.capacity")


class Loading(NearHalf):
    """Takes half a minute to be made ready, in the thread that runs the callbacks."""

    def warm_up(self, height, width):
        print("loading", flush=True)
        time.sleep(30)


class SlowOutputs(NearHalf):
    """Gives masks at once; whatever else is published of a frame takes a second, like clouds on a busy machine."""

    def __init__(self):
        super().__init__()
        publish = Outputs.publish

        def slowly(*args, **settings):
            time.sleep(1.0)
            publish(*args, **settings)

        Outputs.publish = slowly


class Unloadable(NearHalf):
    """Cannot be made ready."""

    def warm_up(self, height, width):
        raise ValueError("weights of another world")


BACKENDS = {
    "sleepy": Sleepy,
    "computing": Computing,
    "slow": Slow,
    "hogging": Hogging,
    "second": Second,
    "raising": Raising,
    "out_of_memory": OutOfMemory,
    "loading": Loading,
    "slow_outputs": SlowOutputs,
    "unloadable": Unloadable,
}

if __name__ == "__main__":
    backend = BACKENDS[sys.argv.pop(1)]
    common, cameras = split_cameras(sys.argv)
    nodes = [partial(SaliencyNode, lambda _model, _cfg: backend(), None, words) for words in cameras or [None]]
    sys.exit(run_nodes(nodes, common, LEAVE_AFTER_S))
