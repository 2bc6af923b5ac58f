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
    assert not worker.post("first")
    assert gate.entered.acquire(timeout=WAIT_S)
    assert not worker.post("second")
    assert worker.post("third")
    assert worker.post("fourth")
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
    assert [worker.post(item) for item in (1, 2, 3)] == [False, False, True]
    gate.open.release(3)
    assert worker.stop(WAIT_S, drain=True)
    assert gate.seen == [0, 2, 3]


def full():
    """A worker with one item in work and one that waits, and its gate."""
    gate = Gate()
    worker = Worker(gate, lambda _error: None)
    assert worker.hand_over(0)
    assert gate.entered.acquire(timeout=WAIT_S)
    assert worker.hand_over(1)
    return worker, gate


def test_handing_over_waits_for_room_and_loses_nothing():
    worker, gate = full()
    over = threading.Event()
    giver = threading.Thread(target=lambda: (worker.hand_over(2), over.set()))
    giver.start()
    assert not over.wait(0.1), "one is in work and one waits"
    gate.open.release()
    assert over.wait(WAIT_S)
    gate.open.release(2)
    assert worker.stop(WAIT_S, drain=True)
    assert gate.seen == [0, 1, 2]


def test_nobody_waits_for_a_thread_that_is_told_to_stop():
    worker, gate = full()
    refused = []
    giver = threading.Thread(target=lambda: refused.append(not worker.hand_over(2)))
    giver.start()
    assert not worker.stop(0.05)
    giver.join(WAIT_S)
    assert refused == [True]
    gate.open.release(2)
