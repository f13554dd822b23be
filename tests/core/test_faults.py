"""Reproduce faults that users met, and that dense code hid."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

import sqlmig
from tests.support.project import until
from tests.support.terminal import on_a_terminal
from tests.support.waits import tables

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.project import Project


def test_down_fails_if_rehearsal_fails_in_one_schema(project: Project) -> None:
    project.write(up_1_t="CREATE TABLE t (n int);", down_1_t="DROP TABLE t;")
    project.run("up", "--schema", "a", "--schema", "b")
    project.query("CREATE VIEW b.v AS SELECT * FROM b.t")
    shown = on_a_terminal(project, "--schema", "?", "down", code=1, answer="y")
    assert "1 of 2 schemas failed: b" in shown
    assert "a: \x1b[31mreverted" in shown
    assert project.query("SELECT to_regclass('a.t'), to_regclass('b.t')::text") == [
        (None, "b.t")
    ]


def test_up_succeeds_after_first_connection_idles_out(
    project: Project,
) -> None:
    project.write(up_1_t="CREATE TABLE t (n int); SELECT pg_sleep(1.5);")
    (name,) = project.query("SELECT quote_ident(current_database())")[0]
    project.query(f"ALTER DATABASE {name} SET idle_session_timeout = '500ms'")
    output = project.run("up", "--schema", "a", "--schema", "b", "--jobs", "1")
    assert output.out.endswith("2 schemas: 2 applied\n")


def test_down_json_keeps_confirmation_out_of_output(
    project: Project, tmp_path: Path
) -> None:
    project.write(up_1_t="CREATE TABLE t (n int);", down_1_t="DROP TABLE t;")
    project.run("up")
    file = tmp_path / "out.json"
    with file.open("w") as out:
        shown = on_a_terminal(project, "down", "--json", answer="y", stdout=out)
    assert [row["version"] for row in json.loads(file.read_text())] == [1]
    assert "would revert 1_t" in shown
    assert "Revert this in " in shown


@pytest.mark.parametrize(
    "value",
    ["400us", "0", "0s", "5", "0.5ms", "1h", "1d", "-1s", "x", "", "٣s", "nan s"],
)
def test_zero_or_malformed_lock_timeout_is_refused(
    project: Project, value: str
) -> None:
    project.write(up_1_t="CREATE TABLE t ();")
    error = project.run("up", "--lock-timeout", value, code=2).err
    assert "give a number with s, ms or min, at least 1 ms" in error
    assert project.tables() == set()


@pytest.mark.parametrize("value", ["1ms", "5s", "0.5 s", " 1min "])
def test_lock_timeout_accepts_each_unit(project: Project, value: str) -> None:
    project.write(
        up_1_t="CREATE TABLE t AS SELECT current_setting('lock_timeout') AS v;"
    )
    project.run("up", "--lock-timeout", value)
    expected = {"1ms": "1ms", "5s": "5s", "0.5 s": "500ms", " 1min ": "1min"}[value]
    assert project.query("SELECT v FROM t") == [(expected,)]


def test_schemas_before_and_after_command_name_are_combined(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(up_1_t="CREATE TABLE t ();")
    project.run("--schema", "a", "up", "--schema", "b")
    assert project.query(
        "SELECT to_regclass('a.t') IS NOT NULL, to_regclass('b.t') IS NOT NULL"
    ) == [(True, True)]
    monkeypatch.setenv("SQLMIG_SCHEMA", "c")
    project.run("up", "--schema", "d")
    assert project.query(
        "SELECT to_regnamespace('c'), to_regclass('d.t') IS NOT NULL"
    ) == [(None, True)]
    project.run("up")
    assert project.query("SELECT to_regclass('c.t') IS NOT NULL") == [(True,)]


@pytest.mark.parametrize(
    "setting", ["client_encoding = 'LATIN1'", "standard_conforming_strings = off"]
)
def test_no_transaction_file_must_not_change_parsing_settings(
    project: Project, setting: str
) -> None:
    project.write(
        up_1_t=f"-- sqlmig: no-transaction\nCREATE TABLE t (v text);\nSET {setting};\nINSERT INTO t VALUES ('é');"
    )
    error = project.run("up", code=1).err
    assert (
        f"1_t.up.sql: a no-transaction file must not change {setting.split()[0]}"
        in error
    )
    assert "2 of 3 statements were committed" in error
    assert project.query("SELECT count(*) FROM t") == [(0,)]
    assert project.states() == {1: "pending"}


def test_down_never_runs_another_migrations_down_file(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();", down_1_a="DROP TABLE a;")
    project.run("up")
    for file in project.directory.iterdir():
        file.unlink()
    project.write(up_1_b="CREATE TABLE b ();", down_1_b="SELECT 1/0;")
    assert (
        "1_a is not one of these files, but 1_b is" in project.run("down", code=1).err
    )
    assert project.tables() == {"a"}
    # This uses the ledger's copy of a's down file.
    assert "reverted 1_a" in project.run("down", "--yes").out
    assert project.tables() == set()


def test_down_is_refused_if_ledger_has_no_copy(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();")
    project.run("up")
    (project.directory / "1_a.up.sql").unlink()
    project.write(up_1_b="CREATE TABLE b ();", down_1_b="DROP TABLE a;")
    error = project.run("down", code=1).err
    assert (
        "nothing was reverted: version 1 was applied as a, and its down file is not here"
        in error
    )
    assert project.tables() == {"a"}


def test_ctrl_c_cancels_all_schemas_and_counts_finished_ones(
    project: Project,
) -> None:
    project.write(
        up_1_t="-- sqlmig: no-transaction\nSELECT pg_sleep(60);",
        up_2_u="CREATE TABLE u ();",
    )
    runner = project.fork(
        "up", "--schema", "a", "--schema", "b", "--schema", "c", "--jobs", "2"
    )
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    until(lambda: project.query(asleep) == [(2,)], "both")
    runner.send(signal.SIGINT)
    assert (
        "interrupted; 0 of 3 schemas done; run it again for the rest"
        in runner.ended(130)
    )
    assert project.query(asleep) == [(0,)]
    assert project.query("SELECT count(*) FROM pg_tables WHERE tablename = 'u'") == [
        (0,)
    ]


def test_schema_finished_before_ctrl_c_counts_as_done(project: Project) -> None:
    project.write(
        up_1_t="CREATE TABLE t (); SELECT CASE current_schema WHEN 'b' THEN pg_sleep(60) END;"
    )
    runner = project.fork("up", "--schema", "a", "--schema", "b", "--jobs", "1")
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    until(lambda: project.query(asleep) == [(1,)], "the second schema")
    runner.send(signal.SIGINT)
    assert (
        "interrupted; 1 of 2 schemas done; run it again for the rest"
        in runner.ended(130)
    )
    assert project.query(
        "SELECT to_regclass('a.t') IS NOT NULL, to_regclass('b.t') IS NOT NULL"
    ) == [(True, False)]


def test_repair_skips_schema_that_lacks_the_version(
    project: Project,
) -> None:
    project.write(up_1_t="CREATE TABLE t ();", up_2_u="CREATE TABLE u ();")
    project.run("up", "--schema", "a", "--schema", "b")
    (project.directory / "2_u.up.sql").unlink()
    project.query("DELETE FROM a.schema_migrations WHERE version = 2")
    assert (
        "take 2_u out of the ledger"
        in project.run("repair", "--yes", "2", "--schema", "a", "--schema", "b").out
    )
    assert (
        "there is no version 99"
        in project.run(
            "repair", "--yes", "99", "--schema", "a", "--schema", "b", code=2
        ).err
    )
    assert (
        "there is no version 99"
        in project.run("stamp", "99", "--schema", "a", "--schema", "b", code=2).err
    )


def test_unreadable_ledger_is_reported_before_confirmation(
    project: Project,
) -> None:
    project.write(up_1_t="CREATE TABLE t ();")
    project.run("up", "--schema", "a")
    project.query(
        "CREATE SCHEMA b; CREATE TABLE b.schema_migrations (version bigint, dirty boolean, gone int)"
    )
    project.query("ALTER TABLE b.schema_migrations DROP COLUMN gone")
    shown = on_a_terminal(project, "repair", "--schema", "a", "--schema", "b", code=1)
    assert "the ledger of golang-migrate" in shown
    assert "[y/N]" not in shown


def test_declined_down_prints_empty_json_list(project: Project, tmp_path: Path) -> None:
    project.write(up_1_t="CREATE TABLE t (n int);", down_1_t="DROP TABLE t;")
    project.run("up")
    file = tmp_path / "out.json"
    with file.open("w") as out:
        on_a_terminal(project, "down", "--json", answer="n", stdout=out, code=1)
    assert json.loads(file.read_text()) == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"up_1_t": "SELECT 1", "down_1_t": "-- sqlmig: irreversible\n"},
            "“irreversible” needs a reason",
        ),
        (
            {"up_1_t": "-- sqlmig: irreversible: no\nSELECT 1"},
            "“irreversible” belongs in the down file",
        ),
    ],
)
def test_irreversible_requires_a_down_file_and_a_reason(
    project: Project, files: dict[str, str], said: str
) -> None:
    project.write(**files)
    assert said in project.run("check", code=1).out


def test_concurrently_in_comment_stays_in_transaction(
    project: Project,
) -> None:
    project.write(
        up_1_t="CREATE TABLE t (n int PRIMARY KEY);",
        up_2_r="REINDEX TABLE t; -- not concurrently",
    )
    assert project.run("up", "--dry-run").out.count("would apply") == 2


def test_errors_from_sqlmig_itself_list_applied_migrations(project: Project) -> None:
    tables(project, 2)
    project.file(
        "0002_t.up.sql",
        "-- sqlmig: no-transaction\nSET client_encoding = 'LATIN1'; SELECT 1;",
    )
    with pytest.raises(sqlmig.SqlmigError) as failed:
        sqlmig.up(project.url, project.directory)
    assert [one.version for one in failed.value.applied] == [1]


@pytest.mark.parametrize("call", [{"steps": -1}, {"to": -1}])
def test_negative_numbers_from_python_are_refused(
    project: Project, call: dict[str, int]
) -> None:
    tables(project, 2)
    for function in (sqlmig.up, sqlmig.down):
        with pytest.raises(sqlmig.UsageError, match="must not be negative"):
            function(project.url, project.directory, **call)  # type: ignore[arg-type]
