# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Shared by every test: one torch thread, private DDS domains, honest counting of what was skipped."""

from __future__ import annotations

import fcntl
import importlib.util
import itertools
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
NEEDS_ROS = "needs a ROS installation"
_TURN = itertools.count()
_LAST_DOMAIN = 100  # higher domains reach into the ephemeral port range of Linux


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:  # a shell's job in the background, nohup; processes inherit it
            signal.signal(number, usual)
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("needs_ros_install"):
            missing = [name for name in mark.args if importlib.util.find_spec(name) is None]
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"{NEEDS_ROS} ({', '.join(missing)})"))
        if item.get_closest_marker("ros") and importlib.util.find_spec("rclpy") is None:
            item.add_marker(pytest.mark.skip(reason=f"{NEEDS_ROS} (rclpy)"))
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if NEEDS_ROS in text:
            reasons[NEEDS_ROS] += 1
        elif "CUDA" in text:
            reasons["needs a CUDA device"] += 1
        else:
            reasons["other reasons"] += 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"not run here, {reason}: {count} test(s)")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture
def ros_domain_id() -> Iterator[int]:
    """A DDS domain no other test on this machine uses, also with several test runs at once."""
    from m4sam_ros.graph import own_domain

    # Another one for each test: a process that outlives its test must not be heard by the next.
    start = os.getpid() + next(_TURN)
    with own_domain((start + step) % _LAST_DOMAIN + 1 for step in range(_LAST_DOMAIN)) as domain:
        yield domain


@pytest.fixture
def ros_env(ros_domain_id: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Environment of this test's ROS processes; also set in this process, for an in-process rclpy."""
    settings = {
        "ROS_DOMAIN_ID": str(ros_domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTDDS_DEFAULT_PROFILES_FILE": str(REPO / "config" / "dds" / "fastdds_shm.xml"),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A file system of 30 MB; needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)  # a writer that failed may still hold a file


@pytest.fixture(scope="session", autouse=True)
def _sweep_shared_memory() -> Iterator[None]:
    """Removes Fast DDS segments whose owner died without cleaning up, e.g. by SIGKILL. Live ones are left alone."""
    yield
    sweep_fastdds_segments(Path("/dev/shm"))


def sweep_fastdds_segments(folder: Path) -> list[str]:
    """Delete segments nobody holds the lock file of; returns their names.

    Every Fast DDS segment X has a lock file X_el that its owner keeps locked while it lives.
    """
    removed = []
    for lock_path in (*folder.glob("fastrtps_*_el"), *folder.glob("fastdds_*_el")):  # before Kilted, and since
        segment = lock_path.with_name(re.sub(r"_el$", "", lock_path.name))
        if "port" in segment.name:
            continue  # ports are shared by several processes and are reused by name
        try:
            with lock_path.open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                segment.unlink(missing_ok=True)
                lock_path.unlink(missing_ok=True)
        except OSError:
            continue  # in use, or removed meanwhile
        removed.append(segment.name)
    return removed
