"""The command ``unstamp``."""

from __future__ import annotations

from functools import partial

import click

from sqlmig.cli.command import command
from sqlmig.cli.correcting import ask_and_correct
from sqlmig.cli.opening import open_sessions
from sqlmig.cli.options import NOT_NEGATIVE, YES, CommandLine


@command("sqlmig unstamp 7", "sqlmig unstamp 7 8 9 --yes")
@click.argument("versions", nargs=-1, required=True, type=NOT_NEGATIVE, metavar="V…")
@YES
def unstamp(command_line: CommandLine, versions: tuple[int, ...]) -> int:
    """Take versions out of the ledger without running anything.

    What they made stays in the database. From then on they are pending. It undoes a `stamp` that went too far.
    """
    from sqlmig.takeover import check_versions, to_unstamp

    with open_sessions(command_line) as opened:
        check_versions(opened.sessions, versions)
        corrections_of = partial(to_unstamp, versions=versions)
        return ask_and_correct(command_line, opened, corrections_of, "Take this out of")
