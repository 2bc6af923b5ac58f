# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the `m4sam` command.

What a robot needs is in `CORE_COMMANDS`; the tables of other packages join by the entry point group `m4sam.commands`
(setup.py), so a robot without the training package has a shorter command and nothing else changes. Commands are
imported when they run, so `m4sam --help` needs neither torch nor ROS.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from m4sam_core.cli.table import CORE_COMMANDS, GROUP_SUMMARIES, Entry, Table, merged
from m4sam_core.errors import M4SamError
from m4sam_core.host.outputs import explain
from m4sam_core.host.progress import end_bars

EXIT_UNEXPECTED = 1
EXIT_USER_ERROR = 2
COMMANDS_GROUP = "m4sam.commands"


def registered() -> Table:
    """The core's table with those of every installed package that can be imported."""
    tables = [CORE_COMMANDS]
    for point in importlib.metadata.entry_points(group=COMMANDS_GROUP):
        try:
            tables.append(point.load())
        except ModuleNotFoundError as error:
            if not point.module.startswith(str(error.name)):  # the package is there and something it needs is not
                raise
    return merged(tables)


COMMANDS = registered()


class LazyGroup(TyperGroup):
    """A group whose commands are stand-ins, good for listing; the real one is imported when it is called."""

    table: Table = COMMANDS

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, entry in self.table.items():
            summary = entry.summary if isinstance(entry, Entry) else GROUP_SUMMARIES[name]
            self.add_command(TyperCommand(name, help=summary), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command named by args[0], imported, and the arguments left for it."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and name in self.table:
            command = _load(name, self.table[name])
        return name, command, rest


def _load(name: str, entry: Entry | Mapping[str, Entry]) -> Any:
    if not isinstance(entry, Entry):
        group_class = type(f"{name.title()}Group", (LazyGroup,), {"table": entry})
        group = typer.Typer(
            cls=group_class, name=name, help=GROUP_SUMMARIES[name], no_args_is_help=True, add_completion=False
        )
        group.callback()(_no_options)
        return typer.main.get_command(group)
    module = importlib.import_module(entry.module)
    if hasattr(module, "app"):
        command = typer.main.get_command(module.app)
    else:
        app = typer.Typer(add_completion=False)
        app.command(name)(module.command)
        command = typer.main.get_command(app)
    command.name = name
    return command


def _no_options() -> None:
    pass


def installed_version() -> str:
    """The version of the installed distribution, or a word for running from an uninstalled checkout."""
    try:
        return importlib.metadata.version("m4sam_ros")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed, running from the source tree)"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"m4sam {installed_version()}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: m4sam predict clip/rgb clip/depth --out masks. "
    "In trouble: m4sam doctor. Each command explains itself: m4sam COMMAND --help.",
)


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="On an error, show where it was raised."),
) -> None:
    """Salient objects in RGB-D video: predict, train, evaluate and measure M4-SAM without ROS."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None takes sys.argv.

    Returns:
        Exit code: 0 success, 2 an error the user can mend (one line on stderr), 1 anything unexpected.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        app(words, prog_name="m4sam")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except M4SamError as error:
        if debug:
            raise
        return _complain(str(error), EXIT_USER_ERROR)
    except OSError as error:
        told = explain(error)
        if debug or told is None:
            raise
        return _complain(told, EXIT_USER_ERROR)
    except ModuleNotFoundError as error:
        if debug or str(error.name).startswith("m4sam_"):  # a file of our own is missing: not the user's business
            raise
        return _complain(f"{error.name} is not installed; `m4sam doctor` says how to get it", EXIT_USER_ERROR)
    except Exception as error:  # the last line of defence: one line instead of a traceback
        if debug:
            raise
        return _complain(f"unexpected {type(error).__name__}: {error}; add --debug for details", EXIT_UNEXPECTED)
    return 0


def _complain(text: str, code: int) -> int:
    end_bars()  # of the loop that raised
    print(f"m4sam: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
