"""What a command works with: what was asked for, a connection, and what the directory and the ledger hold."""

import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlmig.errors import SqlmigError, UsageError, counted
from sqlmig.files import Migration, find
from sqlmig.ledger import Ledger, literal, read
from sqlmig.plan import Applied, Row, Wish, states

if TYPE_CHECKING:
    from sqlmig.database import Connection

Done = TypeVar("Done")
Say = Callable[[str], None]
Watch = Callable[["Session", str], AbstractContextManager[None]]
_BATCH = 250  # ledgers in a query: one for all is slower, and takes more locks than a server has room for


class Overtaken(Exception):
    """Another runner holds the lock, or has changed the ledger; with words: it takes no row for what was done."""


@dataclass
class Settings:
    """What was asked for: the database, the files, the ledger's schema, and how."""

    url: str = ""
    directory: Path = Path("sql")
    schemas: tuple[str, ...] = ()  # also as patterns
    wait: float = 0  # seconds, for a server that does not answer yet
    jobs: int = 4  # how many schemas at a time
    lock_timeout: str = "5s"  # how long a statement may queue for a lock, in PostgreSQL's format
    retries: int = 10  # how often then again
    makes: bool = False  # a data directory that embedded: names, where it is missing
    dry_run: bool = False
    as_json: bool = False
    yes: bool = False  # nobody is asked

    @property
    def asks(self) -> bool:
        """Whether somebody at a terminal is asked first."""
        return sys.stdin is not None and sys.stdin.isatty() and not self.yes

    @property
    def many(self) -> bool:
        """Whether more than one schema may be meant."""
        return len(self.schemas) > 1 or bool(set("*?") & set("".join(self.schemas)))

    def within(self, count: int) -> str:
        """Return in how many schemas, where more than one may be meant."""
        return f" in {counted(count, 'schema')}" if self.many else ""

    @property
    def ledger(self) -> Ledger:
        """The one ledger that is meant. Raises UsageError for more."""
        if self.many:
            raise UsageError("this command works on one schema: give --schema once, without * or ?")
        return Ledger("".join(self.schemas) or "public", named=bool(self.schemas))


@dataclass
class Session:
    """A connection, and what the directory and the ledger held when they were read."""

    connection: "Connection"
    connect: "Callable[[str], AbstractContextManager[Connection]]"  # another one, under a name
    say: Say
    watch: Watch  # entered with the session and a label while something is at work
    settings: Settings
    ledger: Ledger
    migrations: list[Migration]
    applied: list[Applied] | None  # None where there is no ledger yet
    scripts: dict[Path, Any]  # of the files read so far
    problem: SqlmigError | None = None  # why its ledger cannot be read
    sleep: Callable[[float], object] = time.sleep

    def rows(self, *, checked: bool = True) -> list[Row]:
        """Return a row for each version; checked: the up files of what is applied are read."""
        if self.problem:
            raise self.problem
        versions = {row.version for row in self.applied or () if checked}
        checksums = {m.version: m.checksum for m in self.migrations if m.version in versions}
        return states(self.migrations, self.applied or (), checksums, self.ledger.schema)

    def wants(self, wish: Wish) -> bool:
        """Say whether a wish asks for something here, also for what is refused, as doing it says."""
        try:
            return bool(self.wanted(wish))
        except UsageError:
            raise
        except SqlmigError:
            return True

    def wanted(self, wish: Wish, done: int = 0) -> list[Row]:
        """Return the rows of a wish, of which so many are done, in their order. Raises as the wish does."""
        rows = wish.choose(self.rows(checked=wish.verb == "applied"), done=done)
        if wish.shown and (others := {row.version for row in rows}.difference(wish.shown[self.ledger.schema])):
            said = f"the ledger has changed since you were asked: {max(others)} is applied"
            raise SqlmigError(f"{said}; run it again")
        return rows

    def read(self) -> bool:
        """Read the ledger again, and say whether it has other versions now."""
        before = [row.version for row in self.applied or ()]
        found = read(self.connection, [self.ledger])
        self.applied = found[0] if found else None
        return before != [row.version for row in self.applied or ()]

    def alone(self, attempt: Callable[[], Done]) -> Done:
        """Return what an attempt gives once it meets neither another runner, nor a ledger that has changed."""
        while True:
            try:
                return attempt()
            except Overtaken as overtaken:
                self.catch_up(overtaken)

    def catch_up(self, overtaken: Overtaken) -> None:
        """Wait for whoever holds the lock, and read the ledger; raise the words, if any, where that changed nothing."""
        self.wait()
        if not self.read() and str(overtaken):
            raise SqlmigError(str(overtaken)) from None

    def wait(self) -> None:
        """Wait until nobody holds the lock, and say whom for."""
        told, pause = set[str](), 0.02
        query = self.ledger.sql("holders").encode()
        while others := {str(words) for (words,) in self.connection.execute(query)}:
            for other in sorted(others - told):
                self.say(f"waiting for {other}")
            told |= others
            self.sleep(pause * random.uniform(0.5, 1))
            pause = min(0.5, pause * 1.5)


@contextmanager
def opened(settings: Settings, say: Say, watch: Watch) -> Iterator[list[Session]]:
    """Yield a session for the ledger that is meant, or for each, all on one connection. Nothing is written."""
    from sqlmig.database import connected  # here, as help and usage errors need no driver

    migrations, scripts = find(settings.directory), dict[Path, Any]()
    with located(settings) as url, connected(url, say) as connection:

        def session(ledger: Ledger, rows: list[Applied] | SqlmigError | None) -> Session:
            told = (lambda message: say(f"{ledger.schema}: {message}")) if settings.many else say
            connect = lambda name: connected(url, told, name, connection.largest)  # noqa: E731
            applied, problem = (None, rows) if isinstance(rows, SqlmigError) else (rows, None)
            return Session(connection, connect, told, watch, settings, ledger, migrations, applied, scripts, problem)

        ledgers = _many(settings.schemas, connection, say) if settings.many else [settings.ledger]
        groups = [ledgers[n : n + _BATCH] for n in range(0, len(ledgers), _BATCH)]
        sessions = [session(*one) for group in groups for one in zip(group, _read(connection, group), strict=True)]
        if sessions[0].problem and not settings.many:
            raise sessions[0].problem
        yield sessions


def _many(names: Sequence[str], connection: "Connection", say: Say) -> list[Ledger]:
    """Return the ledgers of the schemas that are named, and of those that fit a pattern and have one."""
    patterns = [re.escape(name).replace(r"\*", ".*").replace(r"\?", ".") for name in names]
    query = Ledger("public", named=False).sql("schemas", pattern=literal(f"^({'|'.join(patterns)})$"))
    fits: list[Any] = connection.execute(query.encode()).fetchall()
    named = [name for name in names if not set("*?") & set(name)]
    if without := [schema for schema, has_ledger in fits if not has_ledger and schema not in named]:
        say(f"{counted(len(without), 'schema')} without a ledger, left alone")
    if chosen := dict.fromkeys([*(schema for schema, has_ledger in fits if has_ledger), *named]):
        return [Ledger(schema, named=True) for schema in chosen]
    raise SqlmigError("no schema that fits has a ledger; name those to begin with")


def _read(connection: "Connection", ledgers: list[Ledger]) -> list[list[Applied] | SqlmigError | None]:
    """Return the rows of each ledger, None for one that is not there, an error for one that cannot be read."""
    problem = None
    try:
        if found := read(connection, ledgers):
            return [*found]
    except SqlmigError as error:
        problem = error
    return [rows for one in ledgers for rows in _read(connection, [one])] if len(ledgers) > 1 else [problem]


@contextmanager
def located(settings: Settings) -> Iterator[str]:
    """Yield the URL to connect to (embedded:PATH starts a server), empty where libpq's own variables name it."""
    url = settings.url
    if not url and not any(os.environ.get(name) for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")):
        ways = "give --database-url URL, set DATABASE_URL, or use embedded:PATH for a private server"
        raise UsageError(f"no database: {ways}")
    if not url.startswith("embedded:"):
        from sqlmig.database import awaited

        awaited(url, settings.wait)
        yield url
        return
    if sys.platform == "win32":
        raise SqlmigError("embedded: is not supported on Windows; give the URL of a running server")
    from sqlmig import embedded  # it cannot be imported on Windows

    with embedded.server(Path(url.removeprefix("embedded:")), make=settings.makes) as real:
        yield real
