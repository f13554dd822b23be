"""A runner that is killed or cut off never leaves half a file, and the next runner continues."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import psycopg
import pytest

from sqlmig.core.connection import connect, rollback
from tests.support.project import LOCK, until
from tests.support.waits import tables

if TYPE_CHECKING:
    from tests.support.project import Project
    from tests.support.proxy import Proxy

ROUNDS = int(os.environ.get("SQLMIG_TEST_KILLS", "200")) // 4
OTHERS = """
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state IN ('active', 'idle in transaction')
        AND backend_type = 'client backend'
"""

TABLES = "SELECT tablename FROM pg_tables WHERE tablename ~ '^t[0-9]'"


@pytest.mark.parametrize("part", range(4))
def test_killed_at_random_moments_ledger_and_database_never_disagree(
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
def test_an_interrupted_runner_cancels_its_statement_and_says_what_became_of_it(
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


def test_an_interrupted_wait_for_others_ends_at_once(sleeping: Project) -> None:
    sleeping.run("up", "--to", "1")
    with psycopg.connect(sleeping.url) as other:
        other.execute(LOCK)
        runner = sleeping.fork("up")
        runner.said("waiting for process")
        runner.send(signal.SIGINT)
        assert "interrupted" in runner.ended(130)


def test_a_terminated_backend_is_said_and_the_next_run_goes_on(
    sleeping: Project,
) -> None:
    runner = sleeping.fork("up")
    sleeping.query("SELECT pg_terminate_backend(%s)", asleep(sleeping))
    assert "terminating connection due to administrator command" in runner.ended(1)
    assert sleeping.states() == {1: "applied", 2: "pending"}
    sleeping.file("2_b.up.sql", "CREATE TABLE b ();")
    sleeping.run("up")


def test_a_connection_that_breaks_at_commit_says_that_it_may_have_committed(
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


def test_a_connection_that_breaks_within_a_no_transaction_file_says_where(
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


def test_a_connection_that_breaks_before_anything_ran_is_said(
    project: Project, proxy: Proxy
) -> None:
    tables(project, 1)
    proxy.cut_at = b"AS number, version, name"
    assert (
        "error: cannot read the ledger" in proxy.before(project).run("up", code=1).err
    )
    assert project.tables() == set()


def test_what_was_just_sent_is_cancelled_and_read_before_the_rollback(
    project: Project,
) -> None:
    """A signal may arrive after sqlmig sent a message and before it waits for the result."""
    with connect(project.url, lambda _: None) as connection:
        connection.pgconn.send_query(b"BEGIN; SELECT pg_sleep(60)")
        asleep(project)
        rollback(connection)
        assert connection.is_idle
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_a_cancel_that_the_server_does_not_heed_is_sent_again(
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
