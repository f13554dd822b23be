"""Working on many schemas, a few at a time. One schema's failure stops no other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from sqlmig.core.connection import cancel, discard
from sqlmig.core.errors import SqlmigError
from sqlmig.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from sqlmig.core.connection import Connection
    from sqlmig.core.session import Connect, Rows, Session, Surroundings, Watch

Result = TypeVar("Result")


@dataclass
class Outcome(Generic[Result]):
    """What work in one schema gave, and what stopped it, if anything did."""

    session: Session
    results: list[Result] = field(default_factory=list)
    failure: Exception | None = None


def work_on_each(
    sessions: Sequence[Session], work: Callable[[Session], Iterable[Result]], jobs: int
) -> Generator[Outcome[Result]]:
    """Do work in so many schemas at a time, and yield an outcome for each, as they end.

    Ctrl-C cancels what is at work on the server, and raises KeyboardInterrupt with
    words for what is done.
    """
    with ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        connections = _Connections(sessions[0], stack)
        connections.open(min(jobs, len(sessions)))
        futures = [
            pool.submit(_work_on, session, work, connections) for session in sessions
        ]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException as error:
            words = _cancel(connections, pool, futures)
            if isinstance(error, KeyboardInterrupt):
                raise type(error)(words) from None
            raise


class _Connections:
    """The connections that the jobs hand on to one another."""

    def __init__(self, session: Session, stack: ExitStack) -> None:
        self.interrupted = threading.Event()
        self.opened: list[Connection] = []
        self._session = session
        self._stack = stack
        self._idle: SimpleQueue[Connection] = SimpleQueue()

    def open(self, count: int) -> None:
        """Open connections. The first must succeed; if the server has no room for the others, fewer are used."""
        self._idle.put(self._connect())
        for _ in range(1, count):
            with suppress(SqlmigError):
                self._idle.put(self._connect())

    def take(self) -> Connection:
        """Wait for a connection, and return it. One that the server has closed is opened anew."""
        connection = self._idle.get()
        if self.interrupted.is_set():
            self._idle.put(connection)
            raise SqlmigError("interrupted")
        if connection.closed:
            try:
                return self._connect()
            except BaseException:
                self._idle.put(connection)
                raise
        return connection

    def give_back(self, connection: Connection, *, has_failed: bool) -> None:
        """Let the next job have a connection. A job that failed leaves nothing in the session."""
        if has_failed:
            discard(connection)
        self._idle.put(connection)

    def sleep(self, seconds: float) -> None:
        """Sleep, in a job. Raises SqlmigError when the run was interrupted."""
        if self.interrupted.wait(seconds):
            raise SqlmigError("interrupted")

    def tracked(self, connect: Connect) -> Connect:
        """Return what opens a connection as another function does, so that Ctrl-C cancels its work, too."""

        @contextmanager
        def connect_as(name: str) -> Iterator[Connection]:
            with connect(name) as connection:
                self.opened.append(connection)
                yield connection

        return connect_as

    def unless_interrupted(self, watch: Watch) -> Watch:
        """Return a function that watches a file as another one does, and lets none begin after Ctrl-C."""

        @contextmanager
        def watch_step(session: Session, label: str, rows: Rows) -> Iterator[None]:
            self.sleep(0)
            with watch(session, label, rows):
                yield

        return watch_step

    def surroundings(self, of_session: Surroundings) -> Surroundings:
        """Return the surroundings of a session, as they are in a job."""
        return replace(
            of_session,
            connect=self.tracked(of_session.connect),
            watch=self.unless_interrupted(of_session.watch),
            sleep=self.sleep,
        )

    def _connect(self) -> Connection:
        connection = self._stack.enter_context(
            self._session.surroundings.connect("sqlmig")
        )
        self.opened.append(connection)
        return connection


def _work_on(
    session: Session,
    work: Callable[[Session], Iterable[Result]],
    connections: _Connections,
) -> Outcome[Result]:
    """Do work in one schema, over a connection that is taken for it."""
    outcome: Outcome[Result] = Outcome(session)
    session.surroundings = connections.surroundings(session.surroundings)
    try:
        session.connection = connections.take()
    except SqlmigError as error:
        outcome.failure = error
        return outcome

    session.connection.say = session.say
    try:
        for result in work(session):
            outcome.results.append(result)
    except Exception as error:  # noqa: BLE001 -- the failure of one schema stops no other
        outcome.failure = error
    finally:
        has_failed = outcome.failure is not None
        connections.give_back(session.connection, has_failed=has_failed)
    return outcome


def _cancel(
    connections: _Connections,
    pool: ThreadPoolExecutor,
    futures: Sequence[Future[Outcome[Result]]],
) -> str:
    """Cancel what is at work, wait for it, and return words for what is done."""
    connections.interrupted.set()
    pool.shutdown(wait=False, cancel_futures=True)
    for connection in connections.opened:
        cancel(connection)
    pool.shutdown()

    done = 0
    for future in futures:
        if not future.cancelled() and future.result().failure is None:
            done += 1
    return f"interrupted; {done} of {counted(len(futures), 'schema')} done; run it again for the rest"
