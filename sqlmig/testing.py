"""For tests: pytest fixtures that give each test a migrated database of its own.

In conftest.py::

    import sqlmig.testing

    database_url = sqlmig.testing.database_url("sql")

The files run once, into a template that all workers of pytest-xdist share. Each test gets a
copy of it, or a transaction that is rolled back. The server is a private one in memory,
unless a URL is given.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

import sqlmig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

Made = TypeVar("Made")
# What pytest-postgresql gives a loader, and what libpq calls it.
_CONNECTION_KEYWORDS = ("host", "port", "user", "dbname", "password", "options")
_MEMORY = Path("/dev/shm")  # Linux only
_NEEDED = 512 << 20  # bytes in memory, for a few databases
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_PREFIX = "sqlmig_test_"
_NUMBERS = count(1)
# The names that SQLAlchemy has for drivers of PostgreSQL; without one it chooses by itself.
_DRIVERS = {"", "psycopg", "psycopg2", "psycopg_async", "asyncpg", "pg8000"}


def load(
    *, directory: str | Path, schema: str | None = None, **connection: object
) -> None:
    """Apply the migrations of a directory to the database that the connection keywords name.

    It is a loader for pytest-postgresql. Keywords that are not about the connection are
    ignored, as newer versions of pytest-postgresql may add some. Raises as sqlmig.up does.
    """
    from psycopg.conninfo import make_conninfo

    given = {}
    for name in _CONNECTION_KEYWORDS:
        value = connection.get(name)
        if value not in (None, ""):
            given[name] = str(value)
    sqlmig.up(make_conninfo("", **given), directory, schema=schema)


@dataclass(frozen=True)
class Template:
    """A migrated database, and the URL of its server. driver: as in ``asyncpg``, for SQLAlchemy.

    is_private: no one else uses the server.
    """

    server_url: str
    name: str
    driver: str = ""
    is_private: bool = False

    @contextmanager
    def copy(self) -> Iterator[str]:
        """Yield the URL of a copy, and drop it at the end, whoever is connected to it."""
        name = f"{_PREFIX}{os.getpid()}_{next(_NUMBERS)}"
        # The default writes every page into the log. Copying files takes a third of the time, but
        # it needs a checkpoint, and others on the server would have to wait for that.
        strategy = "file_copy" if self.is_private else "wal_log"
        query = f"CREATE DATABASE {name} TEMPLATE {self.name} STRATEGY {strategy}"
        with _connection(self.server_url) as server:
            server.execute(query.encode())
        try:
            yield _url(self.server_url, name, self.driver)
        finally:
            with _connection(self.server_url) as server:
                server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def template(
    directory: str | Path = "sql",
    *,
    url: str = "embedded:",
    schema: str | None = None,
    ledger_schema: str | None = None,
    driver: str = "",
) -> Iterator[Template]:
    """Yield a template with the migrations of a directory.

    url: a server on which the role may create databases; ``embedded:`` is a private one. On
    another server the template stays for the next run, until the files change.
    schema and ledger_schema are as for sqlmig.up. driver: the name that SQLAlchemy's URLs
    contain, as in ``asyncpg``. Raises as sqlmig.up does.
    """
    from sqlmig.core.database import is_throwaway

    directory = Path(directory)
    place = hashlib.sha256(f"{directory.resolve()} {schema} {ledger_schema}".encode())
    files = hashlib.sha256()
    for path in sorted(directory.glob("*.sql")):
        files.update(f"{path.name} ".encode() + path.read_bytes())
    prefix = f"{_PREFIX}template_{place.hexdigest()[:12]}_"
    name = f"{prefix}{files.hexdigest()[:12]}"

    with _server(url) as server_url:
        with _connection(server_url) as server:
            # Another worker may be making it.
            server.execute("SELECT pg_advisory_lock(hashtext(%s))", [prefix])
            if not _is_complete(server, name):
                for old in _databases(server, f"{prefix}%"):
                    with suppress(Exception):  # another run may use it
                        server.execute(f"DROP DATABASE {old}".encode())
                server.execute(f"CREATE DATABASE {name}_new".encode())
                sqlmig.up(
                    _url(server_url, f"{name}_new"),
                    directory,
                    schema=schema,
                    ledger_schema=ledger_schema,
                )
                rename = f"ALTER DATABASE {name}_new RENAME TO {name}"
                server.execute(rename.encode())
        yield Template(server_url, name, driver, is_private=is_throwaway(url))


def database_url(
    directory: str | Path = "sql",
    *,
    url: str = "embedded:",
    schema: str | None = None,
    ledger_schema: str | None = None,
    driver: str = "",
) -> Any:
    """Return a fixture that yields the URL of a fresh database for each test. The keywords are as for template."""
    import pytest

    options = _options(url, schema, ledger_schema, driver)

    @pytest.fixture
    def fixture(request: pytest.FixtureRequest) -> Iterator[str]:
        with _template_of_run(request, directory, options).copy() as url:
            yield url

    return fixture


def connection(
    directory: str | Path = "sql",
    *,
    url: str = "embedded:",
    schema: str | None = None,
    ledger_schema: str | None = None,
) -> Any:
    """Return a fixture that yields a connection of psycopg, in a transaction that is rolled back.

    All tests of a worker use one database. The code under test must use this connection, and
    must not commit. The keywords are as for template.
    """
    import pytest

    options = _options(url, schema, ledger_schema, "")

    @pytest.fixture
    def fixture(request: pytest.FixtureRequest) -> Iterator[Any]:
        import psycopg

        url = _copy_of_run(request, directory, options)
        with psycopg.connect(url) as opened, opened.transaction(force_rollback=True):
            yield opened

    return fixture


def sqlalchemy_connection(
    directory: str | Path = "sql",
    *,
    url: str = "embedded:",
    schema: str | None = None,
    ledger_schema: str | None = None,
    driver: str = "psycopg",
) -> Any:
    """Return a fixture that yields a connection of SQLAlchemy, in a transaction that is rolled back.

    ``Session(connection, join_transaction_mode="create_savepoint")`` may commit and roll
    back: it works within savepoints. The connection itself refuses to commit. The keywords
    are as for template.
    """
    import pytest

    options = _options(url, schema, ledger_schema, driver)

    @pytest.fixture
    def fixture(request: pytest.FixtureRequest) -> Iterator[Any]:
        from sqlalchemy import create_engine, event
        from sqlalchemy.pool import NullPool

        url = _copy_of_run(request, directory, options)
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as opened:
            transaction = opened.begin()
            event.listen(opened, "commit", _refuse_commit)
            yield opened
            transaction.rollback()

    return fixture


def _refuse_commit(_: object) -> None:
    raise sqlmig.UsageError(
        "this connection is rolled back at the end of the test, so it cannot commit; "
        'use Session(connection, join_transaction_mode="create_savepoint")'
    )


def _options(
    url: str, schema: str | None, ledger_schema: str | None, driver: str
) -> dict[str, Any]:
    if driver not in _DRIVERS:
        raise sqlmig.UsageError(
            f"there is no driver {driver!r} here; there are {', '.join(sorted(_DRIVERS - {''}))}"
        )
    return {
        "url": url,
        "schema": schema,
        "ledger_schema": ledger_schema,
        "driver": driver,
    }


def _template_of_run(
    request: Any, directory: str | Path, options: dict[str, Any]
) -> Template:
    """Return the template for a directory and options. It is made when the first test needs it."""
    # pytest may run in a folder of the project, or the project may be in a folder of a larger one.
    here = request.config.invocation_params.dir / directory
    if not here.is_dir():
        here = request.config.rootpath / directory
    key = ("template", here, *sorted(options.items()))
    return _once(request, key, lambda: template(here, **options))


def _copy_of_run(request: Any, directory: str | Path, options: dict[str, Any]) -> str:
    """Return the URL of the copy that the tests of this worker share."""
    made = _template_of_run(request, directory, options)
    return _once(request, ("copy", made), made.copy)


def _once(
    request: Any, key: object, enter: Callable[[], AbstractContextManager[Made]]
) -> Made:
    """Return what is made once in a run of pytest, and removed at its end.

    If it cannot be made, each test that needs it fails with the same message, and nothing is
    tried again.
    """
    import psycopg
    import pytest

    config = request.config
    if not hasattr(config, "sqlmig_made"):
        config.sqlmig_made = {}
        config.sqlmig_failures = {}
        config.sqlmig_stack = ExitStack()
        config.add_cleanup(config.sqlmig_stack.close)
    made: dict[object, Made] = config.sqlmig_made
    failures: dict[object, str] = config.sqlmig_failures
    if key not in made and key not in failures:
        try:
            made[key] = config.sqlmig_stack.enter_context(enter())
        except (sqlmig.SqlmigError, psycopg.Error) as error:
            failures[key] = str(error)
    if key in failures:
        pytest.fail(failures[key], pytrace=False)
    return made[key]


@contextmanager
def _server(url: str) -> Iterator[str]:
    """Yield the URL of the server; for ``embedded:`` a private one in memory, which this process opens once."""
    from sqlmig.core.database import database, is_throwaway

    if not is_throwaway(url):
        with database(url, make=True) as found:
            yield found
        return
    found = _private.acquire()
    try:
        yield found
    finally:
        _private.release()


class _PrivateServer:
    """The private server of this process. It is closed when its last user is done, in any order."""

    def __init__(self) -> None:
        """Begin without users."""
        self._lock = threading.Lock()
        self._users = 0
        self._stack = ExitStack()
        self._url = ""

    def acquire(self) -> str:
        """Return its URL, after starting it for the first user."""
        from sqlmig.embedded import server

        with self._lock:
            if not self._users:
                run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
                directory = self._stack.enter_context(_directory_of_run(run))
                opened = server(directory / "data", _FAST, say=lambda _: None)
                self._url = self._stack.enter_context(opened)
            self._users += 1
            return self._url

    def release(self) -> None:
        """Close it, if this was its last user."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._stack.close()


_private = _PrivateServer()


@contextmanager
def _directory_of_run(run: str) -> Iterator[Path]:
    """Yield a directory that the workers of a run share. The last one removes it, and those of killed runs."""
    parent = Path(tempfile.gettempdir())
    mine = f"sqlmig-testing-{os.getuid()}-"
    # Killed runs may have filled the memory, so remove what they left before asking for room.
    for place in (parent, _MEMORY):
        for left in place.glob(f"{mine}*.lock"):
            _remove_unless_used(left)

    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _NEEDED:
        parent = _MEMORY
    lock = parent / f"{mine}{run}.lock"
    descriptor = _shared_lock(lock)
    try:
        directory = lock.with_suffix("")
        directory.mkdir(mode=0o755, exist_ok=True)
        yield directory
    finally:
        os.close(descriptor)
        _remove_unless_used(lock)


def _shared_lock(path: Path) -> int:
    """Lock a file, together with others, and return its descriptor. It is made if it is missing."""
    import fcntl  # not on Windows, like the private server

    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):  # another worker has just removed it
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        os.close(descriptor)


def _remove_unless_used(lock: Path) -> None:
    """Remove a directory and its lock, if nobody holds the lock."""
    import fcntl

    with suppress(OSError):
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()
        finally:
            os.close(descriptor)


@contextmanager
def _connection(url: str) -> Iterator[Any]:
    import psycopg

    with psycopg.connect(url, autocommit=True) as opened:
        opened.execute("SET client_min_messages = warning")
        yield opened


def _is_complete(server: Any, name: str) -> bool:
    """Check whether a database exists, and no interrupted DROP has made it invalid."""
    query = "SELECT 1 FROM pg_database WHERE datname = %s AND datconnlimit <> -2"
    return bool(server.execute(query, [name]).fetchall())


def _databases(server: Any, pattern: str) -> list[str]:
    query = "SELECT datname::text FROM pg_database WHERE datname LIKE %s"
    return [name for (name,) in server.execute(query, [pattern]).fetchall()]


def _url(server_url: str, dbname: str, driver: str = "") -> str:
    """Return the URL of a database on a server. Every driver can read it: a socket is in its query."""
    from sqlmig.core.connection import parameters

    given = parameters(server_url) | {"dbname": dbname}
    user = quote(given.pop("user", ""), safe="")
    if password := given.pop("password", ""):
        user += f":{quote(password, safe='')}"
    host = given.get("host", "")
    place = ""
    if host and not host.startswith("/"):
        place = given.pop("host")
        if port := given.pop("port", ""):
            place += f":{port}"
    dialect = f"postgresql+{driver}" if driver else "postgresql"
    at = f"{user}@" if user else ""
    query = urlencode({k: v for k, v in given.items() if k != "dbname"})
    return f"{dialect}://{at}{place}/{quote(dbname)}{'?' if query else ''}{query}"
