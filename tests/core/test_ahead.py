"""An older release starts on a newer database, and changes nothing that it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

import sqlmig
from tests.support.pasting import paste
from tests.support.waits import tables

if TYPE_CHECKING:
    from tests.support.project import Project


@pytest.fixture
def older(project: Project) -> Project:
    """Return a project with files 1 and 2 and a database that has applied 1, 2 and 3."""
    tables(project, 3)
    project.run("up")
    for path in project.directory.glob("0003_*"):
        path.unlink()
    return project


def test_up_succeeds_and_names_newer_version(older: Project) -> None:
    output = older.run("up")
    assert output.out == "nothing to do\n"
    assert "0003_t is newer than every file here" in output.err
    assert older.tables() == {"t1", "t2", "t3"}


def test_status_accepts_newer_version(older: Project) -> None:
    assert older.states() == {1: "applied", 2: "applied", 3: "ahead"}
    older.run("status", "--exit-code")
    older.file("0000_early.up.sql", "SELECT 1;")
    older.run("status", "--exit-code", code=1)


def test_python_api_accepts_newer_version(older: Project) -> None:
    assert sqlmig.up(older.url, older.directory) == []
    assert sqlmig.status(older.url, older.directory)[-1].state == "ahead"


def test_pending_version_below_it_is_out_of_order(older: Project) -> None:
    older.file("0001_t.up.sql", "CREATE TABLE t1 (id int);")
    older.query("DELETE FROM schema_migrations WHERE version = 2")
    error = older.run("up", code=1).err
    assert "0002_t: pending, but older than the newest applied" in error
    assert "repair" not in error


def test_repair_keeps_newer_version_unless_named(older: Project) -> None:
    assert older.run("repair", "--yes").out == "nothing to do\n"
    assert older.states()[3] == "ahead"
    assert "take 0003_t out" in older.run("repair", "--yes", "3").out
    assert older.states() == {1: "applied", 2: "applied"}


def test_newer_release_continues_after_older_one(older: Project) -> None:
    older.run("up")
    tables(older, 4)
    assert older.run("up").out.startswith("applied 0004_t")


def test_up_script_accepts_newer_version_and_down_script_refuses(
    older: Project,
) -> None:
    script = older.run("script").out
    assert [row[2] for row in paste(older, script)] == ["applied before"] * 2
    with pytest.raises(
        psycopg.errors.RaiseException, match="3_t: applied later, and must be reverted"
    ):
        paste(older, older.run("script", "--down").out)


def test_drift_asks_for_files_of_newest_release(older: Project) -> None:
    assert (
        "run it with the files of the newest release" in older.run("drift", code=1).err
    )


def test_newer_version_is_named_once_for_many_schemas(project: Project) -> None:
    tables(project, 2)
    names = ("--schema", "a", "--schema", "b", "--schema", "c")
    project.run("up", *names)
    for path in project.directory.glob("0002_*"):
        path.unlink()
    output = project.run("up", *names)
    assert output.err.count("0002_t is newer than every file here") == 1
    assert output.out == "nothing to do in 3 schemas\n"
    project.run("status", "--exit-code", *names)
