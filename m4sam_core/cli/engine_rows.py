"""Engines side by side: what `m4sam bench model --backend` runs, and the table that it shares with bench precision."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = ("backend", "dtype", "ms_p50", "ms_p95", "cpu_ms", "iou_min", "iou_mean", "rss_mb")


def compare_engines(
    console: Console, checkpoint: Path | None, size: str, backend: str, frames: int, threads: int
) -> dict[str, Any]:
    """Time and compare engines on a checkpoint, the packaged weights (size edge) or fresh weights of a preset."""
    from m4sam_core.bench.backends import bench_backends, variants
    from m4sam_core.bench.gate import gate_clips
    from m4sam_core.build import build_model
    from m4sam_core.checkpoint import save_checkpoint
    from m4sam_core.config import ModelConfig
    from m4sam_core.model_files import resolve_model

    rows = variants(backend)
    with TemporaryDirectory() as folder, console.status("") as status:
        file = checkpoint or (resolve_model("default") if size == "edge" else None)
        trained = file is not None
        if file is None:
            file = Path(folder) / f"{size}.safetensors"
            save_checkpoint(file, build_model(ModelConfig.preset(size)))
        result = bench_backends(file, rows, gate_clips(), frames=frames, threads=threads, on_step=status.update)
    name = str(checkpoint) if checkpoint else f"{size}, {'packaged' if trained else 'fresh'} weights"
    return {"model": name, **result}


def show_rows(console: Console, result: dict[str, Any]) -> None:
    """Print the rows of `bench_backends` as a table."""
    from rich.table import Table

    table = Table(title=f"{result['model']}, {result['machine']['cpu']}, load {result['load_after'][0]:.1f}")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("backend", "dtype") else "right")
    for row in result["rows"]:
        table.add_row(*(_cell(name, row[name]) for name in COLUMNS))
    console.print(table)
    for row in result["rows"]:
        if row["note"]:
            console.print(f"{row['backend']} {row['dtype']}: {row['note']}")


def _cell(name: str, value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.4f}" if name.startswith("iou") else f"{value:.1f}"
