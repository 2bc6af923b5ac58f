# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam download`: fetch named weights into the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Optional

import typer
from rich.console import Console
from rich.table import Table


def command(
    name: Optional[str] = typer.Argument(None, help="A name from --list."),
    show: bool = typer.Option(False, "--list", help="Show what can be fetched, and where it would be put."),
    accept_licence: bool = typer.Option(False, help="Accept the licence without being asked."),
    folder: Optional[Path] = typer.Option(None, "--to", help="Default: $M4SAM_CACHE, else ~/.cache/m4sam."),
) -> None:
    """Fetch named weights; size and SHA-256 are checked, a broken transfer is resumed."""
    from m4sam_core.download import FILES, DownloadError, download, get_file, sha256_of
    from m4sam_core.model_files import cache_dir

    console = Console(markup=False, soft_wrap=True)
    target = folder or cache_dir()
    if show or name is None:
        table = Table("name", "licence", "here", "what")
        for row in FILES.values():
            table.add_row(row.name, row.licence, "yes" if (target / row.file).is_file() else "-", row.summary)
        console.print(table)
        console.print(f"folder: {target}")
        return
    row = get_file(name)
    console.print(f"{row.summary}\nlicence: {row.licence} ({row.page})")
    asked = bool(row.url) and not (target / row.file).is_file() and not accept_licence
    if asked and not typer.confirm(f"Do you accept the licence {row.licence}?"):
        raise DownloadError(f"{row.name}: expected the licence to be accepted, got no; nothing was fetched")
    path = download(row, target, _progress(console))
    console.print(
        f"{path}\nsha256 {sha256_of(path)}{'' if row.sha256 else ' (no published sum to compare)'}", markup=False
    )


def _progress(console: Console) -> Callable[[int, int], None]:
    shown = -1

    def report(done: int, total: int) -> None:
        nonlocal shown
        step = done * 20 // total if total else -1
        if step != shown:
            shown = step
            console.print(f"{done / 1e6:.1f} of {total / 1e6:.1f} MB")

    return report
