# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam eval`: score a checkpoint or a folder of masks on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer
from rich.console import Console


def command(
    dataset: str = typer.Option(..., "--dataset", help="Layout: rdvs, vidsod100, dvisal or m4sam."),
    data: Path = typer.Option(..., "--data", help="The dataset's folder."),
    checkpoint: Optional[str] = typer.Option(
        None, help="A name (default, edge), ours (.safetensors) or a published one (.pth)."
    ),
    masks: Optional[Path] = typer.Option(None, help="Score this folder of masks, <video>/<stem>.png, instead."),
    protocol: str = typer.Option("m4sam", help="m4sam, dvsod, vidsod, full, or all: the first three."),
    split: str = typer.Option("test", help="train, val or test."),
    mode: str = typer.Option("clip", help="clip: as published; stream: as the robot runs it."),
    clip_length: int = typer.Option(16, min=1, max=256, help="Frames after which the memory restarts, mode clip."),
    depth_kind: str = typer.Option("real", help="real, synthetic, black or copy_rgb."),
    double_sigmoid: bool = typer.Option(False, help="A second sigmoid, as the published test applies."),
    mask_values: str = typer.Option(
        "auto", help="Salient values of the ground truth: auto, bright, nonzero, alpha, or 1,3-5."
    ),
    depth_coding: str = typer.Option("plain", help="How distance stands in depth files, see docs/datasets.md."),
    predicted_masks: str = typer.Option(
        "score", help="Ground truth that a model made (pseudo labels): score it with a warning, or skip it."
    ),
    device: str = typer.Option("auto", help="auto, cpu, cuda or cuda:N."),
    out: Optional[Path] = typer.Option(None, help="Folder for per_video.csv, curves.png, worst.png and masks."),
    save_masks: bool = typer.Option(False, help="Also write the masks that were scored to OUT/masks."),
    json_path: Optional[Path] = typer.Option(None, "--json", help="Write S, E_mean, F_adaptive, MAE and more here."),
) -> None:
    """Score masks against ground truth, beside the paper's numbers."""
    from m4sam_core.cli.choices import load_for_evaluation, one_of
    from m4sam_core.errors import ConfigError
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs, only_user
    from m4sam_core.rgbd.depth_files import DEPTH_CODINGS
    from m4sam_core.rgbd.masks import MaskRule
    from m4sam_training.data.layouts import DEPTH_KINDS
    from m4sam_training.data.scan import scan_split
    from m4sam_training.data.videos import grouped
    from m4sam_training.eval.evaluate import counted, evaluate
    from m4sam_training.eval.mask_folder import FolderRemarks, read_mask_folder
    from m4sam_training.eval.predict_dataset import PredictConfig, predict_scan
    from m4sam_training.eval.report import score_table

    if (checkpoint is None) == (masks is None):
        got = "neither" if masks is None else "both"
        raise ConfigError(f"eval: expected either --checkpoint or --masks, got {got}")
    if save_masks and out is None:
        raise ConfigError("--save-masks: expected an --out folder, got none; add --out DIR")
    if save_masks and out is not None and masks is not None and (out / "masks").resolve() == masks.resolve():
        raise ConfigError(f"--out: expected another place than --masks, got {masks}; they would be written over")
    check_outputs(folders=(out,), files=(json_path,))
    kind = one_of("depth_kind", depth_kind, DEPTH_KINDS)
    coding = one_of("depth_coding", depth_coding, DEPTH_CODINGS)
    scan = scan_split(data, dataset, split, kind, MaskRule.parse(mask_values), coding)
    for line in scan.flaws():
        typer.echo(line, err=True)
    if one_of("predicted_masks", predicted_masks, ("score", "skip")) == "skip":
        scan = scan.drawn()
    remarks = FolderRemarks()
    irregular = [item for item in scan.irregular if not item.used]
    dropped = list(irregular)
    if checkpoint is not None:
        cfg = PredictConfig(one_of("mode", mode, ("clip", "stream")), clip_length, kind, double_sigmoid)
        predictions = predict_scan(load_for_evaluation(checkpoint, device), scan, cfg, dropped)
    elif masks is not None:
        predictions = read_mask_folder(masks, scan, dropped, remarks)
    sheet, kept = (12, out / "masks" if save_masks else None) if out else (0, None)
    with only_user(out if kept else None):
        result = evaluate(counted(predictions, scan, "scoring"), protocol, dropped, kept, sheet)
    console = Console(markup=False, soft_wrap=True)
    console.width = max(console.width, 140)
    console.print(score_table(dataset, f"{scan.layout.title} {split}, {len(result.main)} frames", result.rows))
    for line in grouped([*dropped[len(irregular) :], *remarks.noted]):
        console.print(line)
    warning = scan.warning()
    if warning:
        console.print(warning)
    if irregular:
        console.print(f"{len(irregular)} irregular items were left out; `m4sam dataset check` lists them.")
    if json_path:
        source = {"dataset": dataset, "split": split, "source": str(checkpoint or masks)}
        settings = {"mode": mode, "clip_length": clip_length, "depth_kind": depth_kind}
        told = {"resized": remarks.resized, "noted": grouped(remarks.noted)}
        write_json(
            json_path,
            {
                **result.as_dict(),
                "predicted_masks": scan.predicted_count,
                **source,
                **(settings if checkpoint else told),
            },
        )
    for note in result.write(out) if out else ():
        console.print(note, markup=False)
