"""What a command works with: what was asked for, a connection, and what the directory and the ledger hold."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlmig import files, ledger, plan
from sqlmig.errors import SqlmigError, UsageError
from sqlmig.files import Migration
from sqlmig.ledger import Ledger
from sqlmig.plan import Applied, Wish

if TYPE_CHECKING:
    from sqlmig.database import Connection

Done = TypeVar("Done")
Say = Callable[[str], None]
Watch = Callable[["Session", str], AbstractContextManager[None]]
_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")


class Busy(Exception):
    """Another runner holds the lock."""


class LedgerChanged(Exception):
    """The ledger is no longer what it was when it was read, or, with these words, takes no row for what was done."""


@dataclass
class Settings:
    """What was asked for: the database (None where no URL was given), the files, the ledger's schema, and patience.

    lock_timeout: how long a statement may queue for a lock, in PostgreSQL's format; retries: how often then again.
    """

    url: str | None = None
    directory: Path = Path("sql")
    schema: str = ""
    lock_timeout: str = "5s"
    retries: int = 10

    @property
    def ledger(self) -> Ledger:
        """The ledger's place."""
        return Ledger(self.schema or "public", named=bool(self.schema))


@dataclass
class Session:
    """A connection, and what the directory and the ledger held when they were read.

    connect: opens another connection, under a name. say: tells the user something. watch: is entered with the session
    and a label while something is at work. applied: None where there is no ledger yet.
    """

    connection: Connection
    connect: Callable[[str], AbstractContextManager[Connection]]
    say: Say
    watch: Watch
    settings: Settings
    ledger: Ledger
    migrations: list[Migration]
    applied: list[Applied] | None

    def rows(self, *, checked: bool = True) -> list[plan.Row]:
        """Return a row for each version; checked: the up files of what is applied are read."""
        versions = {row.version for row in self.applied or () if checked}
        checksums = {m.version: files.checksum(files.read(m.up)) for m in self.migrations if m.version in versions}
        return plan.states(self.migrations, self.applied or (), checksums)

    def wanted(self, wish: Wish, done: int = 0) -> list[int]:
        """Return the versions of a wish, of which so many are done, in their order."""
        return wish.choose(self.rows(checked=wish.verb == "applied"), done)

    def read(self) -> bool:
        """Read the ledger again, and say whether it has other versions now."""
        before = [row.version for row in self.applied or ()]
        self.applied = ledger.read(self.connection, self.ledger)
        return before != [row.version for row in self.applied or ()]

    def alone(self, attempt: Callable[[], Done]) -> Done:
        """Return what an attempt gives when it meets neither another runner nor a ledger that has changed.

        In between it waits, and says for whom; a ledger that has changed is read again.
        """
        while True:
            try:
                return attempt()
            except Busy:
                self.wait()
            except LedgerChanged:
                self.read()

    def wait(self) -> None:
        """Wait until nobody holds the lock, and say whom for."""
        told, pause = set[str](), 0.02
        while others := ledger.holders(self.connection, self.ledger):
            for other in sorted(others - told):
                self.say(f"waiting for {other}")
            told |= others
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(0.5, pause * 1.5)


@contextmanager
def opened(settings: Settings, say: Say, watch: Watch) -> Iterator[Session]:
    """Yield a session. Nothing is written."""
    from sqlmig.database import connected  # here, as help and usage errors need no driver

    migrations, place = files.find(settings.directory), settings.ledger
    with located(settings.url) as url, connected(url, say) as connection:
        applied = ledger.read(connection, place)
        connect = lambda name: connected(url, say, name)  # noqa: E731
        yield Session(connection, connect, say, watch, settings, place, migrations, applied)


@contextmanager
def located(url: str | None) -> Iterator[str]:
    """Yield the URL to connect to (``embedded:PATH`` starts a server), empty where libpq's own variables name it.

    Raises UsageError where nothing does.
    """
    if not url and not any(os.environ.get(name) for name in _LIBPQ):
        ways = "give --database-url URL, set DATABASE_URL, or use embedded:PATH for a private server"
        raise UsageError(f"no database: {ways}")
    if not url or not url.startswith("embedded:"):
        yield url or ""
        return
    if sys.platform == "win32":
        raise SqlmigError("embedded: is not supported on Windows; give the URL of a running server")
    from sqlmig import embedded  # it cannot be imported on Windows

    with embedded.server(Path(url.removeprefix("embedded:"))) as real:
        yield real
