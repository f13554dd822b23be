"""Running steps in one transaction that is rolled back, to see what they would do, also to the application."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from sqlmig.database import Refused, rollback
from sqlmig.envelope import envelope
from sqlmig.errors import SqlmigError
from sqlmig.ledger import literal, quoted
from sqlmig.plan import Wish
from sqlmig.run import Step, beginning, record_of, steps_of, transmit
from sqlmig.session import Session

_REMEDY = "this cannot be rehearsed in one transaction; `sqlmig up` can do it"
_RELATIONS = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


@dataclass
class Rehearsed:
    """A step, its seconds or why it could not be rehearsed, what it does to tables, and the rows that would be lost."""

    step: Step
    seconds: float = 0
    obstacle: str | None = None
    locks: dict[str, str] = field(default_factory=dict)  # what of a table others wait to do
    rewrites: dict[str, int] = field(default_factory=dict)  # how many bytes of a table
    reads: list[str] = field(default_factory=list)  # the tables that are read whole
    losses: dict[str, int] = field(default_factory=dict)


def rehearse(session: Session, wish: Wish) -> list[Rehearsed]:
    """Do what is wished in one transaction, which begins as its first file does; roll it back, and say what it did."""
    connection, rehearsed, state = session.connection, list[Rehearsed](), ""
    lost = list[tuple[Rehearsed, str, int]]()
    try:
        for step in steps_of(session, wish):
            around, script = envelope(step.script), step.script
            if not script.in_transaction or (state and script.own_kind):
                does = "begins a transaction of its own kind" if script.in_transaction else "runs outside a transaction"
                rehearsed.append(Rehearsed(step, obstacle=f"it {does}"))
                continue
            lock, settings, *guard = beginning(session, step)
            if not state:
                transmit(connection, [*around.opening, lock, settings, *guard])
                state, _, _ = _observed(session, "NULL")
            started = time.monotonic()
            with session.watch(session, step.row.label):
                transmit(connection, [settings, around.body, *around.reset, record_of(session, step)])
            took = round(time.monotonic() - started, 6)
            state, effects, losses = _observed(session, literal(state))
            rehearsed.append(one := Rehearsed(step, took, **effects))
            one.losses = {what: rows for what, _, rows in losses if rows is not None}
            lost += [(one, what, oid) for what, oid, rows in losses if rows is None]
    except Refused as refused:
        if refused.error.sqlstate == "55P04":  # a new enum value that is used
            raise SqlmigError(f"{refused}\n{_REMEDY}") from None
        raise
    finally:
        rollback(connection)
    with connection.transaction():
        # Rows that are not seen are lost as well; and somebody else may hold the table by now.
        patience = f"SET LOCAL row_security = off; SET LOCAL lock_timeout = {literal(session.settings.lock_timeout)}"
        connection.execute(patience.encode())
        for one, what, oid in lost:
            only = "SELECT CASE relkind WHEN 'r' THEN 'ONLY ' ELSE '' END || oid::regclass FROM pg_class WHERE oid ="
            ((name,),) = connection.execute(f"{only} {oid}".encode()).fetchall()
            ((rows,),) = connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchall()
            one.losses |= {what: int(str(rows))} if rows or not what.startswith("all rows of ") else {}
    return rehearsed


def _observed(session: Session, before: str) -> tuple[str, dict[str, Any], list[Any]]:
    """Return the state of the relations, for the next time, and the effects and losses since they were as before."""
    schema, many = literal(quoted(session.ledger.schema)), session.settings.many
    query = _RELATIONS.format(before=before, schema_literal=schema, many=many)
    ((state, effects, losses),) = cast("Any", session.connection.execute(query.encode()).fetchall())
    return state, effects, losses
