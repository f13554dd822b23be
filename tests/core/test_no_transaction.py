"""A no-transaction file runs statement by statement. If a statement fails, the error explains how to continue."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.project import until
from tests.support.waits import BUILDING

if TYPE_CHECKING:
    from tests.support.project import Project

DIRECTIVE = "-- sqlmig: no-transaction\n"


def test_error_locates_failed_statement_and_counts_the_others(
    either: Project,
) -> None:
    either.file(
        "1_x.up.sql",
        f"{DIRECTIVE}CREATE TABLE a ();\n\nSELECT 1 / 0;\nCREATE TABLE b ();\nCREATE TABLE c ();",
    )
    error = either.run("up", code=1).err
    assert "1_x.up.sql:4:1: ERROR: division by zero" in error
    assert "1 of 4 statements was committed, 1 failed, 2 did not run" in error
    assert either.tables() == {"a"}
    assert either.states() == {1: "pending"}


def test_next_run_succeeds_after_file_is_fixed(either: Project) -> None:
    either.file("1_x.up.sql", f"{DIRECTIVE}CREATE TABLE a ();\nSELECT 1 / 0;")
    either.run("up", code=1)
    either.file("1_x.up.sql", f"{DIRECTIVE}CREATE TABLE IF NOT EXISTS a ();\nSELECT 1;")
    either.run("up")
    assert either.states() == {1: "applied"}


def test_invalid_index_is_named_with_its_drop_statement(
    either: Project,
) -> None:
    either.file("1_t.up.sql", "CREATE TABLE t (id int); INSERT INTO t VALUES (1), (1);")
    either.run("up")
    either.file("2_i.up.sql", 'CREATE UNIQUE INDEX CONCURRENTLY "my index" ON t (id);')
    error = either.run("up", code=1).err
    drop = 'DROP INDEX CONCURRENTLY public."my index";'
    assert (
        f'the index public."my index" is INVALID; remove it before you try again: {drop}'
        in error
    )
    either.query("DELETE FROM t")
    assert 'relation "my index" already exists' in either.run("up", code=1).err
    either.query(drop)
    either.run("up")
    assert either.states() == {1: "applied", 2: "applied"}


def test_if_not_exists_does_not_hide_invalid_index(
    project: Project,
) -> None:
    project.file(
        "1_t.up.sql", "CREATE TABLE t (id int); INSERT INTO t VALUES (1), (1);"
    )
    project.run("up")
    project.file(
        "2_i.up.sql", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (id);"
    )
    project.run("up", code=1)
    error = project.run("up", code=1).err
    assert "all statements ran, but the file is not recorded" in error
    assert "DROP INDEX CONCURRENTLY public.i;" in error
    assert project.states() == {1: "applied", 2: "pending"}


def test_transaction_left_open_is_rolled_back_and_reported(
    either: Project,
) -> None:
    either.file("1_x.up.sql", f"{DIRECTIVE}BEGIN;\nCREATE TABLE a ();")
    assert (
        "it leaves a transaction open, which was rolled back"
        in either.run("up", code=1).err
    )
    assert either.tables() == set()


def test_settings_last_through_the_file_and_no_longer(project: Project) -> None:
    project.file(
        "1_x.up.sql",
        f"{DIRECTIVE}SET search_path = pg_catalog; SET ROLE pg_monitor; SET LOCAL work_mem = '1MB';",
    )
    project.file(
        "2_x.up.sql",
        "CREATE TABLE a AS SELECT current_user::text AS v, current_setting('search_path');",
    )
    project.run("up")
    assert project.query("SELECT * FROM a") == [("postgres", '"$user", public')]


def test_given_schema_is_used_in_no_transaction_file(
    project: Project,
) -> None:
    project.file("1_x.up.sql", f"{DIRECTIVE}CREATE TABLE a ();")
    project.run("--schema", "tenant", "up")
    assert project.query("SELECT schemaname FROM pg_tables WHERE tablename = 'a'") == [
        ("tenant",)
    ]


@pytest.mark.parametrize(
    "statement",
    ["VACUUM", "VACUUM FULL", "ANALYZE", "REINDEX DATABASE {}", "REINDEX SYSTEM {}"],
)
def test_vacuum_and_reindex_do_not_block_on_their_own_runner(
    alone: Project, statement: str
) -> None:
    """Some of them lock the catalogs that all databases share, which holds up other tests."""
    project = alone
    name = project.query("SELECT quote_ident(current_database())")[0][0]
    for direction in ("up", "down"):
        project.file(f"1_x.{direction}.sql", f"{DIRECTIVE}{statement.format(name)};")
    project.run("up")
    project.run("down")
    project.file("0_x.up.sql", "SELECT 1")
    project.run("up")
    assert project.states() == {0: "applied", 1: "applied"}


@pytest.mark.parametrize(
    ("text", "words", "tables"),
    [
        (
            "BEGIN;\nCREATE TABLE a ();\nSELECT 1/0;\nCOMMIT;",
            "0 of 4 statements were committed, 2 were rolled back",
            set(),
        ),
        (
            "BEGIN;\nCREATE TABLE a ();\nCOMMIT;\nBEGIN;\nCREATE TABLE b ();\nSELECT 1/0;\nCOMMIT;",
            "3 of 7 statements were committed, 2 were rolled back, 1 failed, 1 did not run",
            {"a"},
        ),
    ],
)
def test_failed_explicit_transaction_is_rolled_back_and_counted(
    either: Project, text: str, words: str, tables: set[str]
) -> None:
    either.file("1_x.up.sql", DIRECTIVE + text)
    assert words in either.run("up", code=1).err
    assert either.tables() == tables


def test_a_file_without_a_statement_is_applied_and_recorded(either: Project) -> None:
    either.file("1_x.up.sql", DIRECTIVE)
    either.run("up")
    assert either.states() == {1: "applied"}


def test_lock_timeout_of_session_leaves_no_invalid_index(project: Project) -> None:
    project.file("1_t.up.sql", "CREATE TABLE t (id int)")
    project.run("up")
    project.file("2_i.up.sql", "CREATE INDEX CONCURRENTLY i ON t (id)")
    impatient = replace(project, url=f"{project.url}&options=-c%20lock_timeout%3D10ms")
    with psycopg.connect(project.url) as writer:
        writer.execute("INSERT INTO t VALUES (1)")
        runner = impatient.fork("up")
        until(lambda: project.query(BUILDING))
        writer.execute("SELECT pg_sleep(0.2)")
    runner.ended()
    assert project.query(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"
    ) == [(True,)]


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_interrupt_reports_committed_statements_and_sets_exit_code(
    project: Project, sent: signal.Signals, code: int
) -> None:
    project.file(
        "1_x.up.sql",
        f"{DIRECTIVE}CREATE TABLE a ();\nSELECT pg_sleep(60);\nCREATE TABLE b ();",
    )
    runner = project.fork("up")
    until(
        lambda: project.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        )
    )
    runner.send(sent)
    assert "1 of 3 statements was committed, 1 failed, 1 did not run" in runner.ended(
        code
    )
    assert project.tables() == {"a"}


@pytest.mark.parametrize(
    "statement",
    [
        "SET work_mem = '1MB'",
        "set session role x",
        "LISTEN news",
        "PREPARE p AS SELECT 1",
        "CREATE TEMP TABLE x ()",
    ],
)
def test_pooler_refuses_session_state_before_anything_runs(
    pooled: Project, statement: str
) -> None:
    pooled.file("0_x.up.sql", "CREATE TABLE b ();")
    pooled.file("1_x.up.sql", f"{DIRECTIVE}CREATE TABLE a ();\n{statement};")
    error = pooled.run("up", code=1).err
    assert (
        "1_x.up.sql:3:1: a pooler would pass this setting to other clients; connect to the server itself"
        in error
    )
    assert pooled.tables() == set()


def test_pooler_refuses_schema_option_before_anything_runs(
    pooled: Project,
) -> None:
    pooled.write(
        up_1_t="CREATE TABLE t (n int);", up_2_i="CREATE INDEX CONCURRENTLY i ON t (n)"
    )
    assert (
        "2_i.up.sql: a pooler does not keep --schema"
        in pooled.run("--schema", "tenant", "up", code=1).err
    )
    assert pooled.query("SELECT to_regnamespace('tenant')") == [(None,)]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_next_run_succeeds_after_runner_ends_during_index_build(
    project: Project, either: Project, sent: signal.Signals
) -> None:
    either.file("1_t.up.sql", "CREATE TABLE t (id int)")
    either.run("up")
    either.file("2_i.up.sql", "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (id)")
    with psycopg.connect(project.url, autocommit=True) as old:
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        runner = either.fork("up")
        until(lambda: project.query(BUILDING))
        runner.send(sent)
        runner.process.join()
        if (
            sent == signal.SIGKILL
        ):  # its statement still runs: the next runner waits for it and reports that
            following = either.fork("up")
            following.said("(sqlmig: no-transaction, at work since")
        else:
            assert "DROP INDEX CONCURRENTLY public.i;" in runner.text()
            project.query("DROP INDEX i")
    if sent == signal.SIGKILL:
        assert "applied 2_i" in following.ended()
    else:
        either.run("up")
    assert either.query(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"
    ) == [(True,)]
