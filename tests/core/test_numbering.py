"""`renumber` gives the files of a version another number, and clashes of numbers are named, all of them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from tests.support.project import Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> Project:
    """Return a project without a database, in which two branches took the number 7."""
    directory = tmp_path / "sql"
    directory.mkdir()
    project = Project(directory, "")
    for label in ("0001_first", "0007_ours", "0007_theirs"):
        for kind in ("up", "down"):
            project.file(f"{label}.{kind}.sql", f"-- {label}")
    project.file("0007_ours.rows.sql", "-- rows")
    return project


def names(project: Project) -> set[str]:
    return {path.name for path in project.directory.iterdir()}


def test_all_clashes_are_reported_with_renumber_commands(files: Project) -> None:
    files.file("0001_other.up.sql", "")
    error = files.run("status", code=1).err
    for name, other in (
        ("0001_other", "0001_first"),
        ("0007_theirs", "0007_ours"),
    ):
        assert f"{name}.up.sql: version {int(name[:4])} has another up file, " in error
        assert (
            f"{other}.up.sql; rename or remove one. `sqlmig renumber {name}` " in error
        )
    assert "0007_theirs.down.sql: version 7 has another down file" in error


def test_renumber_uses_next_free_number(files: Project) -> None:
    error = files.run("renumber", "7", code=2).err
    assert "version 7 is 0007_ours and 0007_theirs; name the one to renumber" in error
    output = files.run("renumber", "0007_ours").out
    assert output.splitlines() == [
        f"{files.directory}/0007_ours.{kind}.sql -> 0008_ours.{kind}.sql"
        for kind in ("down", "rows", "up")
    ]
    assert names(files) >= {f"0008_ours.{kind}.sql" for kind in ("up", "down", "rows")}
    assert (files.directory / "0008_ours.up.sql").read_text() == "-- 0007_ours"
    assert not any(name.startswith("0007_ours") for name in names(files))


@pytest.mark.parametrize(("new", "number"), [("12", "0012"), ("12345", "12345")])
def test_renumber_uses_given_number(files: Project, new: str, number: str) -> None:
    files.run("renumber", "1", new)
    assert f"{number}_first.up.sql" in names(files)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["9"], "there is no version 9"),
        (["0009_x"], "there is no version 0009_x"),
        (["1", "7"], "version 7 is taken by 0007_ours.down.sql"),
        (["1", "1"], "version 1 is taken by 0001_first.down.sql"),
        (["1", str(2**63)], "is larger than 64 bits"),
        (["1", "x"], "is not a whole number"),
    ],
)
def test_impossible_renumber_is_a_usage_error(
    files: Project, arguments: list[str], words: str
) -> None:
    before = names(files)
    assert words in files.run("renumber", *arguments, code=2).err
    assert names(files) == before


def test_a_timestamp_becomes_the_current_time(tmp_path: Path) -> None:
    project = Project(tmp_path, "")
    project.file("20260101080000_old.up.sql", "")
    project.file("20260102080000_new.up.sql", "")
    before = datetime.now(timezone.utc).strftime("%Y%m%d%H%M%S")
    project.run("renumber", "20260101080000")
    (renamed,) = [name for name in names(project) if "_old" in name]
    assert before <= renamed[:14] <= datetime.now(timezone.utc).strftime("%Y%m%d%H%M%S")


def test_if_a_file_cannot_be_renamed_all_keep_their_names(files: Project) -> None:
    (files.directory / "0008_theirs.up.sql").mkdir()  # no file, so its number is free
    (files.directory / "0008_theirs.up.sql" / "x").touch()
    before = names(files)
    error = files.run("renumber", "0007_theirs", code=1).err
    assert "0007_theirs.up.sql: cannot be renamed: " in error
    assert names(files) == before
