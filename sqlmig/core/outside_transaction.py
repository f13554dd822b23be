"""No-transaction files: they run statement by statement, and what ran stays."""

from __future__ import annotations

import re
import select
from contextlib import suppress
from typing import TYPE_CHECKING

from psycopg import generators

from sqlmig.core.connection import ConnectionLost, fetch, rollback, send
from sqlmig.core.errors import MigrationFailed, SqlmigError
from sqlmig.core.hidden_rows import hidden_rows_after
from sqlmig.core.indexes import Named, invalid_indexes, left_invalid, named_in
from sqlmig.core.sending import refuse_changed_settings, transmit
from sqlmig.core.session import AlreadyRecorded, LedgerChanged, LockHeld
from sqlmig.core.sql import OWN_SETTINGS, literal
from sqlmig.core.text import find_place, place
from sqlmig.core.transaction import KEEPALIVES, cut, file_piece, own_piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlmig.core.connection import Connection
    from sqlmig.core.indexes import Invalid
    from sqlmig.core.ledger import Ledger
    from sqlmig.core.session import Session
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece

_POOLER_PATIENCE = 10  # seconds for a second connection
# What a pooler that shares its connections would hand to other clients.
_CHANGES_SESSION = re.compile(
    rb"(?:set\s+(?!local\b|transaction\b|constraints\b)|listen\b|load\b|prepare\b|create\s+(?:local\s+)?temp)",
    re.IGNORECASE,
)
_USE_THE_SERVER = "connect to the server itself"


def run_outside_transaction(
    session: Session, file: SqlFile, guard: Sequence[Piece], record: Sequence[Piece]
) -> str:
    """Run a file statement by statement over a connection of its own, and record it.

    Returns the tables of which row level security may have hidden rows from it; empty for none.

    The session's connection holds the runners' lock meanwhile, and writes the row. It
    asks nothing, not even a catalog: a VACUUM FULL or a CREATE INDEX CONCURRENTLY would
    wait for its locks and its snapshot.

    Raises LockHeld and LedgerChanged before the file ran, and MigrationFailed with
    words for what stays.
    """
    holder = session.connection
    named = named_in(file)
    with session.connect(session.ledger.worker_name) as worker:
        worker.ticks = holder.ticks
        _take_lock(holder, session.ledger)
        old: list[Invalid] = []
        try:
            _prepare(worker, file, session)
            begin = own_piece("begin", f"BEGIN; {OWN_SETTINGS}")
            nobody_works = own_piece("lock", session.ledger.sql("no_orphan"))
            end = own_piece("commit", "COMMIT")
            transmit(worker, [begin, nobody_works, *guard, end])
            old = invalid_indexes(worker, named)

            send_each_statement(worker, file)

            if _leaves_invalid(worker, file, old, named):
                raise MigrationFailed(
                    f"{file.path}: all of it ran, but is not recorded", path=file.path
                )
            hidden = hidden_rows_after(worker, file)
            _record(holder, file, record)
        except (SqlmigError, KeyboardInterrupt) as error:
            left = _left_behind(worker, old, named)
            raise with_more_words(error, "\n".join([str(error), *left])) from None
        finally:
            rollback(holder)
    return hidden


def _take_lock(holder: Connection, ledger: Ledger) -> None:
    """Begin a transaction that holds the lock for as long as the file takes."""
    begin = (
        f"BEGIN ISOLATION LEVEL READ COMMITTED; {OWN_SETTINGS}; {KEEPALIVES}"
        "SET LOCAL idle_in_transaction_session_timeout = 0"
    )
    if holder.info.server_version >= 170000:
        begin += "; SET LOCAL transaction_timeout = 0"
    transmit(holder, [own_piece("begin", begin), own_piece("lock", ledger.sql("lock"))])


def _prepare(worker: Connection, file: SqlFile, session: Session) -> None:
    """See that there is a second connection, and set what the statements run under."""
    worker.pgconn.send_query(b"SELECT pg_backend_pid()")
    answered, _, _ = select.select([worker], [], [], _POOLER_PATIENCE)
    if not answered:
        worker.close()
        raise SqlmigError(
            f"{file.path}: no second connection within {_POOLER_PATIENCE} s; "
            "a no-transaction file needs two at once; make the pooler's pool larger"
        )
    (result,) = worker.wait(generators.fetch_many(worker.pgconn))
    if result.get_value(0, 0) != b"%d" % worker.info.backend_pid:
        return  # a pooler, which would hand our settings to other clients

    settings = "SET lock_timeout = 0;"
    if session.ledger.is_named:
        path = literal(session.files_search_path)
        settings += f"SELECT pg_catalog.set_config('search_path', {path}, false)"
    send(worker, settings.encode())


def _record(holder: Connection, file: SqlFile, record: Sequence[Piece]) -> None:
    try:
        transmit(holder, [*record, own_piece("commit", "COMMIT")])
    except (SqlmigError, LockHeld, LedgerChanged, AlreadyRecorded) as error:
        raise MigrationFailed(
            f"{file.path}: all of it ran, but may not be recorded: {str(error).strip()}",
            path=file.path,
        ) from None


def _leaves_invalid(
    worker: Connection, file: SqlFile, old: Iterable[Invalid], named: Named
) -> bool:
    try:
        return bool(left_invalid(old, invalid_indexes(worker, named), named))
    except ConnectionLost as error:
        raise MigrationFailed(
            f"{file.path}: all of it ran, but is not recorded: {error}", path=file.path
        ) from None


def _left_behind(worker: Connection, old: Iterable[Invalid], named: Named) -> list[str]:
    """Return the lines about INVALID indexes after a failure, as far as the connection still answers."""
    with suppress(SqlmigError):
        rollback(worker)
        return left_invalid(old, invalid_indexes(worker, named), named)
    return []


def with_more_words(error: BaseException, words: str) -> BaseException:
    """Return an error of the same meaning with other words. It is not tried again, as something may stay."""
    if isinstance(error, KeyboardInterrupt):
        return type(error)(words)
    if isinstance(error, MigrationFailed):
        return MigrationFailed(
            words,
            path=error.path,
            line=error.line,
            column=error.column,
            sqlstate=error.sqlstate,
        )
    return SqlmigError(words)


def send_each_statement(
    worker: Connection,
    file: SqlFile,
    before_each: Callable[[Piece], None] = lambda _: None,
) -> None:
    """Send a file statement by statement.

    before_each is called with each statement before it is sent. Raises MigrationFailed,
    or KeyboardInterrupt, with words for what stays.
    """
    count = len(file.statement_starts)
    statements: list[Piece] = []
    if count:
        statements = list(cut(file_piece(file, 0, len(file.text)), 0))
    kept = 0  # statements that ran and stay, whatever happens
    for done, statement in enumerate(statements):
        if worker.is_idle:
            kept = done
        try:
            if done:
                refuse_changed_settings(worker, file)
            before_each(statement)
            transmit(worker, [statement])
        except (SqlmigError, KeyboardInterrupt) as error:
            raise _stopped(
                error, file, statement, _what_stays(kept, done, count)
            ) from None
    if not worker.is_idle:
        raise MigrationFailed(
            f"{file.path}: it leaves a transaction open, which was rolled back; end it with COMMIT",
            path=file.path,
        )


def _what_stays(kept: int, done: int, count: int) -> str:
    undone = ""
    if done > kept:
        undone = f", {done - kept} were rolled back"
    return f"{kept} of {count} statements ran and stay{undone}, this one failed, {count - done - 1} did not run"


def _stopped(
    error: BaseException, file: SqlFile, statement: Piece, stays: str
) -> BaseException:
    """Return the error of a statement, with words for what stays."""
    if isinstance(error, SqlmigError) and not isinstance(error, ConnectionLost):
        return with_more_words(error, f"{error}\n{stays}")
    where = place(file.path, file.text, statement.begin)
    words = f"{where}: {str(error).strip() or 'interrupted'}\n{stays}"
    if isinstance(error, KeyboardInterrupt):
        return type(error)(words)
    line, column = find_place(file.text, statement.begin)
    return MigrationFailed(words, path=file.path, line=line, column=column)


def refuse_pooler(session: Session, files: Iterable[SqlFile]) -> None:
    """Refuse, before anything runs, what a pooler that shares its connections would hand to other clients."""
    alone = [file for file in files if not file.in_transaction]
    if not alone:
        return
    ((backend_pid,),) = fetch(session.connection, "SELECT pg_backend_pid()")
    if backend_pid == session.connection.info.backend_pid:
        return  # no pooler in between

    for file in alone:
        if session.ledger.is_named:
            raise SqlmigError(
                f"{file.path}: a pooler does not keep --schema for a no-transaction file; {_USE_THE_SERVER}"
            )
        for start in file.statement_starts:
            if _CHANGES_SESSION.match(file.text, start):
                where = place(file.path, file.text, start)
                raise SqlmigError(
                    f"{where}: a pooler would hand this setting to other clients; {_USE_THE_SERVER}"
                )
