"""A wrong DATABASE_URL is the most common mistake. sqlmig names the database and overwrites nothing silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.terminal import on_a_terminal

if TYPE_CHECKING:
    from tests.support.project import Project


@pytest.fixture
def wrong(project: Project) -> Project:
    """Return a project that connects to another application's database."""
    project.write(up_1_users="CREATE TABLE users ();", up_2_posts="SELECT 1;")
    project.run("up")
    for path in project.directory.glob("*"):
        path.unlink()
    project.write(up_1_invoices="CREATE TABLE invoices ();")
    return project


def name_of(project: Project) -> str:
    return str(project.query("SELECT current_database()")[0][0])


def test_up_names_the_database_and_asks_whether_it_is_the_right_one(
    wrong: Project,
) -> None:
    error = wrong.run("up", code=1).err
    assert f"nothing was applied to {name_of(wrong)} on " in error
    assert "version 1 was applied as users" in error
    assert "the right database, and --dir the right directory?" in error


def test_error_does_not_show_password(wrong: Project) -> None:
    url = wrong.url.replace("postgres:@", "postgres:s3cret@")
    assert "s3cret" not in wrong.run("-d", url, "up", code=1).err


def test_repair_without_terminal_changes_nothing_without_yes(wrong: Project) -> None:
    before = wrong.query("SELECT * FROM schema_migrations ORDER BY 1")
    output = wrong.run("repair", code=1)
    assert output.out == ""
    assert f"nothing was changed in {name_of(wrong)} on " in output.err
    assert "add --yes" in output.err
    assert wrong.query("SELECT * FROM schema_migrations ORDER BY 1") == before


def test_repair_on_terminal_first_asks_if_database_is_right_one(
    wrong: Project,
) -> None:
    before = wrong.query("SELECT * FROM schema_migrations ORDER BY 1")
    shown = on_a_terminal(wrong, "repair", answer="n", code=1, NO_COLOR="1")
    assert f"{name_of(wrong)} on " in shown
    assert "has version 1 as users, and " in shown
    assert "Are these the right database and the right directory? [y/N]" in shown
    assert "Repair the ledger" not in shown
    assert wrong.query("SELECT * FROM schema_migrations ORDER BY 1") == before


def test_repair_asks_only_one_question_if_all_names_agree(project: Project) -> None:
    project.write(up_1_a="SELECT 1;")
    project.run("up")
    project.write(up_1_a="SELECT 2;")
    shown = on_a_terminal(project, "repair", answer="y", NO_COLOR="1")
    assert f"Repair the ledger of {name_of(project)} on " in shown
    assert "right database" not in shown
    assert project.states() == {1: "applied"}


def test_down_asks_about_the_database_by_name(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();", down_1_a="DROP TABLE a;")
    project.run("up")
    shown = on_a_terminal(project, "down", answer="n", code=1, NO_COLOR="1")
    assert f"Revert this in {name_of(project)} on " in shown


def test_up_suggests_down_edit_and_up_only_for_newest_file(
    project: Project,
) -> None:
    project.write(up_1_a="CREATE TABLE a ();", down_1_a="DROP TABLE a;")
    project.run("up")
    project.write(up_1_a="CREATE TABLE a (n int);")
    offer = "restore the file, `sqlmig down`, edit it, `sqlmig up`"
    assert offer in project.run("up", code=1).err

    project.write(up_1_a="CREATE TABLE a ();", up_2_b="CREATE TABLE b ();")
    project.run("up")
    project.write(up_1_a="CREATE TABLE a (n int);")
    assert offer not in project.run("up", code=1).err
