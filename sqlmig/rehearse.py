"""Running steps in one transaction that is rolled back, to see what they would do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmig.database import Refused, rollback, transmit
from sqlmig.envelope import Piece, envelope, ours
from sqlmig.errors import SqlmigError
from sqlmig.plan import Verb
from sqlmig.run import Step, guarded, lock, refuse_sqlx, settings, steps_of
from sqlmig.session import Session

_COLUMNS = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Rehearsed:
    """A step, and the seconds that it took, or why it could not be rehearsed."""

    step: Step
    seconds: float
    obstacle: str = ""


def rehearse(
    session: Session, verb: Verb, versions: Sequence[int], lock_timeout: str
) -> tuple[list[Rehearsed], list[str]]:
    """Apply or revert the versions in one transaction, which begins as the first of them does; roll it back.

    Returns what became of each, and the tables and columns that would vanish with the rows that they hold.
    Raises Busy and LedgerChanged before anything ran, SqlmigError for a file that fails.
    """
    connection, ledger = session.connection, session.ledger
    rehearsed, begun = [], False
    before: dict[Any, Any] = {}
    try:
        for step in steps_of(session, verb, versions):
            around, found = envelope(step.script), step.script.scan
            if not found.in_transaction or (begun and found.own_kind):
                obstacle = "it begins a transaction of its own kind" if found.in_transaction else ""
                rehearsed.append(Rehearsed(step, 0, obstacle or "it runs outside a transaction"))
                continue
            if not begun:
                takes = lock(ledger, step.script if session.applied is not None else None, lock_timeout)
                guarded(connection, [*around.opening, takes, *_ledger(session, step)])
                before, begun = dict(connection.execute(_COLUMNS.encode()).fetchall()), True  # type: ignore[arg-type]
            started = time.monotonic()
            with session.watch(session, step.migration.label):
                transmit(
                    connection,
                    [settings(ledger, lock_timeout), *around.body, *around.reset, step.record(ledger, lock_timeout)],
                )
            rehearsed.append(Rehearsed(step, time.monotonic() - started))
        after: dict[Any, Any] = dict(connection.execute(_COLUMNS.encode()).fetchall())  # type: ignore[arg-type]
    except Refused as refused:
        if refused.error.sqlstate == "55P04":  # a new enum value that is used
            remedy = "this cannot be rehearsed in one transaction; `sqlmig up` can do it"
            raise SqlmigError(f"{refused}\n{remedy}") from None
        raise
    finally:
        rollback(connection)
    lost = []
    for table, columns in before.items():
        if gone := [column for column in columns if column not in after.get(table, ())]:
            ((rows,),) = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
            what = f"{', '.join(gone)} of {table}" if table in after else table
            lost.append(f"{what} ({rows} row{'' if rows == 1 else 's'})")
    return rehearsed, lost


def _ledger(session: Session, step: Step) -> list[Piece]:
    """Return what makes sure of the ledger, or makes it."""
    if session.applied is None:
        refuse_sqlx(session)
        return [ours("guard", session.ledger.sql("missing")), ours("other", session.ledger.definition())]
    newest = session.applied[-1].version if session.applied else None
    return [ours("guard", session.ledger.guard(newest, step.migration.version))]
