"""Running steps in one transaction that is rolled back, to see what they would do, also to the application."""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg.rows import namedtuple_row

from sqlmig.database import Refused, rollback, transmit
from sqlmig.envelope import envelope
from sqlmig.errors import SqlmigError
from sqlmig.ledger import literal, quoted
from sqlmig.plan import Wish
from sqlmig.run import Step, beginning, guarded, recorded, steps_of
from sqlmig.session import Session

_REMEDY = "this cannot be rehearsed in one transaction; `sqlmig up` can do it"
_RELATIONS = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


@dataclass
class Effect:
    """What befalls a table. lock: 1 blocks writes, 2 reads too. rewrites: bytes. reads: whether it is read whole."""

    lock: int = 0
    rewrites: int = 0
    reads: bool = False


@dataclass
class Rehearsed:
    """A step, its seconds or why it could not be rehearsed, the effects by table, and the rows that would be lost."""

    step: Step
    seconds: float = 0
    obstacle: str = ""
    effects: dict[str, Effect] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)

    def described(self) -> dict[str, object]:
        """Return what it would do, for JSON."""
        blocks = {2: "reads and writes", 1: "writes"}
        return {
            "seconds": round(self.seconds, 6), "obstacle": self.obstacle or None,
            "locks": {table: blocks[effect.lock] for table, effect in self.effects.items() if effect.lock},
            "rewrites": {table: effect.rewrites for table, effect in self.effects.items() if effect.rewrites},
            "reads": [table for table, effect in self.effects.items() if effect.reads], "losses": self.losses,
        }  # fmt: skip


def rehearse(session: Session, wish: Wish) -> list[Rehearsed]:
    """Do what is wished in one transaction, which begins as the first of its files does; roll it back.

    Returns what became of each. A lock that an earlier file took is told there alone. Raises Busy and LedgerChanged
    before anything ran, SqlmigError for a file that fails.
    """
    connection, rehearsed, there = session.connection, list[Rehearsed](), dict[int, Any]()
    lost, begun = list[tuple[Rehearsed, str, str]](), False
    try:
        for step in steps_of(session, wish):
            around, script = envelope(step.script), step.script
            if not script.in_transaction or (begun and script.own_kind):
                does = "begins a transaction of its own kind" if script.in_transaction else "runs outside a transaction"
                rehearsed.append(Rehearsed(step, obstacle=f"it {does}"))
                continue
            first = beginning(session, step)
            if not begun:
                guarded(connection, [*around.opening, *first])
                there, begun = _relations(session), True
            started = time.monotonic()
            with session.watch(session, step.row.label):
                transmit(connection, [first[1], around.body, *around.reset, recorded(session, step)])
            rehearsed.append(Rehearsed(step, time.monotonic() - started))
            now = _relations(session)
            lost += _compare(there, now, rehearsed[-1])
            there = {oid: now[oid] for oid in there if oid in now}
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
        for one, what, name in lost:
            ((rows,),) = connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchall()
            one.losses |= {what: int(str(rows))} if rows or not what.startswith("all rows of ") else {}
    return rehearsed


def _relations(session: Session) -> dict[int, Any]:
    schema, connection = literal(quoted(session.ledger.schema)), session.connection
    query = _RELATIONS.format(schema_literal=schema, many=session.settings.many)
    rows: list[Any] = connection.cursor(row_factory=namedtuple_row).execute(query.encode()).fetchall()
    return {row.oid: row for row in rows}


def _compare(there: dict[int, Any], now: dict[int, Any], one: Rehearsed) -> list[tuple[Rehearsed, str, str]]:
    """Write down what a file did to the relations that were there before, and return what is lost, and where it is."""
    effects, lost = defaultdict[str, Effect](Effect), list[tuple[Rehearsed, str, str]]()
    gone_tables = {was.table for oid, was in there.items() if was.own == was.table and oid not in now}
    emptied = {was.own for oid, was in there.items() if oid in now and now[oid].node != was.node and now[oid].empty}
    for oid, was in there.items():
        is_now, effect = now.get(oid, was._replace(columns=None, lock=2)), effects[was.table]
        effect.lock = max(effect.lock, is_now.lock if is_now.lock > was.lock else 0)
        effect.rewrites += is_now.size if is_now.node != was.node and not {was.table, was.own} & emptied else 0
        effect.reads |= is_now.read - was.read > max(1, was.rows // 2)  # else it stopped early
        if was.columns is None:
            continue
        if is_now.columns is None:
            if was.own == was.table or was.table not in gone_tables:
                lost.append((one, was.own, was.name))
        elif was.own in emptied:
            lost.append((one, f"all rows of {was.own}", was.name))
        elif is_now.deleted > was.deleted:
            one.losses[f"rows of {was.own}"] = is_now.deleted - was.deleted
        gone = [name for number, name in was.columns.items() if is_now.columns and number not in is_now.columns]
        if gone and was.own == was.table:
            lost.append((one, f"{', '.join(gone)} of {was.table}", was.name))
    one.effects = {table: effect for table, effect in effects.items() if effect != Effect()}
    return lost
