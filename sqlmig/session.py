"""A run's view of one ledger: the connection, the files, and what the ledger said when it was read."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from sqlmig import ledger as ledger_table
from sqlmig.errors import SqlmigError, UsageError
from sqlmig.plan import Row, Up, rows_to_run, states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlmig.connection import Connection
    from sqlmig.ledger import Ledger
    from sqlmig.migrations import Migration
    from sqlmig.plan import LedgerRow, Request
    from sqlmig.sqlfile import SqlFile

    Say = Callable[[str], None]
    Watch = Callable[["Session", str], AbstractContextManager[None]]
    Connect = Callable[[str], AbstractContextManager[Connection]]

Result = TypeVar("Result")
_FIRST_PAUSE = 0.02  # seconds between two looks at who holds the lock; they grow
_LONGEST_PAUSE = 0.5


class LockHeld(Exception):
    """Another runner holds the lock. Nothing was done."""


class LedgerChanged(Exception):
    """The ledger is not as it was when the run was planned. Nothing was done."""


class AlreadyRecorded(Exception):
    """The row that was to be written is there already. The file was rolled back; the text says where."""


def _no_watch(_session: Session, _label: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass
class Options:
    """How files run."""

    lock_timeout: str = (
        "5s"  # how long one statement may queue for a lock, as PostgreSQL writes it
    )
    retries: int = (
        10  # how often a file is tried again after a lock timeout or a deadlock
    )


@dataclass
class Session:
    """A connection, and what the directory and one ledger held when they were read.

    connect opens another connection to the same database, under a name. say tells the
    user something that is no result. watch is entered, with a label, while a file runs.
    """

    connection: Connection
    connect: Connect
    say: Say
    ledger: Ledger
    migrations: Sequence[Migration]
    recorded: list[LedgerRow]  # by version
    ledger_exists: bool
    options: Options = field(default_factory=Options)
    watch: Watch = _no_watch
    sleep: Callable[[float], object] = time.sleep
    files: dict[Path, SqlFile] = field(
        default_factory=dict
    )  # those that were scanned so far
    rows_so_far: int = 0  # that the committed runs of a file that repeats have changed
    observes_only_its_schema: bool = (
        False  # a rehearsal then looks at this schema and public
    )

    def rows(self, *, checks_files: bool = True) -> list[Row]:
        """Return a row for each version. checks_files: the up files of what is applied are read and compared."""
        checksums = {}
        if checks_files:
            versions = {row.version for row in self.recorded}
            for migration in self.migrations:
                if migration.version in versions:
                    checksums[migration.version] = migration.checksum
        return states(self.migrations, self.recorded, checksums)

    def rows_to_run(self, request: Request, done: int = 0) -> list[Row]:
        """Return the rows that a request is about, of whose steps so many are done. Raises as plan.rows_to_run."""
        rows = self.rows(checks_files=isinstance(request, Up))
        return rows_to_run(request, rows, done, self.connection.database_name)

    def has_work(self, request: Request) -> bool:
        """Say whether a request asks for something here, also for something that will be refused."""
        try:
            return bool(self.rows_to_run(request))
        except UsageError:
            raise
        except SqlmigError:
            return True

    def is_refused(self, request: Request) -> bool:
        """Say whether what is asked for will be refused, as the files and the ledger disagree."""
        try:
            self.rows_to_run(request)
        except SqlmigError:
            return True
        return False

    def ahead(self) -> list[Row]:
        """Return the rows of what a newer release has applied: it is newer than every file."""
        if (
            not self.recorded
            or self.recorded[-1].version <= self.migrations[-1].version
        ):
            return []
        rows = self.rows(checks_files=False)
        return [row for row in rows if row.state == "ahead"]

    def reread(self) -> bool:
        """Read the ledger again, and say whether it has other versions now."""
        before = [row.version for row in self.recorded]
        found = ledger_table.read(self.connection, self.ledger)
        self.ledger_exists = found is not None
        self.recorded = found or []
        return before != [row.version for row in self.recorded]

    def when_alone(self, attempt: Callable[[], Result]) -> Result:
        """Return what an attempt gives, once no other runner is in its way."""
        while True:
            try:
                return attempt()
            except (LockHeld, LedgerChanged, AlreadyRecorded) as problem:
                self.catch_up(problem)

    def catch_up(self, problem: LockHeld | LedgerChanged | AlreadyRecorded) -> None:
        """Wait for whoever holds the lock, and read the ledger again.

        Raises SqlmigError where a row was in the way and the ledger is still the same:
        then nobody else wrote it.
        """
        self._wait_for_lock()
        has_changed = self.reread()
        if isinstance(problem, AlreadyRecorded) and not has_changed:
            raise SqlmigError(str(problem)) from None

    def _wait_for_lock(self) -> None:
        """Wait until nobody holds the lock, and say whom we wait for."""
        query = self.ledger.sql("holders").encode()
        named: set[str] = set()
        pause = _FIRST_PAUSE
        while True:
            # Sent without parameters: with them the portal would stay open, and its snapshot
            # would stall a CREATE INDEX CONCURRENTLY.
            holders = {str(words) for (words,) in self.connection.execute(query)}
            if not holders:
                return

            for holder in sorted(holders - named):
                self.say(f"waiting for {holder}")
            named |= holders
            self.sleep(pause * random.uniform(0.5, 1))
            pause = min(_LONGEST_PAUSE, pause * 1.5)


@contextmanager
def open_session(
    url: str,
    ledger: Ledger,
    migrations: Sequence[Migration],
    say: Say,
    *,
    options: Options | None = None,
    watch: Watch = _no_watch,
) -> Iterator[Session]:
    """Connect, read the ledger, and yield a session. Nothing is written. Raises SqlmigError."""
    from sqlmig.connection import (
        connect,
    )  # here, as help and usage errors need no driver

    with connect(url, say) as connection:
        recorded = ledger_table.read(connection, ledger)
        yield Session(
            connection=connection,
            connect=connector(url, say, connection),
            say=say,
            ledger=ledger,
            migrations=migrations,
            recorded=recorded or [],
            ledger_exists=recorded is not None,
            options=options or Options(),
            watch=watch,
        )


def connector(url: str, say: Say, like: Connection) -> Connect:
    """Return what opens another connection to the server of one, under a name."""
    from sqlmig.connection import connect

    def connect_as(name: str) -> AbstractContextManager[Connection]:
        return connect(
            url, say, name, one_statement_a_message=like.one_statement_a_message
        )

    return connect_as
