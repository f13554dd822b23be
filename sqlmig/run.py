"""Running a script: one transaction, in which its row in the ledger is written or removed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from psycopg import sql

from sqlmig import files, plan
from sqlmig.database import Refused, send
from sqlmig.errors import SqlmigError, excerpt, place
from sqlmig.ledger import create, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlmig.database import Connection
    from sqlmig.files import Migration, Script
    from sqlmig.ledger import Ledger


@dataclass(frozen=True)
class Step:
    """A migration to apply or to revert, with the script that does it."""

    migration: Migration
    script: Script
    verb: str


def rows_of(connection: Connection, ledger: Ledger, migrations: Sequence[Migration]) -> list[plan.Row]:
    """Return a row for each version. It writes nothing."""
    applied = read(connection, ledger) or []
    versions = {row.version for row in applied}
    checksums = {m.version: files.checksum(files.read(m.up)) for m in migrations if m.version in versions}
    return plan.states(migrations, applied, checksums)


def steps_up(migrations: Sequence[Migration], versions: Sequence[int]) -> list[Step]:
    """Return the steps that apply the versions. All files are read first: one that must not run stops everything."""
    by_version = {migration.version: migration for migration in migrations}
    return [Step(by_version[v], files.load(by_version[v].up), "applied") for v in versions]


def steps_down(migrations: Sequence[Migration], rows: Sequence[plan.Row], versions: Sequence[int]) -> list[Step]:
    """Return the steps that revert the versions. Raises SqlmigError where one has no down file."""
    by_version = {migration.version: migration for migration in migrations}
    downs = {version: migration.down for version, migration in by_version.items() if migration.down}
    if without := [row.label for row in rows if row.version in set(versions) - set(downs)]:
        raise SqlmigError(f"nothing was reverted: there is no down file for {', '.join(without)}")
    return [Step(by_version[v], files.load(downs[v]), "reverted") for v in versions]


def run(connection: Connection, ledger: Ledger, steps: Sequence[Step]) -> Iterator[tuple[Step, float]]:
    """Run the steps, and yield each, and the seconds that it took, when it is committed."""
    if steps and read(connection, ledger) is None:
        create(connection, ledger)
    for step in steps:
        begun = time.monotonic()
        run_one = _run_whole if step.script.scan.in_transaction else _run_each
        run_one(connection, ledger, step.script, _record(ledger, step).as_bytes(connection))
        yield step, time.monotonic() - begun


def _record(ledger: Ledger, step: Step) -> sql.Composed:
    """Return the statement that writes the step in the ledger."""
    migration = step.migration
    if step.verb == "reverted":
        return sql.SQL("DELETE FROM {} WHERE version = {}").format(ledger.table, migration.version)
    return sql.SQL("INSERT INTO {} (version, name, checksum) VALUES ({}, {}, {})").format(
        ledger.table, migration.version, migration.name, files.checksum(step.script.text)
    )


class _Piece(NamedTuple):
    """A part of a message: its offset in the script where it is of the script, and how many statements it holds."""

    text: bytes
    offset: int | None
    statements: int


def _run_whole(connection: Connection, ledger: Ledger, script: Script, record: bytes) -> None:
    """Send a script and its row in the ledger as one message and one transaction."""
    text, starts = script.text, script.scan.starts
    first, last = (starts[1], starts[-1]) if script.scan.bracketed else (0, len(text))
    message = [
        _Piece(text[:first] or b"BEGIN;", 0 if first else None, 1),
        _search_path(connection, ledger, b"SET LOCAL"),
        _Piece(text[first:last], first, len(starts) - 2 * script.scan.bracketed),
        _Piece(b"\n;" + record + b";", None, 1),
        _Piece(text[last:] or b"COMMIT", last, 1),
    ]
    try:
        send(connection, b"".join(piece.text for piece in message))
    except Refused as refused:
        if not connection.closed:
            connection.execute("ROLLBACK")
        raise _explained(refused, script, message) from None


def _run_each(connection: Connection, ledger: Ledger, script: Script, record: bytes) -> None:
    """Send a script statement by statement, outside a transaction, and then its row in the ledger."""
    text, starts = script.text, script.scan.starts
    send(connection, _search_path(connection, ledger, b"SET").text)
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True), 1):
        piece = _Piece(text[start:end], start, 1)
        try:
            send(connection, piece.text)
        except Refused as refused:
            error = _explained(refused, script, [piece])
            raise SqlmigError(
                f"{error}\n{number - 1} of its {len(starts)} statements ran and stay; this one and the rest did not"
            ) from None
    send(connection, b"RESET ALL; RESET ROLE;" + record)


def _search_path(connection: Connection, ledger: Ledger, command: bytes) -> _Piece:
    """Put the ledger's schema first on the search path, where it was named."""
    if not ledger.named:
        return _Piece(b"", None, 0)
    rest = connection.execute("SHOW search_path").fetchone()
    path = b", ".join(
        filter(None, [sql.Identifier(ledger.schema).as_bytes(connection), str(rest[0]).encode() if rest else b""])
    )
    return _Piece(command + b" search_path = " + path + b";", None, 1)


def _explained(refused: Refused, script: Script, message: Sequence[_Piece]) -> SqlmigError:
    """Say what the server said, and where in the file."""
    diag = refused.error.diag
    offset = _offset(refused, script, message)
    what = f"{diag.severity}: {diag.message_primary}" if diag.message_primary else str(refused.error)
    if offset is None:
        lines = [f"{script.path}: {what}"]
    else:
        lines = [f"{place(script.path, script.text, offset)}: {what}", excerpt(script.text, offset)]
    more = {"DETAIL": diag.message_detail, "HINT": diag.message_hint, "CONTEXT": diag.context}
    lines += [f"{name}: {value}" for name, value in more.items() if value]
    if diag.sqlstate == "25001":
        lines.append("HINT: put “-- sqlmig: no-transaction” on a line before the first statement")
    return SqlmigError("\n".join(lines))


def _offset(refused: Refused, script: Script, message: Sequence[_Piece]) -> int | None:
    """Return the place of an error in the script: the server's own, else the statement that it stopped at."""
    position = refused.error.diag.statement_position
    if position:
        at = len(b"".join(piece.text for piece in message).decode()[: int(position) - 1].encode())
        for piece in message:
            if at < len(piece.text):
                return None if piece.offset is None else piece.offset + at
            at -= len(piece.text)
        return len(script.text)
    done = refused.done
    for piece in message:
        if done < piece.statements:
            inside = [start for start in script.scan.starts if start >= (piece.offset or 0)]
            return None if piece.offset is None else inside[done]
        done -= piece.statements
    return None
