"""The pieces of a transaction that are about the ledger: its lock, its checks, and its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlmig.core.reading import read_identity
from sqlmig.core.sending import send_pieces
from sqlmig.core.sql import literal
from sqlmig.core.transaction import own_piece, own_settings_piece

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlmig.core.session import Session
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.steps import Step
    from sqlmig.core.transaction import Piece, Role

IDENTITY_COLUMN = "sqlmig_identity"


def before_file(session: Session, step: Step, *, stays_open: bool) -> list[Piece]:
    """Return the pieces before a file: our settings, the runner lock, and the check of the ledger.

    stays_open: the transaction is open between its batches.
    """
    timeout = session.options.lock_timeout
    return [
        own_settings_piece(timeout, step.file, stays_open=stays_open),
        lock_piece(session, step.file),
        *guard_pieces(session, step),
    ]


def lock_piece(session: Session, file: SqlFile | None = None) -> Piece:
    """Return the statement that takes the runner lock."""
    lock = session.ledger.sql("lock")
    if file and file.has_own_mode and session.contents:
        timeout = literal(session.options.lock_timeout)
        lock = session.ledger.sql("lock_before_a_snapshot", lock_timeout=timeout) + lock
    return own_piece("lock", lock, file)


def guard_pieces(session: Session, step: Step | None = None) -> list[Piece]:
    """Return the check that the ledger is as planned. If there is no ledger, also the statements that make it."""
    ledger = session.ledger
    file = step.file if step else None
    if session.contents is None:
        return [
            own_piece("guard", ledger.sql("missing"), file),
            own_piece("ledger", ledger.definition(), file),
        ]
    newest: object = "NULL"
    if session.ledger_rows:
        newest = session.ledger_rows[-1].version
    identity = session.contents.identity
    if not identity:  # this run has made the ledger
        identity = read_identity(session.connection, ledger)
        session.contents = session.contents._replace(identity=identity)

    guard = ledger.sql("guard", newest=newest, known_identity=literal(identity))
    if step and step.version.state == "out-of-order":
        guard += ledger.sql("guard_between", version=step.version.version)
    role: Role = "guard" if session.ledger_rows else "empty guard"
    return [own_piece(role, guard, file)]


def check_of_ledger(
    session: Session,
    file: SqlFile,
    *,
    counts_only: bool = False,
    rehearsed: Iterable[Step] = (),
) -> Piece:
    """Return the check that the file has not changed the ledger: a loop may empty all tables.

    counts_only: only count the rows, because the file has run in other transactions.
    rehearsed: the earlier steps in the same transaction.
    """
    count = len(session.ledger_rows)
    written = []
    for step in rehearsed:
        if step.direction == "up":
            written.append(str(step.version.version))
        else:
            count -= 1
    title = "own_guard"
    if session.connection.one_statement_a_batch or counts_only:
        title = "own_guard_by_count"
    check = session.ledger.sql(title, count=count, rehearsed=",".join(written))
    return own_piece("own guard", check, file)


def record_pieces(
    session: Session, step: Step, seconds: float | None = None
) -> list[Piece]:
    """Return the check that the ledger is still ours, and the statement that writes the step's row.

    seconds: how long the file ran, if that was not in the present transaction alone.
    If the same transaction makes the ledger, its identity follows for the check before the
    next file.
    """
    ledger = session.ledger
    file = step.file
    record = ledger.delete(step.version.version)
    if step.direction == "up" and step.version.migration:
        # The checksum is of the text that ran, whatever the file holds by now.
        duration = "clock_timestamp() - now()"
        if seconds is not None:
            duration = f"make_interval(secs => {seconds})"
        if session.contents and not session.contents.has_duration:
            duration = ""
        record = ledger.insert(step.version.migration, file.checksum, duration)
    pieces = [
        own_piece("own guard", _guard_of_record(session), file),
        own_piece("record", record, file),
    ]
    if session.contents is None:
        identity = ledger.sql("current_identity")
        pieces.append(own_piece("other", identity, file))
    return pieces


def _guard_of_record(session: Session) -> str:
    owner = session.ledger.sql("we_own_it")
    if session.contents and session.contents.identity:
        _, owner, *_ = session.contents.identity.split()
    timeout = literal(session.options.lock_timeout)
    return session.ledger.sql("guard_of_record", owner=owner, lock_timeout=timeout)


def write_records(session: Session, records: Sequence[str]) -> None:
    """Write statements of our own into the ledger. The ledger is made if it is missing.

    Raises PlanIsStale if nothing was written, and SqlmigError on a standby.
    """
    session.connection.refuse_read_only()
    send_pieces(
        session.connection,
        [
            own_piece("begin", "BEGIN"),
            own_settings_piece(session.options.lock_timeout),
            lock_piece(session),
            *guard_pieces(session),
            own_piece("guard", _guard_of_record(session)),
            own_piece("record", ";".join(records)),
            own_piece("commit", "COMMIT"),
        ],
    )
