"""Doing what is wished, or rehearsing it, in one schema or in many, a few at a time; and the words for it."""

from __future__ import annotations

import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack, nullcontext, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

import click
import psycopg

from sqlmig import output
from sqlmig.database import Connection, rollback
from sqlmig.errors import SqlmigError, UsageError, counted
from sqlmig.plan import Row, Wish
from sqlmig.session import Session, Settings, opened

if TYPE_CHECKING:
    from sqlmig.rehearse import Rehearsed
    from sqlmig.run import Step

Done = TypeVar("Done")
Shown = dict[str, list[int]]  # versions by their schema


def _in(sessions: list[Session], some: Sized) -> str:
    return f" in {counted(len(some), 'schema')}" if sessions[0].settings.many else ""


def do(settings: Settings, wish: Wish, *, dry_run: bool, as_json: bool, asks: bool = False) -> int:
    """Do what is wished, or rehearse it, or rehearse it and ask first; return the exit code."""
    with opened(settings, output.say, output.watch) as sessions:
        if not dry_run and not asks:
            return _run(sessions, wish, as_json=as_json)
        shown, code = _rehearse(sessions, wish, as_json=as_json and dry_run)
        if dry_run or not shown:
            return code
        if not click.confirm(f"Revert{_in(sessions, shown)}?", err=True):
            output.say("nothing was reverted")
            return 1
        return _run([session for session in sessions if session.ledger.schema in shown], wish, shown, as_json=as_json)


def _confirmed(session: Session, wish: Wish, shown: Shown | None) -> Wish:
    """Return a wish that is never for more than what was shown, where something was."""

    def choose(rows: Sequence[Row], done: int) -> list[int]:
        versions = wish.choose(rows, done)
        if shown is not None and (others := set(versions).difference(shown[session.ledger.schema])):
            said = f"the ledger has changed since you were asked: {max(others)} is applied"
            raise SqlmigError(f"{said}; run it again")
        return versions

    return Wish(wish.verb, choose)


def _warn(connection: Connection, query: str, empty: set[str]) -> None:
    """Warn of files without a statement, and of tables that anybody can reach."""
    for label in sorted(empty):
        output.say(f"warning: {label} was applied, and has no statement")
    if names := ", ".join(str(name) for (name,) in connection.execute(query.encode())):
        why = "as the role anon may and row level security is off; ALTER TABLE … ENABLE ROW LEVEL SECURITY"
        output.say(f"warning: anyone can reach {names}, {why}")


def _run(sessions: list[Session], wish: Wish, shown: Shown | None = None, *, as_json: bool) -> int:
    """Do what is wished, but nothing that was not shown; print a line for each migration, or for each schema."""
    echo, results = (output.nothing if as_json else click.echo), list[dict[str, object]]()
    ran, empty, many = set[str](), set[str](), sessions[0].settings.many
    connection = sessions[0].connection

    def work(session: Session) -> Iterator[tuple[Step, float]]:
        from sqlmig.run import run

        return run(session, _confirmed(session, wish, shown))

    def tell(session: Session, done: list[tuple[Step, float]]) -> None:
        ran.add(session.ledger.schema)
        empty.update(step.migration.label for step, _ in done if not step.script.starts)
        for step, took in done:
            results.append(_object(session, step) | {"seconds": round(took, 6)})
            if not many:
                echo(f"{output.coloured(wish.verb)} {step.migration.label} ({output.duration(took)})")
        if many:
            took = sum(took for _, took in done)
            echo(f"{session.ledger.schema}: {output.coloured(wish.verb)} {len(done)} ({output.duration(took)})")

    try:
        failed = each(sessions, work, tell, wish)
    finally:
        if as_json:
            output.print_json(results)
    if ran and wish.verb == "applied":
        _warn(connection, sessions[0].ledger.sql("open_tables"), empty)
    idle = len(sessions) - len(ran | set(failed))
    if many and ran | set(failed):
        numbers = {wish.verb: len(ran), "failed": len(failed), "with nothing to do": idle}
        words = ", ".join(f"{number:,} {what}" for what, number in numbers.items() if number)
        echo(f"{counted(len(sessions), 'schema')}: {words}")
    elif idle:
        echo(f"nothing to do{_in(sessions, sessions)}")
    return told(failed, sessions)


def _object(session: Session, step: Step) -> dict[str, object]:
    """Return what a step is, for JSON."""
    schema = {"schema": session.ledger.schema} if session.settings.many else {}
    return {**schema, "version": step.migration.version, "name": step.migration.name}


def _rehearse(sessions: list[Session], wish: Wish, *, as_json: bool) -> tuple[Shown, int]:
    """Rehearse what is wished, print what each migration would do, in sum, and return what was shown."""
    steps: dict[tuple[str, str], list[Rehearsed]] = defaultdict(list)
    echo, shown, results = (output.nothing if as_json else click.echo), Shown(), list[dict[str, object]]()

    def work(session: Session) -> list[list[Rehearsed]]:
        from sqlmig.rehearse import rehearse

        return [session.alone(lambda: rehearse(session, wish))]

    def tell(session: Session, done: list[list[Rehearsed]]) -> None:
        for one in done[0]:
            steps[one.step.migration.label, one.obstacle].append(one)
            results.append(_object(session, one.step) | one.described())
        shown[session.ledger.schema] = [one.step.migration.version for one in done[0]]

    failed = each(sessions, work, tell, wish)
    for (label, obstacle), ones in steps.items():
        would = "would apply" if wish.verb == "applied" else "would revert"
        took = sum(one.seconds for one in ones)
        said = f"not rehearsed {label}: {obstacle}" if obstacle else f"{would} {label}"
        echo(f"{said}{_in(sessions, ones)}{'' if obstacle else f' ({output.duration(took)})'}")
        for line in _effects(ones):
            echo(f"  {line}")
    losses = Counter[str]()
    for ones in steps.values():
        for one in ones:
            losses.update(one.losses)
    for what, rows in losses.items():
        if what.rpartition(" of ")[2] not in losses.keys() - {what}:
            echo(f"would lose {what} ({counted(rows, 'row')})")
    if not steps and not failed:
        echo(f"nothing to do{_in(sessions, sessions)}")
    if as_json:
        output.print_json(results)
    return shown, told(failed, sessions)


def _effects(ones: list[Rehearsed]) -> Iterator[str]:
    """Yield a line for each table that a file would do something to, in sum."""
    for table in sorted({table for one in ones for table in one.effects}):
        effects = [one.effects[table] for one in ones if table in one.effects]
        lock, size = max(effect.lock for effect in effects), sum(effect.rewrites for effect in effects)
        longest = output.duration(max(one.seconds for one in ones if table in one.effects))
        does = [f"blocks {'reads and writes' if lock > 1 else 'writes'} for up to {longest}"] if lock else []
        does += [f"rewrites {output.size(size)}"] if size else []
        does += ["reads it whole"] if any(effect.reads for effect in effects) and not size else []
        yield f"{table}: {', '.join(does)}"


def told(failed: list[str], sessions: list[Session]) -> int:
    """Say which schemas failed, and return the exit code."""
    if failed:
        what = f"{len(failed):,} of {counted(len(sessions), 'schema')} failed: {', '.join(sorted(failed))}"
        output.say(f"{output.coloured('error')}: {what}")
    return int(bool(failed))


def each(
    sessions: list[Session],
    work: Callable[[Session], Iterable[Done]],
    tell: Callable[[Session, list[Done]], None],
    wish: Wish | None = None,
) -> list[str]:
    """Do a work in each session (that wishes for something), tell what it gave, and return the schemas where it failed.

    In many schemas --jobs of them are at work at a time, each over a connection that goes from one to the next, and an
    error stops that one alone. Raises KeyboardInterrupt with words: nothing new begins, what is at work is cancelled.
    """
    failed, todo = list[str](), list[Session]()

    def fail(session: Session, error: Exception) -> None:
        failed.append(session.ledger.schema)
        session.say(f"{output.coloured('error')}: {error}")

    many = sessions[0].settings.many
    for session in sessions:
        try:
            todo += [session] if not wish or session.wanted(wish) else []
        except SqlmigError as error:
            if not many or isinstance(error, UsageError):
                raise
            fail(session, error)
    if not many:
        for session in todo:
            for result in work(session):
                tell(session, [result])
    elif todo:
        bar = click.progressbar(length=len(todo), show_pos=True, file=sys.stderr)
        with bar if output.on_terminal() else nullcontext() as shown:

            def ended(session: Session, done: list[Done], problem: Exception | None) -> None:
                click.echo("\r\x1b[K" if shown else "", nl=False, err=True)
                if done:
                    tell(session, done)
                if problem:
                    fail(session, problem)
                if shown:
                    shown.update(1)

            _at_once(todo, work, ended)
    return failed


def _at_once(
    sessions: list[Session],
    work: Callable[[Session], Iterable[Done]],
    ended: Callable[[Session, list[Done], Exception | None], None],
) -> None:
    from concurrent.futures import ThreadPoolExecutor, as_completed

    jobs, stopped = min(sessions[0].settings.jobs, len(sessions)), threading.Event()
    idle, opened = SimpleQueue[Connection](), list[Connection]()

    def connect() -> Connection:
        opened.append(stack.enter_context(sessions[0].connect("sqlmig")))
        return opened[-1]

    def sleep(seconds: float) -> None:
        if stopped.wait(seconds):
            raise SqlmigError("interrupted")

    def one(session: Session) -> tuple[Session, list[Done], Exception | None]:
        done, connection = list[Done](), idle.get()
        try:
            connection = connect() if connection.closed else connection
            session.connection, session.sleep, connection.say = connection, sleep, session.say
            for result in work(session):
                done.append(result)
                sleep(0)
        except (SqlmigError, psycopg.Error) as error:
            return session, done, error
        finally:
            rollback(connection)
            idle.put(connection)
        return session, done, None

    with ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        for _ in range(jobs):
            try:
                idle.put(connect())
            except SqlmigError:  # there may be no more for us; some do
                if not opened:
                    raise
                break
        futures = [pool.submit(one, session) for session in sessions]
        try:
            for future in as_completed(futures):
                ended(*future.result())
        except BaseException as error:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for connection in opened:
                with suppress(psycopg.Error):  # it is lost
                    connection.cancel()
            pool.shutdown()
            if not isinstance(error, KeyboardInterrupt):
                raise
            done = [future for future in futures if not future.cancelled() and not future.result()[2]]
            words = f"interrupted; {len(done)} of {counted(len(sessions), 'schema')} done, the rest is for the next run"
            raise type(error)(words) from None
