# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""`m4sam doctor`: what is installed, what is wrong, and how to mend it."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from m4sam_core.cli.doctor_checks import run_checks
from m4sam_core.cli.finding import Check

STYLES = {"ok": "green", "note": "cyan", "warn": "yellow", "fail": "bold red"}


def command(
    as_json: bool = typer.Option(False, "--json", help="Print the findings as a JSON list, e.g. for a bug report."),
) -> None:
    """What is installed, what is wrong, and how to mend it.

    Works without torch and without ROS. Exit code 1 when something that is needed does not work.
    """
    findings = run_checks()
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print_table(findings)
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)


def _print_table(findings: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "what", "found"):
        table.add_column(title, no_wrap=title != "found", overflow="fold")
    for finding in findings:
        cell = Text(finding.found)
        if finding.advice:
            cell.append(f"\n-> {finding.advice}", style=STYLES[finding.status])
        table.add_row(Text(finding.status, style=STYLES[finding.status]), finding.name, cell)
    console = Console(markup=False)
    console.print(table)
    bad = [finding.name for finding in findings if finding.status == "fail"]
    console.print(f"\nNot working: {', '.join(bad)}" if bad else "\nReady.", style="bold red" if bad else "bold green")
