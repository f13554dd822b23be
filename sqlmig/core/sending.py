"""Sending the pieces of a transaction, and what it means where the server says no."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlmig.core.connection import ServerError, fetch, rollback, send
from sqlmig.core.errors import MigrationFailed
from sqlmig.core.failure import explain
from sqlmig.core.ledger import TABLE
from sqlmig.core.reading import ledger_owner
from sqlmig.core.session import AlreadyRecorded, LedgerChanged, LockHeld
from sqlmig.core.transaction import joined, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psycopg
    from psycopg.pq.abc import PGresult

    from sqlmig.core.connection import Connection
    from sqlmig.core.failure import Explanation
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece

# Objects of PostgreSQL's own have smaller numbers (its src/include/access/transam.h).
FIRST_NORMAL_OID = 16384
# How the lock and the guard say no (see ledger.sql): a text that is no integer.
_INVALID_TEXT = "22P02"
_UNIQUE_VIOLATION = "23505"
_LOCK_TIMEOUT = "55P03"
_DEADLOCK = "40P01"
_SERIALIZATION_FAILURE = "40001"
_HAS_OBJECTS = f"""
    SELECT EXISTS (SELECT FROM pg_class WHERE oid >= {FIRST_NORMAL_OID})
        OR EXISTS (SELECT FROM pg_type WHERE oid >= {FIRST_NORMAL_OID})
        OR EXISTS (SELECT FROM pg_proc WHERE oid >= {FIRST_NORMAL_OID})
"""
_LEDGER_IS_ANOTHERS = "permission denied for table schema_migrations"
# A file must not change how the rest of it is read.
_FIXED_SETTINGS = (("standard_conforming_strings", "on"), ("client_encoding", "UTF8"))


class TryAgain(MigrationFailed):
    """The file met another transaction, and was rolled back. It may go through in a moment.

    lock_holders has a line for each process that held the lock, as far as that is known.
    """

    lock_holders: Sequence[str] = ()


def transmit(
    connection: Connection,
    pieces: Sequence[Piece],
    on_results: Callable[[Sequence[PGresult]], None] | None = None,
    file: SqlFile | None = None,
) -> None:
    """Send pieces, in as few messages as the server takes.

    on_results is called with the results of each message. file: what they are about, where
    none of them is a piece of it.

    Raises LockHeld and LedgerChanged before a file ran, AlreadyRecorded and
    MigrationFailed when it is rolled back, and ServerError where no file is concerned.
    """
    file = _first_file(pieces, file)
    makes_ledger = any(piece.role == "ledger" for piece in pieces)
    for number, message in enumerate(messages(pieces, connection.largest_message)):
        if number and file:
            refuse_changed_settings(connection, file)
        try:
            results = send(connection, joined(message))
        except ServerError as error:
            in_first_file = makes_ledger and _has_objects(connection)
            meaning = _meaning(error, message, file, in_first_file=in_first_file)
            raise _with_owner_of_ledger(connection, meaning) from None
        if on_results:
            on_results(results)
        for piece in message:
            file = piece.file or file


def _first_file(pieces: Sequence[Piece], otherwise: SqlFile | None) -> SqlFile | None:
    for piece in pieces:
        if piece.file:
            return piece.file
    return otherwise


def refuse_changed_settings(connection: Connection, file: SqlFile) -> None:
    """Refuse a file that has changed how its own next statements would be read."""
    for name, needed in _FIXED_SETTINGS:
        if connection.info.parameter_status(name) == needed:
            continue

        rollback(connection)
        if not file.in_transaction:
            kind = "a no-transaction file"
        elif connection.one_statement_a_message:
            kind = "on Citus a file"
        else:
            kind = f"a file of more than {connection.largest_message:,} bytes"
        raise MigrationFailed(
            f"{file.path}: {kind} must not change {name}", path=file.path
        )


def _meaning(
    error: ServerError,
    message: Sequence[Piece],
    file: SqlFile | None,
    *,
    in_first_file: bool,
) -> Exception:
    """Return the exception that an error of the server's stands for."""
    sqlstate = error.error.sqlstate
    found = explain(
        error.error.diag,
        len(error.results_before),
        message,
        file,
        in_first_file=in_first_file,
    )
    own_refusal = _own_refusal(found, str(sqlstate))
    if own_refusal:
        return own_refusal
    if found.file is None:
        return ServerError(error.error, error.results_before, found.words)

    failure = TryAgain if _may_pass(error.error) else MigrationFailed
    line, column = found.place or (None, None)
    return failure(
        found.words, path=found.file.path, line=line, column=column, sqlstate=sqlstate
    )


def _own_refusal(found: Explanation, sqlstate: str) -> Exception | None:
    """Return the exception for a statement of our own that says no, as it is meant to."""
    if found.role == "lock" and sqlstate == _INVALID_TEXT:
        return LockHeld()
    if found.role == "guard" and sqlstate == _INVALID_TEXT:
        return LedgerChanged()
    if found.role == "record" and sqlstate == _UNIQUE_VIOLATION:
        return AlreadyRecorded(found.words)
    if found.role == "own guard" and sqlstate == _INVALID_TEXT and found.file:
        return MigrationFailed(
            f"{found.file.path}: it changes {TABLE}, which is the ledger of sqlmig; "
            "take the statements about this table out",
            path=found.file.path,
        )
    return None


def _has_objects(connection: Connection) -> bool:
    """Say whether the database has a table, type or function that is not PostgreSQL's own."""
    ((has_objects,),) = fetch(connection, _HAS_OBJECTS)
    return bool(has_objects)


def _with_owner_of_ledger(connection: Connection, error: Exception) -> Exception:
    """Return an error with the owner's name where it is that the ledger is another role's."""
    if _LEDGER_IS_ANOTHERS not in str(error):
        return error
    owner = ledger_owner(connection)
    if owner:
        error.args = (f"{error}\nHINT: {owner}", *error.args[1:])
    return error


def _may_pass(error: psycopg.Error) -> bool:
    """Say whether the same file may go through in a moment."""
    if error.sqlstate in (_LOCK_TIMEOUT, _DEADLOCK, _SERIALIZATION_FAILURE):
        return True
    # Two that write one row of a catalog: of a function that many tenants' files make, say.
    if "tuple concurrently" in str(error):
        return True
    return (
        error.sqlstate == _UNIQUE_VIOLATION and error.diag.schema_name == "pg_catalog"
    )
