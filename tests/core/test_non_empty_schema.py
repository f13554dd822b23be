"""A schema with objects but no ledger may belong to another application: `up` asks, or refuses."""

from __future__ import annotations

import pytest

import sqlmig
from tests.support.project import Project
from tests.support.terminal import on_a_terminal

ONE_FILE = "CREATE TABLE ours ();"


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("CREATE TABLE theirs ()", "table theirs"),
        ("CREATE VIEW theirs AS SELECT 1", "view theirs"),
        ("CREATE MATERIALIZED VIEW theirs AS SELECT 1", "materialized view theirs"),
        (
            "CREATE FUNCTION theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "function theirs",
        ),
    ],
)
def test_up_refuses_non_empty_schema_without_terminal(
    project: Project, made: str, named: str
) -> None:
    project.write(up_1_a=ONE_FILE)
    project.query(made)
    error = project.run("up", code=1).err
    assert f"but it is not empty: {named}. Is it the right database?" in error
    assert "`sqlmig stamp V`" in error
    assert "--allow-non-empty" in error
    assert project.query("SELECT to_regclass('ours')") == [(None,)]
    assert "warning: nothing was applied" in project.run("up", "--dry-run").err
    with pytest.raises(sqlmig.SqlmigError, match="it is not empty"):
        sqlmig.up(project.url, project.directory)
    assert sqlmig.up(project.url, project.directory, allow_non_empty=True)
    assert project.run("up").out == "nothing to do\n"


@pytest.mark.parametrize(
    "made",
    [
        "CREATE SCHEMA other; CREATE TABLE other.theirs ()",
        "CREATE TYPE mood AS ENUM ('good')",
        "CREATE FUNCTION platforms() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    ],
)
def test_other_schemas_types_and_event_triggers_are_ignored(
    project: Project, made: str
) -> None:
    project.write(up_1_a=ONE_FILE)
    project.query(made)
    project.run("up")


def test_extension_objects_are_ignored(project: Project) -> None:
    project.write(up_1_a=ONE_FILE)
    project.query(
        "CREATE TABLE theirs (); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    project.query(
        "ALTER EXTENSION plpgsql ADD TABLE theirs; ALTER EXTENSION plpgsql ADD FUNCTION f()"
    )
    project.run("up")


def test_many_objects_are_counted(project: Project) -> None:
    project.write(up_1_a=ONE_FILE)
    project.query(";".join(f"CREATE TABLE t{n} ()" for n in range(1, 8)))
    error = project.run("up", code=1).err
    assert "table t1, table t2, table t3, table t4, table t5 and 2 more" in error


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_up_asks_on_a_terminal(project: Project, answer: str, code: int) -> None:
    project.write(up_1_a=ONE_FILE)
    project.query("CREATE TABLE theirs ()")
    shown = on_a_terminal(project, "up", answer=answer, code=code)
    assert "Apply them to public of " in shown
    assert project.tables() == ({"ours", "theirs"} if code == 0 else {"theirs"})


def test_each_schema_is_checked_separately(project: Project) -> None:
    project.write(up_1_a=ONE_FILE)
    project.query("CREATE SCHEMA a; CREATE TABLE a.theirs (); CREATE SCHEMA b")
    output = project.run("up", "--schema", "a", "--schema", "b", code=1)
    assert "a: error: nothing was applied" in output.err
    assert "b: applied 1" in output.out
