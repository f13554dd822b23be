"""A runner that is killed or cut off never leaves half a file, and the next runner continues."""

from __future__ import annotations

import os
import random
import select
import signal
from typing import TYPE_CHECKING

import psycopg
import pytest

from sqlmig.core.connection import column_received, connect, fetch, rollback
from sqlmig.core.errors import ConnectionLost
from tests.support.project import LOCK, until
from tests.support.waits import tables

if TYPE_CHECKING:
    from tests.support.project import Project
    from tests.support.proxy import Proxy

# `make soak` sets SQLMIG_TEST_KILLS.
ROUNDS = int(os.environ.get("SQLMIG_TEST_KILLS", "100")) // 4
OTHERS = """
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state IN ('active', 'idle in transaction')
        AND backend_type = 'client backend'
"""

TABLES = "SELECT tablename FROM pg_tables WHERE tablename ~ '^t[0-9]'"


@pytest.mark.parametrize("part", range(4))
def test_ledger_matches_database_after_kills_at_random_moments(
    project: Project, part: int
) -> None:
    tables(project, 10, body="SELECT pg_sleep(0.004);")
    chance = random.Random(part)
    seen = set()
    with psycopg.connect(project.url, autocommit=True) as watcher:
        for _ in range(ROUNDS):
            runner = project.fork(
                *chance.choice([("up",), ("up",), ("down", "--all", "--yes")])
            )
            # Kill it when so many files are done, however fast the machine is.
            left = chance.randrange(1, 11)
            begin = len(watcher.execute(TABLES).fetchall())
            until(
                lambda: (
                    abs(len(watcher.execute(TABLES).fetchall()) - begin) >= left  # noqa: B023
                    or runner.process.exitcode is not None  # noqa: B023
                )
            )
            runner.process.join(chance.uniform(0, 0.004))
            runner.process.kill()
            runner.process.join()
            until(
                lambda: not watcher.execute(OTHERS).fetchall(),
                "the killed runner's backend",
            )
            ledger = watcher.execute(
                "SELECT to_regclass('schema_migrations')"
            ).fetchone() != (None,)
            versions = (
                watcher.execute("SELECT version FROM schema_migrations").fetchall()
                if ledger
                else []
            )
            recorded = {f"t{version}" for (version,) in versions}
            if not recorded:
                watcher.execute(
                    "DROP TABLE IF EXISTS schema_migrations"
                )  # the next runner has to create it again
            found = {name for (name,) in watcher.execute(TABLES)}
            assert recorded == found == {f"t{n}" for n in range(1, len(found) + 1)}
            seen.add(len(found))
    assert len(seen) > 3  # the kills came at different places
    project.run("up")
    assert set(project.states().values()) == {"applied"}


@pytest.fixture
def sleeping(project: Project) -> Project:
    """Return a project with a second migration that takes a while."""
    project.file("1_a.up.sql", "CREATE TABLE a ();")
    project.file("2_b.up.sql", "CREATE TABLE b (); SELECT pg_sleep(30);")
    return project


def asleep(project: Project) -> int:
    """Wait until the second migration sleeps, and return the process ID of its backend."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    until(lambda: project.query(query))
    return int(project.query(query)[0][0])


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_interrupted_runner_cancels_its_statement_and_reports_outcome(
    sleeping: Project, sent: signal.Signals, code: int
) -> None:
    runner = sleeping.fork("up")
    asleep(sleeping)
    runner.send(sent)
    assert "interrupted; 2_b was not applied" in runner.ended(code)
    assert (
        sleeping.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        )
        == []
    )
    assert sleeping.states() == {1: "applied", 2: "pending"}
    sleeping.file("2_b.up.sql", "CREATE TABLE b ();")
    sleeping.run("up")


def test_interrupt_ends_wait_for_another_runner(sleeping: Project) -> None:
    sleeping.run("up", "--to", "1")
    with psycopg.connect(sleeping.url) as other:
        other.execute(LOCK)
        runner = sleeping.fork("up")
        runner.said("waiting for process")
        runner.send(signal.SIGINT)
        assert "interrupted" in runner.ended(130)


def test_end_of_an_idle_session_is_an_error_with_the_servers_words(
    project: Project,
) -> None:
    """The error comes while nothing runs, so libpq passes it on as a notice."""
    said: list[str] = []
    with (
        pytest.raises(ConnectionLost, match="due to administrator command"),
        connect(project.url, said.append) as connection,
    ):
        project.query("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)
        readable, _, _ = select.select([connection], [], [], 60)
        assert readable
        column_received(connection)
        fetch(connection, "SELECT 1")
    assert said == []


def test_terminated_backend_is_reported_and_next_run_succeeds(
    sleeping: Project,
) -> None:
    runner = sleeping.fork("up")
    sleeping.query("SELECT pg_terminate_backend(%s)", asleep(sleeping))
    assert "terminating connection due to administrator command" in runner.ended(1)
    assert sleeping.states() == {1: "applied", 2: "pending"}
    sleeping.file("2_b.up.sql", "CREATE TABLE b ();")
    sleeping.run("up")


def test_lost_connection_at_commit_reports_possible_commit(
    project: Project, proxy: Proxy
) -> None:
    tables(project, 3)
    proxy.cut_at = b"CREATE TABLE t2"
    error = proxy.before(project).run("up", code=1).err
    assert (
        "the connection was lost while 0002_t ran: it may have been committed; `sqlmig status` shows"
        in error
    )
    until(lambda: project.tables() == {"t1", "t2"})  # here it was committed
    assert project.states() == {1: "applied", 2: "applied", 3: "pending"}
    project.run("up")


def test_lost_connection_in_no_transaction_file_names_statement(
    project: Project, proxy: Proxy
) -> None:
    project.file(
        "1_x.up.sql",
        "-- sqlmig: no-transaction\nCREATE TABLE a ();\nCREATE TABLE b ();\nCREATE TABLE c ();",
    )
    proxy.cut_at = b"CREATE TABLE b"
    error = proxy.before(project).run("up", code=1).err
    assert "1_x.up.sql:3:1: " in error
    assert "1 of 3 statements was committed, 1 failed, 1 did not run" in error
    assert project.states() == {1: "pending"}


def test_lost_connection_before_first_file_is_reported(
    project: Project, proxy: Proxy
) -> None:
    tables(project, 1)
    proxy.cut_at = b"AS number, version, name"
    assert (
        "error: cannot read the ledger" in proxy.before(project).run("up", code=1).err
    )
    assert project.tables() == set()


def test_rollback_cancels_and_drains_query_just_sent(
    project: Project,
) -> None:
    """A signal may arrive after sqlmig sent a message and before it waits for the result."""
    with connect(project.url, lambda _: None) as connection:
        connection.pgconn.send_query(b"BEGIN; SELECT pg_sleep(60)")
        asleep(project)
        rollback(connection)
        assert connection.is_idle
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_ignored_cancel_is_sent_again(
    project: Project,
) -> None:
    """A cancel may arrive before the server starts the message, or the file may catch it, like here."""
    heedless = b"""
        DO $$ BEGIN PERFORM pg_sleep(200); EXCEPTION WHEN query_canceled THEN NULL; END $$;
        SELECT pg_sleep(200);
    """
    with connect(project.url, lambda _: None) as connection:
        connection.pgconn.send_query(heedless)
        asleep(project)
        rollback(connection)
        assert connection.is_idle
        assert connection.ticks == []
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
