# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Killed with -9 at random moments: what is on disk is old or new, and whole; the next run ends as without the kill."""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from m4sam_core.build import build_model
from m4sam_core.checkpoint import load_checkpoint, save_checkpoint
from m4sam_core.config import ModelConfig, PipelineConfig
from m4sam_core.download import RemoteFile, download
from m4sam_core.host.files import write_json
from m4sam_core.host.journal import Journal, read_journal
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_core.predict_folder import list_frames, predict_folder
from m4sam_core.rgbd.bags.source import BagSource
from m4sam_core.rgbd.clip_folder import frame_times
from m4sam_core.rgbd.image_files import image_size, read_grey
from m4sam_core.rgbd.video_yaml import VideoInfo
from m4sam_training.bags.commit import commit, finished, locked
from m4sam_training.bags.convert import ConvertConfig, convert_bag
from m4sam_training.bags.export import export_videos
from m4sam_training.data.generate import generate_dataset
from m4sam_training.data.scan import scan_split
from m4sam_training.eval.evaluate import evaluate
from m4sam_training.eval.predict_dataset import Prediction
from m4sam_training.train.checkpointing import Progress, list_checkpoints, load_training_state, save_training_checkpoint

FRAMES, HEIGHT, WIDTH = 8, 72, 96
CFG = ConvertConfig(split="train", cut="time", segment_s=0.25)
DRAW = random.Random(0)
BEGINS_WITHIN_S = 60


def kill(work, *args, begun=lambda: True, within_s: float) -> bool:
    """Run `work` in a process and kill it some time after it has begun; True when it was still at work."""
    process = multiprocessing.get_context("fork").Process(target=work, args=args)
    process.start()
    late = time.monotonic() + BEGINS_WITHIN_S
    while not (started := begun()) and process.is_alive() and time.monotonic() < late:
        time.sleep(0.002)
    time.sleep(DRAW.uniform(0, within_s))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert started or time.monotonic() < late, "the work never began"
    return process.exitcode == -signal.SIGKILL


def digests(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and ".bags" not in path.parts]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("kills")
    generate_dataset(root / "D", "m4sam", videos=1, frames=FRAMES, height=HEIGHT, width=WIDTH)
    export_videos(scan_split(root / "D", "m4sam", "train"), root / "bags", "mcap", progress=lambda _: None)
    torch.manual_seed(0)
    save_checkpoint(root / "nano.safetensors", build_model(ModelConfig.preset("nano")))
    threads = torch.get_num_threads()
    yield root
    torch.set_num_threads(threads)


def test_a_conversion(data, tmp_path):
    bag, hit = data / "bags" / "train_1", 0
    convert_bag(bag, "b", tmp_path / "first", CFG)  # imports what it needs
    began = time.monotonic()
    convert_bag(bag, "b", tmp_path / "whole", CFG)
    took = time.monotonic() - began
    whole = digests(tmp_path / "whole")
    assert len({name.split("/")[1] for name in whole}) >= 2, "more than one video"
    for trial in range(12):
        out = tmp_path / str(trial)
        hit += kill(convert_bag, bag, "b", out, CFG, begun=(out / ".bags").exists, within_s=took)
        assert digests(out).items() <= whole.items(), "what is in place is whole"
        convert_bag(bag, "b", out, CFG)
        assert digests(out) == whole
        assert {path.name for path in (out / ".bags").iterdir()} <= {"b.json", "b.lock"}
    assert hit > 0, "no kill hit a conversion; the test proved nothing"


def test_a_generated_dataset(data, tmp_path):
    whole, hit = digests(data / "D"), 0
    for trial in range(6):
        out = tmp_path / str(trial) / "D"
        begun = (out.parent / ".D.part").exists
        work = {"layout": "m4sam", "videos": 1, "frames": FRAMES, "height": HEIGHT, "width": WIDTH}
        hit += kill(partial(generate_dataset, out, **work), begun=begun, within_s=0.1)
        if not out.exists():
            generate_dataset(out, **work)
        assert digests(out) == whole
        assert [path.name for path in out.parent.iterdir()] == ["D"]
    assert hit > 0, "no kill hit a generator; the test proved nothing"


VIDEOS = 50


def commit_bag(out, number):
    """Videos of one file each, moved into place together."""
    state, name = out / ".bags", f"b{number:05d}"
    state.mkdir(parents=True, exist_ok=True)
    scratch = state / f"{name}.{os.getpid()}.partial"
    videos = [f"train/{name}_{index}" for index in range(VIDEOS)]
    for video in videos:
        (scratch / video).mkdir(parents=True)
        (scratch / video / "x").write_bytes(b"x" * 300)
    with locked(state / f"{name}.lock"):
        commit(scratch, out, state / f"{name}.json", videos, {"videos": VIDEOS}, {"size": 1})


def commit_for_ever(out):
    for number in range(100_000):
        commit_bag(out, number)


def test_a_commit(tmp_path):
    unfinished = 0
    for trial in range(40):
        out = tmp_path / str(trial)
        assert kill(commit_for_ever, out, begun=lambda out=out: any((out / ".bags").glob("*.journal")), within_s=0.004)
        numbers = sorted({int(path.name[1:6]) for path in (out / ".bags").glob("b*")})
        for number in numbers:
            name = f"b{number:05d}"
            videos = list((out / "train").glob(f"{name}_*"))
            assert all((video / "x").stat().st_size == 300 for video in videos)
            if finished(out / ".bags" / f"{name}.json", {"size": 1}) is None:
                assert number == numbers[-1], "only the last commit can be unfinished"
                unfinished += bool(videos)
                commit_bag(out, number)
            assert len(list((out / "train").glob(f"{name}_*"))) == VIDEOS
    assert unfinished > 0, "no kill hit a commit between its first and its last video"


def export_for_ever(scan, out):
    for number in range(100_000):
        export_videos(scan, out / str(number), "mcap", progress=lambda _: None)


def test_an_export(data, tmp_path):
    scan = scan_split(data / "D", "m4sam", "train")
    for trial in range(8):
        out = tmp_path / str(trial)
        assert kill(export_for_ever, scan, out, begun=out.exists, within_s=0.3)
        last = max(out.iterdir(), key=lambda path: int(path.name))
        export_videos(scan, last, "mcap", progress=lambda _: None)
        for number in out.iterdir():
            assert [path.name for path in number.iterdir()] == ["train_1"]
            with BagSource(number / "train_1") as source:
                assert not source.damage
                assert {topic.count for topic in source.topics} == {FRAMES}


def run_predict(data, out):
    torch.set_num_threads(1)  # a forked process cannot use its parent's thread pools, OpenVINO's neither
    cfg = PipelineConfig(device="cpu", backend="torch", threads=1)
    pipeline = SaliencyPipeline.from_name(data / "nano.safetensors", cfg)
    video = data / "D" / "train" / "train_1"
    frames = list_frames(video / "rgb", video / "depth")
    times = frame_times([frame.stem for frame in frames], VideoInfo())
    predict_folder(pipeline, frames, out, times, model_file=data / "nano.safetensors", probability=True)


def test_a_prediction(data, tmp_path):
    run_predict(data, tmp_path / "first")
    began = time.monotonic()
    run_predict(data, tmp_path / "whole")
    took, hit = time.monotonic() - began, 0
    whole = {path.name: read_grey(path) for path in (tmp_path / "whole").glob("*.png")}
    for trial in range(6):
        out = tmp_path / str(trial)
        hit += kill(run_predict, data, out, begun=out.exists, within_s=took)
        for path in out.glob("[0-9]*.png"):
            np.testing.assert_array_equal(read_grey(path), whole[path.name])
        run_predict(data, out)
        assert {path.name for path in out.iterdir()} == {*whole, "predict.jsonl"}
        assert all(np.array_equal(read_grey(out / name), mask) for name, mask in whole.items())
    assert hit > 0, "no kill hit a prediction; the test proved nothing"


def evaluate_for_ever(predictions, out):
    for _ in range(100_000):
        result = evaluate(predictions, "m4sam", [], out / "masks", worst=12)
        result.write(out)
        write_json(out / "scores.json", result.as_dict())


def test_an_evaluation(data, tmp_path):
    video = scan_split(data / "D", "m4sam", "train").videos[0]
    rng = np.random.default_rng(0)
    predictions = []
    for frame in video.annotated:
        truth, rgb = read_grey(frame.mask), rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        mask_prob = np.clip(truth / 255 * 0.7 + rng.random(truth.shape) * 0.3, 0, 1).astype(np.float32)
        predictions.append(Prediction(video.name, frame, mask_prob, truth, rgb))
    for trial in range(4):
        out = tmp_path / str(trial)
        assert kill(evaluate_for_ever, predictions, out, begun=(out / "scores.json").exists, within_s=0.8)
        assert json.loads((out / "scores.json").read_text())["frames"] == FRAMES
        rows = csv.DictReader((out / "per_video.csv").read_text().splitlines())
        assert [row["frames"] for row in rows] == [str(FRAMES)] * 2
        for picture in [out / "curves.png", out / "worst.png", *(out / "masks" / video.name).glob("[0-9]*.png")]:
            image_size(picture)


def save_one_step_for_ever(out):
    model = build_model(ModelConfig.preset("nano"))
    for _ in range(100_000):
        save_training_checkpoint(out, model, Progress(step=7), {"x": torch.zeros(10)}, metadata={}, keep=1)


def test_a_checkpoint_that_is_replaced_by_another_of_its_step(tmp_path):
    for trial in range(8):
        out = tmp_path / str(trial)
        assert kill(save_one_step_for_ever, out, begun=(out / "last.safetensors").exists, within_s=0.15)
        (only,) = list_checkpoints(out)
        load_checkpoint(only / "weights.safetensors")
        assert load_training_state(only)[0].step == 7


def test_the_moment_between_the_two_names_of_a_replaced_checkpoint(tmp_path):
    model = build_model(ModelConfig.preset("nano"))

    def save(step):
        save_training_checkpoint(tmp_path, model, Progress(step=step), {}, metadata={}, keep=1)
        return [path.name for path in list_checkpoints(tmp_path)]

    root = tmp_path / "checkpoints"
    assert save(7) == ["step_00000007"]
    os.rename(root / "step_00000007", root / "step_00000007_replaced")
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000007_replaced"]
    assert load_training_state(root / "step_00000007_replaced")[0].step == 7
    assert save(7) == ["step_00000007"]
    shutil.copytree(root / "step_00000007", root / "step_00000007_replaced")
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000007"]
    assert save(8) == ["step_00000008"]
    assert [path.name for path in root.iterdir()] == ["step_00000008"]


class SlowHandler(BaseHTTPRequestHandler):
    """Serves a megabyte in small pieces."""

    data = bytes(range(256)) * 4096

    def do_GET(self):
        wanted = self.headers.get("Range")
        body = self.data[int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0 :]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            for start in range(0, len(body), 65536):
                self.wfile.write(body[start : start + 65536])
                time.sleep(0.01)
        except OSError:
            pass  # the client was killed

    def log_message(self, *args):
        """Keep the test output clean."""


def test_a_download(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        sha = hashlib.sha256(SlowHandler.data).hexdigest()
        url = f"http://127.0.0.1:{server.server_port}/a"
        row = RemoteFile("toy", url, "toy.bin", "none", "", "", len(SlowHandler.data), sha)
        for trial in range(6):
            folder = tmp_path / str(trial)
            kill(download, row, folder, begun=folder.exists, within_s=0.2)
            if (folder / "toy.bin").exists():
                assert (folder / "toy.bin").read_bytes() == SlowHandler.data
            assert download(row, folder).read_bytes() == SlowHandler.data
            assert [path.name for path in folder.iterdir()] == ["toy.bin"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def note_for_ever(path):
    for attempt in range(100_000):
        done = read_journal(path)[1:]
        with Journal(path, {"about": "numbers"}, done[:200]) as journal:
            for number in range(len(done[:200]), 200 + attempt % 7):
                journal.add({"number": number, "filling": "x" * 500})


def test_a_journal(tmp_path):
    for trial in range(8):
        path = tmp_path / str(trial) / "j.jsonl"
        assert kill(note_for_ever, path, begun=path.exists, within_s=0.1)
        about, *lines = read_journal(path)
        assert about == {"about": "numbers"}
        assert [line["number"] for line in lines] == list(range(len(lines)))
