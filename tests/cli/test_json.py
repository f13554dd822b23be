"""`up` and `down` report as JSON, with and without --dry-run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import sqlmig

if TYPE_CHECKING:
    from tests.support.project import Output, Project


def test_up_and_down_list_versions(project: Project) -> None:
    project.write(
        up_1_a="CREATE TABLE a (n int);",
        down_1_a="DROP TABLE a;",
        up_2_b="SELECT 1;",
        down_2_b="SELECT 1;",
    )
    done = project.run("up", "--json").json()
    assert [(one["version"], one["name"], sorted(one)) for one in done] == [
        (1, "a", ["name", "seconds", "version"]),
        (2, "b", ["name", "seconds", "version"]),
    ]
    assert all(0 < one["seconds"] < 60 for one in done)
    assert project.run("up", "--json").json() == []
    assert [
        one["version"] for one in project.run("down", "--all", "--json").json()
    ] == [2, 1]
    assert project.run("down", "--json").json() == []
    assert project.run("down", "--dry-run", "--json").json() == []


def test_up_lists_versions_applied_before_failure(project: Project) -> None:
    project.write(up_1_a="SELECT 1;", up_2_b="SELECT x;")
    output = project.run("up", "--json", code=1)
    assert [one["version"] for one in output.json()] == [1]
    assert "2_b.up.sql:1:8" in output.err


def test_dry_run_lists_effects_and_obstacles(project: Project) -> None:
    project.query(
        "CREATE TABLE t (n int, m int); INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g"
    )
    project.write(
        up_1_a="ALTER TABLE t ALTER n TYPE bigint, DROP m;",
        up_2_i="CREATE INDEX CONCURRENTLY i ON t (n);",
    )
    one, two = project.run("up", "--dry-run", "--json").json()
    assert one["seconds"] > 0
    assert one["rewrites"].pop("t") > 8192
    del one["seconds"]
    assert one == {
        "version": 1,
        "name": "a",
        "obstacle": None,
        "locks": {"t": "reads and writes"},
        "rewrites": {},
        "reads": ["t"],
        "losses": {"m of t": 1000},
        "not_counted": [],
    }
    assert two["obstacle"] == "it runs outside a transaction"
    assert project.states() == {1: "pending", 2: "pending"}


def test_many_schemas_are_listed_separately(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a (n int);", down_1_a="DROP TABLE a;")
    done = project.run("up", "--json", "--schema", "s_1", "--schema", "s_2").json()
    assert sorted((one["schema"], one["version"]) for one in done) == [
        ("s_1", 1),
        ("s_2", 1),
    ]
    would = project.run("down", "--dry-run", "--json", "--schema", "s_*").json()
    assert [one["losses"] for one in would] == [{"a": 0}, {"a": 0}]


KEYS = ["message", "path", "line", "column", "sqlstate", "hint", "applied"]


def errors(output: Output) -> list[dict[str, Any]]:
    """Return the objects on standard error."""
    lines = [line for line in output.err.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


def test_an_error_is_an_object_on_standard_error(project: Project) -> None:
    project.write(
        up_1_a="SELECT 1;", up_2_b="SELECT 1;\nCREATE EXTENSION no_such_thing;"
    )
    output = project.run("up", "--json", code=1)
    (error,) = errors(output)
    assert [*error] == KEYS
    assert error["path"] == str(project.directory / "2_b.up.sql")
    assert (error["line"], error["column"]) == (2, 1)
    assert error["sqlstate"] in ("0A000", "58P01")
    assert "this server does not have the extension" in error["hint"]
    assert [(one["version"], one["name"]) for one in error["applied"]] == [(1, "a")]
    assert error["message"] in project.run("up", code=1).err
    assert output.json() == [
        {"version": 1, "name": "a", "seconds": pytest.approx(0, abs=60)}
    ]


def test_failed_dry_run_prints_empty_list(project: Project) -> None:
    project.write(up_1_a="SELECT x;")
    output = project.run("up", "--dry-run", "--json", code=1)
    assert output.json() == []
    (error,) = errors(output)
    assert (error["line"], error["column"], error["sqlstate"]) == (1, 8, "42703")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["up", "--to", "9"], 2, "there is no version 9"),
        (["up", "--no-such-option"], 2, "no-such-option"),
        (["drift"], 1, "nothing can be compared"),
        (["down", "--steps", "x"], 2, "whole number"),
    ],
)
def test_every_error_is_an_object(
    project: Project, arguments: list[str], code: int, words: str
) -> None:
    project.write(up_1_a="SELECT 1;", down_1_a="SELECT 1;")
    (error,) = errors(project.run(*arguments, "--json", code=code))
    assert words in error["message"]
    assert [*error] == KEYS
    assert error["sqlstate"] is None
    assert error["applied"] == []


def test_scan_error_has_path_and_line(project: Project) -> None:
    project.write(up_1_a="SELECT 1;\n\\i other.sql\n")
    (error,) = errors(project.run("up", "--json", code=1))
    assert error["path"] == str(project.directory / "1_a.up.sql")
    assert error["line"] == 2


def test_an_error_names_its_schema(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();")
    project.query("CREATE SCHEMA two; CREATE VIEW two.schema_migrations AS SELECT 1")
    both = ["--schema", "one", "--schema", "two"]
    output = project.run(*both, "up", "--json", code=1)
    (error,) = errors(output)
    assert error["schema"] == "two"
    assert "is a view" in error["message"]
    project.write(up_2_b="SELECT x;")
    found = errors(project.run(*both, "up", "--json", code=1))
    assert sorted((one["schema"], one["sqlstate"]) for one in found) == [
        ("one", "42703"),
        ("two", None),
    ]


def test_errors_are_plain_text_without_json(project: Project) -> None:
    project.write(up_1_a="SELECT x;")
    project.run("up", "--json", code=1)
    assert project.run("up", code=1).err.startswith("error: ")


def test_python_errors_have_same_attributes(project: Project) -> None:
    project.write(up_1_a="SELECT 1;", up_2_b="CREATE EXTENSION no_such_thing;")
    with pytest.raises(sqlmig.MigrationFailed) as caught:
        sqlmig.up(project.url, project.directory)
    error = caught.value
    assert error.path == project.directory / "2_b.up.sql"
    assert (error.line, error.column) == (1, 1)
    assert error.hint
    assert "this server does not have" in error.hint
    assert [one.version for one in error.applied] == [1]
    with pytest.raises(sqlmig.SqlmigError) as other:
        sqlmig.up(project.url, project.directory / "missing")
    assert (other.value.path, other.value.hint, other.value.sqlstate) == (None,) * 3
