# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam dataset`: check, describe, generate and convert datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(help="Check, describe, generate and convert RGB-D video datasets.", no_args_is_help=True)
_MASK_VALUES = typer.Option("auto", help="Salient values of masks: auto, bright, nonzero, alpha, or 1,3-5.")
_DEPTH_CODING = typer.Option("plain", help="How distance stands in depth files, see docs/datasets.md.")
_FOUND_LAYOUT = typer.Option(
    "auto", "--layout", "-l", help="auto: told by the folders' names; or rdvs, vidsod100, dvisal, m4sam, pictures."
)
_LAYOUT = typer.Option(
    ..., "--layout", "-l", help="rdvs, vidsod100, dvisal, m4sam or pictures; `m4sam dataset info` lists them."
)


@app.command()
def generate(
    layout: str = _LAYOUT,
    out: Path = typer.Option(..., "--out", "-o", help="New or empty folder."),
    videos: int = typer.Option(2, min=1, max=10000, help="Videos per split."),
    frames: int = typer.Option(6, min=1, max=100000, help="Frames per video."),
    width: int = typer.Option(320, min=64, max=4096, help="Pixels."),
    height: int = typer.Option(240, min=64, max=4096, help="Pixels."),
    seed: int = typer.Option(0, min=0, help="Same seed, same files."),
    irregular: bool = typer.Option(False, help="Plant one of each irregularity real datasets have."),
) -> None:
    """Write a small synthetic dataset in one of the layouts."""
    from m4sam_training.data.generate import generate_dataset

    planted = generate_dataset(out, layout, videos, frames, height, width, seed, irregular)
    print(f"{out}: {layout}, {videos} videos of {frames} frames per split, {width}x{height}")
    for item in planted:
        print(f"planted: {item.path}: {item.reason}")


@app.command()
def check(
    root: Path = typer.Argument(..., help="The dataset's folder."),
    layout: str = _FOUND_LAYOUT,
    depth_kind: str = typer.Option("real", help="real or synthetic depth maps."),
    decode: bool = typer.Option(True, help="Decode every file; --no-decode reads headers and file ends only."),
    mask_values: str = _MASK_VALUES,
    depth_coding: str = _DEPTH_CODING,
    limit: int = typer.Option(20, min=0, help="Irregular items printed per split; 0: all. JSON always has all."),
    json_path: Optional[Path] = typer.Option(None, "--json", help="Write the whole report here."),
    strict: bool = typer.Option(False, help="Exit with 1 when an item is left out."),
) -> None:
    """Report every irregular item by path and reason, and count what is usable."""
    from m4sam_core.cli.choices import one_of
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_core.rgbd.depth_files import DEPTH_CODINGS
    from m4sam_core.rgbd.masks import MaskRule
    from m4sam_training.data.check import check_dataset
    from m4sam_training.data.jpeg import why_blind
    from m4sam_training.data.layouts import DEPTH_KINDS
    from m4sam_training.data.recognise import layout_of

    check_outputs(files=(json_path,))
    console = Console(markup=False, soft_wrap=True)
    kind, coding = one_of("depth_kind", depth_kind, DEPTH_KINDS), one_of("depth_coding", depth_coding, DEPTH_CODINGS)
    layout = layout_of(root, layout)
    reports = check_dataset(root, layout, kind, decode, MaskRule.parse(mask_values), coding)
    console.print(f"layout: {layout}")
    table = Table("split", "videos", "frames", "sizes", "depth files", "left out", "used with a note")
    for report in reports:
        used = len(report.irregular) - report.skipped
        sizes, types = (
            ", ".join(f"{k} ({n})" for k, n in c.most_common(3)) for c in (report.sizes, report.depth_types)
        )
        scan = report.scan
        counts = (str(len(scan.videos)), str(scan.frame_count), sizes, types, str(report.skipped), str(used))
        table.add_row(scan.split, *counts)
    console.print(table)
    for report in reports:
        for item in report.irregular[: limit or None]:
            console.print(f"{'used' if item.used else 'left out'}: {item.path}: {item.reason}")
        if limit and len(report.irregular) > limit:
            console.print(f"... and {len(report.irregular) - limit} more in {report.scan.split} (--limit 0 or --json)")
    if unsearched := sum(report.unsearched for report in reports):
        console.print(f"{unsearched} JPEG files were not searched for damage inside: {why_blind()}")
    if json_path:
        write_json(json_path, [report.as_dict() for report in reports])
    if strict and any(report.skipped for report in reports):
        raise typer.Exit(1)


@app.command()
def info(
    root: Optional[Path] = typer.Argument(None, help="A dataset; without one the layouts are listed."),
    layout: str = _FOUND_LAYOUT,
) -> None:
    """List the layouts, or the videos of a dataset."""
    console = Console(markup=False, soft_wrap=True)
    if root is None:
        console.print(_layout_table())
        return
    from m4sam_training.data.recognise import layout_of
    from m4sam_training.data.scan import available_splits, scan_split

    layout = layout_of(root, layout)
    table = Table("split", "video", "frames", "with ground truth", "fps", "depth unit")
    for split in available_splits(root, layout):
        for video in scan_split(root, layout, split).videos:
            fps = f"{video.fps:g}" if video.fps else "-"
            unit = f"{video.depth_unit_m:g} m" if video.depth_unit_m else "relative"
            table.add_row(split, video.name, str(len(video.frames)), str(len(video.annotated)), fps, unit)
    console.print(table)


@app.command("to-bag")
def to_bag(
    root: Path = typer.Argument(..., help="The dataset's folder."),
    layout: str = _FOUND_LAYOUT,
    out: Path = typer.Option(..., "--out", "-o", help="Folder for one bag per video; existing bags are left alone."),
    split: str = typer.Option("train", help="train, val or test."),
    storage: str = typer.Option("mcap", help="mcap or sqlite3."),
    mask_values: str = _MASK_VALUES,
    depth_coding: str = _DEPTH_CODING,
) -> None:
    """Write the videos of a split as rosbags with rgb, depth and mask topics."""
    from m4sam_core.cli.choices import one_of
    from m4sam_core.rgbd.bags.write import storage_of
    from m4sam_core.rgbd.depth_files import DEPTH_CODINGS
    from m4sam_core.rgbd.masks import MaskRule
    from m4sam_training.bags.export import export_videos
    from m4sam_training.data.recognise import layout_of
    from m4sam_training.data.scan import scan_split

    coding = one_of("depth_coding", depth_coding, DEPTH_CODINGS)
    scan = scan_split(root, layout_of(root, layout), split, "real", MaskRule.parse(mask_values), coding)
    for line in scan.flaws():
        print(line)
    written = export_videos(scan, out, storage_of(storage))
    print(f"{len(written)} bags in {out}")


def _layout_table() -> Table:
    from m4sam_training.data.layouts import LAYOUTS

    table = Table("--layout", "dataset", "splits", "rgb / depth / ground truth", "published")
    for layout in LAYOUTS.values():
        folders = f"{layout.rgb[0]} / {layout.depth[0]} / {layout.mask[0]}"
        published = "{} videos, {} frames".format(*layout.published) if layout.published[0] else "-"
        table.add_row(layout.name, layout.title, ", ".join(layout.splits), folders, published)
    return table
