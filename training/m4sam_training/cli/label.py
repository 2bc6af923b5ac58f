# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam label`: frames and masks to COCO, CVAT and Label Studio, and what people corrected back."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

app = typer.Typer(
    help="Masks to labelling tools and back: the doubtful first, corrected ones return as ground truth.",
    no_args_is_help=True,
)


@app.command("export")
def export_(
    data: Path = typer.Argument(..., help="A dataset of the m4sam layout, from `m4sam bag to-dataset`."),
    out: Path = typer.Option(..., "--out", "-o", help="New or empty folder for images and annotation files."),
    split: str = typer.Option("all", help="train, val, test, or all."),
    frames: str = typer.Option(
        "todo", help="todo: predicted and unlabelled ones; predicted, unlabelled, drawn, or all."
    ),
    limit: int = typer.Option(0, min=0, help="Only this many, the most doubtful; 0: all."),
    formats: Optional[list[str]] = typer.Option(
        None, "--format", help="coco, cvat or label-studio; may be repeated. Default: all three."
    ),
    image_url: str = typer.Option(
        "", help="What Label Studio finds the images under. Default: its local files, OUT beside its document root."
    ),
) -> None:
    """Write frames with their masks for a labelling tool, the ones the model doubts most first.

    OUT holds images/ (named by their rank), coco.json (COCO instances with score), cvat.xml (CVAT for images 1.1),
    label_studio.json with label_studio_config.xml, and frames.csv, which leads back: keep it for `m4sam label import`.
    """
    from m4sam_core.cli.choices import one_of
    from m4sam_training.data.scan import available_splits, scan_split
    from m4sam_training.labelling.exchange import FORMATS, export_frames
    from m4sam_training.labelling.frames import UNLABELLED, WHICH, choose_frames

    which = one_of("frames", frames, WHICH)
    wanted = [one_of("format", name, FORMATS) for name in formats or FORMATS]
    splits = available_splits(data, "m4sam") if split == "all" else [split]
    scans = [scan_split(data, "m4sam", name, "black", unlabelled=True) for name in splits]
    for scan in scans:
        for line in scan.flaws():
            typer.echo(line, err=True)
    chosen = choose_frames(scans, which, limit)
    export_frames([(frame, files.rgb) for frame, files in chosen], data, out, wanted, image_url)
    known = [frame.confidence for frame, _ in chosen if frame.confidence is not None]
    print(f"{out}: {len(chosen)} frames, {sum(frame.source != UNLABELLED for frame, _ in chosen)} with a mask")
    if known:
        print(f"confidence from {known[0]:.3f} (first) to {known[-1]:.3f}")


@app.command("import")
def import_(
    file: Path = typer.Argument(..., help="The tool's export: COCO or Label Studio JSON, CVAT XML, or their zip."),
    table: Path = typer.Option(..., "--frames", help="The folder that `m4sam label export` wrote, or its frames.csv."),
    data: Path = typer.Option(..., "--data", help="The dataset; its masks are replaced."),
    accept: str = typer.Option(
        "changed", help="changed: what differs or was submitted by a person; all: every image of the file was checked."
    ),
    label: Optional[list[str]] = typer.Option(None, help="A salient label; may be repeated. Default: salient."),
    skip_flawed: bool = typer.Option(False, help="Leave out what does not fit, and exit with 1, instead of refusing."),
) -> None:
    """Bring corrected masks back as ground truth; predictions that nobody touched stay predictions.

    With COCO and CVAT files a mask counts as a person's when it differs from the exported one (in CVAT also when it was
    drawn anew); after looking at every image say --accept all. Label Studio tells what was submitted.
    """
    from m4sam_core.cli.choices import one_of
    from m4sam_training.labelling.exchange import ACCEPTS, import_labels
    from m4sam_training.labelling.frames import LABEL

    how = one_of("accept", accept, ACCEPTS)
    report = import_labels(file, table, data, how, label or (LABEL,), skip=skip_flawed)
    print(f"{data}: {report.drawn} masks are ground truth now")
    print(
        f"predictions that came back unchanged and stay predictions: {report.unchanged}; "
        f"frames without a mask still: {report.untouched}; exported and not in the file: {report.absent}"
    )
    if report.several:
        print(f"submitted by more than one person, the one marked as ground truth, else the latest: {report.several}")
    if report.filled:
        print(
            f"outlines inside an outline of the same object, taken as filled, for COCO's polygons have no holes: "
            f"{report.filled}; where holes were meant, export masks (run lengths) and import again"
        )
    for line in report.left_out:
        print(f"left out: {line}")
    if report.left_out:
        raise typer.Exit(1)
