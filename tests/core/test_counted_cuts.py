"""Cut a run off after messages of the protocol, in each direction; `make soak` cuts it off after each one.

After each cut the ledger agrees with the database, and the next run completes the command.
"""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from sqlmig import embedded
from sqlmig.cli import command as run_command
from tests.support.counting_proxy import CountingProxy
from tests.support.project import RUN, until
from tests.support.servers import data_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.counting_proxy import Direction
    from tests.support.project import Forked, Project
    from tests.support.servers import Server

# `make soak` tries every place in every way. Otherwise, only `up` is cut off after each message that it sends.
TRIES_ALL = bool(os.environ.get("SQLMIG_TEST_KILLS"))

OTHERS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
        AND pid <> ALL (%s)
"""
ENDS_RUNNERS = f"""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name LIKE 'sqlmig%'
        AND (datname = current_database() OR datname LIKE 'sqlmig_scratch_{os.getpid()}_%')
        AND backend_type = 'client backend'
"""
RESET = """
    DROP SCHEMA IF EXISTS public, a, b, c CASCADE;
    CREATE SCHEMA public;
"""


class Scenario:
    """A command to cut off: the state before it, the conditions after it, and its final state."""

    files: ClassVar[dict[str, str]] = {
        "1_t.up.sql": "CREATE TABLE t1 (); CREATE TABLE u1 ();",
        "1_t.down.sql": "DROP TABLE t1; DROP TABLE u1;",
        "2_t.up.sql": "CREATE TABLE t2 (); CREATE TABLE u2 ();",
        "2_t.down.sql": "DROP TABLE t2; DROP TABLE u2;",
    }
    command: ClassVar[list[str]] = ["up"]
    # Outside `make soak`, a command that takes longer is cut off at fewer places.
    weight: ClassVar[int] = 1

    def prepare(self, project: Project) -> str:
        """Return SQL for the state before the command."""
        del project
        return ""

    def holds(self, watcher: psycopg.Connection) -> bool:
        """Return whether the ledger agrees with the database."""
        found = "ARRAY(SELECT right(tablename, 1)::bigint FROM pg_tables WHERE tablename LIKE '{}_' ORDER BY 1)"
        recorded = self.recorded(watcher)
        for letter in "tu":
            ((tables,),) = watcher.execute(f"SELECT {found.format(letter)}")
            if tables != recorded:
                return False
        return True

    def recorded(
        self, watcher: psycopg.Connection, schema: str = "public"
    ) -> list[int]:
        """Return the versions in the ledger."""
        ledger = f"{schema}.schema_migrations"
        ((exists,),) = watcher.execute("SELECT to_regclass(%s) IS NOT NULL", [ledger])
        if not exists:
            return []
        rows = watcher.execute(f"SELECT version FROM {ledger} ORDER BY 1").fetchall()
        return [version for (version,) in rows]

    def is_ended(self, watcher: psycopg.Connection) -> bool:
        """Return whether the next run has completed the command."""
        return self.holds(watcher) and self.recorded(watcher) == [1, 2]


class Up(Scenario):
    """Apply two files."""


class Down(Scenario):
    """Revert two files."""

    command: ClassVar[list[str]] = ["down", "--all", "--yes"]

    def prepare(self, project: Project) -> str:
        return project.run("script").out.partition("\n-- What it did")[0]

    def is_ended(self, watcher: psycopg.Connection) -> bool:
        return self.holds(watcher) and self.recorded(watcher) == []


class CarefulDown(Down):
    """Revert without --yes: off a terminal, `down` rehearses first."""

    command: ClassVar[list[str]] = ["down", "--all"]
    weight = 3


class Stamp(Scenario):
    """Record two files without running them."""

    command: ClassVar[list[str]] = ["stamp", "2"]

    def holds(self, watcher: psycopg.Connection) -> bool:
        return self.recorded(watcher) in ([], [1, 2])


class Repair(Down):
    """Record both files again."""

    command: ClassVar[list[str]] = ["repair", "--yes"]

    def prepare(self, project: Project) -> str:
        return (
            super().prepare(project) + ";UPDATE schema_migrations SET checksum = 'old'"
        )

    def is_ended(self, watcher: psycopg.Connection) -> bool:
        return self.checksums(watcher) == 0 and self.holds(watcher)

    def holds(self, watcher: psycopg.Connection) -> bool:
        return self.checksums(watcher) in (0, 2)

    def checksums(self, watcher: psycopg.Connection) -> int:
        """Count the rows that have the old checksum."""
        ((old,),) = watcher.execute(
            "SELECT count(*) FROM schema_migrations WHERE checksum = 'old'"
        )
        return int(old)


class NoTransaction(Scenario):
    """Apply a file that runs statement by statement."""

    files: ClassVar[dict[str, str]] = {
        "1_t.up.sql": (
            "-- sqlmig: no-transaction\nCREATE TABLE IF NOT EXISTS t1 ();"
            "CREATE TABLE IF NOT EXISTS u1 (); VACUUM t1; CREATE TABLE IF NOT EXISTS v1 ();"
        ),
        "2_t.up.sql": "CREATE TABLE t2 ();",
    }

    def holds(self, watcher: psycopg.Connection) -> bool:
        names = ["t1", "u1", "v1"]
        rows = watcher.execute(
            "SELECT to_regclass(n) IS NOT NULL FROM unnest(%s::text[]) AS n", [names]
        ).fetchall()
        found = [there for (there,) in rows]
        in_order = found == sorted(found, reverse=True)
        recorded = self.recorded(watcher)
        ((second,),) = watcher.execute("SELECT to_regclass('t2') IS NOT NULL")
        return (
            in_order and (1 not in recorded or all(found)) and second == (2 in recorded)
        )


class Repeat(Scenario):
    """Apply a file that runs three times, and once more without a change."""

    files: ClassVar[dict[str, str]] = {
        "1_t.up.sql": "CREATE TABLE t AS SELECT n, false AS done FROM generate_series(1, 9) AS n;",
        "2_fill.up.sql": (
            "-- sqlmig: repeat\nUPDATE t SET done = true"
            " WHERE n IN (SELECT n FROM t WHERE NOT done ORDER BY n LIMIT 3);"
        ),
    }

    def holds(self, watcher: psycopg.Connection) -> bool:
        recorded = self.recorded(watcher)
        ((table,),) = watcher.execute("SELECT to_regclass('t') IS NOT NULL")
        if table != (1 in recorded):
            return False
        if not table:
            return True
        ((done,),) = watcher.execute("SELECT count(*) FILTER (WHERE done) FROM t")
        return done % 3 == 0 and (2 not in recorded or done == 9)


class Schemas(Scenario):
    """Apply the files to three schemas at the same time."""

    command: ClassVar[list[str]] = [
        "up", "--jobs", "2", "--schema", "a", "--schema", "b", "--schema", "c",
    ]  # fmt: skip
    weight = 3

    def holds(self, watcher: psycopg.Connection) -> bool:
        for schema in "abc":
            rows = watcher.execute(
                "SELECT right(tablename, 1)::bigint FROM pg_tables WHERE schemaname = %s AND tablename LIKE 't_' ORDER BY 1",
                [schema],
            ).fetchall()
            if [version for (version,) in rows] != self.recorded(watcher, schema):
                return False
        return True

    def is_ended(self, watcher: psycopg.Connection) -> bool:
        return self.holds(watcher) and self.recorded(watcher, "c") == [1, 2]


class Check(Scenario):
    """Check the files without a ledger. A scratch database may stay until the next run."""

    files: ClassVar[dict[str, str]] = {
        "1_t.up.sql": "CREATE TABLE t1 ();",
        "1_t.down.sql": "DROP TABLE t1;",
    }
    command: ClassVar[list[str]] = ["check"]
    weight = 3

    def holds(self, watcher: psycopg.Connection) -> bool:
        return self.recorded(watcher) == []

    def is_ended(self, watcher: psycopg.Connection) -> bool:
        return self.holds(watcher)


SCENARIOS = [
    Up, Down, CarefulDown, Stamp, Repair, NoTransaction, Repeat, Schemas, Check,
]  # fmt: skip


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a server for `check` alone. Other tests would report the scratch databases that remain."""
    directory = data_directory(f"own_{RUN}", tmp_path_factory)
    with embedded.server(directory, {"fsync": "off"}) as url:
        yield url


@pytest.fixture
def trial(
    request: pytest.FixtureRequest, project: Project, server: Server
) -> Iterator[Trial]:
    """Yield a database, and a relay in front of its server."""
    host = str(server.host)
    port = int(server.port)
    if request.getfixturevalue("scenario") is Check:
        project = replace(project, url=request.getfixturevalue("own_server"))
        parts = conninfo_to_dict(project.url)
        host = str(parts["host"])
        port = int(str(parts.get("port", 5432)))
    proxy = CountingProxy(host, port)
    yield Trial(project, proxy)
    proxy.listener.close()


@pytest.mark.parametrize("direction", ["to the server", "to the client"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_next_run_completes_after_connection_is_cut(
    trial: Trial, scenario: type[Scenario], direction: Direction
) -> None:
    def cut() -> None:
        trial.proxy.cut()

    step = 3 if direction == "to the server" else 17
    if scenario is Up and direction == "to the server":
        step = 1
    trial.cut_at_each_place(scenario(), direction, cut, step)


@pytest.mark.parametrize("direction", ["to the server", "to the client"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_next_run_completes_after_backend_is_terminated(
    trial: Trial, scenario: type[Scenario], direction: Direction
) -> None:
    def end() -> None:
        trial.project.query(ENDS_RUNNERS)

    trial.cut_at_each_place(scenario(), direction, end, step=17)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_next_run_completes_after_runner_is_killed(
    trial: Trial, scenario: type[Scenario]
) -> None:
    def kill() -> None:
        assert trial.runner
        trial.runner.process.kill()

    trial.forks = True
    trial.cut_at_each_place(scenario(), "to the server", kill, step=9)


class Trial:
    """A database, and a relay in front of it."""

    def __init__(self, project: Project, proxy: CountingProxy) -> None:
        self.project = project
        self.proxy = proxy
        self.forks = False
        self.runner: Forked | None = None

    def cut_at_each_place(
        self,
        scenario: Scenario,
        direction: Direction,
        act: Callable[[], None],
        step: int,
    ) -> None:
        """Cut a command off at every ``step``-th place, and print the number of places.

        ``step`` is odd, and so is its product with a scenario's weight: messages may come in pairs.
        """
        step = 1 if TRIES_ALL else step * scenario.weight
        places = 0
        for name, text in scenario.files.items():
            self.project.file(name, text)
        behind = self.proxy.before(self.project)
        prepared = scenario.prepare(self.project)
        with psycopg.connect(self.project.url, autocommit=True) as watcher:
            ours = [pid for (pid,) in watcher.execute(OTHERS, [[]]).fetchall()]
            place = 1
            while True:
                watcher.execute((RESET + prepared).encode())
                self.proxy.arm(direction, place, act)
                self._run(behind, scenario.command)
                self.proxy.wait_until_acted()
                count = self.proxy.count
                until(lambda: not watcher.execute(OTHERS, [ours]).fetchall())
                assert scenario.holds(watcher), place

                self.project.run(*scenario.command)
                assert scenario.is_ended(watcher), place
                if count < place:
                    break  # the command ended before this place
                places += 1
                place += step
            scratch = watcher.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE 'sqlmig_scratch_%%' AND datname LIKE %s",
                [f"sqlmig_scratch_{os.getpid()}_%"],
            ).fetchall()
            assert scratch == []
        print(f"{type(scenario).__name__}: cut off at {places} places {direction}")
        assert places

    def _run(self, behind: Project, command: list[str]) -> None:
        """Run a command that is cut off. Any exit code is fine, but no traceback."""
        if self.forks:
            self.runner = behind.fork(*command)
            self.runner.process.join()
            return
        err = io.StringIO()
        with (
            contextlib.redirect_stderr(err),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            code = run_command(
                ["-d", behind.url, "--dir", str(behind.directory), *command]
            )
        assert code == 0 or "error: " in err.getvalue()
