"""Running migrations: each in turn with its row in the ledger, beside any number of other runners."""

from __future__ import annotations

import random
import time
from bisect import insort
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core import hidden_rows
from sqlmig.core.blockers import LockHolders
from sqlmig.core.connection import ConnectionLost, cell_of, discard, fetch, rollback
from sqlmig.core.errors import MigrationFailed, SqlmigError
from sqlmig.core.other_tools import find_neighbours, refuse_other_tool
from sqlmig.core.outside_transaction import (
    refuse_pooler,
    run_outside_transaction,
    with_more_words,
)
from sqlmig.core.plan import Down, Up
from sqlmig.core.reading import read_identity
from sqlmig.core.repeated import run_repeatedly, words_for_rows
from sqlmig.core.sending import TryAgain, transmit
from sqlmig.core.session import AlreadyRecorded, LedgerChanged, LockHeld
from sqlmig.core.sql import OWN_SETTINGS, literal
from sqlmig.core.sqlfile import load
from sqlmig.core.transaction import KEEPALIVES, Transaction, file_pieces, own_piece
from sqlmig.core.versions import Applied, LedgerRow
from sqlmig.core.wording import few

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from psycopg.pq.abc import PGresult

    from sqlmig.core.plan import Request, Row
    from sqlmig.core.session import Session
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece

    Approve = Callable[[Session, Sequence["Step"]], None]

_LENGTH_OF_OUR_PIECES = (
    8192  # bytes, at most: what stands around a file, but its record
)
_FIRST_PAUSE = 0.2  # seconds before a file is tried again; each pause is twice as long
_LONGEST_PAUSE = 5.0


class Step(NamedTuple):
    """A migration to apply, or to revert where it is applied, and the file that does it."""

    row: Row
    file: SqlFile

    @property
    def label(self) -> str:
        """What is applied or reverted, as messages call it."""
        if self.row.recorded is None:
            return self.row.label
        return self.row.label_applied


class Done(NamedTuple):
    """A step that is committed. rows: that a file which repeats has changed."""

    step: Step
    seconds: float
    rows: int = 0

    @property
    def summary(self) -> Applied:
        """What a caller from Python gets of it."""
        return Applied(self.step.row.version, self.step.row.name, self.seconds)


def run(
    session: Session, request: Request, approve: Approve | None = None
) -> Iterator[Done]:
    """Do what is asked for, and yield each step when it is committed.

    Other runners may be at work: a step waits for them, and what is to be done is
    planned anew when the ledger has changed. approve is called with each plan before it
    is begun, and raises SqlmigError against it. Raises MigrationFailed, and other
    SqlmigErrors; their ``applied`` has what was committed before.
    """
    committed: list[Applied] = []
    try:
        with closing(LockHolders(session)) as holders:
            yield from _run(session, request, approve, holders, committed)
    except SqlmigError as error:
        error.applied = committed
        raise


def _run(
    session: Session,
    request: Request,
    approve: Approve | None,
    holders: LockHolders,
    committed: list[Applied],
) -> Iterator[Done]:
    """Do what run does, and keep what was committed."""
    steps = _plan(session, request, 0)
    session.rows_so_far = 0
    is_approved = approve is None
    tries = 0
    rows_at_last_failure = 0
    while steps:
        step = steps[0]
        began = time.monotonic()
        try:
            if approve and not is_approved:
                _approve(session, steps, approve, committed)
                is_approved = True
            with session.watch(session, step.label), holders.noted():
                _apply_step(session, step)
        except (LockHeld, LedgerChanged, AlreadyRecorded) as problem:
            has_changed = session.catch_up(problem)
            if has_changed and isinstance(request, Down):
                raise SqlmigError(_ledger_changed(committed)) from None
            steps = _plan(session, request, len(committed))
            is_approved = approve is None
            if _is_finished(step, steps):
                # By another runner: what was counted is not of the next file.
                session.rows_so_far = 0
                tries = 0
                rows_at_last_failure = 0
        except TryAgain as failure:
            if session.rows_so_far > rows_at_last_failure:
                tries = 0  # it has gone on since
            rows_at_last_failure = session.rows_so_far
            tries += 1
            # A rollback leaves prepared statements and session locks, which the file would meet again.
            discard(session.connection)
            pause_before_next_try(session, failure, tries)
        except ConnectionLost as error:
            raise _connection_lost(session, step, error) from None
        except KeyboardInterrupt as error:
            raise _interrupted(session, step, error) from None
        else:
            steps.popleft()
            tries = 0
            rows_at_last_failure = 0
            done = Done(step, time.monotonic() - began, session.rows_so_far)
            session.rows_so_far = 0
            committed.append(done.summary)
            yield done


def _is_finished(step: Step, steps: Sequence[Step]) -> bool:
    return not steps or steps[0].row.version != step.row.version


def _ledger_changed(committed: Sequence[Applied]) -> str:
    """Return the message for a revert that another runner came in the way of."""
    return (
        f"{_nothing(committed)} was reverted: another runner has applied or reverted a migration since this run began. "
        "See `sqlmig status`, and run it again if it is still what you want"
    )


def _nothing(committed: Sequence[Applied]) -> str:
    return "nothing more" if committed else "nothing"


def _approve(
    session: Session,
    steps: Sequence[Step],
    approve: Approve,
    committed: Sequence[Applied],
) -> None:
    try:
        approve(session, steps)
    except ConnectionLost as error:
        raise SqlmigError(
            f"the connection was lost before {steps[0].label} ran; {_nothing(committed)} was done\n{error}"
        ) from None


def _plan(session: Session, request: Request, done: int) -> deque[Step]:
    """Return the steps to do, which a pooler in between can take."""
    steps = plan_steps(session, request, done)
    refuse_pooler(session, [step.file for step in steps])
    return deque(steps)


def plan_steps(session: Session, request: Request, done: int = 0) -> list[Step]:
    """Return the steps of a request, of which so many are done.

    All their files are read and scanned here: one that must not run stops all of them.
    """
    session.refuse_untrusted_owner()
    rows = session.rows_to_run(request, done)
    if not session.ledger_exists:
        neighbours = find_neighbours(session.connection, session.ledger)
        refuse_other_tool(session.connection, session.ledger, neighbours)
        if isinstance(request, Up) and not request.allow_non_empty:
            _refuse_non_empty(session, neighbours.objects)
    if isinstance(request, Up):
        steps = [_step_to_apply(session, row) for row in rows]
    else:
        steps = _steps_to_revert(session, rows)
    if steps:
        has_own_mode = steps[0].file.has_own_mode
        session.connection.refuse_read_only(chooses_its_mode=has_own_mode)
    return steps


def _refuse_non_empty(session: Session, objects: Sequence[str]) -> None:
    """Refuse a schema that has objects but no ledger: it may be another application's."""
    if objects:
        raise SqlmigError(message_for_non_empty(session, objects))


def message_for_non_empty(session: Session, objects: Sequence[str]) -> str:
    """Return the message for a schema that has objects but no ledger."""
    return (
        f"nothing was applied: {session.connection.database_name} has no ledger in the schema {session.ledger.schema}, "
        f"but it is not empty: {few(objects)}. Is it the right database? If it has what these files make, "
        f"`sqlmig stamp V{session.ledger.schema_option}` records everything up to V as applied, and runs nothing. "
        "To apply all of them beside what is there, add --allow-non-empty"
    )


def _step_to_apply(session: Session, row: Row) -> Step:
    assert row.migration  # what is pending has a file
    _ = row.migration.down_text  # read now: a down file that cannot be kept stops all
    return Step(row, _scanned(session, row.migration.up_file))


def _steps_to_revert(session: Session, rows: Sequence[Row]) -> list[Step]:
    files: dict[int, SqlFile] = {}
    for row in rows:
        if row.migration and row.migration.down_file and not row.has_another_name:
            files[row.version] = _scanned(session, row.migration.down_file)
    files |= _copies_in_ledger(
        session, [row for row in rows if row.version not in files]
    )

    _refuse_what_has_no_way_back(rows, files)
    return [Step(row, files[row.version]) for row in rows]


def _refuse_what_has_no_way_back(
    rows: Sequence[Row], files: Mapping[int, SqlFile]
) -> None:
    for row in rows:
        if row.version not in files and row.has_another_name:
            raise SqlmigError(
                f"nothing was reverted: version {row.version} was applied as {row.recorded_name}, "
                f"whose down file is not here; {row.label} is another migration"
            )
    without = [row.label for row in rows if row.version not in files]
    if without:
        raise SqlmigError(
            f"nothing was reverted: there is no down file for {', '.join(without)}"
        )
    for row in rows:
        reason = files[row.version].irreversible
        if reason is not None:
            raise SqlmigError(
                f"nothing was reverted: {row.label} is irreversible: {reason}"
            )


def _scanned(session: Session, path: Path) -> SqlFile:
    """Return a file, scanned once for all that the session shares its files with."""
    if path not in session.files:
        session.files[path] = load(path)
    return session.files[path]


def _copies_in_ledger(session: Session, rows: Sequence[Row]) -> dict[int, SqlFile]:
    """Return the down files that the ledger holds of these rows, by version."""
    labels = {}
    for row in rows:
        if row.recorded and row.recorded.has_down_copy:
            labels[row.version] = row.label
    if not labels:
        return {}
    versions = ", ".join(str(version) for version in labels)

    copies = {}
    for version, text in fetch(
        session.connection, session.ledger.sql("copies", versions=versions)
    ):
        path = Path(f"the ledger's copy of {labels[version]}.down.sql")
        copies[version] = load(path, text.encode())
    return copies


def _apply_step(session: Session, step: Step) -> None:
    if step.file.repeats:
        _repeat_file(session, step)
    elif step.file.in_transaction:
        apply_file(session, step)
    else:
        if not session.ledger_exists:
            write_records(session, [])
        guard = guard_pieces(session, step)
        record = [*guard_of_record(session), record_piece(session, step)]
        tables = run_outside_transaction(session, step.file, guard, record)
        warn_of_hidden_rows(session, step, tables)
    _note(session, step)


def apply_file(session: Session, step: Step) -> None:
    """Run one file and write its row in the ledger, both in one transaction.

    Raises LockHeld or LedgerChanged before the file ran, and AlreadyRecorded or
    MigrationFailed when it is rolled back. Whichever it is, the database is as it was.
    """
    pieces = file_pieces(step.file, session.files_search_path)
    record = record_piece(session, step)
    length = len(step.file.text) + len(record.text) + _LENGTH_OF_OUR_PIECES
    identity = []
    if not session.ledger_exists:  # the next file's guard asks for it
        identity = [own_piece("other", session.ledger.sql("current_identity"))]
    transaction = Transaction(
        opening=pieces.opening,
        own_settings=own_settings_piece(
            session, stays_open=length > session.connection.largest_message
        ),
        # Nobody else writes the ledger now, and it is as it was when the run was planned.
        lock=lock_piece(session, step),
        guard=guard_pieces(session, step),
        settings=pieces.settings,
        body=pieces.body,
        # What the file leaves behind is checked and undone, so that our own row is written
        # as we mean it.
        constraints=pieces.constraints,
        hidden_rows=hidden_rows.hidden_rows_pieces(step.file),
        reset=pieces.reset,
        own_guard=[*_guard_of_ledger(session), *guard_of_record(session)],
        record=record,
        identity=identity,
        commit=pieces.commit,
    )

    results: list[PGresult] = []
    # One message where the server takes it: a killed runner leaves nothing behind.
    transmit(session.connection, transaction.pieces(), results.extend)
    session.identity = cell_of(results, "sqlmig_identity") or session.identity
    warn_of_hidden_rows(session, step, cell_of(results, hidden_rows.COLUMN))


def warn_of_hidden_rows(session: Session, step: Step, tables: str | None) -> None:
    """Warn of tables of which the file may not have seen all rows."""
    if tables:
        session.say(hidden_rows.warning_for_hidden_rows(step.label, tables))


def _guard_of_ledger(session: Session) -> list[Piece]:
    """Return the check that the file itself did not change the ledger: a loop may empty all tables."""
    title = "own_guard"
    if session.connection.one_statement_a_message:
        title = "own_guard_by_count"
    guard = session.ledger.sql(title, count=len(session.recorded))
    return [own_piece("own guard", guard)]


def _repeat_file(session: Session, step: Step) -> None:
    def before() -> list[Piece]:
        return [
            own_settings_piece(session, stays_open=True),
            lock_piece(session, step),
            *guard_pieces(session, step),
        ]

    own_guard = [*_guard_of_ledger(session), *guard_of_record(session)]
    record = record_piece(session, step)
    tables = run_repeatedly(session, step.file, before, own_guard, record)
    warn_of_hidden_rows(session, step, tables)


def lock_piece(session: Session, step: Step | None = None) -> Piece:
    """Return what takes the runners' lock."""
    lock = session.ledger.sql("lock")
    if step and step.file.has_own_mode and session.ledger_exists:
        timeout = literal(session.options.lock_timeout)
        lock = session.ledger.sql("lock_before_a_snapshot", lock_timeout=timeout) + lock
    return own_piece("lock", lock)


def own_settings_piece(session: Session, *, stays_open: bool = False) -> Piece:
    """Return what our own statements run under: our own settings, and the lock timeout.

    stays_open: the transaction is open between its messages.
    """
    timeout = literal(session.options.lock_timeout)
    settings = f"{OWN_SETTINGS}; SET LOCAL lock_timeout = {timeout};"
    if stays_open:
        settings += KEEPALIVES
    return own_piece("own settings", settings)


def guard_pieces(session: Session, step: Step | None = None) -> list[Piece]:
    """Return what sees that the ledger is as planned, and what makes it where there is none."""
    ledger = session.ledger
    if not session.ledger_exists:
        return [
            own_piece("guard", ledger.sql("missing")),
            own_piece("ledger", ledger.definition()),
        ]
    newest: object = "NULL"
    if session.recorded:
        newest = session.recorded[-1].version
    if session.identity is None:
        session.identity = read_identity(session.connection, ledger)

    guard = ledger.sql("guard", newest=newest, known_identity=literal(session.identity))
    if step and step.row.state == "out-of-order":
        guard += ledger.sql("guard_between", version=step.row.version)
    return [own_piece("guard", guard)]


def guard_of_record(session: Session) -> list[Piece]:
    """Return the check that the ledger is still ours when our row is written. One that this run makes is."""
    if session.identity is None:
        return []
    _, owner, *_ = session.identity.split()
    timeout = literal(session.options.lock_timeout)
    guard = session.ledger.sql("guard_of_record", owner=owner, lock_timeout=timeout)
    return [own_piece("guard", guard)]


def record_piece(session: Session, step: Step) -> Piece:
    """Return what writes the step in the ledger. The file's own settings are undone by then."""
    row = step.row
    record = session.ledger.delete(row.version)
    if row.migration and row.recorded is None:
        # The checksum is of what ran, whatever the file holds by now.
        record = session.ledger.insert(row.migration, step.file.checksum)
    return own_piece(
        "record",
        f"SET LOCAL lock_timeout = {literal(session.options.lock_timeout)};{record}",
    )


def write_records(session: Session, records: Sequence[str]) -> None:
    """Write statements of our own into the ledger, which is made where there is none.

    Raises LockHeld or LedgerChanged before that, and SqlmigError on a standby.
    """
    session.connection.refuse_read_only()
    session.refuse_untrusted_owner()
    transmit(
        session.connection,
        [
            own_piece("begin", "BEGIN"),
            own_settings_piece(session),
            lock_piece(session),
            *guard_pieces(session),
            own_piece("record", ";".join(records)),
            own_piece("commit", "COMMIT"),
        ],
    )
    session.ledger_exists = True


def _note(session: Session, step: Step) -> None:
    """Keep in mind what the ledger has now: the guard of the next file asks for the newest version."""
    session.ledger_exists = True
    if step.row.recorded is None:
        insort(session.recorded, LedgerRow(step.row.version, step.row.name, "", ""))
    else:
        session.recorded.pop()  # the newest is reverted first


def pause_before_next_try(session: Session, failure: TryAgain, tries: int) -> None:
    """Wait before a file is tried again. Raises the failure if it was tried often enough."""
    retries = session.options.retries
    held = [f"the lock is held by {holder}" for holder in failure.lock_holders]
    if tries > retries:
        kept = "nothing of this file was kept"
        if session.rows_so_far:
            kept = words_for_rows(session.rows_so_far)
        end = f"{kept}; gave up after {tries} " + ("try" if tries == 1 else "tries")
        raise with_more_words(failure, "\n".join([str(failure), *held, end]))
    pause = min(
        _LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(tries - 1, 10)
    ) * random.uniform(0.5, 1)
    label = "the file"
    if failure.path:
        label = failure.path.name.removesuffix(".up.sql").removesuffix(".down.sql")
    problem = f"{label}: no lock yet"
    if tries == 1:  # what it was told once it need not be told again
        problem = "\n".join([str(failure), *held, "rolled back"])
    session.say(f"{problem}; trying again in {pause:.1f} s ({tries} of {retries})")
    session.sleep(pause)


def _connection_lost(
    session: Session, step: Step, error: ConnectionLost
) -> MigrationFailed:
    words = f"{step.file.path}: {error}"
    if session.connection.closed:
        words = (
            f"the connection was lost while {step.label} ran: it may have been committed; "
            f"`sqlmig status` tells\n{error}"
        )
    rollback(session.connection)
    if session.rows_so_far:
        words += f"\n{words_for_rows(session.rows_so_far)}"
    return MigrationFailed(words, path=step.file.path)


def _interrupted(
    session: Session, step: Step, error: KeyboardInterrupt
) -> KeyboardInterrupt:
    """Return the interrupt with words for what became of the step."""
    if str(error):
        return error
    earlier = ""
    if session.rows_so_far:
        # The last COMMIT may be on its way.
        earlier = f"; at least {words_for_rows(session.rows_so_far)}"
    verb = "applied" if step.row.recorded is None else "reverted"
    rollback(session.connection)
    try:
        session.reread()
    except SqlmigError:
        return type(error)(
            f"interrupted while {step.label} ran; `sqlmig status` tells whether it was {verb}{earlier}"
        )

    is_recorded = any(row.version == step.row.version for row in session.recorded)
    is_done = is_recorded == (verb == "applied")
    negation = "" if is_done else "not "
    return type(error)(f"interrupted; {step.label} was {negation}{verb}{earlier}")
