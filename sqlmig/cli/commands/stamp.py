"""The command ``stamp``."""

from __future__ import annotations

from functools import partial

import click

from sqlmig.cli.command import command
from sqlmig.cli.correcting import correct_all
from sqlmig.cli.opening import open_sessions
from sqlmig.cli.options import NOT_NEGATIVE, CommandLine
from sqlmig.core.errors import UsageError


@command("sqlmig stamp 7")
@click.argument("version", type=NOT_NEGATIVE, metavar="V")
def stamp(command_line: CommandLine, version: int) -> int:
    """Record everything up to V as applied without running it."""
    from sqlmig.takeover import check_versions, to_stamp

    if command_line.has_pattern:
        raise UsageError("stamp works on named schemas: give --schema without * or ?")
    with open_sessions(command_line) as opened:
        check_versions(opened.sessions, [version])
        corrections_of = partial(to_stamp, version=version)
        return correct_all(command_line, opened, opened.sessions, corrections_of)
