"""Sending one script: as one transaction, or statement by statement where it cannot be one."""

from __future__ import annotations

import re
import select
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import generators

from sqlmig.database import Refused, send
from sqlmig.errors import SqlmigError, place
from sqlmig.message import LARGEST, Piece, explained, messages, parts
from sqlmig.session import holders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.pq.abc import PGresult

    from sqlmig.database import Connection
    from sqlmig.ledger import Ledger
    from sqlmig.scan import Script

# What a pooler that shares its sessions would hand to other clients.
_SESSION_STATE = re.compile(
    rb"(?:set\s+(?!local\b|transaction\b|constraints\b)|listen\b|load\b|prepare\b|create\s+(?:local\s+)?temp)",
    re.IGNORECASE,
)


class Busy(Exception):
    """Another runner is at work."""


class Moved(Exception):
    """The ledger is no longer what the plan was made for."""


@dataclass(frozen=True)
class Frame:
    """What stands around a script: what makes sure of the ledger, the search path (or nothing), what records it."""

    ledger: Ledger
    guard: bytes
    path: bytes
    record: bytes


def run_whole(connection: Connection, script: Script, frame: Frame) -> None:
    """Send a script with its row in the ledger as one transaction, and as one message where it is not too long.

    Raises Busy and Moved before it ran, Refused after it was rolled back.
    """
    opening, middle, closing = parts(script)
    path = b"SET LOCAL " + frame.path if frame.path else b""
    before = [*opening, Piece(frame.guard + path, 3 + bool(path))]
    try:
        send_pieces(connection, [*before, *middle, Piece(frame.record, 1), closing], script)
    except Refused as refused:
        if refused.done < sum(piece.statements for piece in before):
            _raise_for_ledger(refused)
        raise


def send_pieces(connection: Connection, pieces: Sequence[Piece], script: Script) -> list[PGresult]:
    """Send pieces of one transaction, and return the last message's results.

    Raises Refused, with the place in the file, when what was open is rolled back.
    """
    done = 0
    results: list[PGresult] = []
    for message in messages(pieces):
        try:
            results = send(connection, b"".join(piece.text for piece in message))
        except Refused as refused:
            rollback(connection)
            words = explained(refused.error.diag, refused.done, script, message)
            raise Refused(words, refused.error, done + refused.done) from None
        done += len(results)
        for name, needed in (("standard_conforming_strings", "on"), ("client_encoding", "UTF8")):
            if message[-1] is not pieces[-1] and connection.info.parameter_status(name) != needed:
                rollback(connection)
                raise SqlmigError(f"{script.path}: a file of more than {LARGEST:,} bytes must not change {name}")
    return results


def run_each(connection: Connection, worker: Connection, script: Script, frame: Frame) -> None:
    """Send a script statement by statement over ``worker`` while ``connection`` holds the ledger's lock; record it.

    The transaction that holds the lock holds no snapshot, so CREATE INDEX CONCURRENTLY does not wait for it.
    Raises Busy and Moved before it ran; SqlmigError, or what interrupted it, with words for what stays.
    """
    hold = b"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = 0;"
    try:
        send_pieces(connection, [Piece(hold + frame.guard, 5)], script)
    except Refused as refused:
        _raise_for_ledger(refused)
        raise
    if holders(connection, frame.ledger):  # a killed runner's statement is still running
        rollback(connection)
        raise Busy
    try:
        _prepare(worker, script, frame.path)
        send_each(worker, script)
        if _invalid_indexes(connection, script.text):
            raise SqlmigError(f"{script.path}: all of it ran, but is not recorded")
    except (SqlmigError, KeyboardInterrupt) as error:
        rollback(connection)
        words = "\n".join([str(error), *_invalid_indexes(connection, script.text)])
        raise (KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else SqlmigError)(words) from None
    try:
        send(connection, frame.record + b"COMMIT")
    except (Refused, psycopg.OperationalError) as error:
        raise SqlmigError(f"{script.path}: all of it ran, but may not be recorded: {str(error).strip()}") from None


def send_each(worker: Connection, script: Script) -> None:
    """Send a script statement by statement. Raises SqlmigError, or KeyboardInterrupt, with words for what stays."""
    text, starts = script.text, script.scan.starts
    for done, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True)):
        stays = (
            f"{done} of {len(starts)} statements ran and stay, this one failed, {len(starts) - done - 1} did not run"
        )
        try:
            send(worker, text[start:end])
        except Refused as refused:
            message = [Piece(text[start:end], 1, script, start)]
            raise SqlmigError(f"{explained(refused.error.diag, refused.done, script, message)}\n{stays}") from None
        except (psycopg.OperationalError, KeyboardInterrupt) as error:
            words = f"{place(script.path, text, start)}: {str(error).strip() or 'interrupted'}\n{stays}"
            raise (KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else SqlmigError)(words) from None
    if worker.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise SqlmigError(f"{script.path}: it leaves a transaction open, which was rolled back; end it with COMMIT")


def _prepare(worker: Connection, script: Script, path: bytes) -> None:
    """Make a session ready for a script of its own, or refuse where a pooler shares the session with other clients."""
    worker.pgconn.send_query(b"SELECT pg_backend_pid()")
    if not select.select([worker], [], [], 10)[0]:
        worker.close()
        raise SqlmigError(
            f"{script.path}: no second connection within 10 s; a no-transaction file needs two of a pooler"
        )
    pid = worker.wait(generators.fetch_many(worker.pgconn))[0].get_value(0, 0)
    if pid == b"%d" % worker.info.backend_pid:
        send(worker, b"SET lock_timeout = 0;" + (b"SET " + path if path else b""))
        return
    remedy = "connect to the server itself for this file"
    if path:
        raise SqlmigError(f"{script.path}: --schema cannot be kept for a no-transaction file by a pooler; {remedy}")
    for start in script.scan.starts:
        if _SESSION_STATE.match(script.text, start):
            where = place(script.path, script.text, start)
            raise SqlmigError(f"{where}: a pooler would hand this setting to other clients; {remedy}")


def _invalid_indexes(connection: Connection, text: bytes) -> list[str]:
    """Return a line for each index that the text names and that is INVALID, with the remedy."""
    query = """
        SELECT indexrelid::pg_catalog.regclass::text, relname
        FROM pg_catalog.pg_index JOIN pg_catalog.pg_class ON pg_class.oid = indexrelid
        WHERE NOT indisvalid AND relkind = 'i'
        ORDER BY 1
    """
    with suppress(psycopg.OperationalError):
        return [
            f"the index {name} is INVALID; remove it before you try again: DROP INDEX CONCURRENTLY {name};"
            for name, bare in connection.execute(query)
            if re.sub(r"_cc(new|old)\d*$", "", str(bare)).encode() in text
        ]
    return []


def rollback(connection: Connection) -> None:
    """End what is open, where there is still a connection."""
    with suppress(psycopg.OperationalError):
        if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.execute("ROLLBACK")


def _raise_for_ledger(refused: Refused) -> None:
    if refused.error.sqlstate == "55P03":
        raise Busy from None
    if refused.error.sqlstate == "22P02":
        raise Moved from None
