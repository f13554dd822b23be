"""One script as the server gets it: its messages, what stands around it, and where in the file an error is."""

from __future__ import annotations

import re
import select
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import generators, sql

from sqlmig.database import Refused, said, send
from sqlmig.errors import SqlmigError, excerpt, place
from sqlmig.ledger import holders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.pq.abc import PGresult

    from sqlmig.database import Connection
    from sqlmig.files import Script

# What stands before a script, what undoes its settings, and what undoes its prepared statements.
_BEFORE, *_UNDO = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").split("-- %%\n")
AFTER, _DEALLOCATE = (text.encode() for text in _UNDO)
_SET_TRANSACTION = re.compile(rb"set\s+(?:local\s+)?transaction\b", re.IGNORECASE)
# What a pooler that shares its sessions would hand to other clients.
_SESSION_STATE = re.compile(
    rb"(?:set\s+(?!local\b|transaction\b|constraints\b)|listen\b|load\b|prepare\b|create\s+(?:local\s+)?temp)",
    re.IGNORECASE,
)


class Busy(Exception):
    """Another runner is at work."""


class Moved(Exception):
    """The ledger is no longer what the plan was made for."""


class Explained(SqlmigError):
    """The server's error in words, how many statements of the message were done before, and its code."""

    def __init__(self, message: str, done: int, sqlstate: str | None) -> None:
        """Keep what decides how it goes on."""
        super().__init__(message)
        self.done, self.sqlstate = done, sqlstate


class Locked(SqlmigError):
    """A lock could not be had in time, or a deadlock was broken: trying again may help."""


@dataclass(frozen=True)
class Frame:
    """What stands around a script: the ledger as expected before it, and the statement that records it."""

    table: sql.Identifier
    version: int
    newest: int | None
    recorded: bool
    record: sql.Composed
    lock_timeout: str
    search_path: sql.Composed | None

    def before(self) -> sql.Composed:
        """Return the statements that take the ledger's lock and make sure of what it says."""
        fields = {name: getattr(self, name) for name in ("lock_timeout", "newest", "version", "recorded", "table")}
        return sql.SQL(_BEFORE).format(**fields)


class Piece(NamedTuple):
    """A part of a message, and how many statements it holds.

    script, offset: where it stands in a file, where it is of one; else words: what the server is doing there.
    """

    text: bytes
    statements: int
    script: Script | None = None
    offset: int = 0
    words: str = ""


def parts(script: Script) -> tuple[list[Piece], list[Piece], Piece]:
    """Return what opens a script's transaction; what it does, to its end, and what then undoes its settings; COMMIT."""
    text, starts, bracketed = script.text, script.scan.starts, script.scan.bracketed
    opening = int(bracketed)
    while opening < len(starts) and _SET_TRANSACTION.match(text, starts[opening]):
        opening += 1  # it must come before any query, ours too
    first = [*starts, len(text)][opening] if opening else 0
    last = starts[-1] if bracketed else len(text)
    begin = [] if bracketed else [Piece(b"BEGIN;", 1)]
    deallocate = _DEALLOCATE if re.search(rb"prepare", text, re.IGNORECASE) else b""
    middle = [
        Piece(text[first:last], len(starts) - bracketed - opening, script, first),
        Piece(b"\n;SET CONSTRAINTS ALL IMMEDIATE;", 1, words="at its end, when deferred constraints are checked: "),
        Piece(AFTER + deallocate, 8 + bool(deallocate)),
    ]
    closing = Piece(text[last:], 1, script, last) if bracketed else Piece(b"COMMIT", 1, words="at COMMIT: ")
    return [*begin, Piece(text[:first] + b"\n;", opening, script)], middle, closing


def run_whole(connection: Connection, script: Script, frame: Frame) -> None:
    """Send a script with its row in the ledger as one message and one transaction.

    Raises Busy and Moved before it ran, Locked and SqlmigError after it was rolled back.
    """
    opening, middle, closing = parts(script)
    path = sql.SQL("SET LOCAL search_path = {};").format(frame.search_path) if frame.search_path else sql.SQL("")
    before = [*opening, Piece((frame.before() + path).as_bytes(connection), 5 + bool(frame.search_path))]
    try:
        send_pieces(connection, [*before, *middle, Piece(frame.record.as_bytes(connection) + b";", 1), closing], script)
    except Explained as error:
        if error.done < sum(piece.statements for piece in before):
            _raise_for_ledger(error.sqlstate)
        raise (Locked if error.sqlstate in ("55P03", "40P01") else SqlmigError)(str(error)) from None


def send_pieces(connection: Connection, pieces: Sequence[Piece], script: Script) -> list[PGresult]:
    """Send one message, and return its results. Raises Explained, when what was open is rolled back."""
    try:
        return send(connection, b"".join(piece.text for piece in pieces))
    except Refused as refused:
        rollback(connection)
        raise Explained(_explained(refused, script, pieces), refused.done, refused.error.sqlstate) from None


def run_each(connection: Connection, worker: Connection, script: Script, frame: Frame) -> None:
    """Send a script statement by statement over ``worker`` while ``connection`` holds the ledger's lock; record it.

    The transaction that holds the lock holds no snapshot, so CREATE INDEX CONCURRENTLY does not wait for it.
    Raises Busy and Moved before it ran; SqlmigError, or what interrupted it, with words for what stays.
    """
    hold = b"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = 0;"
    try:
        send_pieces(connection, [Piece(hold + frame.before().as_bytes(connection), 7)], script)
    except Explained as error:
        _raise_for_ledger(error.sqlstate)
        raise
    if holders(connection, frame.table):  # a killed runner's statement is still running
        rollback(connection)
        raise Busy
    try:
        _prepare(worker, script, frame)
        send_each(worker, script)
        if _invalid_indexes(connection, script.text):
            raise SqlmigError(f"{script.path}: all of it ran, but is not recorded")
    except (SqlmigError, KeyboardInterrupt) as error:
        rollback(connection)
        words = "\n".join([str(error), *_invalid_indexes(connection, script.text)])
        raise (KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else SqlmigError)(words) from None
    try:
        send(connection, frame.record.as_bytes(connection) + b";COMMIT")
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
            raise SqlmigError(f"{_explained(refused, script, message)}\n{stays}") from None
        except (psycopg.OperationalError, KeyboardInterrupt) as error:
            words = f"{place(script.path, text, start)}: {str(error).strip() or 'interrupted'}\n{stays}"
            raise (KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else SqlmigError)(words) from None
    if worker.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise SqlmigError(f"{script.path}: it leaves a transaction open, which was rolled back; end it with COMMIT")


def _prepare(worker: Connection, script: Script, frame: Frame) -> None:
    """Make a session ready for a script of its own, or refuse where a pooler shares the session with other clients."""
    worker.pgconn.send_query(b"SELECT pg_backend_pid()")
    if not select.select([worker], [], [], 10)[0]:
        worker.close()
        raise SqlmigError(
            f"{script.path}: no second connection within 10 s; a no-transaction file needs two of a pooler"
        )
    pid = worker.wait(generators.fetch_many(worker.pgconn))[0].get_value(0, 0)
    if pid == b"%d" % worker.info.backend_pid:
        path = sql.SQL("SET search_path = {};").format(frame.search_path) if frame.search_path else sql.SQL("")
        send(worker, b"SET lock_timeout = 0;" + path.as_bytes(worker))
        return
    remedy = "connect to the server itself for this file"
    if frame.search_path:
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


def _raise_for_ledger(sqlstate: str | None) -> None:
    if sqlstate == "55P03":
        raise Busy from None
    if sqlstate == "P0001":
        raise Moved from None


def _explained(refused: Refused, script: Script, message: Sequence[Piece]) -> str:
    """Say what the server said, and where in the file."""
    diag = refused.error.diag
    first, *more = said(diag).splitlines()
    script, offset, words = _place(refused, script, message)
    if offset is None:
        lines = [f"{script.path}: {words}{first}"]
    else:
        lines = [f"{place(script.path, script.text, offset)}: {first}", excerpt(script.text, offset)]
    if diag.internal_query and diag.internal_position:
        inside = len(diag.internal_query[: int(diag.internal_position) - 1].encode())
        lines += ["in the query that it ran:", excerpt(diag.internal_query.encode(), inside)]
    lines += more
    if diag.sqlstate == "25001" and script.scan.in_transaction:
        lines.append("HINT: put “-- sqlmig: no-transaction” on a line before the first statement")
    return "\n".join(lines)


def _place(refused: Refused, script: Script, message: Sequence[Piece]) -> tuple[Script, int | None, str]:
    """Return an error's script and offset (the server's own, else that of the statement), or words for the place."""
    position = refused.error.diag.statement_position
    at, done = 0, refused.done
    if position:
        at = len(b"".join(piece.text for piece in message).decode()[: int(position) - 1].encode())
    for piece in message:
        script = piece.script or script
        if (at < len(piece.text)) if position else (done < piece.statements):
            break
        at, done = at - len(piece.text), done - piece.statements
    if piece.script is None:
        # A statement that has no end is refused where ours begin.
        return (script, len(script.text.rstrip()), "") if position and piece.words else (script, None, piece.words)
    return script, piece.offset + at if position else _nth(script, piece.offset, done), ""


def _nth(script: Script, offset: int, number: int) -> int:
    """Return where a statement begins; a rule that adds results to one makes the count too high."""
    starts = [start for start in script.scan.starts if start >= offset]
    return starts[min(number, len(starts) - 1)]
