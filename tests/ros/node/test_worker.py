# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The inference thread: newest frame wins, errors are reported, it ends when told."""

from __future__ import annotations

import threading

from m4sam_ros.node.worker import Worker

WAIT_S = 10


class Gate:
    """A handler that blocks until it is let through."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.open = threading.Semaphore(0)
        self.seen = []

    def __call__(self, frame):
        self.seen.append(frame)
        self.entered.release()
        assert self.open.acquire(timeout=WAIT_S)


def test_the_newest_frame_wins():
    gate, errors = Gate(), []
    worker = Worker(gate, errors.append)
    assert worker.post("first") is None
    assert gate.entered.acquire(timeout=WAIT_S)
    assert worker.post("second") is None
    assert worker.post("third") == "second"
    assert worker.post("fourth") == "third"
    gate.open.release(2)
    assert gate.entered.acquire(timeout=WAIT_S)
    assert worker.stop(WAIT_S)
    assert gate.seen == ["first", "fourth"]
    assert errors == []


def test_errors_are_reported_and_the_thread_goes_on():
    errors, done = [], threading.Event()

    def handle(frame):
        if frame == "bad":
            raise ValueError("no")
        done.set()

    reported = threading.Event()
    worker = Worker(handle, lambda error: (errors.append(str(error)), reported.set()))
    worker.post("bad")
    assert reported.wait(WAIT_S)
    worker.post("good")
    assert done.wait(WAIT_S)
    assert errors == ["no"]
    assert worker.stop(WAIT_S)


def test_stop_says_whether_it_ended():
    gate = Gate()
    worker = Worker(gate, lambda _error: None)
    worker.post("frame")
    assert gate.entered.acquire(timeout=WAIT_S)
    assert not worker.stop(0.01)
    gate.open.release()
    assert worker.stop(WAIT_S)


def test_stop_drops_the_waiting_frame():
    gate = Gate()
    worker = Worker(gate, lambda _error: None)
    worker.post("first")
    assert gate.entered.acquire(timeout=WAIT_S)
    worker.post("second")
    assert not worker.stop(0.01)
    gate.open.release(2)
    assert worker.stop(WAIT_S)
    assert gate.seen == ["first"]


def test_a_waiting_frame_can_be_taken_back():
    gate = Gate()
    worker = Worker(gate, lambda _error: None)
    worker.post("first")
    assert gate.entered.acquire(timeout=WAIT_S)
    assert worker.withdraw() == []
    worker.post("second")
    assert worker.withdraw() == ["second"]
    assert worker.withdraw() == []
    gate.open.release()
    assert worker.stop(WAIT_S)
    assert gate.seen == ["first"]


def test_a_larger_mailbox_keeps_the_order_and_gives_up_the_oldest():
    gate = Gate()
    worker = Worker(gate, lambda _error: None, room=2)
    worker.post(0)
    assert gate.entered.acquire(timeout=WAIT_S)
    assert [worker.post(item) for item in (1, 2, 3)] == [None, None, 1]
    gate.open.release(3)
    assert worker.stop(WAIT_S, drain=True)
    assert gate.seen == [0, 2, 3]


def test_what_must_stay_is_not_displaced():
    gate = Gate()
    worker = Worker(gate, lambda _error: None, must_stay=lambda item: item == "asked for")
    worker.post("in work")
    assert gate.entered.acquire(timeout=WAIT_S)
    assert [worker.post(item) for item in ("old", "asked for", "new")] == [None, "old", "new"]
    gate.open.release(2)
    assert worker.stop(WAIT_S, drain=True)
    assert gate.seen == ["in work", "asked for"]
