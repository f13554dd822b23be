"""A migration never stalls the application: it waits for a lock only briefly, and tries again."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.project import until
from tests.support.waits import tables

if TYPE_CHECKING:
    from tests.support.project import Project


@pytest.fixture
def busy_table(either: Project) -> Project:
    """Return a project with a table, and a pending migration that needs an exclusive lock on it."""
    either.file("1_t.up.sql", "CREATE TABLE t (id int);")
    either.run("up")
    either.file(
        "2_alter.up.sql", "CREATE TABLE done ();\nALTER TABLE t ADD COLUMN more int;"
    )
    return either


def test_lock_timeout_rolls_back_and_retries(
    busy_table: Project,
) -> None:
    with psycopg.connect(busy_table.url) as reader:
        reader.execute("SELECT * FROM t")
        error = busy_table.run(
            "up", "--lock-timeout", "50ms", "--retries", "2", code=1
        ).err
        assert (
            error.count(
                "2_alter.up.sql:2:1: ERROR: canceling statement due to lock timeout"
            )
            == 2
        )  # for the first and for the last try
        assert "rolled back; trying again in 0." in error
        assert "2_alter: no lock yet; trying again in 0." in error
        assert re.findall(r"\((.*) of 2\)", error) == ["1", "2"]
    assert busy_table.tables() == {"t"}
    assert busy_table.states() == {1: "applied", 2: "pending"}


def test_file_is_applied_after_lock_is_released(busy_table: Project) -> None:
    with psycopg.connect(busy_table.url) as reader:
        reader.execute("SELECT * FROM t")
        runner = busy_table.fork("up", "--lock-timeout", "50ms")
        runner.said("(2 of 10)")
    assert "applied 2_alter" in runner.ended()
    assert busy_table.states() == {1: "applied", 2: "applied"}


def test_deadlock_is_retried(project: Project) -> None:
    project.file("1_t.up.sql", "CREATE TABLE a (); CREATE TABLE b ();")
    project.run("up")
    project.file("2_x.up.sql", "LOCK TABLE a; SELECT pg_sleep(1); LOCK TABLE b;")
    with psycopg.connect(project.url) as other:
        other.execute("SET deadlock_timeout = '30s'; BEGIN; LOCK TABLE b")
        runner = project.fork("up", "--lock-timeout", "60s")
        holds = "SELECT 1 FROM pg_locks WHERE relation = 'a'::regclass AND granted"
        until(lambda: project.query(holds), "the runner's lock on a")
        waiting = threading.Thread(target=other.execute, args=("LOCK TABLE a",))
        waiting.start()
        said = runner.said("deadlock detected")
        assert "trying again" in said
        waiting.join()
    assert "applied 2_x" in runner.ended()


def test_reader_waits_at_most_a_second_beyond_lock_timeout(
    project: Project,
) -> None:
    project.file("1_t.up.sql", "CREATE TABLE t (id int);")
    project.run("up")
    project.file("2_alter.up.sql", "ALTER TABLE t ADD COLUMN more int;")
    with (
        psycopg.connect(project.url) as holder,
        psycopg.connect(project.url, autocommit=True) as reader,
    ):
        holder.execute("SELECT * FROM t")
        reader.execute(
            "SET statement_timeout = '1300ms'"
        )  # the reader fails if it waits longer
        runner = project.fork("up", "--lock-timeout", "300ms", "--retries", "3")
        while runner.process.is_alive() and "(3 of 3)" not in runner.text():
            reader.execute("SELECT * FROM t")
        runner.process.join()
    assert "lock timeout" in runner.text()


def test_lock_timeout_applies_to_each_file_separately(project: Project) -> None:
    project.file(
        "1_t.up.sql",
        "CREATE TABLE seen AS SELECT current_setting('lock_timeout') AS v;",
    )
    project.file(
        "2_t.up.sql",
        "SET lock_timeout = '7s'; INSERT INTO seen SELECT current_setting('lock_timeout')",
    )
    project.file(
        "3_t.up.sql", "INSERT INTO seen SELECT current_setting('lock_timeout')"
    )
    project.file(
        "4_t.up.sql",
        "-- sqlmig: no-transaction\nINSERT INTO seen SELECT current_setting('lock_timeout')",
    )
    project.run("up")
    assert project.query("SELECT v FROM seen") == [("5s",), ("7s",), ("5s",), ("0",)]
    project.run("up", "--lock-timeout", "1min")


@pytest.mark.parametrize("command", ["up", "down"])
def test_lock_timeout_also_limits_wait_for_ledger(
    project: Project, command: str
) -> None:
    tables(project, 2)
    project.run("up", "--to", "1")
    with psycopg.connect(project.url) as other:
        other.execute("LOCK TABLE schema_migrations IN SHARE MODE")
        runner = project.fork(command, "--lock-timeout", "50ms")
        runner.said("trying again in")
    runner.ended()
    assert project.tables() == ({"t1", "t2"} if command == "up" else set())


@pytest.mark.parametrize(
    "value", ["soon", "-1s", "5 years", "99999999min", "1s; DROP TABLE t"]
)
def test_invalid_lock_timeout_is_a_usage_error(project: Project, value: str) -> None:
    tables(project, 1)
    assert "--lock-timeout" in project.run("up", "--lock-timeout", value, code=2).err
    assert project.tables() == set()


def test_the_lock_timeout_does_not_break_a_concurrent_index(project: Project) -> None:
    project.file("1_t.up.sql", "CREATE TABLE t (id int);")
    project.run("up")
    project.file("2_i.up.sql", "CREATE INDEX CONCURRENTLY i ON t (id);")
    with psycopg.connect(project.url) as writer:
        writer.execute("INSERT INTO t VALUES (1)")
        runner = project.fork("up", "--lock-timeout", "10ms")
        with psycopg.connect(project.url, autocommit=True) as other:
            waiting = "SELECT pg_sleep(0.3) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'ShareUpdateExclusiveLock'"
            while not other.execute(waiting).fetchall():
                pass
    assert "applied 2_i" in runner.ended()
    assert project.query(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"
    ) == [(True,)]


@pytest.mark.parametrize("retries", ["0", "1"])
def test_a_lock_timeout_says_who_held_the_lock(
    project: Project, either: Project, retries: str
) -> None:
    either.query("CREATE TABLE t ()")
    either.write(up_1_a="ALTER TABLE t ADD n int;")
    with psycopg.connect(project.url, application_name="nightly report") as other:
        other.execute("LOCK TABLE t")
        ((pid,),) = other.execute("SELECT pg_backend_pid()").fetchall()
        other.execute("SELECT 'a secret'")
        error = either.run(
            "up",
            "--allow-non-empty",
            "--lock-timeout",
            "600ms",
            "--retries",
            retries,
            code=1,
        ).err
    held = rf"the lock is held by process {pid} \(nightly report\), idle in transaction since \d\d:\d\d:\d\d, its last"
    assert len(re.findall(held, error)) == 1 + int(retries)
    assert "secret" not in error
    assert "Nothing of this file was committed." in error
    assert either.query(
        "SELECT count(*) FROM pg_attribute WHERE attname = 'n' AND attrelid = 't'::regclass"
    ) == [(0,)]


def test_rehearsal_names_lock_holder(project: Project) -> None:
    project.query("CREATE TABLE t ()")
    project.write(up_1_a="ALTER TABLE t ADD n int;")
    with psycopg.connect(project.url) as other:
        other.execute("LOCK TABLE t")
        error = project.run(
            "up", "--dry-run", "--lock-timeout", "600ms", "--retries", "0", code=1
        ).err
    assert "the lock is held by process" in error
