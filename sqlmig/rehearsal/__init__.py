"""The rehearsal: what a run would do, also to the application. It runs in one transaction, which is rolled back."""

from __future__ import annotations

import re
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlmig.connection import fetch, rollback
from sqlmig.errors import MigrationFailed, SqlmigError
from sqlmig.ledger import literal, quoted
from sqlmig.lexer import read_statement
from sqlmig.lock_holders import LockHolders
from sqlmig.runner import (
    Step,
    guard_pieces,
    lock_piece,
    pause_before_next_try,
    plan_steps,
    record_piece,
    settings_piece,
)
from sqlmig.transaction import file_pieces
from sqlmig.transmission import TryAgain, transmit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlmig.plan import Request
    from sqlmig.session import Session
    from sqlmig.sqlfile import SqlFile
    from sqlmig.transaction import FilePieces

_OBSERVE = (Path(__file__).parent / "observe.sql").read_text(encoding="utf-8")
_UNSAFE_NEW_ENUM_VALUE = "55P04"
_TOUCHES_NO_ROW = re.compile(
    rb"(?:create (?:unique )?index|drop index|reindex|vacuum|analyze)\b"
)


class Loss(NamedTuple):
    """Rows that would be lost: of a whole table, all or some rows of one, or the values of some columns."""

    kind: Literal["table", "all rows", "rows", "columns"]
    table: str
    columns: tuple[str, ...]
    rows: int

    @property
    def what(self) -> str:
        """What is lost, in words."""
        if self.kind == "table":
            return self.table
        if self.kind == "columns":
            return f"{', '.join(self.columns)} of {self.table}"
        return f"{self.kind} of {self.table}"


@dataclass
class Rehearsed:
    """What a step would do, or why it was not rehearsed.

    Tables are those that were there before: what others wait to do with them, how many
    bytes are rewritten, which are read whole, and what is lost.
    """

    step: Step
    seconds: float = 0
    obstacle: str | None = None
    locks: dict[str, str] = field(default_factory=dict)
    rewrites: dict[str, int] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    @property
    def may_lose_rows(self) -> bool:
        """Whether rows would be lost, or whether nobody can tell, as it was not rehearsed."""
        if self.obstacle:
            return not _keeps_all_rows(self.step.file)
        return any(loss.rows for loss in self.losses)


class _Uncounted(NamedTuple):
    """A loss whose rows are counted when everything is rolled back: they are still there then."""

    rehearsed: Rehearsed
    loss: Loss
    relation: int


def rehearse(session: Session, request: Request) -> list[Rehearsed]:
    """Do what is asked for in one transaction, roll it back, and say what it did.

    The transaction begins as its first file does. As in a run, other runners are waited
    for, and a lock timeout is tried again. Raises as runner.run.
    """

    def attempt() -> list[Rehearsed]:
        return rehearse_steps(session, plan_steps(session, request))

    tries = 0
    with closing(LockHolders(session)) as holders:
        while True:
            try:
                with holders.noted():
                    return session.when_alone(attempt)
            except TryAgain as failure:
                tries += 1
                pause_before_next_try(session, failure, tries)


def rehearse_steps(session: Session, steps: Iterable[Step]) -> list[Rehearsed]:
    """Do these steps in one transaction, roll it back, and say what they did.

    Raises LockHeld and LedgerChanged where other runners are in the way, and TryAgain.
    """
    rehearsed: list[Rehearsed] = []
    uncounted: list[_Uncounted] = []
    state: str | None = (
        None  # of the relations, as JSON; None before the transaction has begun
    )
    try:
        for step in steps:
            obstacle = _obstacle(step, has_begun=state is not None)
            if obstacle:
                rehearsed.append(Rehearsed(step, obstacle=obstacle))
                continue
            pieces = file_pieces(step.file)
            if state is None:
                state = _begin(session, step, pieces)
            result = Rehearsed(step, seconds=_run(session, step, pieces))
            state, found = _observe(session, state)
            _take_over(result, found, uncounted)
            rehearsed.append(result)
    except MigrationFailed as failure:
        if failure.sqlstate == _UNSAFE_NEW_ENUM_VALUE:
            raise SqlmigError(
                f"{failure}\nthis cannot be rehearsed in one transaction; `sqlmig up` can do it"
            ) from None
        raise
    finally:
        rollback(session.connection)
    _count(session, uncounted)
    return rehearsed


def _obstacle(step: Step, *, has_begun: bool) -> str | None:
    if not step.file.in_transaction:
        return "it runs outside a transaction"
    if has_begun and step.file.has_own_mode:
        return "it begins a transaction of its own kind"
    return None


def _keeps_all_rows(file: SqlFile) -> bool:
    """Say whether a file's statements are only of those that touch no row, such as DROP INDEX."""
    for start in file.statement_starts:
        words, _ = read_statement(file.text, start)
        if not _TOUCHES_NO_ROW.match(b" ".join(words)):
            return False
    return True


def _begin(session: Session, step: Step, pieces: FilePieces) -> str:
    """Begin the transaction, take the lock, and return the state of the relations."""
    before = [
        lock_piece(session, step),
        settings_piece(session),
        *guard_pieces(session, step),
    ]
    transmit(session.connection, [*pieces.opening, *before])
    state, _ = _observe(session, None)
    return state


def _run(session: Session, step: Step, pieces: FilePieces) -> float:
    """Run a step, and return how many seconds it took."""
    began = time.monotonic()
    with session.watch(session, step.row.label):
        transmit(
            session.connection,
            [
                settings_piece(session),
                pieces.body,
                pieces.constraints,
                pieces.reset,
                record_piece(session, step),
            ],
        )
    return round(time.monotonic() - began, 6)


def _observe(session: Session, before: str | None) -> tuple[str, Any]:
    """Return the state of the relations, and what was done to them since they were as before."""
    query = _OBSERVE.format(
        before="NULL" if before is None else literal(before),
        schema_literal=literal(quoted(session.ledger.schema)),
        only_schema=session.observes_only_its_schema,
    )
    ((state, found),) = fetch(session.connection, query)
    return state, found


def _take_over(result: Rehearsed, found: Any, uncounted: list[_Uncounted]) -> None:
    """Write what was observed into a result."""
    result.locks = found["locks"]
    result.rewrites = found["rewrites"]
    result.reads = found["reads"]
    for lost in found["losses"]:
        loss = Loss(
            lost["kind"], lost["table"], tuple(lost["columns"]), lost["rows"] or 0
        )
        if lost["rows"] is None:
            uncounted.append(_Uncounted(result, loss, lost["relation"]))
        else:
            result.losses.append(loss)


def _count(session: Session, uncounted: list[_Uncounted]) -> None:
    """Count the rows of what would be lost, and add it to its step."""
    if not uncounted:
        return
    with session.connection.transaction():
        # Rows that the role does not see are lost as well, and somebody may hold the table by now.
        settings = f"SET LOCAL row_security = off; SET LOCAL lock_timeout = {literal(session.options.lock_timeout)}"
        session.connection.execute(settings.encode())
        for rehearsed, loss, relation in uncounted:
            rows = _row_count(session, relation)
            if rows or loss.kind != "all rows":
                rehearsed.losses.append(loss._replace(rows=rows))


def _row_count(session: Session, relation: int) -> int:
    """Return how many rows a relation has; of a table that others inherit from, its own alone."""
    query = f"""
        SELECT CASE relkind WHEN 'r' THEN 'ONLY ' ELSE '' END || oid::regclass
        FROM pg_class WHERE oid = {relation}
    """
    ((name,),) = fetch(session.connection, query)
    ((rows,),) = fetch(session.connection, f"SELECT count(*) FROM {name}")
    return int(rows)
