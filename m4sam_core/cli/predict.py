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
        None, min=0.1, max=1000, help="Frames per second of the recording; default: video.yaml beside RGB_DIR, else 15."
    ),
    overlay: Optional[Path] = typer.Option(None, help="Also write a video (.mp4, .avi) of masks over frames."),
    probability: bool = typer.Option(False, "--probability", help="8-bit probability maps instead of 0/255 masks."),
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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from m4sam_core.config import PipelineConfig
    from m4sam_core.host.plain_yaml import parse_assignments
    from m4sam_core.model_files import resolve_model
    from m4sam_core.pipeline import SaliencyPipeline, SaliencyResult
    from m4sam_core.predict_folder import list_frames, predict_folder
    from m4sam_core.rgbd.overlay_video import write_overlay_video

    cfg = PipelineConfig.parse(parse_assignments([*settings, f"device={device}"]))
    frames = list_frames(rgb_dir, depth_dir)
    rate = fps or recorded_fps(rgb_dir.parent / "video.yaml") or 15.0
    model_file = resolve_model(model)
    pipeline = SaliencyPipeline.from_name(model_file, cfg)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("predict", total=len(frames))

        def advance(_: SaliencyResult | None) -> None:
            progress.advance(bar)

        summary = predict_folder(
            pipeline,
            frames,
            out,
            rate,
            model_file=model_file,
            probability=probability,
            overwrite=overwrite,
            advance=advance,
        )
    text = f"{out}: {summary.written} masks written, {summary.kept} kept, {summary.scenes} scene(s)"
    typer.echo(text + (f", {summary.replayed} frames replayed to resume" if summary.replayed else ""))
    for note, count in (summary.notes or {}).items():
        typer.echo(f"  {count} frame(s) from rgb alone: {note}")
    if overlay is not None:
        pairs = ((frame.rgb, out / f"{frame.stem}.png") for frame in frames)
        typer.echo(f"{overlay}: {write_overlay_video(overlay, pairs, rate)} frames")


def recorded_fps(metadata: Path) -> float | None:
    """The rate a recording's video.yaml states, if there is one."""
    import yaml

    from m4sam_core.errors import InputError

    if not metadata.is_file():
        return None
    try:
        values = yaml.safe_load(metadata.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{metadata}: expected YAML ({error}); mend it, or give --fps") from None
    rate = values.get("fps") if isinstance(values, dict) else None
    if rate is None:
        return None
    if not isinstance(rate, (int, float)) or not 0.1 <= rate <= 1000:
        raise InputError(f"{metadata}: fps: expected 0.1 to 1000, got {rate!r}; mend it, or give --fps")
    return float(rate)
