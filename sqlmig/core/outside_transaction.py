"""No-transaction files: their statements run one by one, and those that ran are committed."""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from sqlmig.core.connection import fetch, reply_comes, rollback, send
from sqlmig.core.errors import (
    ConnectionLost,
    MigrationFailed,
    PlanIsStale,
    ServerError,
    SqlmigError,
    replace_message,
)
from sqlmig.core.hidden_rows import hidden_rows_after
from sqlmig.core.indexes import Named, invalid_indexes, left_invalid, named_in
from sqlmig.core.lexer import first_token
from sqlmig.core.sending import (
    refuse_changed_settings,
    refused_settings,
    send_pieces,
)
from sqlmig.core.sql import OWN_SETTINGS, literal
from sqlmig.core.text import find_place, place
from sqlmig.core.transaction import KEEPALIVES, cut, file_piece, own_piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlmig.core.connection import Connection
    from sqlmig.core.indexes import Invalid
    from sqlmig.core.ledger import Ledger
    from sqlmig.core.session import Session
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece

_POOLER_PATIENCE = 10  # seconds for a second connection
# A pooler that shares its connections would pass the effects of these to other clients.
_CHANGES_SESSION = re.compile(
    rb"(?:set\s+(?!local\b|transaction\b|constraints\b)|listen\b|load\b|prepare\b|create\s+(?:local\s+)?temp)",
    re.IGNORECASE,
)
_COMMITS_ITSELF = re.compile(rb"(?:call|do)\b", re.IGNORECASE)
_USE_THE_SERVER = "connect to the server itself"
_HAS_TRANSACTION_TIMEOUT = 170000  # the first server version that has it


def run_outside_transaction(
    session: Session, file: SqlFile, guard: Sequence[Piece], record: Sequence[Piece]
) -> str:
    """Run a file statement by statement over a connection of its own, and write its ledger row.

    The session's connection holds the runner lock during that time, and writes the row. It
    sends no query, not even to a catalog: a VACUUM FULL or a CREATE INDEX CONCURRENTLY would
    wait for its locks and its snapshot.

    Returns the tables in which row level security may have hidden rows; empty for none.
    Raises PlanIsStale before the file has begun, and MigrationFailed with a message that says
    which statements are committed.
    """
    lock_owner = session.connection
    named = named_in(file)
    with _connect_worker(session, file) as worker:
        worker.ticks = lock_owner.ticks
        _take_lock(lock_owner, session.ledger)
        old: list[Invalid] = []
        try:
            _prepare(worker, file, session)
            _check_ledger(worker, session.ledger, guard)
            old = invalid_indexes(worker, named)

            send_each_statement(worker, file)

            if _leaves_invalid_index(worker, file, old, named):
                raise MigrationFailed(
                    f"{file.path}: all statements ran, but the file is not recorded",
                    path=file.path,
                )
            hidden = hidden_rows_after(worker, file)
            _record(lock_owner, file, record)
        except (SqlmigError, KeyboardInterrupt) as error:
            left = _invalid_after_failure(worker, old, named)
            raise replace_message(error, "\n".join([str(error), *left])) from None
        finally:
            rollback(lock_owner)
    return hidden


@contextmanager
def _connect_worker(session: Session, file: SqlFile) -> Iterator[Connection]:
    """Yield the connection that the statements run on. Raises SqlmigError."""
    with ExitStack() as stack:
        connect = session.surroundings.connect
        try:
            worker = stack.enter_context(connect(session.ledger.worker_name))
        except SqlmigError as error:
            raise SqlmigError(
                f"{file.path}: a no-transaction file needs a second connection: {error}"
            ) from None
        yield worker


def _take_lock(lock_owner: Connection, ledger: Ledger) -> None:
    """Begin a transaction that holds the runner lock for as long as the file takes."""
    begin = (
        f"BEGIN ISOLATION LEVEL READ COMMITTED; {OWN_SETTINGS}; {KEEPALIVES}"
        "SET LOCAL idle_in_transaction_session_timeout = 0"
    )
    if lock_owner.info.server_version >= _HAS_TRANSACTION_TIMEOUT:
        begin += "; SET LOCAL transaction_timeout = 0"
    pieces = [own_piece("begin", begin), own_piece("lock", ledger.sql("lock"))]
    send_pieces(lock_owner, pieces)


def _prepare(worker: Connection, file: SqlFile, session: Session) -> None:
    """Check that there is a second connection, and set the settings of the statements."""
    results = reply_comes(worker, _POOLER_PATIENCE)
    if results is None:
        worker.close()
        raise SqlmigError(
            f"{file.path}: no second connection within {_POOLER_PATIENCE} s; "
            "a no-transaction file needs two at the same time; make the pooler's pool larger"
        )
    if results[0].get_value(0, 0) != b"%d" % worker.info.backend_pid:
        return  # a pooler, which would pass our settings to other clients

    settings = "SET lock_timeout = 0;"
    values = list(session.options.settings)
    if session.ledger.files_schema:
        values.append(("search_path", session.files_search_path))
    for name, value in values:
        settings += (
            f"SELECT pg_catalog.set_config({literal(name)}, {literal(value)}, false);"
        )
    try:
        send(worker, settings.encode())
    except ServerError as error:
        raise refused_settings(file, error.sqlstate) from None


def _check_ledger(worker: Connection, ledger: Ledger, guard: Sequence[Piece]) -> None:
    """Raise PlanIsStale if a statement of a killed runner still runs, or the ledger is not as planned."""
    pieces = [
        own_piece("begin", f"BEGIN; {OWN_SETTINGS}"),
        own_piece("lock", ledger.sql("no_orphan")),
        *guard,
        own_piece("commit", "COMMIT"),
    ]
    send_pieces(worker, pieces)


def _record(lock_owner: Connection, file: SqlFile, record: Sequence[Piece]) -> None:
    try:
        send_pieces(lock_owner, [*record, own_piece("commit", "COMMIT")])
    except (SqlmigError, PlanIsStale) as error:
        reason = str(error).strip() or "the ledger has changed"
        raise MigrationFailed(
            f"{file.path}: all statements ran, but the file may not be recorded: {reason}",
            path=file.path,
        ) from None


def _leaves_invalid_index(
    worker: Connection, file: SqlFile, old: Iterable[Invalid], named: Named
) -> bool:
    """Check whether a file that has run left an INVALID index."""
    try:
        return bool(left_invalid(old, invalid_indexes(worker, named), named))
    except ConnectionLost as error:
        raise MigrationFailed(
            f"{file.path}: all statements ran, but the file is not recorded: {error}",
            path=file.path,
        ) from None


def _invalid_after_failure(
    worker: Connection, old: Iterable[Invalid], named: Named
) -> list[str]:
    """Return the lines about INVALID indexes after a failure, if the connection still works."""
    with suppress(SqlmigError):
        rollback(worker)
        return left_invalid(old, invalid_indexes(worker, named), named)
    return []


def send_each_statement(
    worker: Connection,
    file: SqlFile,
    before_each: Callable[[Piece], None] = lambda _: None,
) -> None:
    """Send a file statement by statement.

    before_each is called with each statement before it is sent. Raises MigrationFailed, or
    KeyboardInterrupt, with a message that says which statements are committed.
    """
    count = len(file.statement_starts)
    statements: list[Piece] = []
    if count:
        statements = list(cut(file_piece(file, 0, len(file.text)), 0))
    committed = 0
    for done, statement in enumerate(statements):
        if worker.is_idle:
            committed = done
        try:
            if done:
                refuse_changed_settings(worker, file)
            before_each(statement)
            send_pieces(worker, [statement])
        except (SqlmigError, KeyboardInterrupt) as error:
            state = _state_of_statements(committed, done, count)
            first = first_token(file.text, statement.begin)
            if _COMMITS_ITSELF.match(file.text, first):
                state += ". What the statement itself committed stays"
            raise _stopped(error, file, statement, state) from None
    if not worker.is_idle:
        raise MigrationFailed(
            f"{file.path}: it leaves a transaction open, which was rolled back; end it with COMMIT",
            path=file.path,
        )


def _state_of_statements(committed: int, done: int, count: int) -> str:
    """Return which statements are committed: ``3 of 7 statements were committed, 1 was rolled back``."""
    rolled_back = ""
    if done > committed:
        rolled_back = f", {_were(done - committed)} rolled back"
    verb = "was" if committed == 1 else "were"
    rest = f"1 failed, {count - done - 1} did not run"
    return f"{committed} of {count} statements {verb} committed{rolled_back}, {rest}"


def _were(count: int) -> str:
    return f"{count} was" if count == 1 else f"{count} were"


def _stopped(
    error: BaseException, file: SqlFile, statement: Piece, state: str
) -> BaseException:
    """Return the error of a statement, with the state of all statements."""
    if isinstance(error, SqlmigError) and not isinstance(error, ConnectionLost):
        return replace_message(error, f"{error}\n{state}")
    where = place(file.path, file.text, statement.begin)
    message = f"{where}: {str(error).strip() or 'interrupted'}\n{state}"
    if isinstance(error, KeyboardInterrupt):
        return type(error)(message)
    line, column = find_place(file.text, statement.begin)
    return MigrationFailed(message, path=file.path, line=line, column=column)


def refuse_pooler(session: Session, files: Iterable[SqlFile]) -> None:
    """Raise SqlmigError, before anything runs, for settings that a pooler would pass to other clients."""
    alone = [file for file in files if not file.in_transaction]
    if not alone:
        return
    query = "SELECT pg_backend_pid()"
    ((backend_pid,),) = fetch(session.connection, query)
    if backend_pid == session.connection.info.backend_pid:
        return  # no pooler between us and the server

    for file in alone:
        if session.options.settings:
            raise SqlmigError(
                f"{file.path}: a pooler does not keep --set for a no-transaction file; {_USE_THE_SERVER}"
            )
        if session.ledger.files_schema:
            raise SqlmigError(
                f"{file.path}: a pooler does not keep --schema for a no-transaction file; {_USE_THE_SERVER}"
            )
        for start in file.statement_starts:
            if _CHANGES_SESSION.match(file.text, start):
                where = place(file.path, file.text, start)
                raise SqlmigError(
                    f"{where}: a pooler would pass this setting to other clients; {_USE_THE_SERVER}"
                )
