"""The servers of a test run, their databases, and their data directories."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.support.project import NUMBERS, RUN, RUN_OF_ALL, Project, url_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

# For servers that need not keep their data after a crash.
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

# In memory if it is large enough, which halves the time of a run.
_MEMORY = Path("/dev/shm")  # Linux only; in a container it may be small
_NEEDED = 2 << 30  # bytes
_PREFIX = "sqlmig-tests-"
_SECONDS_TO_START = 10  # until then the directory of a new server may be empty


class Server:
    """A running server, and the parts of its URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = conninfo_to_dict(url)
        self.host = str(parts.get("host", "localhost"))
        self.port = int(str(parts.get("port", 5432)))
        self.user = str(parts.get("user", "postgres"))
        self.password = str(parts["password"]) if "password" in parts else None
        self.dbname = str(parts["dbname"])
        self._admin: psycopg.Connection[Any] | None = None
        # A template: an empty database to which a session was connected.
        self._empty = ""
        # The last database that is no longer needed.
        self._last = ""

    @contextlib.contextmanager
    def database(
        self, name: str, template: str = "", owner: str = ""
    ) -> Iterator[psycopg.Connection[Any]]:
        """Yield its owner's connection to an empty database, or to a copy of a template."""
        owner = owner or self.user
        with self.unconnected(name, template, owner) as made:
            opened = psycopg.connect(self.url, dbname=made, user=owner)
            with contextlib.closing(opened):
                yield opened

    @contextlib.contextmanager
    def unconnected(
        self, name: str, template: str = "", owner: str = ""
    ) -> Iterator[str]:
        """Yield the name of an empty database, or of a copy of a template.

        It is dropped after the next one, or at the end of the run: DROP DATABASE waits for a
        tenth of a second if the server is still ending a session.
        """
        name = f"{name}_{RUN}_{next(NUMBERS)}"
        self._create(name, template or self._empty_template(), owner or self.user)
        try:
            yield name
        finally:
            self._drop_last(then=name)

    @contextlib.contextmanager
    def project(self, parent: Path, template: str = "") -> Iterator[Project]:
        """Yield a new directory in another, and an empty database or a copy of a template."""
        directory = parent / "sql"
        directory.mkdir()
        with self.unconnected("sqlmig_project", template) as name:
            yield Project(directory, self.url_of(name))

    def url_of(self, name: str) -> str:
        """Return the URL of a database."""
        return url_of(self._connection(), name)

    def close(self) -> None:
        """Drop the remaining databases, and close the connection that creates and drops them."""
        self._drop_last()
        if self._empty:
            self._execute(f"DROP DATABASE {self._empty}")
        if self._admin:
            self._admin.close()

    def _empty_template(self) -> str:
        """Return the template for empty databases. It has the cache file that a first session writes."""
        if not self._empty:
            self._empty = f"sqlmig_template_{RUN}"
            self._create(self._empty, "template0", self.user)
            psycopg.connect(self.url, dbname=self._empty).close()
        return self._empty

    def _create(self, name: str, template: str, owner: str) -> None:
        # Copying files costs a third of logging their pages. The checkpoint that it needs is cheap here.
        self._execute(
            f"CREATE DATABASE {name} OWNER {owner} TEMPLATE {template} STRATEGY file_copy"
        )

    def _drop_last(self, then: str = "") -> None:
        """Try once to drop the last database. then: the database to drop next."""
        last, self._last = self._last, then
        if last:
            self._execute(f"DROP DATABASE {last} WITH (FORCE)")

    def _execute(self, query: str) -> None:
        self._connection().execute(query.encode())

    def _connection(self) -> psycopg.Connection[Any]:
        """Return a connection that stays open for the next statement."""
        if self._admin is None or self._admin.closed:
            self._admin = psycopg.connect(self.url, autocommit=True)
        return self._admin


def data_directory(name: str, factory: pytest.TempPathFactory) -> Path:
    """Return the data directory of a server that all workers of a run share."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    in_memory = _MEMORY / f"{_PREFIX}{RUN_OF_ALL}"
    if in_memory.is_dir() or _has_room():
        base = in_memory
    return base / name


def _has_room() -> bool:
    if not os.access(_MEMORY, os.W_OK):
        return False
    return shutil.disk_usage(_MEMORY).free > _NEEDED


def remove_data() -> None:
    """Remove the data of this run and of killed runs."""
    shutil.rmtree(_MEMORY / f"{_PREFIX}{RUN_OF_ALL}", ignore_errors=True)
    for left in _MEMORY.glob(f"{_PREFIX}*"):
        process = left.name.removeprefix(_PREFIX)
        if process.isdigit() and not Path(f"/proc/{process}").exists():
            shutil.rmtree(left, ignore_errors=True)
    _remove_empty_socket_directories()


def _remove_empty_socket_directories() -> None:
    """Remove the directories of the servers that tests have killed. That of a running server is not empty."""
    for left in Path("/tmp").glob("sqlmig-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _SECONDS_TO_START:
                left.rmdir()
