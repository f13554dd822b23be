"""Running steps: each in turn, beside any number of other runners."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from sqlmig import files, plan
from sqlmig.errors import SqlmigError
from sqlmig.ledger import TABLE, create, holders, read
from sqlmig.transaction import (
    Busy,
    Explained,
    Frame,
    Locked,
    Moved,
    Piece,
    parts,
    rollback,
    run_each,
    run_whole,
    send_pieces,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlmig.database import Connection
    from sqlmig.files import Migration, Script
    from sqlmig.ledger import Ledger

_LONGEST_PAUSE = 5.0


@dataclass(frozen=True)
class Runner:
    """Who runs, and how: ``connect`` opens a second connection; ``say`` tells the user something meanwhile."""

    connection: Connection
    connect: Callable[[], AbstractContextManager[Connection]]
    ledger: Ledger
    lock_timeout: str
    retries: int
    say: Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """A migration to apply or to revert, with the script that does it."""

    migration: Migration
    script: Script
    verb: str


def rows_of(runner: Runner, migrations: Sequence[Migration]) -> list[plan.Row]:
    """Return a row for each version. It writes nothing."""
    applied = read(runner.connection, runner.ledger) or []
    versions = {row.version for row in applied}
    checksums = {m.version: files.checksum(files.read(m.up)) for m in migrations if m.version in versions}
    return plan.states(migrations, applied, checksums)


def steps_up(migrations: Sequence[Migration], versions: Sequence[int]) -> list[Step]:
    """Return the steps that apply the versions. All files are read first: one that must not run stops everything."""
    by_version = {migration.version: migration for migration in migrations}
    return [Step(by_version[v], files.load(by_version[v].up), "applied") for v in versions]


def steps_down(migrations: Sequence[Migration], rows: Sequence[plan.Row], versions: Sequence[int]) -> list[Step]:
    """Return the steps that revert the versions. Raises SqlmigError where one has no down file."""
    by_version = {migration.version: migration for migration in migrations}
    downs = {version: migration.down for version, migration in by_version.items() if migration.down}
    if without := [row.label for row in rows if row.version in set(versions) - set(downs)]:
        raise SqlmigError(f"nothing was reverted: there is no down file for {', '.join(without)}")
    steps = [Step(by_version[v], files.load(downs[v]), "reverted") for v in versions]
    for step in steps:
        if step.script.scan.irreversible is not None:
            raise SqlmigError(
                f"nothing was reverted: {step.migration.label} is irreversible: {step.script.scan.irreversible}"
            )
    return steps


def run(runner: Runner, steps: Sequence[Step], recorded: set[int]) -> Iterator[tuple[Step, float]]:
    """Run the steps, and yield each, and the seconds that it took, when it is committed.

    recorded: the versions in the ledger when the steps were planned. What another runner does of the steps meanwhile is
    left out. Raises SqlmigError when it does anything else.
    """
    if steps and not recorded and read(runner.connection, runner.ledger) is None:
        create(runner.connection, runner.ledger)
    todo = list(steps)
    path = _search_path(runner) if todo else None
    while todo:
        step = todo[0]
        begun = time.monotonic()
        try:
            _run(runner, step, recorded, path)
        except (Busy, Moved) as other:
            if isinstance(other, Busy):
                _wait(runner)
            now = _versions(runner)
            todo, recorded = _left(todo, now ^ recorded, now), now
            continue
        except psycopg.OperationalError as error:
            raise SqlmigError(
                f"the connection was lost while {step.migration.label} ran: it may have been committed;"
                f" `sqlmig status` tells\n{str(error).strip()}"
            ) from None
        except KeyboardInterrupt as error:
            raise type(error)(_after_interrupt(runner, step, str(error))) from None
        recorded = recorded ^ {step.migration.version}
        todo = todo[1:]
        yield step, time.monotonic() - begun


def rehearse(runner: Runner, steps: Sequence[Step]) -> tuple[list[tuple[Step, float | None]], list[str]]:
    """Run the steps in one transaction and roll it back.

    Returns the seconds of each (None where it cannot be rehearsed), and the tables and columns that would vanish with
    the rows that they hold. Raises SqlmigError for a file that fails.
    """
    connection, took = runner.connection, list[tuple[Step, float | None]]()
    exists = read(connection, runner.ledger) is not None
    before = _columns(runner)
    path = _search_path(runner)
    connection.execute("BEGIN")
    try:
        if not exists:
            create(connection, runner.ledger, within=True)
        for step in steps:
            begun = time.monotonic()
            if not step.script.scan.in_transaction:
                took.append((step, None))
                continue
            settings = sql.SQL("SET LOCAL lock_timeout = {};").format(runner.lock_timeout)
            settings += sql.SQL("SET LOCAL search_path = {};").format(path) if path else sql.SQL("")
            first = Piece(settings.as_bytes(connection), 1 + bool(path))
            record = Piece(_record(runner.ledger, step).as_bytes(connection), 1)
            try:
                send_pieces(connection, [first, *parts(step.script)[1], record], step.script)
            except Explained as error:
                if error.sqlstate == "55P04":
                    raise SqlmigError(
                        f"{error}\nthis cannot be rehearsed in one transaction; `sqlmig up` can do it"
                    ) from None
                raise
            took.append((step, time.monotonic() - begun))
        after = _columns(runner)
    finally:
        rollback(connection)
    lost = []
    for table, columns in before.items():
        if gone := [column for column in columns if column not in after.get(table, ())]:
            ((rows,),) = connection.execute(sql.SQL("SELECT count(*) FROM ") + sql.SQL(table)).fetchall()
            what = f"{', '.join(gone)} of {table}" if table in after else table
            lost.append(f"{what} ({rows} row{'' if rows == 1 else 's'})")
    return took, lost


def _columns(runner: Runner) -> dict[str, list[str]]:
    """Return the columns of each table, both as one writes them in SQL."""
    query = sql.SQL("""
        SELECT attrelid::regclass::text, array_agg(quote_ident(attname) ORDER BY attnum)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE relkind IN ('r', 'p', 'm') AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
            AND attnum > 0 AND NOT attisdropped AND relname <> {}
        GROUP BY 1 ORDER BY 1
    """)
    return dict(runner.connection.execute(query.format(TABLE)).fetchall())  # type: ignore[arg-type]


def stamp(runner: Runner, migrations: Sequence[Migration], rows: Sequence[plan.Row], version: int) -> list[str]:
    """Record everything up to a version as applied without running it, and return the labels of what was recorded.

    Raises UsageError for a version that does not exist, SqlmigError where the ledger says something else already.
    """
    plan.check_version(rows, version)
    if strange := [
        f"{row.label} is {row.state}" for row in rows if row.version <= version and row.state in ("changed", "missing")
    ]:
        raise SqlmigError(f"nothing was recorded: {', '.join(strange)}")
    recorded = {row.version for row in rows if row.applied_at}
    todo = [m for m in migrations if m.version <= version and m.version not in recorded]
    if not recorded and read(runner.connection, runner.ledger) is None:
        create(runner.connection, runner.ledger, taking_over=True)
    values = [(m.version, m.name, files.checksum(files.read(m.up))) for m in todo]
    insert = sql.SQL("INSERT INTO {} (version, name, checksum) VALUES (%s, %s, %s)").format(runner.ledger.table)
    with runner.connection.transaction(), runner.connection.cursor() as cursor:
        cursor.executemany(insert, values)
    return [migration.label for migration in todo]


def _run(runner: Runner, step: Step, recorded: set[int], path: sql.Composed | None) -> None:
    """Run a step; where a lock cannot be had, again after growing pauses."""
    for retry in range(1, runner.retries + 2):
        frame = Frame(
            runner.ledger.table,
            step.migration.version,
            max(recorded, default=None),
            step.verb == "reverted",
            _record(runner.ledger, step),
            runner.lock_timeout,
            path,
        )
        try:
            if step.script.scan.in_transaction:
                run_whole(runner.connection, step.script, frame)
            else:
                with runner.connect() as worker:
                    run_each(runner.connection, worker, step.script, frame)
            return
        except Locked as error:
            if retry > runner.retries:
                raise
            pause = min(_LONGEST_PAUSE, 0.1 * 2**retry) * random.uniform(0.5, 1)
            runner.say(f"{error}\nrolled back; trying again in {pause:.1f} s ({retry} of {runner.retries})")
            time.sleep(pause)


def _wait(runner: Runner) -> None:
    """Wait until no other runner is at work, with nothing held meanwhile; say whom for."""
    told: set[str] = set()
    pause = 0.02
    while others := set(holders(runner.connection, runner.ledger.table)):
        for other in sorted(others - told):
            runner.say(f"waiting for {other}")
        told |= others
        time.sleep(pause * random.uniform(0.5, 1))
        pause = min(0.5, pause * 1.5)


def _versions(runner: Runner) -> set[int]:
    return {row.version for row in read(runner.connection, runner.ledger) or ()}


def _is_done(step: Step, recorded: set[int]) -> bool:
    return (step.migration.version in recorded) == (step.verb == "applied")


def _left(todo: Sequence[Step], changed: set[int], recorded: set[int]) -> list[Step]:
    """Return the steps still to be done. Raises SqlmigError where others changed what these steps rest on."""
    if strange := changed - {step.migration.version for step in todo}:
        what = ", ".join(f"{'applied' if v in recorded else 'reverted'} {v}" for v in sorted(strange))
        raise SqlmigError(f"another runner {what} meanwhile; look at `sqlmig status` and run again")
    return [step for step in todo if not _is_done(step, recorded)]


def _after_interrupt(runner: Runner, step: Step, message: str) -> str:
    """Say what became of the step that was interrupted."""
    if message:
        return message
    rollback(runner.connection)
    try:
        done = _is_done(step, _versions(runner))
    except (SqlmigError, psycopg.Error):
        return f"interrupted while {step.migration.label} ran; `sqlmig status` tells whether it was {step.verb}"
    return f"interrupted; {step.migration.label} was {'' if done else 'not '}{step.verb}"


def _search_path(runner: Runner) -> sql.Composed | None:
    """Return a search path on which the ledger's schema stands first, where it was named."""
    if not runner.ledger.named:
        return None
    ((path,),) = runner.connection.execute("SHOW search_path").fetchall()
    parts: list[sql.Composable] = [sql.Identifier(runner.ledger.schema)]
    return sql.SQL(", ").join([*parts, sql.SQL(str(path))] if path else parts)


def _record(ledger: Ledger, step: Step) -> sql.Composed:
    """Return the statement that writes the step in the ledger."""
    migration = step.migration
    if step.verb == "reverted":
        return sql.SQL("DELETE FROM {} WHERE version = {}").format(ledger.table, migration.version)
    return sql.SQL("INSERT INTO {} (version, name, checksum) VALUES ({}, {}, {})").format(
        ledger.table, migration.version, migration.name, files.checksum(step.script.text)
    )
