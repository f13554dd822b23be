"""Faults that dense code hid, each as a user met it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.terminal import on_a_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.project import Project


def test_a_rehearsal_that_failed_in_one_schema_is_no_success(project: Project) -> None:
    project.write(up_1_t="CREATE TABLE t (n int);", down_1_t="DROP TABLE t;")
    project.run("up", "--schema", "a", "--schema", "b")
    project.query("CREATE VIEW b.v AS SELECT * FROM b.t")
    shown = on_a_terminal(project, "--schema", "?", "down", code=1, answer="y")
    assert "1 of 2 schemas failed: b" in shown
    assert "a: \x1b[31mreverted" in shown
    assert project.query("SELECT to_regclass('a.t'), to_regclass('b.t')::text") == [
        (None, "b.t")
    ]


def test_a_first_connection_that_was_closed_as_idle_is_no_failure(
    project: Project,
) -> None:
    project.write(up_1_t="CREATE TABLE t (n int); SELECT pg_sleep(1.5);")
    (name,) = project.query("SELECT quote_ident(current_database())")[0]
    project.query(f"ALTER DATABASE {name} SET idle_session_timeout = '500ms'")
    output = project.run("up", "--schema", "a", "--schema", "b", "--jobs", "1")
    assert output.out.endswith("2 schemas: 2 applied\n")


def test_json_of_a_down_that_asks_is_json_alone(
    project: Project, tmp_path: Path
) -> None:
    project.write(up_1_t="CREATE TABLE t (n int);", down_1_t="DROP TABLE t;")
    project.run("up")
    file = tmp_path / "out.json"
    with file.open("w") as out:
        shown = on_a_terminal(project, "down", "--json", answer="y", stdout=out)
    assert [row["version"] for row in json.loads(file.read_text())] == [1]
    assert "would revert 1_t" in shown
    assert "Revert?" in shown


@pytest.mark.parametrize(
    "value",
    ["400us", "0", "0s", "5", "0.5ms", "1h", "1d", "-1s", "x", "", "٣s", "nan s"],
)
def test_a_lock_timeout_that_would_be_none_is_refused(
    project: Project, value: str
) -> None:
    project.write(up_1_t="CREATE TABLE t ();")
    error = project.run("up", "--lock-timeout", value, code=2).err
    assert "give a number with s, ms or min, at least 1 ms" in error
    assert project.tables() == set()


@pytest.mark.parametrize("value", ["1ms", "5s", "0.5 s", " 1min "])
def test_a_lock_timeout_is_taken_as_it_is_written(project: Project, value: str) -> None:
    project.write(
        up_1_t="CREATE TABLE t AS SELECT current_setting('lock_timeout') AS v;"
    )
    project.run("up", "--lock-timeout", value)
    expected = {"1ms": "1ms", "5s": "5s", "0.5 s": "500ms", " 1min ": "1min"}[value]
    assert project.query("SELECT v FROM t") == [(expected,)]


def test_schemas_before_and_behind_the_commands_name_are_both_meant(
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
def test_a_no_transaction_file_must_not_change_how_the_rest_of_it_is_read(
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
    assert "2 of 3 statements ran and stay" in error
    assert project.query("SELECT count(*) FROM t") == [(0,)]
    assert project.states() == {1: "pending"}
