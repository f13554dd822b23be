"""Work on many schemas, a few at a time. If one schema fails, the others continue."""

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
    """The results of the work in one schema, and the error that stopped it, if any."""

    session: Session
    results: list[Result] = field(default_factory=list)
    failure: Exception | None = None


def work_on_each(
    sessions: Sequence[Session], work: Callable[[Session], Iterable[Result]], jobs: int
) -> Generator[Outcome[Result]]:
    """Work on at most ``jobs`` schemas at a time, and yield the outcome of each when it ends.

    Ctrl-C cancels the running work on the server, and raises KeyboardInterrupt with a
    message about the finished schemas.
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
    """The connections that the jobs share: a job takes one, and gives it back when it ends."""

    def __init__(self, session: Session, stack: ExitStack) -> None:
        self.interrupted = threading.Event()
        self.opened: list[Connection] = []
        self._session = session
        self._stack = stack
        self._idle: SimpleQueue[Connection] = SimpleQueue()

    def open(self, count: int) -> None:
        """Open connections. The first must succeed. If the server has no room for the others, fewer are used."""
        self._idle.put(self._connect())
        for _ in range(1, count):
            with suppress(SqlmigError):
                self._idle.put(self._connect())

    def take(self) -> Connection:
        """Wait for a connection, and return it. If the server has closed it, open another."""
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
        """Make a connection available to the next job. If the job failed, clean up the session first."""
        if has_failed:
            discard(connection)
        self._idle.put(connection)

    def sleep(self, seconds: float) -> None:
        """Sleep in a job. Raises SqlmigError if the run is interrupted."""
        if self.interrupted.wait(seconds):
            raise SqlmigError("interrupted")

    def tracked(self, connect: Connect) -> Connect:
        """Wrap a function that opens a connection, so that Ctrl-C also cancels the work on that connection."""

        @contextmanager
        def connect_as(name: str) -> Iterator[Connection]:
            with connect(name) as connection:
                self.opened.append(connection)
                yield connection

        return connect_as

    def unless_interrupted(self, watch: Watch) -> Watch:
        """Wrap a function that watches a file, so that no file begins after Ctrl-C."""

        @contextmanager
        def watch_step(session: Session, label: str, rows: Rows) -> Iterator[None]:
            self.sleep(0)
            with watch(session, label, rows):
                yield

        return watch_step

    def surroundings(self, of_session: Surroundings) -> Surroundings:
        """Return the surroundings of a session, adapted to a job."""
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
    """Do the work in one schema, on one of the shared connections."""
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
    """Cancel the running work, wait for it, and return a message about the finished schemas."""
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
