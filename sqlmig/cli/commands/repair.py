"""The command ``repair``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from sqlmig.cli.command import command
from sqlmig.cli.correcting import ask_and_correct
from sqlmig.cli.opening import open_sessions
from sqlmig.cli.options import NOT_NEGATIVE, YES, CommandLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlmig.core.session import Session


@command("sqlmig repair", "sqlmig repair 7 12")
@click.argument("versions", nargs=-1, type=NOT_NEGATIVE, metavar="[V…]")
@YES
def repair(command_line: CommandLine, versions: tuple[int, ...]) -> int:
    """Accept files that were edited, renumbered or removed on purpose.

    It records each changed version again, and removes the row of each missing one from the ledger. It does this for
    the versions that you name, or for all if you name none. It changes nothing else. What a missing version made stays.
    """
    from sqlmig.takeover import check_versions, to_repair

    corrections_of = partial(to_repair, versions=versions)
    with open_sessions(command_line) as opened:
        check_versions(opened.sessions, versions)
        return ask_and_correct(
            command_line, opened, corrections_of, "Repair", _is_right_database
        )


def _is_right_database(command_line: CommandLine, sessions: Sequence[Session]) -> bool:
    """Ask first if the ledger has a version under another name: it may be another application's."""
    for session in sessions:
        for one in session.versions():
            if one.state == "changed" and one.has_another_name:
                return click.confirm(
                    f"{session.connection.database_name} has version {one.version} as {one.recorded_name}, "
                    f"and {command_line.directory} has it as {one.name}. "
                    "Are these the right database and the right directory?",
                    err=True,
                )
    return True
