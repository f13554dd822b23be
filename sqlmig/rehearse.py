"""Running steps in one transaction that is rolled back, to see what they would do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlmig.database import Refused, rollback, transmit
from sqlmig.envelope import envelope
from sqlmig.errors import SqlmigError
from sqlmig.plan import Wish
from sqlmig.run import Step, beginning, guarded, recorded, steps_of
from sqlmig.session import Session

_REMEDY = "this cannot be rehearsed in one transaction; `sqlmig up` can do it"
_COLUMNS = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


class Lost(NamedTuple):
    """A table, or columns of one, and how many rows it has."""

    what: str
    rows: int


@dataclass(frozen=True)
class Rehearsed:
    """A step, and the seconds that it took, or why it could not be rehearsed."""

    step: Step
    seconds: float
    obstacle: str = ""


def rehearse(session: Session, wish: Wish) -> tuple[list[Rehearsed], list[Lost]]:
    """Do what is wished in one transaction, which begins as the first of its files does; roll it back.

    Returns what became of each, and which tables and columns would vanish with how many rows. Raises Busy and
    LedgerChanged before anything ran, SqlmigError for a file that fails.
    """
    connection, rehearsed, before = session.connection, list[Rehearsed](), dict[Any, Any]()
    begun = False
    try:
        for step in steps_of(session, wish):
            around, script = envelope(step.script), step.script
            if not script.in_transaction or (begun and script.own_kind):
                does = "begins a transaction of its own kind" if script.in_transaction else "runs outside a transaction"
                rehearsed.append(Rehearsed(step, 0, f"it {does}"))
                continue
            first = beginning(session, step)
            if not begun:
                guarded(connection, [*around.opening, *first])
                before, begun = dict(connection.execute(_COLUMNS.encode()).fetchall()), True  # type: ignore[arg-type]
            started = time.monotonic()
            with session.watch(session, step.migration.label):
                transmit(connection, [first[1], around.body, *around.reset, recorded(session, step)])
            rehearsed.append(Rehearsed(step, time.monotonic() - started))
        after: dict[Any, Any] = dict(connection.execute(_COLUMNS.encode()).fetchall())  # type: ignore[arg-type]
    except Refused as refused:
        if refused.error.sqlstate == "55P04":  # a new enum value that is used
            raise SqlmigError(f"{refused}\n{_REMEDY}") from None
        raise
    finally:
        rollback(connection)
    lost = []
    for table, columns in before.items():
        if gone := [column for column in columns if column not in after.get(table, ())]:
            ((rows,),) = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
            of = f"{', '.join(gone)} of " if table in after else ""
            lost.append(Lost(of + table, int(str(rows))))
    return rehearsed, lost
