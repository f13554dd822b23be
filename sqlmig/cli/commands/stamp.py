"""The command ``stamp``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from sqlmig.cli.command import command
from sqlmig.cli.correcting import correct_all
from sqlmig.cli.opening import open_sessions
from sqlmig.cli.options import NOT_NEGATIVE, CommandLine, option
from sqlmig.core.errors import SqlmigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlmig.core.session import Session


@command("sqlmig stamp 7", "sqlmig stamp --only 7")
@click.argument("version", type=NOT_NEGATIVE, metavar="V")
@option("--only", is_flag=True, help="Record V alone, and no version before it.")
def stamp(command_line: CommandLine, version: int, *, only: bool) -> int:
    """Record everything up to V as applied without running it."""
    from sqlmig.takeover import check_versions, to_stamp

    if command_line.has_pattern:
        raise UsageError("stamp works on named schemas: give --schema without * or ?")
    with open_sessions(command_line) as opened:
        check_versions(opened.sessions, [version])
        _refuse_second_ledger(opened.sessions)
        if not only:
            _report_newer(opened.sessions, version)
        corrections_of = partial(to_stamp, version=version, only=only)
        return correct_all(command_line, opened, opened.sessions, corrections_of)


def _refuse_second_ledger(sessions: Sequence[Session]) -> None:
    """Raise SqlmigError if a first ledger would be made beside a ledger of ours in another schema."""
    from sqlmig.core.other_tools import other_ledgers

    for session in sessions:
        if session.contents is None:
            others = other_ledgers(session.connection, session.ledger)
            if others:
                raise SqlmigError(f"nothing was recorded. {others}")


def _report_newer(sessions: Sequence[Session], version: int) -> None:
    """Say which newer versions a ledger has: they stay recorded, which may not be meant."""
    for session in sessions:
        newer = [row.version for row in session.ledger_rows if row.version > version]
        if newer:
            versions = " ".join(map(str, newer))
            session.say(
                f"the ledger has newer versions, which stay recorded. To take them out, run: "
                f"sqlmig unstamp {versions}{session.ledger.schema_option}"
            )
