"""`up` and `down` report as JSON, with and without --dry-run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.project import Project


def test_what_was_done(project: Project) -> None:
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


def test_what_was_done_before_a_failure_is_told(project: Project) -> None:
    project.write(up_1_a="SELECT 1;", up_2_b="SELECT x;")
    output = project.run("up", "--json", code=1)
    assert [one["version"] for one in output.json()] == [1]
    assert "2_b.up.sql:1:8" in output.err


def test_what_would_be_done(project: Project) -> None:
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


def test_of_many_schemas(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a (n int);", down_1_a="DROP TABLE a;")
    done = project.run("up", "--json", "--schema", "s_1", "--schema", "s_2").json()
    assert sorted((one["schema"], one["version"]) for one in done) == [
        ("s_1", 1),
        ("s_2", 1),
    ]
    would = project.run("down", "--dry-run", "--json", "--schema", "s_*").json()
    assert [one["losses"] for one in would] == [{"a": 0}, {"a": 0}]
