"""Any number of runners may start at once: each migration is applied once, the others wait, say whom for, and end well."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.conftest import until
from tests.promises.conftest import tables

if TYPE_CHECKING:
    from tests.conftest import Forked, Project

BUILDING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^CREATE INDEX' AND wait_event = 'virtualxid'"


@pytest.mark.parametrize("count", [2, 16, 50])
def test_each_migration_is_applied_exactly_once(either: Project, count: int) -> None:
    tables(either, 12)
    runners = [either.fork("up") for _ in range(count)]
    said = "".join(runner.ended() for runner in runners)
    applied = re.findall(r"^applied (\d+)_t", said, re.MULTILINE)
    assert sorted(applied) == [f"{n:04}" for n in range(1, 13)]
    assert either.tables() == {f"t{n}" for n in range(1, 13)}
    assert set(either.states().values()) == {"applied"}


def test_a_runner_that_waits_says_whom_for(project: Project, either: Project) -> None:
    tables(either, 1, body="SELECT pg_sleep(1.5);")
    first = either.fork("up")
    running = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    until(lambda: project.query(running))
    pids = project.query(running)
    second = either.fork("up").ended()
    assert re.search(rf"waiting for process {pids[0][0]} \(sqlmig, at work since \d\d:\d\d:\d\d\)", second)
    assert second.endswith("nothing to do\n")
    assert "applied 0001_t" in first.ended()


def test_a_concurrent_index_beside_waiting_runners_is_neither_stalled_nor_invalid(
    project: Project, either: Project
) -> None:
    either.file("1_t.up.sql", "CREATE TABLE t (id int)")
    either.run("up")
    either.file("2_i.up.sql", "CREATE INDEX CONCURRENTLY i ON t (id)")
    either.file("3_a.up.sql", "CREATE TABLE after ()")
    with psycopg.connect(project.url, autocommit=True) as old:
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")  # the index waits for its snapshot
        runners = [either.fork("up") for _ in range(6)]
        until(lambda: project.query(BUILDING))
        if either is project:  # else the pooler has no connection left for those that wait
            until(lambda: sum("waiting for" in runner.text() for runner in runners) == 5)
    said = "".join(runner.ended() for runner in runners)
    assert said.count("applied 2_i") == said.count("applied 3_a") == 1
    assert either.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass") == [(True,)]


def test_a_prepared_transaction_is_waited_for_with_a_word(project: Project) -> None:
    if project.query("SHOW max_prepared_transactions") == [("0",)]:
        pytest.skip("this server has no prepared transactions")
    tables(project, 1)
    project.run("up")
    ((name,),) = project.query("SELECT current_database()")
    with psycopg.connect(project.url, autocommit=True) as other:
        held = f"BEGIN; LOCK TABLE schema_migrations IN SHARE ROW EXCLUSIVE MODE; PREPARE TRANSACTION '{name}'"
        other.execute(held)
        runner = project.fork("down")
        try:
            runner.said("waiting for a prepared transaction (pg_prepared_xacts)")
        finally:
            other.execute(f"ROLLBACK PREPARED '{name}'")
    assert "reverted 0001_t" in runner.ended()


def test_a_ledger_that_somebody_locks_for_good_is_an_error_and_no_hang(project: Project) -> None:
    tables(project, 1)
    project.run("up")
    with psycopg.connect(project.url) as other:
        other.execute("LOCK TABLE schema_migrations")
        assert (
            "cannot read the ledger public.schema_migrations: canceling statement due to lock timeout"
            in project.run("status", code=1).err
        )


def test_up_beside_down_is_safe(either: Project) -> None:
    tables(either, 8)
    for _ in range(6):
        runners = [either.fork(*words) for words in (("up",), ("down", "--all"), ("up",), ("down",))]
        for runner in runners:
            runner.process.join(60)
            assert runner.process.exitcode in (0, 1), runner.text()
            assert runner.process.exitcode == 0 or "another runner" in runner.text()
        recorded = {f"t{version}" for (version,) in either.query("SELECT version FROM schema_migrations")}
        assert recorded == either.tables()
        assert recorded == {f"t{n}" for n in range(1, len(recorded) + 1)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("INSERT INTO schema_migrations VALUES (9, 'theirs', 'x')", "another runner applied 9 meanwhile"),
        ("DELETE FROM schema_migrations WHERE version = 1", "another runner reverted 1 meanwhile"),
    ],
)
def test_a_runner_stops_when_another_changes_what_its_plan_rests_on(project: Project, change: str, words: str) -> None:
    assert words in waits_while(project, change).ended(code=1)
    assert project.tables() == {"t1"}


def test_a_version_that_another_runner_did_meanwhile_is_left_out(project: Project) -> None:
    runner = waits_while(project, "INSERT INTO schema_migrations VALUES (2, 't', 'x')")
    assert runner.ended().endswith("nothing to do\n")


def waits_while(project: Project, change: str) -> Forked:
    """Return a runner that has one of two migrations left and waits while another changes the ledger."""
    tables(project, 2)
    project.run("up", "--to", "1")
    with psycopg.connect(project.url) as other:
        other.execute("LOCK TABLE schema_migrations IN SHARE ROW EXCLUSIVE MODE")
        runner = project.fork("up")
        runner.said("waiting for process")
        other.execute(change)
    return runner
