"""The command ``renumber``."""

from __future__ import annotations

import click

from sqlmig.cli.command import command
from sqlmig.cli.options import NOT_NEGATIVE, CommandLine
from sqlmig.core.numbering import renumber as renumber_files


@command("sqlmig renumber 7", "sqlmig renumber 0007_add_index 12")
@click.argument("which", metavar="V")
@click.argument("new", required=False, type=NOT_NEGATIVE, metavar="[NEW]")
def renumber(command_line: CommandLine, which: str, new: int | None) -> None:
    """Give the files of a version another number.

    It renames the files of version V to the next free number, or to NEW. It is for the branch that lost the race for a
    number. If two migrations have the number, name the one to rename, as in 0007_add_index. Timestamps become the
    current time. It touches no database: if yours has the version already, `down` it first.
    """
    new_version = None if new is None else str(new)
    for old, path in renumber_files(command_line.directory, which, new_version):
        click.echo(f"{old} -> {path.name}")
