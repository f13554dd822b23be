"""A run's view of one ledger: the connection, the files, and what the ledger said when it was read."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from sqlmig.core.errors import SqlmigError, UsageError
from sqlmig.core.plan import Row, Up, rows_to_run, states
from sqlmig.core.sql import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlmig.core.connection import Connection
    from sqlmig.core.ledger import Ledger
    from sqlmig.core.migrations import Migration
    from sqlmig.core.plan import Request
    from sqlmig.core.reading import Contents
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.versions import LedgerRow

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
    recorded: list[LedgerRow] = field(default_factory=list)  # by version
    ledger_exists: bool = False
    # Of the ledger's table. None if there is none, or if this run has just made it.
    identity: str | None = None
    has_trusted_owner: bool = True
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

    @property
    def files_search_path(self) -> str:
        """The search path that files run on: the caller's, after the schema that was named."""
        path = self.connection.callers_search_path
        if not self.ledger.is_named:
            return path
        return ", ".join(filter(None, [quoted(self.ledger.schema), path]))

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
        from sqlmig.core.reading import read  # here, as help needs no driver

        self.take(read(self.connection, self.ledger))
        return before != [row.version for row in self.recorded]

    def take(self, found: Contents | None) -> None:
        """Keep what the ledger holds; None if there is none."""
        self.ledger_exists = found is not None
        self.recorded = found.rows if found else []
        self.identity = found.identity if found else None
        self.has_trusted_owner = found is None or found.has_trusted_owner

    def refuse_untrusted_owner(self) -> None:
        """Raise SqlmigError if the ledger belongs to a role that must not decide what this role runs."""
        from sqlmig.core.other_tools import why_not_ours

        if not self.has_trusted_owner:
            raise SqlmigError(why_not_ours(self.connection, self.ledger))

    def when_alone(self, attempt: Callable[[], Result]) -> Result:
        """Return what an attempt gives, once no other runner is in its way."""
        while True:
            try:
                return attempt()
            except (LockHeld, LedgerChanged, AlreadyRecorded) as problem:
                self.catch_up(problem)

    def catch_up(self, problem: LockHeld | LedgerChanged | AlreadyRecorded) -> bool:
        """Wait for whoever holds the lock, read the ledger again, and say whether it has other versions now.

        Raises SqlmigError where a row was in the way and the ledger is still the same:
        then nobody else wrote it.
        """
        self._wait_for_lock()
        has_changed = self.reread()
        if isinstance(problem, AlreadyRecorded) and not has_changed:
            raise SqlmigError(str(problem)) from None
        return has_changed

    def _wait_for_lock(self) -> None:
        """Wait until nobody holds the lock, and say whom we wait for."""
        from sqlmig.core.connection import fetch

        query = self.ledger.sql("holders")
        named: set[str] = set()
        pause = _FIRST_PAUSE
        while True:
            holders = {str(words) for (words,) in fetch(self.connection, query)}
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
    # Here, as help and usage errors need no driver.
    from sqlmig.core.connection import connect
    from sqlmig.core.reading import read

    with connect(url, say) as connection:
        found = read(connection, ledger)
        session = Session(
            connection=connection,
            connect=connector(url, say, connection),
            say=say,
            ledger=ledger,
            migrations=migrations,
            options=options or Options(),
            watch=watch,
        )
        session.take(found)
        yield session


def connector(url: str, say: Say, like: Connection) -> Connect:
    """Return what opens another connection to the server of one, under a name."""
    from sqlmig.core.connection import connect

    def connect_as(name: str) -> AbstractContextManager[Connection]:
        return connect(url, say, name, like)

    return connect_as
