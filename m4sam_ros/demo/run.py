# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The whole graph without a camera: player -> node -> recorder, as separate processes over DDS. `make demo` runs it.

Writes overlay.mp4, contact_sheet.png, objects.jsonl and summary.json; the processes' output goes to logs/.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m4sam_core.errors import InputError, M4SamError
from m4sam_core.host.dds import PROFILE_VARIABLES
from m4sam_core.host.files import write_json
from m4sam_core.host.processes import ManagedProcess, ProcessError, ProcessGroup, executable, running
from m4sam_core.host.share import shared_folder
from m4sam_ros.generated import generate_clip
from m4sam_ros.graph import own_domain, ros_arguments
from m4sam_ros.share import dds_profile

if TYPE_CHECKING:
    from m4sam_ros.demo.report import Observer

CLIP_SEED = 2_000_005  # far from the seeds of the training clips
START_TIMEOUT_S = 180.0  # loading and warming up a large model on a slow machine
CONNECT_TIMEOUT_S = 60.0
DISCOVERY_S = 2.5  # the player waits for one listener; this is for the other one
FIRST_MASK_TIMEOUT_S = 120.0
SETTLE_TIMEOUT_S = 20.0
RECORDER_STOP = ((signal.SIGINT, 60.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0))  # it finishes the video
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class DemoSettings:
    """What to play and where to write.

    Attributes:
        clip: folder with rgb/ and depth/; None generates one under `out`.
        out: results; created when missing, the demo's earlier results in it are replaced.
        model: weights, as the node's parameter `model` takes them.
        frames: length of the generated clip.
        rate: speed of playing; 0.5 is half as fast.
    """

    clip: Path | None = None
    out: Path = Path("demo_out")
    model: str = "default"
    frames: int = 90
    rate: float = 1.0


def run_demo(settings: DemoSettings) -> dict[str, Any]:
    """Play a clip through the graph; returns the summary, see `m4sam_ros.demo.report.make_summary`.

    Raises:
        InputError: the clip's folder is not usable.
        ProcessError: a process did not start, died or hung; the text carries the end of its log.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    share = shared_folder()
    with clip_and_graph(settings) as (clip, group):
        from m4sam_ros.demo.report import Observer

        observer = Observer()
        try:
            return _play_through(group, observer, replace(settings, clip=clip), share)
        finally:
            observer.close()


@contextmanager
def clip_and_graph(settings: DemoSettings) -> Iterator[tuple[Path, ProcessGroup]]:
    """The clip to play, and processes in a ROS graph of their own and of this process; they end with the block.

    Raises:
        InputError: the clip's folder is not usable.
        ProcessError: no clip could be generated.
    """
    clip = checked_clip(settings.clip) if settings.clip is not None else generated_clip(settings)
    with own_domain() as domain:
        os.environ.update(private_network(domain))
        with running(os.environ, settings.out / "logs") as group:
            yield clip, group


def _play_through(group: ProcessGroup, observer: Observer, settings: DemoSettings, share: Path) -> dict[str, Any]:
    from m4sam_ros.demo.report import MASK_TOPIC, RGB_TOPIC, make_summary, read_json

    clip, out, model = settings.clip, settings.out, settings.model
    launched = time.monotonic()
    started_by, node = start_node(group, share, model)
    group.wait_until(lambda: _is_active(node, observer, MASK_TOPIC), "the node becomes active", START_TIMEOUT_S)
    ready_s = round(time.monotonic() - launched, 1)
    recorder = group.start(
        "recorder", [*executable("record", "m4sam_ros.recorder"), *ros_arguments({"out": out, "objects": True})]
    )
    both_listen = partial(observer.has_subscribers, RGB_TOPIC, 2)
    group.wait_until(both_listen, "node and recorder listen to the camera", CONNECT_TIMEOUT_S)
    played_path = out / "logs" / "player.json"
    playing = {"source": clip, "summary": played_path, "rate": settings.rate, "start_delay_s": DISCOVERY_S}
    player = group.start("player", [*executable("play", "m4sam_ros.player"), *ros_arguments(playing)])
    print(f"playing {clip}", flush=True)
    late = time.monotonic() + FIRST_MASK_TIMEOUT_S
    while player.exit_code is None:  # a short clip may be over before its first mask
        if not _has_masks(observer) and time.monotonic() > late:
            raise ProcessError(f"the first mask: expected within {FIRST_MASK_TIMEOUT_S:.0f} s\n{node.log_tail()}")
        observer.spin()
        node.check_alive()
        recorder.check_alive()
    player.check_succeeded()
    _settle(observer)
    recorder.stop(RECORDER_STOP)
    recorder.check_succeeded()
    run = {"clip": str(clip), "model": model, "started_by": started_by, "ready_s": ready_s}
    summary = make_summary(read_json(out / "summary.json"), read_json(played_path), observer, run)
    write_json(out / "summary.json", summary)
    return summary


def private_network(domain: int) -> dict[str, str]:
    """Settings for a graph of its own on this machine; what the user has set stays."""
    wanted = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(domain), "PYTHONUNBUFFERED": "1"}
    if not any(os.environ.get(name) for name in PROFILE_VARIABLES):
        wanted |= dds_profile()
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def checked_clip(clip: Path) -> Path:
    """The clip's folder, made absolute.

    Raises:
        InputError: it has no rgb/ or depth/ with images.
    """
    for name in ("rgb", "depth"):
        if not (clip / name).is_dir() or not any((clip / name).iterdir()):
            raise InputError(f"clip {clip}: expected folders rgb/ and depth/ with images, got none in {name}/")
    return clip.resolve()


def generated_clip(settings: DemoSettings) -> Path:
    """A generated clip under the results; an earlier one of that length is used again."""
    folder, frames = settings.out / "clip", settings.frames
    if not (folder / "rgb").is_dir() or len(list((folder / "rgb").iterdir())) != frames:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"generating a clip of {frames} frames", flush=True)
        generate_clip(folder, settings.out / "logs", frames, CLIP_SEED)
    return folder.resolve()


def has_ros2_launch() -> bool:
    """Whether the real `ros2 launch` is installed."""
    if shutil.which("ros2") is None:
        return False
    shown = subprocess.run(["ros2", "launch", "--help"], capture_output=True, timeout=60, check=False)
    return shown.returncode == 0


def start_node(group: ProcessGroup, share: Path, model: str) -> tuple[str, ManagedProcess]:
    """Start the saliency node; returns how, and the process."""
    if has_ros2_launch():
        # The prefix of a virtual environment is an ament prefix too, see .ci/setup_env.sh.
        group.env["AMENT_PREFIX_PATH"] = f"{sys.prefix}{os.pathsep}{group.env.get('AMENT_PREFIX_PATH', '')}"
        launch_file = share / "launch" / "saliency.launch.py"
        return "ros2 launch", group.start("node", ["ros2", "launch", str(launch_file), f"model:={model}"])
    arguments = ros_arguments({"model": model}, parameter_file=share / "config" / "saliency.yaml")
    return "process runner", group.start("node", [*executable("saliency_node", "m4sam_ros.node"), *arguments])


def _is_active(node: ManagedProcess, observer: Observer, mask_topic: str) -> bool:
    """Whether the node announces masks. It lives on when it cannot, e.g. for a missing model; its log says why."""
    tail = node.log_tail()
    if "failed:" in tail:
        raise ProcessError(f"the node did not become active; its last words:\n{tail}")
    return observer.has_publisher(mask_topic)


def _has_masks(observer: Observer) -> bool:
    observer.spin()
    return observer.count("masks_out") > 0


def _settle(observer: Observer) -> None:
    """Let the last frames through: until the node's report accounts for every frame it received."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    reports = observer.reports
    while time.monotonic() < deadline:
        observer.spin()
        accounted = observer.count("masks_out") + sum(observer.drops().values())
        if observer.reports >= reports + 2 and accounted >= observer.count("rgb_in"):
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the demo; returns the exit code."""
    usual = DemoSettings()
    parser = argparse.ArgumentParser(prog="m4sam_ros.demo", description=__doc__)
    parser.add_argument("--clip", type=Path, help="folder with rgb/ and depth/; without it a clip is generated")
    parser.add_argument("--out", type=Path, default=usual.out, help="folder for the results (%(default)s)")
    parser.add_argument("--model", default=usual.model, help="name or file of the weights (%(default)s)")
    parser.add_argument("--frames", type=int, default=usual.frames, help="length of the generated clip (%(default)s)")
    parser.add_argument("--rate", type=float, default=usual.rate, help="speed; 0.5 is half as fast (%(default)s)")
    settings = DemoSettings(**vars(parser.parse_args(arguments)))
    try:
        from m4sam_ros.demo.report import summary_lines

        summary = run_demo(settings)
    except M4SamError as error:
        print(f"demo: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    print("\n".join(summary_lines(summary)))
    for name in ("overlay.mp4", "contact_sheet.png", "objects.jsonl", "summary.json"):
        print(f"wrote     {settings.out / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
