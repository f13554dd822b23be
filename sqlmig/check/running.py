"""Run a file on a scratch database, as ``up`` does, but without the ledger."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlmig.check.lacking import find_lacking
from sqlmig.check.scratch import PREFIX, no_setup
from sqlmig.core.connection import rollback, send
from sqlmig.core.errors import MigrationFailed, replace_message
from sqlmig.core.outside_transaction import send_each_statement
from sqlmig.core.repeated import RowCounter
from sqlmig.core.sending import send_pieces
from sqlmig.core.session import FileSettings
from sqlmig.core.sql import literal
from sqlmig.core.sqlfile import load
from sqlmig.core.transaction import cut, file_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sqlmig.check.scratch import Scratch
    from sqlmig.core.connection import Connection
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece

_MOST_RUNS = 1000  # of a file that repeats


def run_file(
    scratch: Scratch,
    file: SqlFile,
    observe: Callable[[], None] = lambda: None,
    after_each: Callable[[Piece], None] | None = None,
) -> None:
    """Run a file. Nothing of it stays in the session.

    observe is called before a transaction is committed. after_each is called after each
    statement of a file that runs in a transaction.

    Raises BeyondDatabase before the commit if the file changes more than the scratch
    database.
    """
    guard = scratch.guard
    guard.before_file(file)
    try:
        _run_guarded(scratch, file, observe, after_each)
    except MigrationFailed as error:
        hint = find_lacking(scratch.original_url, scratch.connection, file, error)
        message = "\n".join(filter(None, [_without_bad_advice(str(error)), hint]))
        raise replace_message(error, message) from None
    finally:
        guard.after_file(file)


def _without_bad_advice(message: str) -> str:
    """Return an error without the server's advice to use the scratch database's name in its configuration.

    pg_cron and a few other extensions give it, because they work in one database only.
    """
    hint = "HINT: this works in one database of the server only, so a scratch database cannot have it"
    return re.sub(rf"^HINT: .*{PREFIX}.*$", hint, message, flags=re.MULTILINE)


def send_watched(
    connection: Connection,
    pieces: Iterable[Piece],
    after_each: Callable[[Piece], None] | None,
) -> None:
    """Send pieces; one statement at a time if a function is to be called after each. Raises as send_pieces does."""
    if after_each is None:
        send_pieces(connection, list(pieces))
        return
    for piece in pieces:
        for statement in cut(piece, 0):
            send_pieces(connection, [statement])
            after_each(statement)


def _run_guarded(
    scratch: Scratch,
    file: SqlFile,
    observe: Callable[[], None],
    after_each: Callable[[Piece], None] | None,
) -> None:
    connection = scratch.connection
    guard = scratch.guard
    if file.in_transaction:
        transaction = file_transaction(
            file, FileSettings(connection.callers_search_path)
        )
        for _ in range(_MOST_RUNS if file.repeats else 0):
            if not run_again(scratch, file):
                break
        try:
            send_pieces(connection, transaction.begin)
            writes_before = guard.writes()
            send_watched(connection, transaction.body, after_each)
            guard.refuse_if_beyond(file, writes_before)
            observe()
            send_pieces(connection, [*transaction.end, *transaction.commit])
        finally:
            rollback(connection)
        return

    _send_statements(scratch, file, guard.before_statement)


def _send_statements(
    scratch: Scratch, file: SqlFile, before_each: Callable[[Piece], None]
) -> None:
    """Send the statements of a no-transaction file one by one, and reset the session."""
    connection = scratch.connection
    try:
        use_files_search_path(connection)
        send_each_statement(connection, file, before_each)
    finally:
        rollback(connection)
        connection.execute("DISCARD ALL")


def use_files_search_path(connection: Connection) -> None:
    """Give a session the search path that files run on. Raises as send does."""
    path = literal(connection.callers_search_path)
    set_path = f"SELECT pg_catalog.set_config('search_path', {path}, false)"
    send(connection, set_path.encode())


class _Interrupted(Exception):
    """The place is reached at which a file is to be stopped."""


def run_beginning(scratch: Scratch, file: SqlFile, count: int) -> None:
    """Run the first statements of a no-transaction file, and stop like a killed runner. Raises as run_file does."""
    end = file.statement_starts[count]

    def stop(statement: Piece) -> None:
        if statement.begin >= end:
            raise _Interrupted
        scratch.guard.before_statement(statement)

    with suppress(_Interrupted):
        _send_statements(scratch, file, stop)


def run_again(scratch: Scratch, file: SqlFile) -> bool:
    """Run a repeating file once more, and return whether a statement changed rows."""
    connection = scratch.connection
    transaction = file_transaction(file, FileSettings(connection.callers_search_path))
    counter = RowCounter()
    try:
        send_pieces(connection, transaction.begin)
        writes_before = scratch.guard.writes()
        send_pieces(connection, transaction.body, counter.add)
        scratch.guard.refuse_if_beyond(file, writes_before)
        send_pieces(connection, [*transaction.end, *transaction.commit])
    finally:
        rollback(connection)
    return counter.rows > 0


def setup_from(path: Path | None) -> Callable[[Scratch], None]:
    """Return a function that runs a setup file on a scratch database. Raises SqlmigError if it cannot be read."""
    if path is None:
        return no_setup
    file = load(path)
    return lambda scratch: run_file(scratch, file)
