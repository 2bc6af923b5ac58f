# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Cores and nice value reach the model's threads, and no others."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from m4sam_core.errors import ConfigError
from m4sam_core.host.scheduling import ThreadPlace, allowed_cores, cores_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have cores and nice values on Linux")
WAIT_S = 10


def in_thread(call):
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join(WAIT_S)
    return found[0]


def nice():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.parametrize(
    ("text", "cores"), [("", set()), ("3", {3}), ("2-3", {2, 3}), ("0, 2,4-5", {0, 2, 4, 5}), ("1,1-2,", {1, 2})]
)
def test_cores_are_read(text, cores):
    assert cores_of(text) == cores


@pytest.mark.parametrize("text", ["3-2", "a", "-1", "1-", "1.5", "0x2", "1;2", "99999"])
def test_what_is_no_core_is_refused(text):
    with pytest.raises(ConfigError, match=r"affinity: expected cores such as 2-3 or 0,2, got"):
        cores_of(text)


def test_cores_that_are_not_there_are_named():
    with pytest.raises(ConfigError, match=r"affinity: expected cores that this process may use .*leave out 4000"):
        ThreadPlace(f"{min(allowed_cores())},4000")


def test_a_thread_that_takes_its_place_alone_has_it():
    core = max(allowed_cores())
    own = nice()
    place = ThreadPlace(str(core), own + 3)

    def taken():
        place.take()
        place.take()
        return os.sched_getaffinity(0), nice(), in_thread(lambda: (os.sched_getaffinity(0), nice()))

    cores, level, of_child = in_thread(taken)
    assert (cores, level) == ({core}, own + 3)
    assert of_child == (cores, level), "an engine's threads inherit it"
    assert os.sched_getaffinity(0) == allowed_cores()
    assert nice() == own
    assert place.refused is None


def test_threads_of_an_engine_are_adopted_and_pythons_own_are_not():
    import torch

    core, own = min(allowed_cores()), nice()
    place = ThreadPlace(str(core), own + 2)
    stay, known = threading.Event(), threading.enumerate()
    before = {int(name) for name in os.listdir("/proc/self/task")}

    def compute():
        torch.set_num_threads(2)
        torch.rand(400, 400) @ torch.rand(400, 400)
        torch.rand(2_000_000).sin()
        stay.wait(WAIT_S)

    with place.adopting():
        assert os.sched_getaffinity(0) == {core}
        thread = threading.Thread(target=compute)
        thread.start()
        while not [task for task in tasks() - before if task != thread.native_id] and thread.is_alive():
            stay.wait(0.01)
    mine = tasks() - before - {thread.native_id}
    assert thread not in known
    assert mine
    assert all(os.getpriority(os.PRIO_PROCESS, task) == own + 2 for task in mine)
    assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == own
    assert os.sched_getaffinity(0) == allowed_cores()
    stay.set()
    thread.join(WAIT_S)
    torch.set_num_threads(1)


def tasks():
    return {int(name) for name in os.listdir("/proc/self/task")}


def test_what_the_system_refuses_is_kept_as_one_line(monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "setpriority", refuse)
    place = ThreadPlace("", -5)
    assert "priority -5: expected to be allowed, got" in place.refused
    in_thread(place.take)
    with place.adopting():
        pass
