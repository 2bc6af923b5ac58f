# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""m4sam edge: the recipe of the packaged weights, step by step."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(help="Make and measure the packaged edge weights (docs/models.md).", no_args_is_help=True)

ASSETS = typer.Option(Path("edge_work/assets"), help="Folder of photos/, cutouts/ and meshes/.")
CLIPS = typer.Option(Path("edge_work/clips"), help="Folder of rendered clips.")
JSON_FILE = typer.Option(None, "--json", help="Also write the scores here.")
THREADS = typer.Option(1, min=1, help="CPU threads.")


@app.command()
def assets(
    folder: Path = ASSETS,
    pictures: Path | None = typer.Option(
        None, help="Folder of photographs (objects/ and grocery/, docs/models.md) for situations and stories."
    ),
    people: int = typer.Option(0, min=0, help="Bodies to make for situations; needs the package anny."),
) -> None:
    """Download the pictures to render with."""
    from m4sam_training.edge.assets import collect
    from m4sam_training.edge.people import make_people
    from m4sam_training.edge.pictures import add_pictures

    counts = collect(folder)
    if pictures is not None:
        counts |= add_pictures(pictures, folder)
    if people:
        make_people(folder / "people", people)
        counts["people"] = people
    typer.echo(", ".join(f"{count} {name}" for name, count in counts.items()))


@app.command()
def render(
    folder: Path = ASSETS,
    out: Path = typer.Option(Path("edge_work/clips"), help="Folder of rendered clips."),
    clips: int = typer.Option(3000, min=1, help="Number of clips; those already there are kept."),
    frames: int = typer.Option(4, min=1, help="Frames of each clip."),
    size_px: int = typer.Option(256, min=64, help="Side of the stored square."),
    first: int = typer.Option(0, min=0, help="Number of the first clip, to share the work among processes."),
    kind: str = typer.Option(
        "room", help="What they show: room, situation, story, distinct, arrival or street (docs/models.md)."
    ),
    plain: bool = typer.Option(False, "--plain", help="Made-up textures and bodies alone, none of the pictures."),
) -> None:
    """Render training clips; goes on where it stopped."""
    from m4sam_core.host.progress import tracked
    from m4sam_training.edge.data import KINDS, render_clip
    from m4sam_training.synth.assets import load_style
    from m4sam_training.synth.clip import PLAIN_STYLE

    if kind not in KINDS:
        raise typer.BadParameter(f"expected {', '.join(KINDS)}, got {kind}", param_hint="--kind")
    style = PLAIN_STYLE if plain else load_style(folder, "train")
    out.mkdir(parents=True, exist_ok=True)
    for number in tracked(range(first, first + clips), "clips"):
        seed = KINDS[kind][1] + number
        render_clip(out / f"{seed:06d}.npz", seed, frames, size_px, style, kind)


@app.command()
def rehearse(
    checkpoint: Path = typer.Argument(..., help="Weights whose masks are asked for."),
    pictures: Path = typer.Argument(..., help="Folder of photographs, read with everything below it."),
    out: Path = typer.Option(Path("edge_work/clips"), help="Folder of rendered clips to add to."),
    every: int = typer.Option(3, min=1, help="Take every so many-th photograph."),
    limit: int = typer.Option(0, min=0, help="Photographs at most; 0: all."),
    frames: int = typer.Option(8, min=1, help="Frames of each clip."),
    size_px: int = typer.Option(256, min=64, help="Side of the stored square."),
    threads: int = THREADS,
) -> None:
    """Clips of photographs that ask for what the weights say of them already, so that training does not undo it."""
    from m4sam_core.checkpoint import load_checkpoint
    from m4sam_core.errors import InputError
    from m4sam_core.host.progress import tracked
    from m4sam_core.rgbd.image_files import IMAGE_SUFFIXES
    from m4sam_training.edge.rehearsal import rehearse as clips_of

    found = sorted(path for path in pictures.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)[::every]
    if not found:
        raise InputError(f"{pictures}: expected photographs (jpg, png, ...), found none; give another folder")
    chosen = found[: limit or None]
    clips = clips_of(load_checkpoint(checkpoint).eval(), chosen, out, frames, size_px, threads)
    for _ in tracked(clips, "photographs", total=len(chosen)):
        pass


@app.command("eval")
def evaluate(
    checkpoint: Path = typer.Argument(..., help="Weights to score."),
    folder: Path = ASSETS,
    clips: int = typer.Option(20, min=1, help="Held-out clips."),
    frames: int = typer.Option(16, min=1, help="Frames of each clip."),
    threads: int = THREADS,
    stories: int = typer.Option(24, min=1, help="Held-out clips in which only the past can tell."),
    situations: int = typer.Option(20, min=1, help="Held-out situations of each kind."),
    real: Path | None = typer.Option(None, "--real", help="Also score this folder of NAME/rgb.png, gt.png, depth.png."),
    sheet: Path | None = typer.Option(None, "--sheet", help="Picture of the worst of --real."),
    json_file: Path | None = JSON_FILE,
) -> None:
    """Score weights: held-out clips (memory off, no depth, depth faults), the memory, photographs, real pictures."""
    from m4sam_core.checkpoint import load_checkpoint
    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_core.rgbd.image_files import write_png
    from m4sam_training.edge.eval import held_out_clips, score_variants
    from m4sam_training.edge.memory import memory_rows, situation_rows
    from m4sam_training.edge.photos import photographs, score_pictures
    from m4sam_training.edge.real import judge, real_pictures, worst_sheet
    from m4sam_training.edge.real import rows as real_rows
    from m4sam_training.synth.assets import load_style

    check_outputs(files=(sheet, json_file))
    model, style = load_checkpoint(checkpoint).eval(), load_style(folder, "held_out")
    memory = memory_rows(model, style, clips=stories, ordinary=max(1, stories // 2), shifts=max(1, stories // 4))
    kinds = situation_rows(model, style, situations)
    verdicts = judge(model, real_pictures(real), threads) if real is not None else []
    pictures = score_pictures(model, photographs(), threads)
    data = held_out_clips(style, clips, frames)
    rows = score_variants(model, data, threads, faults=True)
    typer.echo(f"{'variant':28}{'S':>8}{'F_adp':>8}{'MAE':>8}")
    for name, row in rows.items():
        typer.echo(f"{name:28}{row['S']:8.3f}{row['F_adaptive']:8.3f}{row['MAE']:8.3f}")
    typer.echo(f"{'photograph, no depth':28}{'IoU':>8}{'MAE':>16}")
    for name, row in pictures.items():
        typer.echo(f"{name:28}{row['IoU']:8.3f}{row['MAE']:16.3f}")
    for what, row in {**memory, **{f"situation, {kind}": row for kind, row in kinds.items()}}.items():
        typer.echo(f"{what} (IoU): " + ", ".join(f"{name} {iou:.3f}" for name, iou in row.items()))
    for name, row in real_rows(verdicts).items():
        typer.echo(f"real, {name:22}{row['IoU']:8.3f}{row['MAE']:16.3f}{row['pictures']:8}")
    if json_file is not None:
        report = {"clips": clips, "frames": frames, "scores": rows, "photographs": pictures, "memory": memory}
        report["situations"] = kinds
        write_json(json_file, report | ({"real": real_rows(verdicts)} if verdicts else {}))
    if sheet is not None and verdicts:
        write_png(sheet, worst_sheet(verdicts))


@app.command()
def ablate(
    folder: Path = ASSETS,
    clips: Path = CLIPS,
    config: Path = typer.Option(Path("edge"), "--config", help="The recipe to change, a file or a name."),
    out: Path = typer.Option(Path("edge_work/ablation"), help="Folder of the runs; an interrupted one goes on."),
    steps: int = typer.Option(250, min=1, help="Optimiser steps of each variant."),
    held_out: int = typer.Option(10, min=1, help="Held-out clips."),
    frames: int = typer.Option(8, min=1, help="Frames of each."),
    threads: int = THREADS,
    json_file: Path | None = JSON_FILE,
) -> None:
    """Train with one thing changed at a time (clip length, faults, trunk) and compare."""
    import torch

    from m4sam_core.host.files import write_json
    from m4sam_core.host.outputs import check_outputs
    from m4sam_training.edge.ablate import ablate as run_ablation
    from m4sam_training.synth.assets import load_style
    from m4sam_training.train.config import load_train_config

    check_outputs(folders=(out,), files=(json_file,))
    torch.set_num_threads(threads)
    recipe, style = load_train_config(config), load_style(folder, "held_out")
    table = run_ablation(recipe, clips, out, steps, style, held_out, frames)
    typer.echo(f"{'variant':28}{'S':>8}{'F_adp':>8}{'MAE':>8}{'memory':>9}{'depth':>9}   (gain in S)")
    for name, rows in table.items():
        full = rows["as shipped"]
        memory, depth = (full["S"] - rows[without]["S"] for without in ("memory off", "no depth"))
        typer.echo(f"{name:28}{full['S']:8.3f}{full['F_adaptive']:8.3f}{full['MAE']:8.3f}{memory:+9.3f}{depth:+9.3f}")
    if json_file is not None:
        write_json(json_file, {"steps": steps, "clips": held_out, "frames": frames, "scores": table})
