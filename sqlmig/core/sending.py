"""Sending the pieces of a transaction, and turning a refusal of the server into an exception.

The exception has the place in the file, the line with a caret, the server's message, and a
hint about what to do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlmig.core.connection import fetch, rollback, send
from sqlmig.core.errors import (
    MigrationFailed,
    PlanIsStale,
    ServerError,
    TryAgain,
)
from sqlmig.core.hints import hints_for
from sqlmig.core.ledger import TABLE
from sqlmig.core.lexer import statements
from sqlmig.core.reading import ledger_owner
from sqlmig.core.text import Place, excerpt, find_place, place, server_message
from sqlmig.core.transaction import batches, joined, piece_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg.pq.abc import PGresult

    from sqlmig.core.connection import Connection
    from sqlmig.core.hints import Run
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece, Role

# Objects of PostgreSQL's own have smaller numbers (its src/include/access/transam.h).
FIRST_NORMAL_OID = 16384
# How a check of ledger.sql fails: it casts a text to an integer.
_INVALID_TEXT = "22P02"
# The checks after a file fail, or the ledger is gone.
_LEDGER_CHANGED = (_INVALID_TEXT, "42P01", "3F000")
_UNIQUE_VIOLATION = "23505"
_DUPLICATE_TABLE = "42P07"
_INSUFFICIENT_PRIVILEGE = "42501"
# Lock timeout, deadlock, serialization failure.
_MAY_PASS = ("55P03", "40P01", "40001")
_INTERNAL_ERROR = "XX000"
_HAS_OBJECTS = f"""
    SELECT EXISTS (SELECT FROM pg_class WHERE oid >= {FIRST_NORMAL_OID})
        OR EXISTS (SELECT FROM pg_type WHERE oid >= {FIRST_NORMAL_OID})
        OR EXISTS (SELECT FROM pg_proc WHERE oid >= {FIRST_NORMAL_OID})
"""
# The word for "line" depends on the language of the server.
_LINE_OF_DATA = re.compile(r"^COPY .*?, \w+ (\d+)", re.MULTILINE)
_BEGINNING = 40  # bytes of a statement that hints look at
# A file must not change how the rest of it is read.
_FIXED_SETTINGS = (("standard_conforming_strings", "on"), ("client_encoding", "UTF8"))
# If a statement of our own fails, this says when.
_WHEN: dict[Role, str] = {
    "ledger": "cannot create the ledger: ",
    "constraints": "at its end, when deferred constraints are checked: ",
    "record": "when sqlmig recorded it: ",
    "commit": "at COMMIT: ",
}


def send_pieces(
    connection: Connection,
    pieces: Sequence[Piece],
    on_results: Callable[[Sequence[PGresult]], object] | None = None,
) -> None:
    """Send pieces, in as few batches as the server accepts.

    on_results is called with the results of each batch.

    Raises PlanIsStale if the lock or the ledger is not as planned, MigrationFailed and
    TryAgain if a file failed, ServerError if no file is concerned, and ConnectionLost. In
    every case but the last the transaction is rolled back.
    """
    roles = {piece.role for piece in pieces}
    for number, batch in enumerate(batches(pieces, connection.largest_batch)):
        file = batch[0].file if batch else None
        if number and file:
            refuse_changed_settings(connection, file)
        try:
            results = send(connection, joined(batch), _data_of(batch))
        except ServerError as error:
            raise _exception_for(
                connection, error, batch, _kind_of_run(connection, roles)
            ) from None
        if on_results:
            on_results(results)


def _data_of(batch: Sequence[Piece]) -> memoryview | None:
    """Return the data of the COPY … FROM stdin that a batch ends with; None if it ends in another way."""
    if not batch or not batch[-1].copy:
        return None
    return data_of(batch[-1])


def data_of(piece: Piece) -> memoryview | None:
    """Return the data of the COPY … FROM stdin that a piece ends with."""
    if not piece.copy or not piece.file or piece.file.as_written is None:
        return None
    return memoryview(piece.file.as_written)[piece.copy.begin : piece.copy.end]


def refuse_changed_settings(connection: Connection, file: SqlFile) -> None:
    """Raise MigrationFailed if a file has changed how its next statements would be read."""
    for name, needed in _FIXED_SETTINGS:
        if connection.info.parameter_status(name) == needed:
            continue

        rollback(connection)
        if not file.in_transaction:
            kind = "a no-transaction file"
        elif connection.one_statement_a_batch:
            kind = "on Citus a file"
        else:
            kind = f"a file of more than {connection.largest_batch:,} bytes"
        raise MigrationFailed(
            f"{file.path}: {kind} must not change {name}", path=file.path
        )


def _kind_of_run(connection: Connection, roles: set[Role]) -> Run:
    if not roles.isdisjoint({"ledger", "empty guard"}):
        return "first" if _has_objects(connection) else ""
    return "later" if "guard" in roles else ""


def _has_objects(connection: Connection) -> bool:
    """Check whether the database has a table, type or function that is not PostgreSQL's own."""
    ((has_objects,),) = fetch(connection, _HAS_OBJECTS)
    return bool(has_objects)


class _Failure(NamedTuple):
    """A refusal of the server: the piece, the message for people, and the place in the file."""

    piece: Piece
    message: str
    place: Place | None


def _exception_for(
    connection: Connection,
    error: ServerError,
    batch: Sequence[Piece],
    run: Run,
) -> Exception:
    """Return the exception for an error of the server."""
    failure = explain(
        error.diagnostic,
        len(error.results_before),
        batch,
        run,
    )
    own_refusal = _own_refusal(failure, str(error.sqlstate))
    if own_refusal:
        return own_refusal
    if failure.piece.role == "settings" and failure.piece.file:
        return refused_settings(failure.piece.file, error.sqlstate)

    message = failure.message + _owner_of_ledger(connection, error)
    file = failure.piece.file
    if file is None:
        return ServerError(
            message, str(error.sqlstate), error.diagnostic, error.results_before
        )
    kind = TryAgain if _may_pass(error) else MigrationFailed
    line, column = failure.place or (None, None)
    return kind(
        message, path=file.path, line=line, column=column, sqlstate=error.sqlstate
    )


def _own_refusal(failure: _Failure, sqlstate: str) -> Exception | None:
    """Return the exception for a check of our own that failed as intended."""
    role = failure.piece.role
    file = failure.piece.file
    if role in ("lock", "guard", "empty guard") and sqlstate == _INVALID_TEXT:
        return PlanIsStale()
    if role == "ledger" and sqlstate == _DUPLICATE_TABLE:
        return PlanIsStale()  # another session has made a table of that name
    if role == "record" and sqlstate == _UNIQUE_VIOLATION:
        return PlanIsStale(failure.message)
    if role == "own guard" and sqlstate in _LEDGER_CHANGED and file:
        return MigrationFailed(
            f"{file.path}: it changes {TABLE}, which is the ledger of sqlmig, or another session did while it ran; "
            "remove the statements about this table. If the file is about every table of the schema, or drops the "
            "schema, keep the ledger in another one with --ledger-schema",
            path=file.path,
        )
    return None


def refused_settings(file: SqlFile, sqlstate: str | None) -> MigrationFailed:
    """Return the error for a value of --set that the server refuses. Its own message has the value."""
    return MigrationFailed(
        f"{file.path}: the server refuses a setting of --set ({sqlstate}); "
        "give a custom setting such as app.region, which no extension checks",
        path=file.path,
        sqlstate=sqlstate,
    )


def _owner_of_ledger(connection: Connection, error: ServerError) -> str:
    """Return a hint about the owner of the ledger, if the ledger is what the role may not use."""
    is_ledger = error.diagnostic.table_name == TABLE or TABLE in error.server_message
    if error.sqlstate != _INSUFFICIENT_PRIVILEGE or not is_ledger:
        return ""
    owner = ledger_owner(connection)
    return f"\nHINT: {owner}" if owner else ""


def _may_pass(error: ServerError) -> bool:
    """Check whether the same file may succeed in a moment."""
    if error.sqlstate in _MAY_PASS:
        return True
    # Two transactions write one row of a catalog: of a function that the files of many
    # tenants make, for example.
    if error.sqlstate == _INTERNAL_ERROR and "concurrently" in error.server_message:
        return True
    return (
        error.sqlstate == _UNIQUE_VIOLATION
        and error.diagnostic.schema_name == "pg_catalog"
    )


def explain(
    diagnostic: Any,
    statements_done: int,
    batch: Sequence[Piece],
    run: Run = "",
) -> _Failure:
    """Find out where and why the server stopped in a batch.

    statements_done: the number of the batch's statements that had succeeded.
    """
    offset = _offset_in_batch(diagnostic, statements_done, joined(batch))
    piece, offset = piece_at(batch, offset)
    file = piece.file
    first, *more = server_message(diagnostic).splitlines()

    found: Place | None = None
    statement = ""
    if file is None or piece.role != "file":
        where = f"{file.path}: {_WHEN.get(piece.role, '')}" if file else ""
        lines = [f"{where}{first}"]
    else:
        # A statement without an end is refused after the last character.
        offset = min(piece.begin + offset, len(file.text.rstrip()))
        text = file.text
        in_data = _offset_in_data(diagnostic, piece)
        if in_data is not None:
            offset, text = in_data, file.as_written or file.text
        found = find_place(text, offset)
        statement = file.text[offset : offset + _BEGINNING].decode(errors="replace")
        lines = [
            f"{place(file.path, text, offset)}: {first}",
            excerpt(text, offset),
        ]

    lines += _inner_query(diagnostic)
    lines += more
    lines += hints_for(
        diagnostic.sqlstate,
        f"{first}\n{statement}",
        in_transaction=file is None or file.in_transaction,
        run=run if file and file.path.name.endswith(".up.sql") else "",
        version=file.path.name.partition("_")[0] if file else "",
    )
    return _Failure(piece, "\n".join(lines), found)


def _offset_in_batch(diagnostic: Any, statements_done: int, text: bytes) -> int:
    """Return the byte where the server stopped: its own position, or the statement's first byte."""
    if diagnostic.statement_position:
        characters = int(diagnostic.statement_position) - 1
        return len(text.decode()[:characters].encode())
    starts = [start for start, _ in statements(text)]
    # A rule that adds results makes the number too large.
    return starts[min(statements_done, len(starts) - 1)]


def _offset_in_data(diagnostic: Any, piece: Piece) -> int | None:
    """Return the first byte of the line of data that the server reports; None if the error is not about data.

    The server counts the lines from 1 in its context, such as ``COPY t, line 3, column a``.
    """
    data = data_of(piece)
    match = _LINE_OF_DATA.search(diagnostic.context or "")
    if data is None or not piece.copy or not match:
        return None
    lines = bytes(data).splitlines(keepends=True)[: int(match[1]) - 1]
    return min(piece.copy.begin + sum(map(len, lines)), piece.copy.end)


def _inner_query(diagnostic: Any) -> list[str]:
    """Return the query that a function ran, and the place of the error in it, if the server reports them."""
    if not diagnostic.internal_query or not diagnostic.internal_position:
        return []
    query = diagnostic.internal_query
    offset = len(query[: int(diagnostic.internal_position) - 1].encode())
    return ["in the query that it ran:", excerpt(query.encode(), offset)]
