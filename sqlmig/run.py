"""Running steps: each in turn, beside any number of other runners."""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from sqlmig import files, plan
from sqlmig.database import Refused, send
from sqlmig.errors import SqlmigError
from sqlmig.ledger import TABLE, literal, quoted
from sqlmig.message import GUARD, Piece, parts
from sqlmig.scan import load
from sqlmig.session import WORKER, create, holders, read
from sqlmig.transaction import Busy, Frame, Moved, rollback, run_each, run_whole, send_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlmig.files import Migration
    from sqlmig.scan import Script
    from sqlmig.session import Session

_LONGEST_PAUSE = 5.0
_TRY_AGAIN = ("55P03", "40P01")  # a lock timeout, a deadlock


@dataclass(frozen=True)
class Step:
    """A migration to apply or to revert, with the script that does it."""

    migration: Migration
    script: Script
    verb: str


def steps_up(session: Session, versions: Sequence[int]) -> list[Step]:
    """Return the steps that apply the versions. All files are read first: one that must not run stops everything."""
    by_version = {migration.version: migration for migration in session.migrations}
    return [Step(by_version[v], load(by_version[v].up), "applied") for v in versions]


def steps_down(session: Session, rows: Sequence[plan.Row], versions: Sequence[int]) -> list[Step]:
    """Return the steps that revert the versions. Raises SqlmigError where one has no down file."""
    by_version = {migration.version: migration for migration in session.migrations}
    downs = {version: migration.down for version, migration in by_version.items() if migration.down}
    bare = set(versions) - set(downs)
    if without := [row.label for row in rows if row.version in bare]:
        raise SqlmigError(f"nothing was reverted: there is no down file for {', '.join(without)}")
    steps = [Step(by_version[v], load(downs[v]), "reverted") for v in versions]
    for step in steps:
        if step.script.scan.irreversible is not None:
            raise SqlmigError(
                f"nothing was reverted: {step.migration.label} is irreversible: {step.script.scan.irreversible}"
            )
    return steps


def run(
    session: Session,
    steps: Sequence[Step],
    watch: Callable[[str], AbstractContextManager[None]],
    lock_timeout: str,
    retries: int,
) -> Iterator[tuple[Step, float]]:
    """Run the steps, and yield each, and the seconds that it took, when it is committed.

    watch: entered with each one's label. What another runner does of the steps meanwhile is left out.
    Raises SqlmigError when it does anything else.
    """
    if session.applied is None:
        create(session)
    recorded = {row.version for row in session.applied or ()}
    todo, tries = deque(steps), 0
    path = _search_path(session)
    while todo:
        step = todo[0]
        begun = time.monotonic()
        try:
            with watch(step.migration.label):
                _run(session, step, recorded, path, lock_timeout)
        except (Busy, Moved) as other:
            if isinstance(other, Busy):
                _wait(session)
            now = _versions(session)
            todo, recorded = _left(todo, now ^ recorded, now), now
            continue
        except Refused as refused:
            if refused.error.sqlstate not in _TRY_AGAIN or tries == retries:
                raise
            tries += 1
            pause = min(_LONGEST_PAUSE, 0.1 * 2**tries) * random.uniform(0.5, 1)
            # What it was told once it need not be told again.
            problem = f"{refused}\nrolled back" if tries == 1 else f"{step.migration.label}: no lock yet"
            session.say(f"{problem}; trying again in {pause:.1f} s ({tries} of {retries})")
            time.sleep(pause)
            continue
        except psycopg.OperationalError as error:
            raise SqlmigError(
                f"the connection was lost while {step.migration.label} ran: it may have been committed;"
                f" `sqlmig status` tells\n{str(error).strip()}"
            ) from None
        except KeyboardInterrupt as error:
            raise type(error)(_after_interrupt(session, step, str(error))) from None
        recorded ^= {step.migration.version}
        todo.popleft()
        tries = 0
        yield step, time.monotonic() - begun


def rehearse(
    session: Session, steps: Sequence[Step], watch: Callable[[str], AbstractContextManager[None]], lock_timeout: str
) -> tuple[list[tuple[Step, float | None]], list[str]]:
    """Run the steps in one transaction and roll it back.

    Returns the seconds of each (None where it cannot be rehearsed), and the tables and columns that would vanish with
    the rows that they hold. Raises SqlmigError for a file that fails.
    """
    connection, took = session.connection, list[tuple[Step, float | None]]()
    before = _columns(session)
    path = _search_path(session)
    connection.execute("BEGIN")
    try:
        if session.applied is None:
            create(session, within=True)
        for step in steps:
            begun = time.monotonic()
            if not step.script.scan.in_transaction:
                took.append((step, None))
                continue
            settings = [f"lock_timeout = {literal(lock_timeout)};", *([path] if path else [])]
            first = Piece("".join(f"SET LOCAL {setting}" for setting in settings).encode(), len(settings))
            try:
                pieces = [first, *parts(step.script)[1], Piece(_record(session, step), 1)]
                with watch(step.migration.label):
                    send_pieces(connection, pieces, step.script)
            except Refused as refused:
                remedy = "this cannot be rehearsed in one transaction; `sqlmig up` can do it"
                if refused.error.sqlstate == "55P04":  # a new enum value that is used
                    raise SqlmigError(f"{refused}\n{remedy}") from None
                raise
            took.append((step, time.monotonic() - begun))
        after = _columns(session)
    finally:
        rollback(connection)
    lost = []
    for table, columns in before.items():
        if gone := [column for column in columns if column not in after.get(table, ())]:
            ((rows,),) = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
            what = f"{', '.join(gone)} of {table}" if table in after else table
            lost.append(f"{what} ({rows} row{'' if rows == 1 else 's'})")
    return took, lost


def _columns(session: Session) -> dict[str, list[str]]:
    """Return the columns of each table, both as one writes them in SQL."""
    query = f"""
        SELECT attrelid::regclass::text, array_agg(pg_catalog.quote_ident(attname::text) ORDER BY attnum)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE relkind IN ('r', 'p', 'm') AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
            AND attnum > 0 AND NOT attisdropped AND relname <> {literal(TABLE)}
        GROUP BY 1 ORDER BY 1
    """
    return dict(session.connection.execute(query.encode()).fetchall())  # type: ignore[arg-type]


def stamp(session: Session, version: int) -> list[str]:
    """Record everything up to a version as applied without running it, and return the labels of what was recorded.

    Raises UsageError for a version that does not exist, SqlmigError where the ledger says something else already.
    """
    rows = session.rows()
    plan.check_version(rows, version)
    wrong = [row for row in rows if row.version <= version and row.state in ("changed", "missing")]
    if strange := [f"{row.label} is {row.state}" for row in wrong]:
        raise SqlmigError(f"nothing was recorded: {', '.join(strange)}")
    recorded = {row.version for row in session.applied or ()}
    todo = [m for m in session.migrations if m.version <= version and m.version not in recorded]
    if session.applied is None:
        create(session, taking_over=True)
    records = [session.ledger.insert(m.version, m.name, files.checksum(files.read(m.up))) for m in todo]
    send(session.connection, ";".join(records).encode())
    return [migration.label for migration in todo]


def _run(session: Session, step: Step, recorded: set[int], path: str, lock_timeout: str) -> None:
    """Run a step, where the ledger still says what is recorded."""
    table, version, newest = session.ledger.table, step.migration.version, max(recorded, default=None)
    # The newest version tells whether this one is recorded, unless this one is older.
    older = newest is not None and version < newest
    also = f" AND NOT EXISTS (SELECT FROM {table} WHERE version = {version})" if older else ""
    guard = GUARD.format(
        table=table, newest="NULL" if newest is None else newest, also=also, lock_timeout=literal(lock_timeout)
    )
    frame = Frame(session.ledger, guard.encode(), path.encode(), _record(session, step))
    if step.script.scan.in_transaction:
        run_whole(session.connection, step.script, frame)
    else:
        with session.connect(WORKER) as worker:
            run_each(session.connection, worker, step.script, frame)


def _wait(session: Session) -> None:
    """Wait until no other runner is at work, with nothing held meanwhile; say whom for."""
    told: set[str] = set()
    pause = 0.02
    while others := set(holders(session.connection, session.ledger)):
        for other in sorted(others - told):
            session.say(f"waiting for {other}")
        told |= others
        time.sleep(pause * random.uniform(0.5, 1))
        pause = min(0.5, pause * 1.5)


def _versions(session: Session) -> set[int]:
    return {row.version for row in read(session.connection, session.ledger) or ()}


def _is_done(step: Step, recorded: set[int]) -> bool:
    return (step.migration.version in recorded) == (step.verb == "applied")


def _left(todo: Iterable[Step], changed: set[int], recorded: set[int]) -> deque[Step]:
    """Return the steps still to be done. Raises SqlmigError where others changed what these steps rest on."""
    if strange := changed - {step.migration.version for step in todo}:
        what = ", ".join(f"{'applied' if v in recorded else 'reverted'} {v}" for v in sorted(strange))
        raise SqlmigError(f"another runner {what} meanwhile; look at `sqlmig status` and run again")
    return deque(step for step in todo if not _is_done(step, recorded))


def _after_interrupt(session: Session, step: Step, message: str) -> str:
    """Say what became of the step that was interrupted."""
    if message:
        return message
    rollback(session.connection)
    try:
        done = _is_done(step, _versions(session))
    except (SqlmigError, psycopg.Error):
        return f"interrupted while {step.migration.label} ran; `sqlmig status` tells whether it was {step.verb}"
    return f"interrupted; {step.migration.label} was {'' if done else 'not '}{step.verb}"


def _search_path(session: Session) -> str:
    """Return the setting that puts the ledger's schema first on the search path, where it was named."""
    if not session.ledger.named:
        return ""
    ((path,),) = session.connection.execute("SHOW search_path").fetchall()
    return f"search_path = {quoted(session.ledger.schema)}{path and f', {path}'};"


def _record(session: Session, step: Step) -> bytes:
    """Return the statement that writes the step in the ledger."""
    migration = step.migration
    if step.verb == "reverted":
        return session.ledger.delete(migration.version).encode() + b";"
    insert = session.ledger.insert(migration.version, migration.name, files.checksum(step.script.text))
    return insert.encode() + b";"
