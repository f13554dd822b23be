"""Rehearse a run in one transaction that is rolled back, and find its effects, also on the application."""

from __future__ import annotations

import re
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlmig.core.attempts import Attempts
from sqlmig.core.blockers import Blockers
from sqlmig.core.connection import discard, fetch, rollback
from sqlmig.core.errors import (
    ConnectionLost,
    MigrationFailed,
    PlanIsStale,
    ServerError,
    SqlmigError,
    TryAgain,
)
from sqlmig.core.irrevocable import (
    Reach,
    find_irrevocable,
    find_setval,
    read_reach,
    with_definitions,
)
from sqlmig.core.ledger_pieces import before_file, check_of_ledger, record_pieces
from sqlmig.core.lexer import read_statement
from sqlmig.core.runner import pause_before_next_try
from sqlmig.core.sending import send_pieces
from sqlmig.core.session import no_rows
from sqlmig.core.sql import literal, quoted
from sqlmig.core.steps import Step, plan_steps
from sqlmig.core.transaction import file_transaction, own_settings_piece

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlmig.core.plan import Request
    from sqlmig.core.session import Session
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import FileTransaction

_OBSERVE = (Path(__file__).parent / "observe.sql").read_text(encoding="utf-8")
_HIDES_ROWS = """
    SELECT coalesce(bool_or(
        row_security_active(c.oid)
        OR NOT {has_trusted_owner} AND (
            EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND (indexprs IS NOT NULL OR indpred IS NOT NULL))
            OR EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = c.oid)
        )
    ), false)
    FROM pg_class AS c
    WHERE c.relkind IN ('r', 'p')
        AND (c.oid = {relation} OR c.oid IN (SELECT relid FROM pg_partition_tree({relation})))
"""
_GONE = ("42P01", "42703")  # an undefined table, an undefined column
_LOCK_TIMEOUT = "55P03"
_UNSAFE_NEW_ENUM_VALUE = "55P04"
_OUT_OF_MEMORY = "53200"
_KEEPS_ROWS = frozenset((b"insert", b"update", b"set", b"reset"))
_TOUCHES_NO_ROW = re.compile(
    rb"(?:create (?:unique )?index|drop index|reindex|vacuum|analyze)\b"
)


class Loss(NamedTuple):
    """Rows that would be lost: a whole table, all or some rows of a table, or the values of some columns.

    has_values: whether any of these rows has a value in one of the columns.
    """

    kind: Literal["table", "all rows", "rows", "columns"]
    table: str
    columns: tuple[str, ...]
    rows: int
    has_values: bool = True

    @property
    def what(self) -> str:
        """A description of the loss."""
        if self.kind == "table":
            return self.table
        if self.kind == "columns":
            return f"{', '.join(self.columns)} of {self.table}"
        return f"{self.kind} of {self.table}"


@dataclass
class Rehearsed:
    """The effects of a step, or the reason why it was not rehearsed.

    The effects are on tables that existed before: the operations that others must wait
    for, the number of bytes that are rewritten, the tables that are read in full, and the
    losses.
    """

    step: Step
    seconds: float = 0
    obstacle: str | None = None
    locks: dict[str, str] = field(default_factory=dict)
    rewrites: dict[str, int] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    # Tables with rows that this role cannot count, because of row level security.
    hidden: list[str] = field(default_factory=list)
    is_sure: bool = True  # whether all losses were seen

    @property
    def may_lose_rows(self) -> bool:
        """Whether rows would be lost, or may be: a step was not rehearsed, or reverts another migration."""
        if self.step.direction == "down" and self.step.version.has_another_name:
            return True
        if self.obstacle:
            return not _keeps_all_rows(self.step.file)
        if not self.is_sure or _may_go_on_otherwise(self.step.file):
            return True
        return any(loss.rows and loss.has_values for loss in self.losses)


class _Uncertain(NamedTuple):
    """A table that was rewritten, or emptied and filled again.

    rows: the number of rows it had before, if it was rewritten. If it had more, it was emptied.
    """

    rehearsed: Rehearsed
    table: str
    relation: int
    rows: int


class _Uncounted(NamedTuple):
    """A loss of rows that are counted after the rollback, when they exist again."""

    rehearsed: Rehearsed
    loss: Loss
    relation: int


def rehearse(
    session: Session, request: Request, *, only_schema: bool = False
) -> list[Rehearsed]:
    """Run the steps of a request in one transaction, roll it back, and return their effects.

    The transaction begins as its first file does. As in a run, this waits for other
    runners, and tries again after a lock timeout. only_schema: look only at this schema and
    public, because this is one of many schemas. Raises like runner.run.
    """

    def attempt() -> list[Rehearsed]:
        steps = plan_steps(session, request)
        return rehearse_steps(session, steps, only_schema=only_schema)

    attempts = Attempts(session.options.retries)
    with closing(Blockers(session)) as blockers:
        while True:
            try:
                with blockers.watched():
                    return session.when_alone(attempt)
            except ConnectionLost as error:
                raise SqlmigError(
                    f"the connection was lost in the rehearsal; nothing was done\n{error}"
                ) from None
            except TryAgain as failure:
                discard(session.connection)
                attempts.note_failure()
                pause_before_next_try(session, failure, attempts)


def rehearse_steps(
    session: Session, steps: Iterable[Step], *, only_schema: bool = False
) -> list[Rehearsed]:
    """Run these steps in one transaction, roll it back, and return their effects.

    Raises PlanIsStale if another runner interferes, and TryAgain after a lock timeout.
    """
    rehearsed: list[Rehearsed] = []
    uncounted: list[_Uncounted] = []
    uncertain: list[_Uncertain] = []
    earlier: list[Step] = []
    # The state of the relations, as JSON; None before the transaction has begun.
    state: str | None = None
    try:
        for result in _with_obstacles(session, list(steps)):
            step = result.step
            rehearsed.append(result)
            if state is not None and step.file.has_own_mode:
                result.obstacle = "it sets a transaction mode of its own"
            if result.obstacle:
                continue
            transaction = _transaction(session, step, earlier)
            if state is None:
                send_pieces(session.connection, transaction.begin)
                state, _ = _observe(session, None, step, only_schema=only_schema)
            result.seconds = _run(session, step, transaction)
            earlier.append(step)
            state, found = _observe(session, state, step, only_schema=only_schema)
            _take_over(result, found, uncounted)
            result.is_sure = _is_counted(session, step)
            uncertain += _uncertain_tables(session, result, found["uncertain"])
    except MigrationFailed as failure:
        if failure.sqlstate == _UNSAFE_NEW_ENUM_VALUE:
            raise SqlmigError(
                f"{failure}\nthis cannot be rehearsed in one transaction; `sqlmig up` can do it"
            ) from None
        if failure.sqlstate == _OUT_OF_MEMORY:
            raise SqlmigError(
                f"{failure}\nthe rehearsal locks every table in one transaction, and the server has no room for so "
                "many locks (max_locks_per_transaction). `sqlmig up` runs one file at a time, so it needs fewer. "
                "Rehearse fewer files, with --steps"
            ) from None
        raise
    finally:
        rollback(session.connection)
    _count(session, uncounted)
    _find_emptied(session, uncertain)
    return rehearsed


def _with_obstacles(session: Session, steps: Sequence[Step]) -> list[Rehearsed]:
    """Return the steps, with the reasons why some cannot be rehearsed."""
    if not steps:
        return []
    reach = read_reach(session.connection, with_setval=True)
    rehearsed = []
    for step in steps:
        rehearsed.append(Rehearsed(step, obstacle=_obstacle(step, reach)))
        reach = with_definitions(step.file, reach)
    return rehearsed


def _uncertain_tables(
    session: Session, result: Rehearsed, tables: Iterable[Any]
) -> list[_Uncertain]:
    """Return the tables that were rewritten, or emptied and filled again, with their number of rows."""
    uncertain = []
    for table in tables:
        relation = table["relation"]
        if _hides_rows(session, relation):
            result.is_sure = False
            result.hidden.append(table["table"])
            continue
        rows, _ = _row_counts(session, relation, ())
        before = rows - table["added"]
        uncertain.append(_Uncertain(result, table["table"], relation, before))
    return uncertain


def _obstacle(step: Step, reach: Reach) -> str | None:
    """Return the reason why a file cannot be rehearsed, or None if it can."""
    if not step.file.in_transaction:
        return "it runs outside a transaction"
    irrevocable = find_irrevocable(step.file, reach)
    if irrevocable:
        return str(irrevocable)
    return find_setval(step.file, reach)


def _keeps_all_rows(file: SqlFile) -> bool:
    """Return whether all statements of a file are known to change no row, such as DROP INDEX."""
    for start in file.statement_starts:
        words, _ = read_statement(file.text, start)
        if not _TOUCHES_NO_ROW.match(b" ".join(words)):
            return False
    return True


def _may_go_on_otherwise(file: SqlFile) -> bool:
    """Return whether a file repeats, and a later run may do more than the first, for example delete rows."""
    return file.repeats and bool(set(file.first_words()) - _KEEPS_ROWS)


def _transaction(
    session: Session, step: Step, earlier: Iterable[Step]
) -> FileTransaction:
    """Return the transaction of a step. Steps share a transaction, so its COMMIT is not sent."""
    return file_transaction(
        step.file,
        session.file_settings,
        before=before_file(session, step, stays_open=True),
        before_commit=[
            check_of_ledger(session, step.file, rehearsed=earlier),
            *record_pieces(session, step),
        ],
    )


def _run(session: Session, step: Step, transaction: FileTransaction) -> float:
    """Run a step, and return how many seconds it took."""
    timeout = session.options.lock_timeout
    own_settings = own_settings_piece(timeout, step.file, stays_open=True)
    began = time.monotonic()
    with session.surroundings.watch(session, step.label, no_rows):
        send_pieces(
            session.connection, [own_settings, *transaction.body, *transaction.end]
        )
    return round(time.monotonic() - began, 6)


def _is_counted(session: Session, step: Step) -> bool:
    """Return whether the server counted the rows that a step deleted."""
    if b"track_counts" in step.file.text.lower():
        return False
    ((counts,),) = fetch(session.connection, "SELECT current_setting('track_counts')")
    return str(counts) == "on"


def _observe(
    session: Session, before: str | None, step: Step, *, only_schema: bool
) -> tuple[str, Any]:
    """Return the state of the relations, and the effects on them since an earlier state.

    A step that reverts is observed in all schemas, because it may lose rows in any of them.
    """
    query = _OBSERVE.format(
        before="NULL" if before is None else literal(before),
        home_literal=literal(quoted(session.ledger.home_schema)),
        only_schema=only_schema and step.direction == "up",
    )
    ((state, found),) = fetch(session.connection, query)
    return state, found


def _take_over(result: Rehearsed, found: Any, uncounted: list[_Uncounted]) -> None:
    """Write the observed effects into a result."""
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
    """Count the rows of each loss, and add the loss to its step. After the rollback, the rows exist again."""
    for rehearsed, loss, relation in uncounted:
        if _hides_rows(session, relation):
            # Rows that this role does not see would be lost too.
            rehearsed.is_sure = False
            rehearsed.hidden.append(loss.table)
            continue
        try:
            rows, values = _row_counts(session, relation, loss.columns)
        except ServerError as problem:
            if problem.sqlstate in _GONE:
                raise PlanIsStale from None  # another runner was faster
            if problem.sqlstate == _LOCK_TIMEOUT:
                raise TryAgain(str(problem), path=rehearsed.step.file.path) from None
            raise
        if rows or loss.kind != "all rows":
            rehearsed.losses.append(loss._replace(rows=rows, has_values=values > 0))


def _hides_rows(session: Session, relation: int) -> bool:
    """Check whether the rows of a table cannot be counted.

    Row level security may hide some of them from this role. If the role does not trust the
    table's owner, the planner would run the owner's expressions in indexes and statistics.
    """
    query = session.ledger.fill(_HIDES_ROWS, relation=relation)
    ((hides,),) = fetch(session.connection, query)
    return bool(hides)


def _find_emptied(session: Session, uncertain: list[_Uncertain]) -> None:
    """Add the losses of tables that were emptied and filled again."""
    for table in uncertain:
        rows, _ = _row_counts(session, table.relation, ())
        if rows > table.rows:
            table.rehearsed.losses.append(Loss("all rows", table.table, (), rows))


def _row_counts(
    session: Session, relation: int, columns: Sequence[str]
) -> tuple[int, int]:
    """Return how many rows a relation has, and how many have a value in one of these columns.

    If other tables inherit from it, their rows do not count.
    """
    query = f"""
        SELECT CASE relkind WHEN 'r' THEN 'ONLY ' ELSE '' END || oid::regclass
        FROM pg_class WHERE oid = {relation}
    """
    found = fetch(session.connection, query)
    if not found:
        raise PlanIsStale  # another runner has dropped it
    ((name,),) = found
    values = "*"
    if columns:
        values = f"CASE WHEN num_nonnulls({', '.join(columns)}) > 0 THEN 1 END"
    ((rows, with_values),) = fetch(
        session.connection, f"SELECT count(*), count({values}) FROM {name}"
    )
    return int(rows), int(with_values)
