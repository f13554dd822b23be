"""The command ``import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sqlmig.cli import output
from sqlmig.cli.command import command
from sqlmig.cli.options import CommandLine
from sqlmig.core.database import database, has_database
from sqlmig.core.errors import UsageError
from sqlmig.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlmig.takeover.foreign_files import ForeignFiles
    from sqlmig.takeover.importing import Pair


@command(
    "sqlmig import db/migrations",
    "sqlmig --dir sql import supabase/migrations",
    fails="it failed or refused",
)
@click.argument("source", metavar="DIR", type=click.Path(path_type=Path))
def import_(command_line: CommandLine, source: Path) -> int:
    """Turn another tool's files into pairs, in --dir.

    It reads the files of dbmate, goose, sql-migrate, tern, Flyway and the Supabase CLI. It overwrites nothing, and says
    what it could not take over. With a database it reads that tool's ledger, and prints the `sqlmig stamp` to run next.
    """
    from sqlmig.takeover.foreign_files import read_foreign
    from sqlmig.takeover.importing import pairs_of, write

    if source.resolve() == command_line.directory.resolve():
        raise UsageError(
            f"{source}: the pairs would be mixed with the other tool's files; name another directory with --dir"
        )
    foreign = read_foreign(source)
    pairs = pairs_of(foreign, command_line.directory)
    next_step = _step_after_import(command_line, foreign, pairs)
    problems = write(pairs, command_line.directory)
    click.echo(
        f"{command_line.directory}: {counted(len(pairs), 'migration')} of {foreign.tool} written"
    )

    for line in foreign.left_out:
        output.say(f"not taken over: {line}")
    without = [pair.version for pair in pairs if len(pair.files) == 1]
    if without:
        output.say(
            f"no down file, because their down half is empty: {', '.join(without)}"
        )
    for problem in problems:
        output.say(f"must be fixed before it can run: {problem}")
    click.echo(next_step)
    return 0


def _step_after_import(
    command_line: CommandLine, foreign: ForeignFiles, pairs: Sequence[Pair]
) -> str:
    """Return the next step. With a database, the other tool's ledger decides."""
    from sqlmig.takeover.importing import is_ledger_in_the_way, read_their_ledger

    if not has_database(command_line.url):
        newest = int(pairs[-1].version) if pairs else 0
        return (
            "Next, on each database that has them: `sqlmig stamp V`, where V is the newest version that is applied "
            f"there. The newest here is {newest}"
        )
    from sqlmig.core.connection import connect

    with (
        database(command_line.url, command_line.wait) as url,
        connect(url, output.say) as connection,
    ):
        theirs = read_their_ledger(connection, foreign.tool, pairs)
        is_in_the_way = foreign.tool == "dbmate" and is_ledger_in_the_way(connection)
        name = connection.database_name
    if theirs is None or theirs.newest is None:
        return f"{foreign.tool} has applied none of them to {name}. Next: `sqlmig up`"

    lines = []
    if theirs.not_applied:
        missing = ", ".join(pair.version for pair in theirs.not_applied)
        lines.append(
            f"{foreign.tool} has applied newer versions, but not {missing}. Let it apply them before you stamp"
        )
    lines.append(
        f"{foreign.tool} has applied them to {name} up to {theirs.newest.version}. Next:"
    )
    if is_in_the_way:
        lines.append(
            '  psql "$DATABASE_URL" -c '
            "'ALTER TABLE schema_migrations RENAME TO schema_migrations_before_sqlmig'"
        )
    lines.append(f"  sqlmig stamp {int(theirs.newest.version)}")
    return "\n".join(lines)
