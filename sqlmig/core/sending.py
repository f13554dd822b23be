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
from sqlmig.core.ledger import TABLE
from sqlmig.core.lexer import statements
from sqlmig.core.reading import ledger_owner
from sqlmig.core.text import Place, excerpt, find_place, place, server_message
from sqlmig.core.transaction import batches, joined, piece_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg.pq.abc import PGresult

    from sqlmig.core.connection import Connection
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece, Role

# Objects of PostgreSQL's own have smaller numbers (its src/include/access/transam.h).
FIRST_NORMAL_OID = 16384
# How a check of ledger.sql fails: it casts a text to an integer.
_INVALID_TEXT = "22P02"
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
# A file must not change how the rest of it is read.
_FIXED_SETTINGS = (("standard_conforming_strings", "on"), ("client_encoding", "UTF8"))
# If a statement of our own fails, this says when.
_WHEN: dict[Role, str] = {
    "ledger": "cannot create the ledger: ",
    "constraints": "at its end, when deferred constraints are checked: ",
    "record": "when it was to be recorded: ",
    "commit": "at COMMIT: ",
}
_RUN_ALONE = "put “-- sqlmig: no-transaction” on a line before the first statement"


class _Hint(NamedTuple):
    """What to do about an error, by its SQLSTATE and message, and by how the file runs.

    A hint with a text of the message is left out if the server does not report in English.
    """

    sqlstates: str  # a regular expression
    message: str  # a regular expression
    advice: str
    in_transaction: bool | None = None  # None: either way
    in_first_file: bool = False  # only if the same run makes the ledger


# The first hint that matches is shown.
_HINTS = (
    _Hint(
        sqlstates="25001",
        message="",
        advice=f"give it a file of its own without a BEGIN (for CONCURRENTLY that will do), or {_RUN_ALONE}",
        in_transaction=True,
    ),
    _Hint(
        sqlstates="2D000",
        message="",
        advice=f"a DO block or procedure may not end the file's transaction: remove that, or {_RUN_ALONE}",
        in_transaction=True,
    ),
    _Hint(
        sqlstates="25001",
        message="",
        advice="remove BEGIN and COMMIT: this file runs statement by statement",
        in_transaction=False,
    ),
    _Hint(
        sqlstates="42704",
        message='role "(anon|authenticated|service_role)"',
        advice="it is Supabase's: create the role, or look into pg_roles before you use it",
    ),
    _Hint(
        sqlstates="0A000|58P01",
        message="extension ",
        advice="use a server that has the extension, with --database-url",
    ),
    _Hint(
        sqlstates="42704",
        message='unrecognized configuration parameter "transaction_timeout"',
        advice="a pg_dump of PostgreSQL 17 or newer wrote this line, and this server is older: remove the line",
    ),
    _Hint(
        sqlstates="42P06",
        message='schema "public"',
        advice="every database has this schema, and a dump creates it again. Remove the line",
    ),
    _Hint(
        sqlstates="42P07|42P16",
        message='"schema_migrations"',
        advice=(
            "this is the ledger of sqlmig. The file, a dump perhaps, brings a ledger of its own: "
            "remove the statements about this table"
        ),
    ),
    _Hint(
        sqlstates="42P0[67]|42710|42701|42723",
        message="",
        advice="it may be left over from an interrupted run. Check that it is complete, or drop it",
        in_transaction=False,
    ),
    _Hint(
        sqlstates="42P0[67]|42710|42723",
        message="",
        advice=(
            "this database has no ledger yet, but it is not empty. If it has what these files make, "
            "`sqlmig stamp V` records everything up to V as applied, and runs nothing"
        ),
        in_first_file=True,
    ),
    _Hint(
        sqlstates="42501",
        message="for schema public",
        advice=(
            "since PostgreSQL 15 a role may not create in public unless it was allowed to: "
            "GRANT CREATE ON SCHEMA public TO it, or name a schema with --schema"
        ),
    ),
    _Hint(
        sqlstates="25006",
        message="",
        advice=(
            "this server is a standby, or default_transaction_read_only is on. Connect to the primary, "
            "for example with target_session_attrs=read-write in the URL"
        ),
    ),
    _Hint(
        sqlstates="57014",
        message="statement timeout",
        advice=(
            "the file, the role or the database sets statement_timeout. For this file alone, "
            "begin it with: SET LOCAL statement_timeout = 0;"
        ),
        in_transaction=True,
    ),
    _Hint(
        sqlstates="57014",
        message="statement timeout",
        advice=(
            "the file, the role or the database sets statement_timeout. For this file alone, "
            "begin it with: SET statement_timeout = 0;"
        ),
        in_transaction=False,
    ),
    _Hint(
        sqlstates="55006",
        message="pending trigger events",
        advice=(
            "deferred constraints are still to be checked: "
            "put SET CONSTRAINTS ALL IMMEDIATE; before this statement"
        ),
    ),
)


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
    makes_ledger = any(piece.role == "ledger" for piece in pieces)
    for number, batch in enumerate(batches(pieces, connection.largest_batch)):
        file = batch[0].file if batch else None
        if number and file:
            refuse_changed_settings(connection, file)
        try:
            results = send(connection, joined(batch))
        except ServerError as error:
            in_first_file = makes_ledger and _has_objects(connection)
            raise _exception_for(
                connection, error, batch, in_first_file=in_first_file
            ) from None
        if on_results:
            on_results(results)


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
    *,
    in_first_file: bool,
) -> Exception:
    """Return the exception for an error of the server."""
    failure = explain(
        error.diagnostic,
        len(error.results_before),
        batch,
        in_first_file=in_first_file,
    )
    own_refusal = _own_refusal(failure, error.sqlstate)
    if own_refusal:
        return own_refusal

    message = failure.message + _owner_of_ledger(connection, error)
    file = failure.piece.file
    if file is None:
        return ServerError(
            message, error.sqlstate, error.diagnostic, error.results_before
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
    if role in ("lock", "guard") and sqlstate == _INVALID_TEXT:
        return PlanIsStale()
    if role == "ledger" and sqlstate == _DUPLICATE_TABLE:
        return PlanIsStale()  # another session has made a table of that name
    if role == "record" and sqlstate == _UNIQUE_VIOLATION:
        return PlanIsStale(failure.message)
    if role == "own guard" and sqlstate == _INVALID_TEXT and file:
        return MigrationFailed(
            f"{file.path}: it changes {TABLE}, which is the ledger of sqlmig, or another session did while it ran; "
            "remove the statements about this table",
            path=file.path,
        )
    return None


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
    *,
    in_first_file: bool = False,
) -> _Failure:
    """Find out where and why the server stopped in a batch.

    statements_done: the number of the batch's statements that had succeeded.
    in_first_file: the same transaction makes the ledger.
    """
    offset = _offset_in_batch(diagnostic, statements_done, joined(batch))
    piece, offset = piece_at(batch, offset)
    file = piece.file
    first, *more = server_message(diagnostic).splitlines()

    found: Place | None = None
    if file is None or piece.role != "file":
        where = f"{file.path}: {_WHEN.get(piece.role, '')}" if file else ""
        lines = [f"{where}{first}"]
    else:
        # A statement without an end is refused after the last character.
        offset = min(piece.begin + offset, len(file.text.rstrip()))
        found = find_place(file.text, offset)
        lines = [
            f"{place(file.path, file.text, offset)}: {first}",
            excerpt(file.text, offset),
        ]

    lines += _inner_query(diagnostic)
    lines += more
    lines += _hints(
        diagnostic.sqlstate,
        first,
        in_transaction=file is None or file.in_transaction,
        in_first_file=in_first_file,
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


def _inner_query(diagnostic: Any) -> list[str]:
    """Return the query that a function ran, and the place of the error in it, if the server reports them."""
    if not diagnostic.internal_query or not diagnostic.internal_position:
        return []
    query = diagnostic.internal_query
    offset = len(query[: int(diagnostic.internal_position) - 1].encode())
    return ["in the query that it ran:", excerpt(query.encode(), offset)]


def _hints(
    sqlstate: str, first_line: str, *, in_transaction: bool, in_first_file: bool
) -> list[str]:
    for hint in _HINTS:
        if hint.in_transaction not in (None, in_transaction):
            continue
        if hint.in_first_file and not in_first_file:
            continue
        if not re.fullmatch(hint.sqlstates, sqlstate):
            continue
        if re.search(hint.message, first_line):
            return [f"HINT: {hint.advice}"]
    return []
