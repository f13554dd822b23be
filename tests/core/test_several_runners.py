"""Any number of runners may start at once. One applies each migration; the others wait, name it, and succeed."""

from __future__ import annotations

import hashlib
import re
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.project import LOCK, until
from tests.support.waits import BUILDING, GO, WAITS, at_the_wait, tables

if TYPE_CHECKING:
    from tests.support.project import Forked, Project
    from tests.support.proxy import Proxy


def test_error_after_lock_wait_still_lists_applied_files(
    project: Project,
) -> None:
    project.write(up_1_a=f"{WAITS}CREATE TABLE a ();", up_2_b="CREATE TABLE b ();")
    runner = project.fork("up")
    at_the_wait(project, project.query("SELECT current_database()")[0][0])
    with psycopg.connect(project.url) as other:
        queued = threading.Thread(target=other.execute, args=(LOCK,))
        queued.start()
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: project.query(waits))
        with psycopg.connect(project.url, application_name=GO):
            queued.join()
        other.execute("INSERT INTO schema_migrations VALUES (3, 'c', '')")
    said = runner.ended(1)
    assert "applied 1_a" in said
    assert "error: nothing more was applied to " in said
    assert "2_b: pending, but older than the newest applied" in said


@pytest.mark.parametrize("count", [2, 16, 50])
def test_each_migration_is_applied_exactly_once(either: Project, count: int) -> None:
    tables(either, 12)
    runners = [either.fork("up") for _ in range(count)]
    said = "".join(runner.ended() for runner in runners)
    applied = re.findall(r"^applied (\d+)_t", said, re.MULTILINE)
    assert sorted(applied) == [f"{n:04}" for n in range(1, 13)]
    assert either.tables() == {f"t{n}" for n in range(1, 13)}
    assert set(either.states().values()) == {"applied"}


def test_waiting_runner_names_the_active_runner(
    project: Project, either: Project
) -> None:
    tables(either, 1, body="SELECT pg_sleep(1.5);")
    first = either.fork("up")
    running = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    until(lambda: project.query(running))
    pids = project.query(running)
    second = either.fork("up").ended()
    assert re.search(
        rf"waiting for process {pids[0][0]} \(sqlmig, at work since \d\d:\d\d:\d\d\)",
        second,
    )
    assert second.endswith("nothing to do\n")
    assert "applied 0001_t" in first.ended()


def test_concurrent_index_is_built_while_runners_wait(
    project: Project, either: Project
) -> None:
    either.file("1_t.up.sql", "CREATE TABLE t (id int)")
    either.run("up")
    either.file("2_i.up.sql", "CREATE INDEX CONCURRENTLY i ON t (id)")
    either.file("3_a.up.sql", "CREATE TABLE after ()")
    with psycopg.connect(project.url, autocommit=True) as old:
        old.execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1"
        )  # CREATE INDEX waits for this snapshot
        runners = [either.fork("up") for _ in range(6)]
        until(lambda: project.query(BUILDING))
        if either is project:  # through the pooler, waiting runners get no connection
            until(
                lambda: sum("waiting for" in runner.text() for runner in runners) == 5
            )
    said = "".join(runner.ended() for runner in runners)
    assert said.count("applied 2_i") == said.count("applied 3_a") == 1
    assert either.query(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"
    ) == [(True,)]


def test_waiting_runner_names_prepared_transaction(project: Project) -> None:
    if project.query("SHOW max_prepared_transactions") == [("0",)]:
        pytest.skip("this server has no prepared transactions")
    tables(project, 1)
    project.run("up")
    ((name,),) = project.query("SELECT current_database()")
    with psycopg.connect(project.url, autocommit=True) as other:
        other.execute(f"BEGIN; {LOCK}; PREPARE TRANSACTION '{name}'")
        runner = project.fork("down")
        try:
            runner.said("waiting for a prepared transaction (pg_prepared_xacts)")
        finally:
            other.execute(f"ROLLBACK PREPARED '{name}'")
    assert "reverted 0001_t" in runner.ended()


def test_status_fails_if_ledger_stays_locked(
    project: Project,
) -> None:
    tables(project, 1)
    project.run("up")
    with psycopg.connect(project.url) as other:
        other.execute("LOCK TABLE schema_migrations")
        assert (
            "cannot read the ledger public.schema_migrations: canceling statement due to lock timeout"
            in project.run("status", code=1).err
        )


ANOTHER_RUNNER = "was reverted: another runner has applied or reverted a migration"


def test_concurrent_up_and_down_keep_ledger_consistent(either: Project) -> None:
    tables(either, 8)
    for _ in range(6):
        runners = [
            either.fork(*words)
            for words in (("up",), ("down", "--all"), ("up",), ("down",))
        ]
        for runner in runners:
            runner.process.join(120)
            if runner.process.exitcode:
                # A runner stops if another runner reverted the file first.
                assert ANOTHER_RUNNER in runner.ended(code=1)
        recorded = {
            f"t{version}"
            for (version,) in either.query("SELECT version FROM schema_migrations")
        }
        assert recorded == either.tables()
        assert recorded == {f"t{n}" for n in range(1, len(recorded) + 1)}


def waits_while(project: Project, change: str, *words: str) -> Forked:
    """Return a runner with one pending migration that waits while another connection changes the ledger."""
    tables(project, 2)
    project.run("up", "--to", "1")
    with psycopg.connect(project.url) as other:
        other.execute(LOCK)
        runner = project.fork(*(words or ("up",)))
        runner.said("waiting for process")
        other.execute(change)
    return runner


CHECKSUM = hashlib.sha256(b"CREATE TABLE t2 (id int);").hexdigest()
RECORDED = f"INSERT INTO schema_migrations (version, name, checksum) VALUES (2, 't', '{CHECKSUM}')"


def test_version_applied_by_another_runner_is_skipped(project: Project) -> None:
    runner = waits_while(project, RECORDED)
    assert runner.ended().endswith("nothing to do\n")


def test_version_reverted_by_another_runner_is_applied_again(project: Project) -> None:
    runner = waits_while(
        project, "DELETE FROM schema_migrations WHERE version = 1; DROP TABLE t1"
    )
    assert re.findall("applied 000(.)_t", runner.ended()) == ["1", "2"]
    assert project.tables() == {"t1", "t2"}


def test_new_plan_after_wait_refuses_out_of_order_version(
    project: Project,
) -> None:
    said = waits_while(project, RECORDED.replace("(2, 't'", "(9, 'theirs'")).ended(
        code=1
    )
    assert "0002_t: pending, but older than the newest applied" in said
    assert project.tables() == {"t1"}


@pytest.mark.parametrize("directive", ["", "-- sqlmig: no-transaction\n"])
@pytest.mark.parametrize("newest", [0, 3])  # in order, and out of order
def test_version_recorded_by_hand_between_files_is_skipped(
    project: Project, newest: int, directive: str
) -> None:
    project.write(**{f"up_{newest}_x": "SELECT 1"})
    project.run("up")
    project.write(up_1_a=WAITS, up_2_t=f"{directive}CREATE TABLE t2 (id int);")
    runner = project.fork("up", "--allow-out-of-order")
    at_the_wait(project, project.query("SELECT current_database()")[0][0])
    project.query(
        RECORDED.replace(
            CHECKSUM,
            hashlib.sha256((project.directory / "2_t.up.sql").read_bytes()).hexdigest(),
        )
    )
    with psycopg.connect(project.url, application_name=GO):
        assert re.findall(r"applied (\w+)", runner.ended()) == ["1_a"]
    assert project.tables() == set()


def test_second_runner_to_record_version_rolls_back_and_replans(
    project: Project,
) -> None:
    tables(project, 2)
    project.run("up", "--to", "1")
    with psycopg.connect(project.url) as other:
        other.execute(RECORDED)
        runner = project.fork("up", "--lock-timeout", "60s")
        until(
            lambda: project.query(
                "SELECT 1 FROM pg_locks WHERE locktype = 'relation' AND NOT granted"
            )
        )
    assert runner.ended().endswith("nothing to do\n")
    assert project.tables() == {"t1"}


def test_down_stops_if_another_runner_changed_the_ledger(project: Project) -> None:
    change = f"CREATE TABLE t2 (); {RECORDED}"
    runner = waits_while(project, change, "down", "--all", "--yes")
    assert f"nothing {ANOTHER_RUNNER}" in runner.ended(code=1)
    assert project.tables() == {"t1", "t2"}


def test_concurrent_downs_revert_one_version(project: Project) -> None:
    tables(project, 3)
    project.run("up")
    with psycopg.connect(project.url) as other:
        other.execute(LOCK)
        runners = [project.fork("down", "--yes") for _ in range(2)]
        for runner in runners:
            runner.said("waiting for process")
    for runner in runners:
        runner.process.join(120)
    first, second = sorted(runners, key=lambda runner: runner.process.exitcode or 0)
    assert "reverted 0003_t" in first.ended()
    assert f"nothing {ANOTHER_RUNNER}" in second.ended(code=1)
    assert project.tables() == {"t1", "t2"}


def test_rehearsal_and_stamp_report_wait_and_replan(
    project: Project,
) -> None:
    assert (
        "would apply 0001_t"
        in waits_while(
            project, "DELETE FROM schema_migrations; DROP TABLE t1", "up", "--dry-run"
        ).ended()
    )
    project.query("DROP TABLE schema_migrations")
    assert (
        waits_while(project, RECORDED, "stamp", "2").ended().endswith("nothing to do\n")
    )


def test_serializable_plan_sees_commits_made_while_waiting(
    project: Project,
) -> None:
    project.file(
        "3_x.up.sql", "BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE x (); COMMIT"
    )
    runner = waits_while(project, f"CREATE TABLE t2 (); {RECORDED}")
    assert re.findall(r"applied (\w+)", runner.ended()) == ["3_x"]


@pytest.mark.parametrize(
    "first", ["CREATE TABLE t1 (id int)", "CREATE INDEX CONCURRENTLY i ON there (id)"]
)
def test_racing_first_runners_create_one_ledger(
    project: Project, either: Project, first: str
) -> None:
    project.query("CREATE TABLE there (id int)")
    either.file("1_x.up.sql", first)
    either.file("2_x.up.sql", "CREATE TABLE t2 ()")
    runners = [either.fork("up", "--allow-non-empty") for _ in range(8)]
    said = "".join(runner.ended() for runner in runners)
    assert said.count("applied 1_x") == said.count("applied 2_x") == 1
    assert either.states() == {1: "applied", 2: "applied"}


def test_concurrent_rehearsals_leave_nothing_behind(either: Project) -> None:
    tables(either, 2, body="SELECT pg_sleep(0.01);")
    for runner in [either.fork("up", "--dry-run") for _ in range(6)]:
        assert "would apply 0002_t" in runner.ended()
    assert either.query(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    ) == [(0,)]
    runners = [either.fork("up", *words) for words in [(), ("--dry-run",)] * 4]
    assert "".join(runner.ended() for runner in runners).count("\napplied") + 1 >= 2
    assert either.states() == {1: "applied", 2: "applied"}
    assert either.tables() == {"t1", "t2"}


def test_status_works_while_first_runner_is_active(project: Project) -> None:
    project.file(
        "1_t.up.sql", "DO $$ BEGIN RAISE NOTICE 'here'; PERFORM pg_sleep(30); END $$"
    )
    runners = [project.fork("up"), project.fork("up")]
    until(lambda: any("waiting for" in runner.text() for runner in runners))
    assert project.states() == {1: "pending"}
    for runner in runners:
        runner.process.terminate()
        runner.process.join()


def test_two_schemas_do_not_wait_for_each_other(project: Project) -> None:
    tables(project, 1)
    with psycopg.connect(project.url) as other:
        other.execute(LOCK)
        assert "applied 0001_t" in project.run("--schema", "other", "up").out


OWN_ROW = "INSERT INTO schema_migrations (version, name, checksum) VALUES (1, 'x', 'y')"


@pytest.mark.parametrize("command", [["up"], ["up", "--dry-run"]])
def test_file_that_inserts_its_own_ledger_row_fails(
    project: Project, command: list[str]
) -> None:
    project.file("1_x.up.sql", OWN_ROW)
    error = project.run(*command, code=1).err
    assert "1_x.up.sql: it changes schema_migrations, which is the ledger" in error
    assert project.states() == {1: "pending"}


def test_no_transaction_file_that_inserts_its_own_ledger_row_fails(
    project: Project,
) -> None:
    project.file("1_x.up.sql", f"-- sqlmig: no-transaction\n{OWN_ROW}")
    error = project.run("up", code=1).err
    assert "1_x.up.sql: all statements ran, but the file may not be recorded: " in error
    assert project.states() == {1: "changed"}


def test_serializable_file_is_retried_while_ledger_row_is_locked(
    project: Project,
) -> None:
    tables(project, 1)
    project.run("up")
    project.file(
        "2_x.up.sql", "BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE x (); COMMIT"
    )
    with psycopg.connect(project.url) as other:
        other.execute("UPDATE schema_migrations SET name = name")
        runner = project.fork("up", "--lock-timeout", "50ms")
        runner.said("2_x: no lock yet; trying again in")
    assert "applied 2_x" in runner.ended()


def test_a_serializable_file_is_rehearsed_before_there_is_a_ledger(
    project: Project,
) -> None:
    project.file(
        "1_x.up.sql", "BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE x (); COMMIT"
    )
    assert "would apply 1_x" in project.run("up", "--dry-run").out
    project.run("up")


def test_runners_take_turns_if_default_isolation_is_serializable(
    project: Project,
) -> None:
    ((name,),) = project.query("SELECT current_database()")
    project.query(
        f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'"
    )
    tables(project, 6, body="SELECT pg_sleep(0.01);")
    said = "".join(runner.ended() for runner in [project.fork("up") for _ in range(6)])
    assert sorted(re.findall(r"^applied (\d+)_t", said, re.MULTILINE)) == [
        f"{n:04}" for n in range(1, 7)
    ]


def test_file_sent_in_two_messages_sets_tcp_keepalives(
    project: Project, proxy: Proxy
) -> None:
    """With the text of its down file it needs two messages, and the transaction is open between them."""
    project.write(up_1_a="CREATE TABLE a ();", up_2_b="CREATE TABLE b ();")
    project.file("2_b.down.sql", f"DROP TABLE b; -- {'x' * (1 << 20)}")
    proxy.before(project).run("up")
    sent = b"".join(proxy.sent)
    assert sent.count(b"SET LOCAL tcp_keepalives_idle = 30") == 1
