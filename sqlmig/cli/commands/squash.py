"""The command ``squash``."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from sqlmig.cli import output
from sqlmig.cli.command import command
from sqlmig.cli.opening import scratch_server
from sqlmig.cli.options import NOT_NEGATIVE, SCRATCH, SET, YES, CommandLine
from sqlmig.core import migrations, plan
from sqlmig.core.database import database, has_database
from sqlmig.core.errors import SqlmigError, UsageError
from sqlmig.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlmig.check import Scratch
    from sqlmig.core.migrations import Migration


@command(
    "sqlmig squash 40",
    "sqlmig squash 40 --scratch embedded: --yes",
    fails="the squashed file would not make the same database, or you do not agree",
)
@click.argument("version", type=NOT_NEGATIVE, metavar="V")
@SCRATCH
@SET
@YES
def squash(command_line: CommandLine, version: int) -> int:
    """Replace the files up to version V by one pair, V_squashed.

    It runs the files on a scratch database, dumps its schema and rows with pg_dump, runs the dump on a second scratch
    database, and compares catalog, rows and sequences. If nothing differs, it writes the pair and removes the old ones.
    A database that has all of the old versions counts as up to date. One that has none runs the new file. One that has
    some is refused, until a release with the old files has applied the rest.
    """
    from sqlmig.check.squash import squashed_name

    found = migrations.find(command_line.directory)
    plan.check_version(found, version)
    old = [one for one in found if one.version <= version]
    if len(old) == 1:
        raise UsageError(
            f"there is nothing to squash: {old[0].label} is the first version"
        )
    with _scratch_databases(command_line, old) as make_scratch:
        text = _squashed(old, make_scratch)
    if not _may_replace(command_line, old):
        return 1
    name = squashed_name(old[-1])
    _replace(command_line.directory, old, name, text)
    click.echo(f"{name} replaces {counted(len(old), 'version')}")
    return 0


def _squashed(
    old: Sequence[Migration],
    make_scratch: Callable[[], AbstractContextManager[Scratch]],
) -> bytes:
    """Return the text of the new up file."""
    from sqlmig.check.squash import replaced_by
    from sqlmig.check.squash import squash as squash_files

    last = old[-1].version
    with make_scratch() as scratch:
        major = str(scratch.connection.info.server_version // 10000)
    body, has_schema = squash_files(old, make_scratch, _pg_dump(major))
    if has_schema:
        output.say(
            f"warning: the new file names the schema {has_schema}, because a function or a file does. "
            "Do not run it with another --schema"
        )
    head = (
        f"-- sqlmig: replaces {replaced_by(old)}\n"
        f"-- Made by `sqlmig squash {last}` of the {len(old)} files {old[0].label} to {old[-1].label}.\n\n"
    )
    return head.encode() + body


def _pg_dump(major: str) -> Path:
    """Return pg_dump of the server's programs. Raises SqlmigError if there is none."""
    from sqlmig.embedded import programs

    try:
        return programs(major) / "pg_dump"
    except SqlmigError as error:
        raise SqlmigError(f"squash needs pg_dump: {error}") from None


@contextmanager
def _scratch_databases(
    command_line: CommandLine, old: Sequence[Migration]
) -> Iterator[Callable[[], AbstractContextManager[Scratch]]]:
    """Yield a function that yields new scratch databases."""
    from sqlmig.check import scratch_database, setup_from

    set_up = setup_from(command_line.setup)
    if not has_database(command_line.url):
        command_line.url, command_line.scratch = command_line.scratch, ""
    with ExitStack() as stack:
        url = stack.enter_context(
            database(command_line.url, command_line.wait, make=True)
        )
        server = stack.enter_context(scratch_server(command_line, url))

        def make_scratch() -> AbstractContextManager[Scratch]:
            return scratch_database(
                url,
                command_line.ledger,
                output.say,
                server=server,
                files=[migration.up_file for migration in old],
                file_settings=command_line.options.settings,
                set_up=set_up,
            )

        yield make_scratch


def _may_replace(command_line: CommandLine, old: Sequence[Migration]) -> bool:
    """Ask whether to remove the old files. Without a terminal, refuse."""
    if command_line.is_confirmed:
        return True
    what = f"{counted(len(old), 'version')}, {old[0].label} to {old[-1].label}"
    if not command_line.asks:
        output.say_error(
            f"nothing was changed in {command_line.directory}, because there is no terminal to ask on: "
            f"to replace {what}, add --yes"
        )
        return False
    if click.confirm(f"The result is the same. Replace {what}?", err=True):
        return True
    output.say("nothing was changed")
    return False


def _replace(directory: Path, old: Sequence[Migration], name: str, text: bytes) -> None:
    """Write the new pair, and then remove the old files. Raises SqlmigError."""
    up_file = directory / name
    down_file = directory / name.replace(".up.sql", ".down.sql")
    down = "-- sqlmig: irreversible: it replaces older versions, whose down files are in the ledgers that have them\n"
    try:
        up_file.write_bytes(text)
        down_file.write_text(down, encoding="utf-8")
        for migration in old:
            for path in (migration.up_file, migration.down_file, migration.rows_file):
                if path is not None and path not in (up_file, down_file):
                    path.unlink()
    except OSError as error:
        raise SqlmigError(f"{error.filename}: {error.strerror}") from None
    if any(migration.rows_file for migration in old):
        output.say(
            "note: the rows files of these versions were removed too; "
            f"to check later versions with rows, write {name.replace('.up.sql', '.rows.sql')}"
        )
