"""Running migrations, each with its ledger row, while any number of other runners do the same."""

from __future__ import annotations

import time
from bisect import insort
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core import hidden_rows
from sqlmig.core.attempts import Attempts, message_for_rows
from sqlmig.core.blockers import Blockers
from sqlmig.core.connection import cell_of, discard, rollback
from sqlmig.core.errors import (
    ConnectionLost,
    MigrationFailed,
    PlanIsStale,
    SqlmigError,
    TryAgain,
    replace_message,
)
from sqlmig.core.ledger_pieces import (
    IDENTITY_COLUMN,
    before_file,
    check_of_ledger,
    guard_pieces,
    record_pieces,
    write_records,
)
from sqlmig.core.outside_transaction import run_outside_transaction
from sqlmig.core.plan import Down
from sqlmig.core.reading import Contents
from sqlmig.core.repeated import run_repeatedly
from sqlmig.core.sending import send_pieces
from sqlmig.core.steps import plan_steps_for_run
from sqlmig.core.transaction import file_transaction
from sqlmig.core.versions import Applied, LedgerRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.pq.abc import PGresult

    from sqlmig.core.plan import Request
    from sqlmig.core.session import Session
    from sqlmig.core.steps import Step


class Done(NamedTuple):
    """A step that is committed. rows: the rows that a file that repeats has changed."""

    step: Step
    seconds: float
    rows: int = 0

    @property
    def summary(self) -> Applied:
        """The result for a caller from Python."""
        return Applied(self.step.version.version, self.step.version.name, self.seconds)


def run(session: Session, request: Request) -> Iterator[Done]:
    """Do what a request asks for, and yield each step when it is committed.

    Any number of runners may do this at once: a step waits for the others, and the run
    plans again if they have changed the ledger. Raises SqlmigError; its ``applied`` has the
    steps that were committed before.
    """
    run = _Run(session, request)
    with closing(Blockers(session)) as blockers:
        try:
            steps = run.plan()
            while steps:
                step = steps[0]
                try:
                    with blockers.watched():
                        done = run.run_step(step)
                except PlanIsStale as problem:
                    steps = run.plan_again(problem, step)
                except TryAgain as failure:
                    run.pause(failure)
                else:
                    steps.popleft()
                    yield done
        except SqlmigError as error:
            error.applied = run.committed
            raise


@dataclass
class _Run:
    """One run: the request, the committed steps, and the tries of the present file."""

    session: Session
    request: Request
    committed: list[Applied] = field(default_factory=list)
    attempts: Attempts = field(init=False)

    def __post_init__(self) -> None:
        self._begin_attempts()

    def _begin_attempts(self) -> None:
        self.attempts = Attempts(self.session.options.retries)

    def plan(self) -> deque[Step]:
        """Return the steps that are left."""
        done = len(self.committed)
        return deque(plan_steps_for_run(self.session, self.request, done))

    def plan_again(self, problem: PlanIsStale, step: Step) -> deque[Step]:
        """Wait for the other runner, and return the steps that are left. A revert stops if the ledger has changed."""
        has_changed = self.session.catch_up(problem)
        if has_changed and isinstance(self.request, Down):
            raise SqlmigError(
                f"{self._nothing()} was reverted: another runner has applied or reverted a migration since this run "
                "began. See `sqlmig status`, and run it again if it is still what you want"
            ) from None
        steps = self.plan()
        if not steps or steps[0].version.version != step.version.version:
            self._begin_attempts()  # another runner has finished the file
        return steps

    def run_step(self, step: Step) -> Done:
        """Run one file and write its ledger row, and return the step when it is committed.

        Raises PlanIsStale if nothing was done, TryAgain, MigrationFailed, and
        KeyboardInterrupt with a text that says whether the step was committed.
        """
        session = self.session
        began = time.monotonic()
        try:
            with session.surroundings.watch(session, step.label, self._rows):
                hidden = _run_file(session, step, self.attempts)
        except ConnectionLost as error:
            raise _connection_lost(session, step, error, self.attempts) from None
        except KeyboardInterrupt as error:
            raise _interrupted(session, step, error, self.attempts) from None

        if hidden:
            session.say(hidden_rows.warning_for_hidden_rows(step.label, hidden))
        done = Done(step, time.monotonic() - began, self.attempts.rows)
        self.committed.append(done.summary)
        self._begin_attempts()
        return done

    def _rows(self) -> int:
        return self.attempts.rows

    def _nothing(self) -> str:
        return "nothing more" if self.committed else "nothing"

    def pause(self, failure: TryAgain) -> None:
        """Wait before a file is tried again. Raises the failure if it was tried often enough."""
        # A rollback leaves prepared statements and session locks, which the file would meet again.
        discard(self.session.connection)
        self.attempts.note_failure()
        pause_before_next_try(self.session, failure, self.attempts)


def _run_file(session: Session, step: Step, attempts: Attempts) -> str | None:
    """Run one file and write its ledger row. Return the tables in which it may not have seen all rows."""
    if step.file.repeats:
        hidden = run_repeatedly(session, step, attempts)
    elif step.file.in_transaction:
        hidden = _run_in_transaction(session, step)
    else:
        if session.contents is None:
            write_records(session, [])
            session.contents = _new_contents()
        guard = guard_pieces(session, step)
        record = [
            check_of_ledger(session, step.file, counts_only=True),
            *record_pieces(session, step),
        ]
        hidden = run_outside_transaction(session, step.file, guard, record)
    _note_in_ledger_rows(session, step)
    return hidden


def _run_in_transaction(session: Session, step: Step) -> str | None:
    """Send the file and its ledger row in one transaction, and in one batch if the server accepts it."""
    transaction = file_transaction(
        step.file,
        session.file_settings,
        before=before_file(session, step, stays_open=_needs_batches(session, step)),
        after=hidden_rows.hidden_rows_pieces(step.file),
        before_commit=[
            check_of_ledger(session, step.file),
            *record_pieces(session, step),
        ],
    )
    results: list[PGresult] = []
    send_pieces(session.connection, transaction.pieces(), results.extend)
    if session.contents is None:
        identity = cell_of(results, IDENTITY_COLUMN) or ""
        session.contents = _new_contents(identity)
    return cell_of(results, hidden_rows.COLUMN)


def _needs_batches(session: Session, step: Step) -> bool:
    """Check whether a step may be too long for one batch."""
    if step.file.copies:
        return True
    length = len(step.file.text) + _LENGTH_OF_OUR_PIECES
    if step.version.migration and step.version.migration.down_text:
        length += 2 * len(step.version.migration.down_text.encode())
    return length > session.connection.largest_batch


# Bytes, at most, of our own pieces around a file, without the text of its down file.
_LENGTH_OF_OUR_PIECES = 16384


def _new_contents(identity: str = "") -> Contents:
    """Return the contents of a ledger that this run has just made."""
    return Contents(rows=[], identity=identity)


def _note_in_ledger_rows(session: Session, step: Step) -> None:
    """Note what the ledger holds now. The check before the next file asks for its newest version."""
    if session.contents is None:  # a file that repeats has made it
        session.contents = _new_contents()
    if step.direction == "up":
        row = LedgerRow(step.version.version, step.version.name, "", "")
        insort(session.ledger_rows, row)
    else:
        session.ledger_rows.pop()  # the newest is reverted first


def pause_before_next_try(
    session: Session, failure: TryAgain, attempts: Attempts
) -> None:
    """Wait before a file is tried again. Raises the failure if it was tried often enough."""
    held = [f"the lock is held by {blocker}" for blocker in failure.blockers]
    if attempts.are_used_up:
        lines = [str(failure), *held, attempts.message_at_the_end()]
        raise replace_message(failure, "\n".join(lines))
    pause = attempts.pause()
    label = "the file"
    if failure.path:
        label = failure.path.name.removesuffix(".up.sql").removesuffix(".down.sql")
    problem = f"{label}: no lock yet"
    if attempts.tries == 1:  # print the full failure only the first time
        problem = "\n".join([str(failure), *held, "rolled back"])
    count = f"{attempts.tries} of {attempts.limit}"
    session.say(f"{problem}; trying again in {pause:.1f} s ({count})")
    session.surroundings.sleep(pause)


def _connection_lost(
    session: Session, step: Step, error: ConnectionLost, attempts: Attempts
) -> MigrationFailed:
    """Turn a lost connection into the failure of a step that may have been committed."""
    message = f"{step.file.path}: {error}"
    if session.connection.closed:
        message = (
            f"the connection was lost while {step.label} ran: it may have been committed; "
            f"`sqlmig status` shows it\n{error}"
        )
    rollback(session.connection)
    if attempts.rows:
        message += f"\n{message_for_rows(attempts.rows)}"
    return MigrationFailed(message, path=step.file.path)


def _interrupted(
    session: Session, step: Step, error: KeyboardInterrupt, attempts: Attempts
) -> KeyboardInterrupt:
    """Return the interrupt with a message that says whether the step was committed."""
    if str(error):
        return error
    earlier = ""
    if attempts.rows:
        # The last COMMIT may be on its way.
        earlier = f"; at least {message_for_rows(attempts.rows)}"
    rollback(session.connection)
    try:
        session.reread()
    except SqlmigError:
        return type(error)(
            f"interrupted while {step.label} ran; `sqlmig status` shows whether it was {step.verb}{earlier}"
        )

    recorded = {row.version for row in session.ledger_rows}
    is_done = (step.version.version in recorded) == (step.direction == "up")
    negation = "" if is_done else "not "
    return type(error)(f"interrupted; {step.label} was {negation}{step.verb}{earlier}")
