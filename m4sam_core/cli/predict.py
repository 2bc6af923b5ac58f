# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam predict`: masks for a folder of RGB and depth images."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer


def command(
    rgb_dir: Path = typer.Argument(..., help="Folder of colour images; their names' numbers give the order."),
    depth_dir: Optional[Path] = typer.Argument(None, help="Folder of depth images of the same stems; none: rgb alone."),
    out: Path = typer.Option(..., "--out", "-o", help="Folder for OUT/<stem>.png, at the images' own size."),
    model: str = typer.Option("default", help="A name (default, edge, or one in the cache) or a weights file."),
    fps: Optional[float] = typer.Option(
        None,
        min=0.1,
        max=1000,
        help="Frames per second of the recording; default: names that are stamps, video.yaml beside RGB_DIR, else 15.",
    ),
    overlay: Optional[Path] = typer.Option(None, help="Also write a video (.mp4, .avi) of masks over frames."),
    depth_unit: Optional[float] = typer.Option(
        None, min=1e-6, max=10, help="Metres per count of 16-bit depth; default: video.yaml beside RGB_DIR, else 0.001."
    ),
    depth_coding: str = typer.Option("plain", help="How distance stands in depth files, see docs/datasets.md."),
    probability: bool = typer.Option(False, "--probability", help="8-bit probability maps instead of 0/255 masks."),
    objects: bool = typer.Option(
        False, "--objects", help="Also write OUT/objects.jsonl: id, box and position of each object, a line per frame."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Begin anew instead of resuming."),
    device: str = typer.Option("auto", help="auto, cpu, cuda or cuda:N."),
    settings: list[str] = typer.Option(
        [], "--set", metavar="NAME=VALUE", help="A pipeline setting, e.g. stream.bank.policy=clip16. Repeatable."
    ),
) -> None:
    """Write one mask per frame, as the robot would see the recording.

    An interrupted run goes on where it stopped, with the same result: the unfinished scene is replayed to rebuild the
    memory. A folder with masks of another model or other settings is refused.
    """
    from collections import Counter
    from contextlib import closing

    from m4sam_core.cli.choices import one_of
    from m4sam_core.config import PipelineConfig
    from m4sam_core.host.plain_yaml import parse_assignments
    from m4sam_core.host.progress import tracked
    from m4sam_core.model_files import resolve_model
    from m4sam_core.pipeline import SaliencyPipeline
    from m4sam_core.predict_folder import pair_files, predict_folder
    from m4sam_core.predict_objects import OBJECTS_FILE, ObjectNotes, write_objects
    from m4sam_core.result import SaliencyResult
    from m4sam_core.rgbd.clip_folder import frame_times, unread_note
    from m4sam_core.rgbd.depth_files import DEPTH_CODINGS, DEPTH_SUFFIXES
    from m4sam_core.rgbd.overlay_video import write_overlay_video
    from m4sam_core.rgbd.video_yaml import VIDEO_YAML, read_video_yaml

    recorded = read_video_yaml(rgb_dir.parent / VIDEO_YAML)
    unit = [f"depth.unit_m={depth_unit or recorded.depth_unit_m}"] if depth_unit or recorded.states_unit else []
    cfg = PipelineConfig.parse(parse_assignments([*unit, *settings, f"device={device}"]))
    coding = one_of("depth_coding", depth_coding, DEPTH_CODINGS)
    paired = Counter[str]()
    frames, unpaired = pair_files(
        rgb_dir, depth_dir, lambda _path, reason, _used: paired.update([reason.split(":")[0]])
    )
    times = frame_times([frame.stem for frame in frames], recorded, fps)
    model_file = resolve_model(model)
    pipeline = SaliencyPipeline.from_name(model_file, cfg)
    notes = ObjectNotes(recorded, cfg.depth.unit_m, times.first_ns or 0) if objects else None
    with closing(tracked(range(len(frames)), "predicting")) as bar:
        next(bar, None)

        def advance(_: SaliencyResult | None) -> None:
            next(bar, None)

        summary = predict_folder(
            pipeline,
            frames,
            out,
            times,
            model_file=model_file,
            depth_coding=coding,
            probability=probability,
            overwrite=overwrite,
            notes=notes,
            advance=advance,
        )
    text = f"{out}: {summary.written} masks written, {summary.kept} kept, {summary.scenes} scene(s)"
    typer.echo(text + (f", {summary.replayed} frames replayed to resume" if summary.replayed else ""))
    typer.echo(f"  frames timed by {times.told_by}")
    for remark in (unread_note(rgb_dir), depth_dir and unread_note(depth_dir, DEPTH_SUFFIXES)):
        if remark:
            typer.echo(f"  {remark}")
    if unpaired:
        typer.echo(f"  {depth_dir}: {unpaired} depth image(s) belong to no colour image")
    for reason, count in paired.items():
        typer.echo(f"  {count} time(s): {reason}")
    for flaw, count in summary.flaws.items():
        typer.echo(f"  {count} frame(s): {flaw}")
    for note, count in summary.notes.items():
        typer.echo(f"  {count} frame(s) from rgb alone: {note}")
    if notes is not None:
        typer.echo(f"{out / OBJECTS_FILE}: {write_objects(out)} object(s)" + (f"; {notes.lack}" if notes.lack else ""))
    if overlay is not None:
        pairs = ((frame.rgb, out / f"{frame.stem}.png") for frame in frames)
        typer.echo(f"{overlay}: {write_overlay_video(overlay, pairs, times.rate)} frames")
