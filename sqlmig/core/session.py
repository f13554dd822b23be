"""The state of one ledger: what it held when it was read, and waiting for other runners."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sqlmig.core.errors import PlanIsStale, SqlmigError, UsageError
from sqlmig.core.plan import Up, VersionInfo, states, versions_to_run
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
    Rows = Callable[[], int]
    Watch = Callable[["Session", str, Rows], AbstractContextManager[None]]
    Connect = Callable[[str], AbstractContextManager[Connection]]

Result = TypeVar("Result")
_FIRST_PAUSE = 0.02  # seconds between two queries for the owner of the lock; they grow
_LONGEST_PAUSE = 0.5


def no_rows() -> int:
    """Return the number of rows of a file that does not repeat."""
    return 0


def _no_watch(
    _session: Session, _label: str, _rows: Rows
) -> AbstractContextManager[None]:
    return nullcontext()


class FileSettings(NamedTuple):
    """The search path of a file, and the values of --set, by name."""

    search_path: str
    values: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Options:
    """How files run.

    lock_timeout: how long a statement may wait for a lock, as PostgreSQL writes it.
    retries: how often a file is tried again after a lock timeout or a deadlock. settings:
    names and values of custom settings, which a file reads with current_setting.
    """

    lock_timeout: str = "5s"
    retries: int = 10
    settings: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Surroundings:
    """What a session needs from the program around it.

    connect opens another connection to the same database, under a name. say shows the user
    a message that is not a result. watch is entered with a label while a file runs. sleep
    waits for some seconds, and may raise SqlmigError to end the run.
    """

    connect: Connect
    say: Say
    watch: Watch = _no_watch
    sleep: Callable[[float], object] = time.sleep


@dataclass
class Session:
    """A connection, the files, and what the ledger held when it was read. contents is None without a ledger."""

    connection: Connection
    surroundings: Surroundings
    ledger: Ledger
    migrations: Sequence[Migration]
    contents: Contents | None
    options: Options = field(default_factory=Options)
    # The files that were scanned, shared by the sessions of many schemas.
    files: dict[Path, SqlFile] = field(default_factory=dict)

    @property
    def say(self) -> Say:
        """Show the user a message that is not a result."""
        return self.surroundings.say

    @property
    def ledger_rows(self) -> list[LedgerRow]:
        """The rows of the ledger, by version."""
        return self.contents.rows if self.contents else []

    @property
    def files_search_path(self) -> str:
        """The search path of the files: the caller's, after the schema that was named."""
        path = self.connection.callers_search_path
        if not self.ledger.files_schema:
            return path
        return ", ".join(filter(None, [quoted(self.ledger.files_schema), path]))

    @property
    def file_settings(self) -> FileSettings:
        """The search path of the files, and the values that they can read."""
        return FileSettings(self.files_search_path, self.options.settings)

    def versions(self, *, checks_files: bool = True) -> list[VersionInfo]:
        """Return each version with its state. checks_files: compare the up files of applied versions."""
        checksums = {}
        if checks_files:
            recorded = {row.version for row in self.ledger_rows}
            for migration in self.migrations:
                if migration.version in recorded:
                    checksums[migration.version] = migration.checksum
        replaces = self.migrations[0].replaces if self.migrations else None
        return states(self.migrations, self.ledger_rows, checksums, replaces)

    def versions_to_run(self, request: Request, done: int = 0) -> list[VersionInfo]:
        """Return the versions that a request is about, after this many steps. Raises as plan.versions_to_run."""
        versions = self.versions(checks_files=isinstance(request, Up))
        return versions_to_run(request, versions, done, self.connection.database_name)

    def has_work(self, request: Request) -> bool:
        """Check whether a request asks for something here, even if it will be refused."""
        try:
            return bool(self.versions_to_run(request))
        except UsageError:
            raise
        except SqlmigError:
            return True

    def is_refused(self, request: Request) -> bool:
        """Check whether a request will be refused because the files and the ledger disagree."""
        try:
            self.versions_to_run(request)
        except SqlmigError:
            return True
        return False

    def ahead(self) -> list[VersionInfo]:
        """Return the versions that are newer than every file: a newer release has applied them."""
        rows = self.ledger_rows
        if not rows or rows[-1].version <= self.migrations[-1].version:
            return []
        versions = self.versions(checks_files=False)
        return [version for version in versions if version.state == "ahead"]

    def reread(self) -> bool:
        """Read the ledger again, and return whether it has other versions now."""
        from sqlmig.core.reading import read  # here, because help needs no driver

        before = [row.version for row in self.ledger_rows]
        self.contents = read(self.connection, self.ledger)
        return before != [row.version for row in self.ledger_rows]

    def when_alone(self, attempt: Callable[[], Result]) -> Result:
        """Return the result of an attempt, as soon as no other runner is in its way.

        runner.run has a loop of its own, because it tries each step separately.
        """
        while True:
            try:
                return attempt()
            except PlanIsStale as problem:
                self.catch_up(problem)

    def catch_up(self, problem: PlanIsStale) -> bool:
        """Wait for the owner of the runner lock, read the ledger again, and return whether it has other versions now.

        Raises SqlmigError if the problem has a text and the ledger is unchanged: then no
        other runner wrote the row that exists already.
        """
        self._wait_for_lock()
        has_changed = self.reread()
        if str(problem) and not has_changed:
            raise SqlmigError(str(problem)) from None
        return has_changed

    def _wait_for_lock(self) -> None:
        """Wait until the runner lock is free, and name the process that owns it."""
        from sqlmig.core.connection import fetch

        query = self.ledger.sql("lock_owners")
        named: set[str] = set()
        pause = _FIRST_PAUSE
        while True:
            owners = {str(owner) for (owner,) in fetch(self.connection, query)}
            if not owners:
                return

            for owner in sorted(owners - named):
                self.say(f"waiting for {owner}")
            named |= owners
            self.surroundings.sleep(pause * random.uniform(0.5, 1))
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
    looks_for_unfinished: bool = False,
) -> Iterator[Session]:
    """Connect, read the ledger, and yield a session. Nothing is written. Raises SqlmigError.

    looks_for_unfinished: also read what migrations have begun and not finished.
    """
    # Here, because help and usage errors need no driver.
    from sqlmig.core.connection import connect
    from sqlmig.core.reading import read

    with connect(url, say) as connection:
        yield Session(
            connection=connection,
            surroundings=Surroundings(connector(url, say, connection), say, watch),
            ledger=ledger,
            migrations=migrations,
            contents=read(
                connection, ledger, looks_for_unfinished=looks_for_unfinished
            ),
            options=options or Options(),
        )


def connector(url: str, say: Say, like: Connection) -> Connect:
    """Return a function that opens another connection to the same server, under a name."""
    from sqlmig.core.connection import connect

    def connect_as(name: str) -> AbstractContextManager[Connection]:
        return connect(url, say, name, like)

    return connect_as
