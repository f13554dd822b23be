"""A directory of SQL files and a database, and helpers that run sqlmig the way a user does."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import psycopg

from sqlmig.cli import command, main
from sqlmig.core.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

SQL = Path(__file__).parents[2] / "sql"


# Unique on one server for each checkout, each run, and each worker of a run.
RUN_OF_ALL = os.environ.setdefault("SQLMIG_TEST_RUN", str(os.getpid()))
RUN = RUN_OF_ALL + os.environ.get("PYTEST_XDIST_WORKER", "")


def url_of(connection: psycopg.Connection[Any], dbname: str = "") -> str:
    """Return the URL of a connection's database, or of another on its server."""
    info = connection.info
    user, password = quote(info.user), quote(info.password or "", safe="")
    query = urlencode({"host": info.host, "port": info.port})
    return f"postgresql://{user}:{password}@/{quote(dbname or info.dbname)}?{query}"


@dataclass(frozen=True)
class Output:
    """The output of a command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Parse standard output as JSON."""
        return json.loads(self.out)


LOCK = f"SELECT pg_advisory_xact_lock({Ledger('public', is_named=False).lock_key})"  # the runners' own lock


FORKS = multiprocessing.get_context("forkserver")


FORKS.set_forkserver_preload(["tests.support.project"])


NUMBERS = itertools.count()


def _forked(output: Path, arguments: list[str]) -> None:
    """Run sqlmig in a forked process, with standard output and error in one file."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a script's background processes ignore it
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (
        os.fdopen(1, "w", buffering=1),
        os.fdopen(2, "w", buffering=1),
    )
    sys.argv[1:] = arguments
    main()


@dataclass(frozen=True)
class Forked:
    """A running sqlmig process."""

    process: multiprocessing.process.BaseProcess
    output: Path

    def text(self) -> str:
        """Return the output up to now."""
        return self.output.read_text() if self.output.exists() else ""

    def said(self, words: str) -> str:
        """Wait until the output contains a text, and return the output."""
        until(lambda: words in self.text() or not self.process.is_alive(), words)
        assert words in self.text(), self.text()
        return self.text()

    def send(self, sent: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self.process.pid
        os.kill(self.process.pid, sent)

    def ended(self, code: int = 0) -> str:
        """Wait until the process ends, check its exit code, and return the output."""
        self.process.join(120)
        assert self.process.exitcode == code, self.text()
        assert "Traceback" not in self.text(), self.text()
        return self.text()


def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait until a condition is true. Fail after two minutes."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


@dataclass(frozen=True)
class Project:
    """A directory of SQL files and a database, with methods that run sqlmig."""

    directory: Path
    url: str

    def write(self, **files: str) -> None:
        """Write files: ``up_1_name="…"`` writes 1_name.up.sql."""
        for key, text in files.items():
            direction, _, stem = key.partition("_")
            self.file(f"{stem}.{direction}.sql", text)

    def file(self, name: str, text: str | bytes) -> Path:
        """Write one file with this name."""
        path = self.directory / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def run(self, *arguments: str, code: int | None = 0) -> Output:
        """Run a command in this process and check its exit code, unless ``code`` is None."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            got = command(["-d", self.url, "--dir", str(self.directory), *arguments])
        output = Output(got, out.getvalue(), err.getvalue())
        assert code is None or output.code == code, output
        assert "Traceback" not in output.err
        return output

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command in a new process."""
        environment = os.environ | {
            "DATABASE_URL": self.url,
            "SQLMIG_DIR": str(self.directory),
        }
        line = [sys.executable, "-m", "sqlmig", *arguments]
        pipes: dict[str, Any] = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "env": environment,
        }
        pipes["preexec_fn"] = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen(line, **pipes | options)

    def fork(self, *arguments: str) -> Forked:
        """Start a command in a forked process. This is faster than ``start``, and the output goes to a file."""
        output = self.directory.parent / f"{next(NUMBERS)}.txt"
        process = FORKS.Process(
            target=_forked,
            args=(output, ["-d", self.url, "--dir", str(self.directory), *arguments]),
        )
        process.start()
        return Forked(process, output)

    def query(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a query, commit it, and return its rows."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []

    def states(self) -> dict[int, str]:
        """Return the state of each version from `status --json`."""
        return {
            row["version"]: row["state"] for row in self.run("status", "--json").json()
        }

    def tables(self) -> set[str]:
        """Return the tables of the database, without the ledger."""
        rows = self.query(
            "SELECT tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'"
        )
        return {name for (name,) in rows} - {"schema_migrations"}
