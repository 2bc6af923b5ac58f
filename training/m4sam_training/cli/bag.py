# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam bag`: look into rosbags, turn them into datasets, add masks to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from m4sam_core.rgbd.bags.source import BagSource

app = typer.Typer(help="Rosbags (rosbag2 sqlite3 and mcap, ROS 1): look, convert, predict.", no_args_is_help=True)
_RGB = typer.Option(None, "--rgb-topic", help="Default: the only colour image topic.")
_UNIT = typer.Option(
    None, "--depth-unit", min=1e-6, max=10, help="Metres per unit of depth; default: 0.001 in integers, 1 in floats."
)
_STRICT = typer.Option(False, help="Exit with 1 when a bag is damaged, though what is whole was used.")
_EMPTY_SPLIT = (
    "none for {what}: a recording is in one split as a whole, and there are few; add recordings, "
    "or convert another one with --split {name} into the same folder"
)
_DEPTH = typer.Option(None, "--depth-topic", help="Default: the only (aligned) depth topic.")


@app.command()
def info(
    bags: list[Path] = typer.Argument(..., help="Bags, or folders of bags."),
    strict: bool = _STRICT,
) -> None:
    """List topics, counts and rates, damage, and which topics would be used."""
    from m4sam_core.errors import InputError
    from m4sam_core.rgbd.bags.find import find_bags
    from m4sam_core.rgbd.bags.source import BagSource

    console = Console(markup=False, soft_wrap=True)
    unreadable = damaged = 0
    for path in find_bags(bags):
        try:
            with BagSource(path) as source:
                _describe(console, source)
                damaged += bool(source.damage)
        except InputError as error:
            unreadable += 1
            console.print(f"unreadable: {error}")
    if unreadable or (strict and damaged):
        raise typer.Exit(1)


def _describe(console: Console, source: BagSource) -> None:
    from m4sam_core.errors import InputError
    from m4sam_core.rgbd.bags.topics import choose_topics

    table = Table("topic", "type", "messages", title=str(source.path), title_justify="left")
    for topic in source.topics:
        name = topic.name if topic.plain else f"{topic.name!r} (no ROS name, ignored)"
        table.add_row(name, topic.msgtype, str(topic.count))
    console.print(table)
    try:
        chosen = choose_topics(source)
        console.print(f"would use: rgb {chosen.rgb}, depth {chosen.depth}, mask {chosen.mask or 'none'}")
    except InputError as error:
        console.print(f"no choice: {error}")
    for line in dict.fromkeys(source.damage):
        console.print(f"damaged: {line}")


@app.command("to-dataset")
def to_dataset(
    bags: list[Path] = typer.Argument(..., help="Bags, or folders of bags."),
    out: Path = typer.Option(..., "--out", "-o", help="Folder of the dataset; a stopped run goes on where it was."),
    rgb_topic: Optional[str] = _RGB,
    depth_topic: Optional[str] = _DEPTH,
    mask_topic: Optional[str] = typer.Option(None, help="Default: a topic called mask; '' for none."),
    mask_values: str = typer.Option("auto", help="Salient values of masks: auto, bright, nonzero, alpha, or 1,3-5."),
    depth_unit: Optional[float] = _UNIT,
    annotations: Optional[Path] = typer.Option(None, help="Folder of masks <stamp_ns>.png, also per video or bag."),
    model: Optional[str] = typer.Option(None, help="Makes pseudo labels where there is no other mask."),
    min_confidence: float = typer.Option(0.0, min=0, max=1, help="Leave out pseudo labels below."),
    cut: str = typer.Option("scene", help="A new video at scene changes (scene), every --segment-s (time), or none."),
    segment_s: float = typer.Option(30.0, min=0.1, help="Seconds, with --cut time."),
    min_frames: int = typer.Option(2, min=1, help="Leave out shorter videos."),
    every: int = typer.Option(1, min=1, help="Keep each n-th frame."),
    tolerance_s: Optional[float] = typer.Option(None, min=0.0001, help="Largest stamp difference of a pair."),
    split: str = typer.Option(
        "auto", help="train, val, test; auto: a recording's videos together, by its name's hash in the shares below."
    ),
    val_share: float = typer.Option(0.1, min=0, max=1, help="Share of the recordings, with --split auto."),
    test_share: float = typer.Option(0.1, min=0, max=1, help="Share of the recordings, with --split auto."),
    engine: str = typer.Option("local", help="local, or ray: a task per bag."),
    address: Optional[str] = typer.Option(None, help="Of a running Ray cluster; default: one on this machine."),
    workers: Optional[int] = typer.Option(None, min=1, help="Tasks at a time, when Ray is started here."),
    json_path: Optional[Path] = typer.Option(None, "--json", help="Write what was dropped and why here."),
    strict: bool = _STRICT,
) -> None:
    """Turn bags into a dataset of the m4sam layout."""
    from rich.table import Column

    from m4sam_core.cli.choices import one_of
    from m4sam_core.errors import ConfigError
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_core.host.progress import tracked
    from m4sam_core.rgbd.bags.find import find_bags
    from m4sam_training.bags.convert import CUTS, SPLITS, ConvertConfig
    from m4sam_training.bags.jobs import ENGINES, convert_bags

    if min_confidence > 0 and model is None:
        raise ConfigError(
            "--min-confidence: expected --model with it, whose masks it sifts, got none; add --model NAME"
        )
    cfg = ConvertConfig(
        rgb_topic=rgb_topic,
        depth_topic=depth_topic,
        mask_topic=mask_topic,
        mask_values=mask_values,
        depth_unit_m=depth_unit,
        annotations=annotations.resolve() if annotations else None,
        model=model,
        min_confidence=min_confidence,
        cut=one_of("cut", cut, CUTS),
        segment_s=segment_s,
        min_frames=min_frames,
        every=every,
        tolerance_s=tolerance_s,
        split=one_of("split", split, SPLITS),
        val_share=val_share,
        test_share=test_share,
    )
    found = find_bags(bags)
    check_outputs(folders=(out,), files=(json_path,))
    chosen = one_of("engine", engine, ENGINES)
    stream = convert_bags(found, out, cfg, chosen, address, workers)
    bars = stream if chosen == "local" else tracked(stream, "converting", len(found))  # locally each bag has its own
    reports = sorted(bars, key=lambda report: report.name)
    console = Console(markup=False, soft_wrap=True)
    table = Table("bag", "videos", "frames", "with mask", "dropped", Column("note", overflow="fold"))
    for report in reports:
        dropped = ", ".join(f"{reason} ({entry['count']})" for reason, entry in report.drops.items())
        note = report.error or "; ".join(
            [
                *(["done before"] if report.resumed else []),
                *([f"{report.late_masks} masks added"] if report.late_masks else []),
                *report.damage[:2],
                *report.notes,
            ]
        )
        numbers = (len(report.videos), sum(report.videos.values()), report.labelled)
        table.add_row(report.name, *map(str, numbers), dropped or "-", note or "-")
    console.print(table)
    told = {name: _videos_in(out / name) for name in ("train", "val", "test")}
    console.print(f"videos in {out}: {', '.join(f'{name} {count}' for name, count in told.items())}")
    if split == "auto" and any(told.values()):
        for name, what in (("train", "training"), ("val", "validation"), ("test", "testing")):
            if not told[name]:
                console.print(_EMPTY_SPLIT.format(what=what, name=name))
    if json_path:
        write_json(json_path, [vars(report) for report in reports])
    if any(report.error or (strict and report.damage) for report in reports):
        raise typer.Exit(1)


def _videos_in(split: Path) -> int:
    return sum(path.is_dir() for path in split.iterdir()) if split.is_dir() else 0


@app.command()
def predict(
    bag: Path = typer.Argument(..., help="The bag."),
    out: Path = typer.Option(..., "--out", "-o", help="The new bag."),
    model: str = typer.Option("default", help="Name or path."),
    rgb_topic: Optional[str] = _RGB,
    depth_topic: Optional[str] = _DEPTH,
    mask_topic: str = typer.Option("/saliency/mask", help="Topic of the masks."),
    depth_unit: Optional[float] = _UNIT,
    storage: str = typer.Option("mcap", help="mcap or sqlite3."),
    objects: bool = typer.Option(False, "--objects", help="Also write OUT/objects.jsonl, a line per mask."),
    strict: bool = _STRICT,
) -> None:
    """Write a copy of a bag with the masks added."""
    from m4sam_core.rgbd.bags.write import storage_of
    from m4sam_training.bags.export import predict_bag

    report = predict_bag(
        bag, out, model, rgb_topic, depth_topic, mask_topic, storage_of(storage), depth_unit, objects=objects
    )
    print(f"{out}: {report.masks} masks on {mask_topic}")
    if report.objects is not None:
        print(f"{out / 'objects.jsonl'}: {report.objects} object(s)")
    for reason, count in report.drops.counts.items():
        print(f"dropped: {reason} ({count})")
    for note, count in report.drops.notes.items():
        print(f"note: {note} ({count})")
    for line in report.damage:
        print(f"damaged: {line}")
    for line in report.left_out:
        print(f"left out: {line}")
    if report.left_out or (strict and report.damage):
        raise typer.Exit(1)


@app.command("to-lerobot")
def to_lerobot(
    bags: list[Path] = typer.Argument(..., help="Bags, or folders of bags: an episode each, cut at pauses of 2 s."),
    out: Path = typer.Option(..., "--out", "-o", help="New or empty folder of the data set."),
    task: str = typer.Option("look", help="What is done in the recordings, in words."),
    rgb: str = typer.Option("video", help="video: small, lossy; image: PNG in the table."),
    fps: Optional[int] = typer.Option(None, min=1, max=1000, help="Frames per second; default: the first bag's."),
    rgb_topic: Optional[str] = _RGB,
    depth_topic: Optional[str] = _DEPTH,
    mask_topic: Optional[str] = typer.Option(None, help="Default: a topic called mask; '' for none."),
    depth_unit: Optional[float] = _UNIT,
    model: Optional[str] = typer.Option(None, help="Makes masks where there is no other."),
) -> None:
    """Write recordings as a LeRobot data set (v3.0) with rgb, depth and mask.

    Depth and masks are PNG inside the table, without loss; rgb is video. Needs pyarrow and av.
    """
    from m4sam_core.cli.choices import one_of
    from m4sam_core.rgbd.bags.find import find_bags
    from m4sam_training.bags.lerobot import RGB_AS
    from m4sam_training.bags.lerobot_bags import LerobotConfig, bags_to_lerobot

    cfg = LerobotConfig(task, one_of("rgb", rgb, RGB_AS), fps, rgb_topic, depth_topic, mask_topic, depth_unit, model)
    report, failed, drops = bags_to_lerobot(find_bags(bags), out, cfg)
    print(f"{out}: {len(report.episodes)} episodes, {sum(report.episodes)} frames, {report.masks} with a mask")
    if report.rounded:
        print(f"note: float depth rounded to millimetres ({report.rounded})")
    for note, count in drops.notes.items():
        print(f"note: {note} ({count})")
    for size, count in report.left_out.items():
        print(f"left out: frames of another size than the first, {size} ({count})")
    for reason, count in drops.counts.items():
        print(f"dropped: {reason} ({count})")
    for line in failed:
        print(f"left out: {line}")
    if failed or report.left_out:
        raise typer.Exit(1)
