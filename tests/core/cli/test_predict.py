# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam predict` as a user runs it."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
import torch

from m4sam_core import predict_folder
from m4sam_core.build import build_model
from m4sam_core.checkpoint import save_checkpoint
from m4sam_core.cli.main import main
from m4sam_core.config import ModelConfig, PipelineConfig
from m4sam_core.objects import CameraModel, ObjectFinder, as_record
from m4sam_core.pipeline import SaliencyPipeline
from m4sam_core.predict_folder import JOURNAL, list_frames
from m4sam_core.rgbd.clip_folder import frame_times
from m4sam_core.rgbd.image_files import read_grey, write_png
from m4sam_core.rgbd.video_yaml import VideoInfo

FRAMES, CUT = 14, 8


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "nano.safetensors"
    model = build_model(ModelConfig.preset("nano"))
    with torch.no_grad():
        model.mask_decoder.head.weight.mul_(300)  # so that 8 bits tell frames apart
    save_checkpoint(path, model)
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Two textured places, cut at frame 8, numbered without leading zeros; frame 3 has no depth."""
    folder = tmp_path_factory.mktemp("recording")
    (folder / "rgb").mkdir()
    (folder / "depth").mkdir()
    for index in range(FRAMES):
        rng = np.random.default_rng(index // CUT)
        texture = rng.integers(0, 256, (18, 24, 4), dtype=np.uint8)
        view = np.roll(cv2.resize(texture, (160, 120), interpolation=cv2.INTER_CUBIC), index, axis=1)
        write_png(folder / "rgb" / f"{index}.png", view[..., :3])
        if index != 3:
            write_png(folder / "depth" / f"{index}.png", view[..., 3].astype(np.uint16) * 10 + 500)
    (folder / "video.yaml").write_text("fps: 10\n")
    return folder


def predict(recording, out, model_file, *more):
    folders = [str(recording / "rgb"), str(recording / "depth"), "--out", str(out)]
    return main(["predict", *folders, "--model", str(model_file), "--device", "cpu", *more])


def masks(out):
    return {int(path.stem): read_grey(path) for path in out.glob("*.png")}


def equal(ours, theirs):
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_one_mask_per_frame_at_native_size(recording, model_file, tmp_path, capsys):
    assert predict(recording, tmp_path / "out", model_file, "--overlay", str(tmp_path / "seen.mp4")) == 0
    written = masks(tmp_path / "out")
    assert sorted(written) == list(range(FRAMES))
    assert all(mask.shape == (120, 160) and set(np.unique(mask)) <= {0, 255} for mask in written.values())
    text = capsys.readouterr().out
    assert f"{FRAMES} masks written, 0 kept, 2 scene(s)" in text
    assert "1 frame(s) from rgb alone: no depth" in text
    video = cv2.VideoCapture(str(tmp_path / "seen.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == FRAMES
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_masks_are_those_of_the_pipeline(recording, model_file, tmp_path):
    assert predict(recording, tmp_path, model_file, "--probability") == 0
    pipeline = SaliencyPipeline.from_name(model_file, PipelineConfig(device="cpu"))
    written = masks(tmp_path)
    for index, frame in enumerate(list_frames(recording / "rgb", recording / "depth")):
        rgb, depth, _ = predict_folder.read_frame(frame, "plain")
        result = pipeline.process(rgb, depth, index / 10)
        np.testing.assert_array_equal(written[index], np.round(result.probability * 255).astype(np.uint8))
    assert len({mask.tobytes() for mask in written.values()}) == FRAMES


@pytest.mark.parametrize("stop_after", [1, 5, CUT + 1, FRAMES - 1])
def test_resuming_gives_the_same_masks(recording, model_file, tmp_path, monkeypatch, stop_after, capsys):
    assert predict(recording, tmp_path / "whole", model_file, "--probability") == 0
    write, count = predict_folder.write_png, iter(range(100))

    def interrupted(path, image):
        if next(count) == stop_after:
            raise KeyboardInterrupt
        write(path, image)

    with monkeypatch.context() as patch:
        patch.setattr(predict_folder, "write_png", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict_in_process(recording, tmp_path / "parts", model_file)
    assert len(masks(tmp_path / "parts")) == stop_after
    with (tmp_path / "parts" / JOURNAL).open("a") as journal:
        journal.write('{"stem": "cut sho')
    capsys.readouterr()
    assert predict(recording, tmp_path / "parts", model_file, "--probability") == 0
    assert equal(masks(tmp_path / "parts"), masks(tmp_path / "whole"))
    assert f"{FRAMES - stop_after} masks written, {stop_after} kept" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "parts" / JOURNAL).read_text().splitlines()]
    whole = [json.loads(line) for line in (tmp_path / "whole" / JOURNAL).read_text().splitlines()]
    assert [line["scene"] for line in lines[1:]] == [line["scene"] for line in whole[1:]]
    assert predict(recording, tmp_path / "parts", model_file, "--probability") == 0
    assert f"0 masks written, {FRAMES} kept" in capsys.readouterr().out


def predict_in_process(recording, out, model_file):
    """As `predict`, but Ctrl-C comes through instead of becoming an exit code."""
    frames = list_frames(recording / "rgb", recording / "depth")
    pipeline = SaliencyPipeline.from_name(model_file, PipelineConfig(device="cpu"))
    times = frame_times([frame.stem for frame in frames], VideoInfo(), 10.0)
    return predict_folder.predict_folder(pipeline, frames, out, times, model_file=model_file, probability=True)


@pytest.mark.parametrize("name", ["{}", "{:.9f}"])
def test_names_that_are_stamps_say_when(recording, model_file, tmp_path, name, capsys):
    """Frames 3 s apart are scenes of their own for the robot, whatever rate video.yaml tells; --fps is obeyed."""
    first = 1_700_000_000_000_000_000
    for kind in ("rgb", "depth"):
        (tmp_path / "r" / kind).mkdir(parents=True)
        for index in range(3):
            stem = first + index * 3_000_000_000
            stem = name.format(stem) if name == "{}" else f"{stem // 10**9}.{stem % 10**9:09d}"
            shutil.copy(recording / kind / f"{index}.png", tmp_path / "r" / kind / f"{stem}.png")
    (tmp_path / "r" / "video.yaml").write_text("fps: 10\n")
    assert predict(tmp_path / "r", tmp_path / "out", model_file, "--objects") == 0
    told = capsys.readouterr().out
    assert "3 scene(s)" in told
    assert "frames timed by the stamps in their names" in told
    assert [line["stamp_ns"] for line in objects_of(tmp_path / "out")] == [
        first + index * 3_000_000_000 for index in range(3)
    ]
    assert predict(tmp_path / "r", tmp_path / "asked", model_file, "--fps", "10") == 0
    told = capsys.readouterr().out
    assert "1 scene(s)" in told
    assert "frames timed by 10 frames per second (as asked)" in told


def test_only_the_unfinished_scene_is_replayed(recording, model_file, tmp_path, capsys):
    assert predict(recording, tmp_path, model_file) == 0
    for index in (FRAMES - 1, FRAMES - 2):
        (tmp_path / f"{index}.png").unlink()
    capsys.readouterr()
    assert predict(recording, tmp_path, model_file) == 0
    scene_start = CUT + 1  # one frame after the cut: the confirmation
    assert f"{FRAMES - 2 - scene_start} frames replayed" in capsys.readouterr().out


def test_another_runs_folder_is_refused(recording, model_file, tmp_path, capsys):
    assert predict(recording, tmp_path, model_file) == 0
    assert predict(recording, tmp_path, model_file, "--set", "threshold=0.4") == 2
    assert "other settings" in capsys.readouterr().err
    assert predict(recording, tmp_path, model_file, "--set", "threshold=0.4", "--overwrite") == 0
    (tmp_path / JOURNAL).unlink()
    assert predict(recording, tmp_path, model_file) == 2
    assert "unknown origin" in capsys.readouterr().err


def test_rgb_alone(recording, model_file, tmp_path, capsys):
    words = ["predict", str(recording / "rgb"), "--out", str(tmp_path), "--model", str(model_file), "--device", "cpu"]
    assert main(words) == 0
    assert f"{FRAMES} frame(s) from rgb alone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rgb": "nowhere"}, "RGB_DIR: expected a folder"),
        ({"rgb": "."}, "expected images"),
        ({"--model": "nothing"}, "known here"),
        ({"--set": "stream.bank.colour=1"}, "stream.bank.colour: unknown setting"),
        ({"--set": "threshold"}, "expected NAME=VALUE"),
        ({"--set": "depth.max_m=yes"}, "depth.max_m: Input should be a valid number"),
        ({"--set": "stream.bank.capacity=on"}, "stream.bank.capacity: Input should be a valid integer"),
        ({"--set": "stream.bank.capacity=3"}, "capacity must be at least"),
        ({"--device": "gpu"}, "expected auto, cpu"),
    ],
)
def test_errors_are_one_clear_line(recording, model_file, tmp_path, capsys, change, words):
    options = {"--out": str(tmp_path / "out"), "--model": str(model_file), "--device": "cpu", **change}
    rgb = recording / options.pop("rgb", "rgb")
    pairs = [word for option in options.items() for word in option]
    assert main(["predict", str(rgb), str(recording / "depth"), *pairs]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


@pytest.mark.parametrize("folder", ["rgb", "depth"])
def test_the_images_are_never_written_over(recording, model_file, tmp_path, capsys, folder):
    shutil.copytree(recording, tmp_path / "r")
    before = {path: path.read_bytes() for path in (tmp_path / "r").rglob("*.png")}
    assert predict(tmp_path / "r", tmp_path / "r" / "rgb" / ".." / folder, model_file, "--overwrite") == 2
    assert "--out: expected a folder of its own" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "r").rglob("*.png")} == before


@pytest.mark.parametrize("change", ["rgb", "depth", "no depth"])
def test_masks_of_other_images_of_the_same_names_are_not_taken_for_these(
    recording, model_file, tmp_path, capsys, change
):
    other = tmp_path / "other"
    shutil.copytree(recording, other)
    assert predict(other, tmp_path / "out", model_file) == 0
    assert predict(recording, tmp_path / "out", model_file) == 0, "a copy is the same recording"
    if change == "no depth":
        shutil.move(other / "depth" / "0.png", other / "depth" / "100.png")
    else:
        shutil.copy(other / change / "1.png", other / change / "0.png")
    assert predict(other, tmp_path / "out", model_file) == 2
    assert "holds the masks of other images, e.g. another 0; choose another folder" in capsys.readouterr().err
    assert predict(other, tmp_path / "out", model_file, "--overwrite") == 0


def test_depth_that_belongs_to_no_colour_image_is_counted(recording, model_file, tmp_path, capsys):
    shutil.copytree(recording, tmp_path / "r")
    for index in (0, 1):
        (tmp_path / "r" / "rgb" / f"{index}.png").unlink()
    assert predict(tmp_path / "r", tmp_path / "out", model_file) == 0
    assert "2 depth image(s) belong to no colour image" in capsys.readouterr().out


def test_depth_of_other_stems_is_refused(recording, model_file, tmp_path, capsys):
    write_png(tmp_path / "left.png", np.ones((120, 160), np.uint16))
    words = ["predict", str(recording / "rgb"), str(tmp_path), "--out", str(tmp_path / "o"), "--model", str(model_file)]
    assert main(words) == 2
    assert "named like the rgb ones" in capsys.readouterr().err


def test_what_nobody_can_read_is_said_and_not_passed_over(recording, model_file, tmp_path, capsys):
    rgb, depth = tmp_path / "rgb", tmp_path / "depth"
    shutil.copytree(recording / "rgb", rgb)
    depth.mkdir()
    for name in ("0.exr", "1.exr", "notes.txt", ".hidden.npz"):
        (depth / name).write_bytes(b"?")
    words = ["predict", str(rgb), str(depth), "--out", str(tmp_path / "o"), "--model", str(model_file)]
    assert main(words) == 2
    assert f"in {depth}, got 2 .exr; convert them" in capsys.readouterr().err
    for path in list(rgb.iterdir())[2:]:
        path.rename(path.with_suffix(".heic"))
    shutil.copy(recording / "depth" / "0.png", depth)
    shutil.copy(recording / "depth" / "10.png", depth)
    written = sum(path.suffix == ".png" for path in rgb.iterdir())
    for name in ("0.png", "10.png"):
        shutil.copy(recording / "rgb" / name, rgb)
    assert written == 2
    assert main(words) == 0
    told = capsys.readouterr().out
    assert f"{rgb}: {FRAMES - 2} .heic not read" in told
    assert f"{depth}: 2 .exr not read" in told


def test_a_damaged_image_names_its_file(recording, model_file, tmp_path, capsys):
    (tmp_path / "rgb").mkdir()
    for index in range(2):
        (tmp_path / "rgb" / f"{index}.png").write_bytes(
            (recording / "rgb" / f"{index}.png").read_bytes()[: 999 - index]
        )
    words = ["predict", str(tmp_path / "rgb"), "--out", str(tmp_path / "o"), "--model", str(model_file)]
    assert main(words) == 2
    assert "0.png" in capsys.readouterr().err


def test_objects_are_those_of_the_stream_field_for_field(recording, model_file, tmp_path):
    """Whole, resumed, or asked for afterwards: each line is what the finder says of the pipeline's frames."""
    (recording / "video.yaml").write_text(
        "fps: 10\nintrinsics: {width: 160, height: 120, k: [120, 0, 80, 0, 120, 60, 0, 0, 1]}\n"
    )
    words = ("--objects", "--set", "threshold=0.3")
    assert predict(recording, tmp_path / "whole", model_file, *words) == 0
    pipeline = SaliencyPipeline.from_name(model_file, PipelineConfig(device="cpu", threshold=0.3))
    finder, camera, online = ObjectFinder(), CameraModel(160, 120, 120, 120, 80, 60), []
    for index, frame in enumerate(list_frames(recording / "rgb", recording / "depth")):
        rgb, depth, _ = predict_folder.read_frame(frame, "plain")
        result = pipeline.process(rgb, depth, index / 10)
        found = finder.update(
            result.mask, result.probability, depth, index / 10, scene_id=result.scene_id, camera=camera, rgb=rgb
        )
        online.append({"stem": frame.stem, **as_record(round(index / 10 * 1e9), "", found)})
    scores = [item["score"] for line in online for item in line["objects"]]
    assert scores and 0.3 < min(scores) <= max(scores) < 1  # noqa: PT018 (one claim)
    assert objects_of(tmp_path / "whole") == online

    assert predict(recording, tmp_path / "parts", model_file, *words) == 0
    for index in (FRAMES - 1, FRAMES - 2):
        (tmp_path / "parts" / f"{index}.png").unlink()
    assert predict(recording, tmp_path / "parts", model_file, *words) == 0
    assert objects_of(tmp_path / "parts") == online
    assert predict(recording, tmp_path / "later", model_file, *words[1:]) == 0
    assert predict(recording, tmp_path / "later", model_file, *words) == 0
    assert objects_of(tmp_path / "later") == online


def objects_of(out):
    return [json.loads(line) for line in (out / "objects.jsonl").read_text().splitlines()]


def test_depth_that_may_be_one_frame_off_is_told(recording, model_file, tmp_path, capsys):
    shutil.copytree(recording, tmp_path / "r")
    depth = tmp_path / "r" / "depth"
    for path in sorted(depth.iterdir(), key=lambda path: -int(path.stem)):
        path.rename(depth / f"{int(path.stem) + 1}.png")
    assert predict(tmp_path / "r", tmp_path / "out", model_file) == 0
    assert "1 time(s): depth may count from another number than rgb, is each one frame off?" in capsys.readouterr().out
