"""Doing what is wished, or rehearsing it, in one schema or in many, a few at a time; and the words for it."""

import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, nullcontext, suppress
from queue import SimpleQueue
from typing import Any

import click
import psycopg

from sqlmig import output
from sqlmig.database import Connection, rollback
from sqlmig.errors import SqlmigError, counted
from sqlmig.plan import Wish
from sqlmig.rehearse import Rehearsed, rehearse
from sqlmig.run import Step, run, write
from sqlmig.session import Done, Session

Work = Callable[[Session], Iterable[Done]]
Tell = Callable[[Session, list[Done]], None]


def do(sessions: list[Session], wish: Wish, count: int) -> int:
    """Do what is wished in sessions, of so many, or rehearse it, also before it is asked for; return the exit code."""
    settings = sessions[0].settings
    if not settings.dry_run and (wish.verb == "applied" or not settings.asks):
        return _run_and_tell(sessions, wish, count)
    shown, code = _rehearse_and_tell(sessions, wish, count)
    if settings.dry_run or not shown:
        return code
    if not click.confirm(f"Revert{settings.within(len(shown))}?", err=True):
        output.say("nothing was reverted")
        return 1
    chosen = [session for session in sessions if session.ledger.schema in shown]
    return _run_and_tell(chosen, wish._replace(shown=shown), len(chosen))


def _run_and_tell(sessions: list[Session], wish: Wish, count: int) -> int:
    """Do what is wished; print a line for each migration, or for each schema."""
    connection, settings, verb = sessions[0].connection, sessions[0].settings, wish.verb
    ran: list[tuple[Session, Step, float]] = []
    echo, many = (lambda _: None) if settings.as_json else click.echo, settings.many

    def tell(session: Session, done: list[tuple[Step, float]]) -> None:
        ran.extend((session, *one) for one in done)
        took = output.duration(sum(took for _, took in done))
        where, what = (f"{session.ledger.schema}: ", len(done)) if many else ("", done[0][0].row.label)
        echo(f"{where}{output.coloured(verb)} {what} ({took})")

    try:
        failed = each(sessions, lambda session: run(session, wish), tell)
    finally:
        if settings.as_json:
            output.print_json(_object(session, step, seconds=round(took, 6)) for session, step, took in ran)
    for label in sorted({step.row.label for _, step, _ in ran if not step.script.starts}):
        output.say(f"warning: {label} was {verb}, and its file has no statement")
    if ran and verb == "applied":
        open_tables = connection.execute(sessions[0].ledger.sql("open_tables").encode())
        if names := ", ".join(str(name) for (name,) in open_tables):
            why = "as the role anon may and row level security is off; ALTER TABLE … ENABLE ROW LEVEL SECURITY"
            output.say(f"warning: anyone can reach {names}, {why}")
    did = {session.ledger.schema for session, _, _ in ran}
    if not did | set(failed):
        echo(f"nothing to do{settings.within(count)}")
    elif many:
        numbers = {verb: len(did), "failed": len(failed), "with nothing to do": count - len(did | set(failed))}
        echo(f"{counted(count, 'schema')}: {', '.join(f'{n:,} {what}' for what, n in numbers.items() if n)}")
    return told(failed, count)


def _object(session: Session, step: Step, **more: object) -> dict[str, object]:
    schema = {"schema": session.ledger.schema} if session.settings.many else {}
    return {**schema, "version": step.row.version, "name": step.row.name, **more}


def _rehearse_and_tell(sessions: list[Session], wish: Wish, count: int) -> tuple[dict[str, list[int]], int]:
    """Rehearse what is wished, print what each migration would do, in sum, and return what was shown, by schema."""
    settings = sessions[0].settings
    as_json = settings.as_json and settings.dry_run
    echo = (lambda _: None) if as_json else click.echo
    steps = defaultdict[tuple[str, str | None], list[Rehearsed]](list)
    shown, results, losses = defaultdict[str, list[int]](list), list[dict[str, object]](), Counter[str]()

    def tell(session: Session, done: list[Rehearsed]) -> None:
        for one in done:
            steps[one.step.row.label, one.obstacle].append(one)
            results.append(_object(session, **vars(one)))
            losses.update(one.losses)
            shown[session.ledger.schema].append(one.step.row.version)

    failed = each(sessions, lambda session: session.alone(lambda: rehearse(session, wish)), tell)
    for (label, obstacle), ones in steps.items():
        took = output.duration(sum(one.seconds for one in ones))
        said = f"would {'apply' if wish.verb == 'applied' else 'revert'} {label}{settings.within(len(ones))} ({took})"
        echo(f"not rehearsed {label}: {obstacle}{settings.within(len(ones))}" if obstacle else said)
        for line in _effects(ones):
            echo(f"  {line}")
    for what, rows in losses.items():
        if what.rpartition(" of ")[2] not in losses.keys() - {what}:
            echo(f"would lose {what} ({counted(rows, 'row')})")
    if not steps and not failed:
        echo(f"nothing to do{settings.within(count)}")
    if as_json:
        output.print_json(results)
    return shown, told(failed, count)


def _effects(ones: list[Rehearsed]) -> Iterator[str]:
    """Yield a line for each table that a file would do something to, in sum."""
    for table in sorted({table for one in ones for table in [*one.locks, *one.rewrites, *one.reads]}):
        does = list[str]()
        if locks := [(one.locks[table], one.seconds) for one in ones if table in one.locks]:
            # Of the two ways to block, “reads and writes” sorts first.
            does.append(f"blocks {min(locks)[0]} for up to {output.duration(max(took for _, took in locks))}")
        size = sum(one.rewrites.get(table, 0) for one in ones)
        read = any(table in one.reads for one in ones)
        does += [f"rewrites {output.size(size)}"] if size else ["reads it whole"] if read else []
        yield f"{table}: {', '.join(does)}"


def write_records(sessions: list[Session], wanted: Callable[[Session], dict[str, str]], count: int) -> int:
    """Write what is wanted into the ledgers, tell it, and return the exit code."""

    def written(session: Session) -> list[str]:
        if records := wanted(session):
            write(session, *records.values())
        return [*records] or ["nothing to do"]

    return told(each(sessions, lambda session: session.alone(lambda: written(session)), listed), count)


def listed(session: Session, lines: Iterable[str]) -> None:
    """Print the lines of a schema."""
    for line in lines:
        click.echo(f"{session.ledger.schema}: {line}" if session.settings.many else line)


def told(failed: list[str], count: int) -> int:
    """Say which of so many schemas failed, and return the exit code."""
    if failed:
        what = f"{len(failed):,} of {counted(count, 'schema')} failed: {', '.join(sorted(failed))}"
        output.say(f"{output.coloured('error')}: {what}")
    return int(bool(failed))


def each(sessions: list[Session], work: Work[Done], tell: Tell[Done]) -> list[str]:
    """Do a work in each session, and tell what it gave; return the schemas where it failed."""
    if not sessions[0].settings.many:
        for result in work(sessions[0]):
            tell(sessions[0], [result])
        return []
    failed = list[str]()
    with closing(_at_once(sessions, work)) as ended:
        bar = click.progressbar(ended, length=len(sessions), show_pos=True, file=sys.stderr)
        with bar if output.on_terminal() else nullcontext(ended) as results:
            for session, done, problem in results:
                click.echo("\r\x1b[K" if output.on_terminal() else "", nl=False, err=True)
                if done:
                    tell(session, done)
                if problem:
                    failed.append(session.ledger.schema)
                    session.say(f"{output.coloured('error')}: {problem}")
    return failed


def _at_once(sessions: list[Session], work: Work[Done]) -> Generator[tuple[Session, list[Done], Exception | None]]:
    """Do a work in some sessions at a time, over connections that are passed on; an error stops its own alone."""
    idle, opened, stopped = SimpleQueue[Connection](), list[Connection](), threading.Event()

    def connect() -> Connection:
        opened.append(stack.enter_context(sessions[0].connect("sqlmig")))
        return opened[-1]

    def sleep(seconds: float) -> None:
        if stopped.wait(seconds):
            raise SqlmigError("interrupted")

    def one(session: Session) -> tuple[Session, list[Done], Exception | None]:
        session.connection, session.sleep, done = idle.get(), sleep, list[Done]()
        try:
            session.connection = connect() if session.connection.closed else session.connection
            session.connection.say = session.say
            for result in work(session):
                done.append(result)
                session.sleep(0)
        except (SqlmigError, psycopg.Error) as error:
            return session, done, error
        finally:
            rollback(session.connection)
            idle.put(session.connection)
        return session, done, None

    with ExitStack() as stack, ThreadPoolExecutor(sessions[0].settings.jobs) as pool:
        for number in range(min(sessions[0].settings.jobs, len(sessions))):
            with suppress(SqlmigError) if number else nullcontext():  # there may be no more for us
                idle.put(connect())
        futures = [pool.submit(one, session) for session in sessions]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException as error:
            words = _cancelled(stopped, pool, opened, futures)
            if isinstance(error, KeyboardInterrupt):
                raise type(error)(words) from None
            raise


def _cancelled(stopped: threading.Event, pool: Any, opened: list[Connection], futures: list[Any]) -> str:
    """Cancel what is at work, wait for it, and say what is done."""
    stopped.set()
    pool.shutdown(wait=False, cancel_futures=True)
    for connection in opened:
        with suppress(psycopg.Error):  # it is lost
            connection.cancel()
    pool.shutdown()
    done = sum(not (future.cancelled() or future.result()[2]) for future in futures)
    return f"interrupted; {done} of {counted(len(futures), 'schema')} done, the rest is for the next run"
