"""`repair` updates a ledger that differs from the files on purpose, and changes nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.project import LOCK, until
from tests.support.terminal import on_a_terminal

if TYPE_CHECKING:
    from tests.support.project import Project


@pytest.fixture
def apart(project: Project) -> Project:
    """Return a project with a changed version, a missing version and an unchanged version."""
    project.write(
        up_1_a="CREATE TABLE a ();",
        up_2_b="CREATE TABLE b ();",
        up_3_c="CREATE TABLE c ();",
    )
    project.run("up")
    project.write(up_1_a="CREATE TABLE a (n int);")
    (project.directory / "2_b.up.sql").unlink()
    return project


def test_up_error_suggests_repair_for_intended_changes(apart: Project) -> None:
    assert (
        "If you changed these files on purpose, `sqlmig repair` accepts them as they are."
        in apart.run("up", code=1).err
    )


def test_repair_fixes_all_differences_and_changes_no_table(apart: Project) -> None:
    assert apart.run("repair", "--yes").out.splitlines() == [
        "record 1_a again; its SQL is not run",
        "take 2_b out of the ledger; what it made stays",
    ]
    assert apart.states() == {1: "applied", 3: "applied"}
    assert apart.tables() == {"a", "b", "c"}
    assert apart.query(
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'a'"
    ) == [(0,)]
    assert apart.run("repair", "--yes").out == "nothing to do\n"
    assert apart.run("up").out == "nothing to do\n"


def test_repair_fixes_only_named_versions(apart: Project) -> None:
    apart.run("repair", "--yes", "2")
    assert apart.states() == {1: "changed", 3: "applied"}
    assert apart.run("repair", "--yes", "3").out == "nothing to do\n"
    assert "there is no version 9" in apart.run("repair", "1", "9", code=2).err
    assert apart.states() == {1: "changed", 3: "applied"}


def test_a_renamed_file_is_recorded_under_its_name(apart: Project) -> None:
    (apart.directory / "3_c.up.sql").rename(apart.directory / "3_other.up.sql")
    apart.write(up_3_other="CREATE TABLE c (n int);")
    apart.run("repair", "--yes", "3")
    assert apart.query("SELECT name FROM schema_migrations WHERE version = 3") == [
        ("other",)
    ]


def test_repair_keeps_applied_at(apart: Project) -> None:
    before = apart.query(
        "SELECT version, applied_at FROM schema_migrations WHERE version <> 2 ORDER BY 1"
    )
    apart.run("repair", "--yes")
    assert (
        apart.query("SELECT version, applied_at FROM schema_migrations ORDER BY 1")
        == before
    )


@pytest.mark.parametrize(
    ("answer", "code", "states"),
    [
        ("n", 1, {1: "changed", 2: "missing", 3: "applied"}),
        ("y", 0, {1: "applied", 3: "applied"}),
    ],
)
def test_repair_on_terminal_shows_changes_and_asks(
    apart: Project, answer: str, code: int, states: dict[int, str]
) -> None:
    shown = on_a_terminal(apart, "repair", answer=answer, code=code)
    assert "would take 2_b out of the ledger; what it made stays" in shown
    assert "? [y/N]" in shown
    assert apart.states() == states
    assert "[y/N]" not in on_a_terminal(apart, "repair", "--yes")


def test_repair_waits_for_runner_and_says_so(apart: Project) -> None:
    import psycopg

    with psycopg.connect(apart.url) as other:
        other.execute(LOCK)
        runner = apart.fork("repair", "--yes")
        runner.said("waiting for process")
        assert apart.states()[1] == "changed"
    runner.ended()
    until(lambda: apart.states() == {1: "applied", 3: "applied"})


def test_repair_fixes_each_of_many_schemas(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();")
    project.run("up", "--schema", "s_1", "--schema", "s_2", "--schema", "s_3")
    project.query("UPDATE s_2.schema_migrations SET checksum = 'x'")
    assert (
        project.run("repair", "--yes", "--schema", "s_*").out
        == "s_2: record 1_a again; its SQL is not run\n"
    )
    assert project.run("status", "--schema", "s_*", "--exit-code").out.startswith(
        "3 schemas"
    )


def test_repair_creates_no_ledger(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();")
    assert project.run("repair", "--yes").out == "nothing to do\n"
    assert project.query("SELECT to_regclass('schema_migrations')") == [(None,)]
