"""`--set NAME=VALUE` gives a file a value, wherever the file runs, and no output has the value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import sqlmig

if TYPE_CHECKING:
    from tests.support.project import Project

SECRET = "s3cr3t ' \\ $$ value"
GIVEN = ("--set", f"app.region={SECRET}", "--set", "app.Other$1=b=c")
UP = """
    CREATE TABLE t AS SELECT current_setting('app.region') AS region, current_setting('app.other$1') AS other;
"""
DOWN = "DO $$ BEGIN IF current_setting('app.region') = '' THEN RAISE 'empty'; END IF; END $$; DROP TABLE t"


@pytest.mark.parametrize("kind", ["", "-- sqlmig: repeat\n"])
def test_up_and_down_read_the_value(either: Project, kind: str) -> None:
    body = UP
    if kind:
        either.file("1_t.up.sql", "CREATE TABLE t (region text, other text)")
        either.run("up")
        body = (
            "INSERT INTO t SELECT current_setting('app.region'), current_setting('app.other$1')"
            " WHERE NOT EXISTS (SELECT FROM t)"
        )
    either.file("2_t.up.sql", kind + body)
    either.file("2_t.down.sql", DOWN)
    output = either.run("up", *GIVEN)
    assert either.query("SELECT * FROM t") == [(SECRET, "b=c")]
    assert "current_setting" not in output.out + output.err
    # A session of a pooler that has had the setting has an empty one afterwards.
    error = either.run("down", "--yes", code=1).err
    assert 'parameter "app.region"' in error or "ERROR: empty" in error
    either.run("down", "--yes", "--set", "app.region=x")
    assert either.query("SELECT to_regclass('t')") == [(None,)]


def test_no_transaction_file_reads_the_value(project: Project) -> None:
    project.file("1_t.up.sql", f"-- sqlmig: no-transaction\n{UP}\nVACUUM t;")
    project.run("up", *GIVEN)
    assert project.query("SELECT * FROM t") == [(SECRET, "b=c")]


def test_no_transaction_file_is_refused_through_a_pooler(pooled: Project) -> None:
    pooled.file("1_t.up.sql", f"-- sqlmig: no-transaction\n{UP}")
    error = pooled.run("up", *GIVEN, code=1).err
    assert "a pooler does not keep --set for a no-transaction file" in error
    assert "s3cr3t" not in error


def test_value_is_set_for_each_file_but_not_for_later_runs(project: Project) -> None:
    read = "CREATE TABLE t{} AS SELECT current_setting('app.region', true) AS region"
    project.write(up_1_a=read.format(1), up_2_b=read.format(2))
    project.run("up", "--set", "app.region=eu")
    project.file("3_c.up.sql", read.format(3))
    project.run("up")
    query = "SELECT (SELECT region FROM t1), (SELECT region FROM t2), (SELECT region FROM t3)"
    assert project.query(query) == [("eu", "eu", None)]


def test_value_survives_reset_all_and_explicit_isolation_level(
    project: Project,
) -> None:
    project.write(
        up_1_a="RESET ALL",
        up_2_b="BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE t AS SELECT current_setting('app.region') AS r; COMMIT",
    )
    project.run("up", "--set", "app.region=eu")
    assert project.query("SELECT r FROM t") == [("eu",)]


def test_rehearsal_check_and_drift_read_the_value(project: Project) -> None:
    project.write(up_1_t=UP, down_1_t=DOWN)
    project.run("up", "--dry-run", *GIVEN)
    assert "ok            1_t" in project.run("check", *GIVEN).out
    failed = project.run("check", code=1).out
    assert failed.startswith("failed")
    assert "HINT: if the file needs a value, give it with --set NAME=VALUE" in failed
    project.run("up", *GIVEN)
    assert project.run("drift", *GIVEN).out == "nothing differs\n"
    project.run("down", "--dry-run", *GIVEN)


def test_each_schema_reads_the_value(project: Project) -> None:
    project.write(up_1_t=UP)
    project.run("up", "--schema", "one", "--schema", "two", *GIVEN)
    for schema in ("one", "two"):
        assert project.query(f"SELECT * FROM {schema}.t") == [(SECRET, "b=c")]


def test_python_api_accepts_settings(project: Project) -> None:
    project.write(up_1_t=UP, down_1_t=DOWN)
    settings = {"app.region": SECRET, "app.other$1": "b"}
    sqlmig.up(project.url, project.directory, settings=settings)
    assert project.query("SELECT region FROM t") == [(SECRET,)]
    sqlmig.down(project.url, project.directory, settings=settings)
    for wrong in ({"region": "eu"}, {"app.region": 7}):
        with pytest.raises(sqlmig.UsageError):
            sqlmig.up(project.url, project.directory, settings=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        "region=s3cr3t",
        "app.region",
        "app.re gion=s3cr3t",
        "=s3cr3t",
        ".a=s3cr3t",
        "a..b=s3cr3t",
        "1.a=s3cr3t",
    ],
)
def test_invalid_name_is_a_usage_error(project: Project, given: str) -> None:
    project.write(up_1_a="SELECT 1")
    error = project.run("up", "--set", given, code=2).err
    assert "--set" in error
    assert "s3cr3t" not in error


def test_a_value_that_the_server_refuses_is_not_printed(project: Project) -> None:
    """PL/pgSQL checks the values of its own settings."""
    project.write(up_1_a="DO $$ BEGIN PERFORM 1; END $$", up_2_b="SELECT 1")
    refused = ("--set", "plpgsql.variable_conflict=s3cr3t")
    for text in ("SELECT 1", "-- sqlmig: no-transaction\nSELECT 1"):
        project.file("2_b.up.sql", text)
        output = project.run("up", *refused, code=1)
        assert "s3cr3t" not in output.out + output.err
        assert "up.sql: the server refuses a setting of --set (22023)" in output.err


def test_value_is_masked_in_server_messages(project: Project) -> None:
    cast = "SELECT current_setting('app.region')::int"
    notice = "DO $$ BEGIN RAISE NOTICE '%', current_setting('app.region'); END $$"
    project.write(up_1_a=notice, up_2_b=cast)
    output = project.run("up", "--set", "app.region=s3cr3t", code=1)
    assert "NOTICE: ***" in output.err
    assert 'invalid input syntax for type integer: "***"' in output.err
    assert "s3cr3t" not in output.out + output.err


def test_a_value_that_is_not_utf8_is_a_usage_error(project: Project) -> None:
    project.write(up_1_a="SELECT 1")
    error = project.run("up", "--set", "app.region=a\udcff", code=2).err
    assert "is not UTF-8" in error
