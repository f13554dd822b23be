"""A stamp that went too far, or a version that was made by hand: `stamp --only` and `unstamp`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.terminal import on_a_terminal

if TYPE_CHECKING:
    from tests.support.project import Project


@pytest.fixture
def three(project: Project) -> Project:
    """Return a project with three versions, of which none is applied."""
    project.write(
        up_1_a="CREATE TABLE a ()",
        up_2_b="CREATE TABLE b ()",
        up_3_c="CREATE TABLE c ()",
    )
    return project


def recorded(project: Project) -> list[int]:
    rows = project.query("SELECT version FROM schema_migrations ORDER BY 1")
    return [version for (version,) in rows]


def test_only_one_version_is_recorded(three: Project) -> None:
    assert three.run("stamp", "--only", "2").out == "recorded 2_b\n"
    assert recorded(three) == [2]
    assert three.run("stamp", "2", "--only").out == "nothing to do\n"
    three.run("up", "--allow-out-of-order")
    assert recorded(three) == [1, 2, 3]
    assert three.tables() == {"a", "c"}
    assert "there is no version 9" in three.run("stamp", "--only", "9", code=2).err


def test_hint_after_manual_hotfix_works(three: Project) -> None:
    three.run("up", "--to", "1")
    three.query("CREATE TABLE b ()")
    error = three.run("up", code=1).err
    _, _, hint = error.partition("HINT: ")
    assert hint.startswith("if this was made by hand, and everything else in")
    command = hint.split("`")[1]
    assert command == "sqlmig stamp --only 2"
    three.run(*command.split()[1:])
    assert three.run("up").out.startswith("applied 3_c")


def test_the_hint_is_not_shown_for_a_scratch_database_or_a_down_file(
    project: Project,
) -> None:
    project.write(
        up_1_a="CREATE TABLE a ()",
        down_1_a="DROP TABLE a",
        up_2_b="CREATE TABLE a ()",
        down_2_b="CREATE TABLE a ()",
    )
    assert "stamp" not in project.run("check", code=1).out
    project.run("up", "--to", "1")
    project.run("stamp", "2")
    assert "stamp" not in project.run("down", "--yes", code=1).err


def test_unstamp_undoes_stamp_that_went_too_far(three: Project) -> None:
    three.run("stamp", "3")
    output = three.run("stamp", "1")
    assert output.out == "nothing to do\n"
    assert output.err == (
        "the ledger has newer versions, which stay recorded. To take them out, run: sqlmig unstamp 2 3\n"
    )
    error = three.run("unstamp", "2", "3", code=1).err
    assert "would take 2_b out of the ledger; what it made stays\n" in error
    assert "there is no terminal to ask on: if this is right, add --yes" in error
    assert recorded(three) == [1, 2, 3]
    assert three.run("unstamp", "3", "2", "--yes").out == (
        "take 2_b out of the ledger; what it made stays\n"
        "take 3_c out of the ledger; what it made stays\n"
    )
    assert recorded(three) == [1]
    three.run("up")
    assert three.tables() == {"b", "c"}
    assert three.run("unstamp", "--yes", "9", code=2).err
    three.run("unstamp", "3", "--yes")
    assert three.run("unstamp", "3", "--yes").out == "nothing to do\n"
    assert three.run("unstamp", code=2).err


def test_a_version_without_a_file_can_be_taken_out(three: Project) -> None:
    three.run("up")
    (three.directory / "2_b.up.sql").unlink()
    three.run("unstamp", "2", "--yes")
    assert recorded(three) == [1, 3]
    assert three.tables() == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("n", 1, [1, 2, 3]), ("y", 0, [1, 2])]
)
def test_unstamp_asks_on_a_terminal(
    three: Project, answer: str, code: int, left: list[int]
) -> None:
    three.run("up")
    shown = on_a_terminal(three, "unstamp", "3", answer=answer, code=code)
    assert "Take this out of the ledger of " in shown
    assert ("nothing was changed" in shown) == (answer == "n")
    assert recorded(three) == left


def test_unstamp_and_stamp_only_work_on_many_schemas(
    three: Project,
) -> None:
    both = ["--schema", "one", "--schema", "two"]
    three.run(*both, "up")
    lines = three.run(*both, "unstamp", "3", "--yes").out.splitlines()
    assert sorted(lines) == [
        "one: take 3_c out of the ledger, although sqlmig has run it; what it made stays",
        "two: take 3_c out of the ledger, although sqlmig has run it; what it made stays",
    ]
    lines = three.run(*both, "stamp", "--only", "3").out.splitlines()
    assert sorted(lines) == ["one: recorded 3_c", "two: recorded 3_c"]
