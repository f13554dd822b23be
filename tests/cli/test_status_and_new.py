"""Test the output of `status` and the files of `new`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.project import Project

if TYPE_CHECKING:
    from pathlib import Path


def test_status_before_the_first_up_shows_all_pending_and_writes_nothing(
    project: Project,
) -> None:
    project.file("0001_first.up.sql", "SELECT 1")
    assert project.run("status").out == "0001_first  pending\n"
    assert project.query(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    ) == [(0,)]


def test_status_shows_every_state(project: Project) -> None:
    for version in (1, 2, 3, 5):
        project.file(f"{version}_x.up.sql", "SELECT 1")
    project.run("up")
    project.file("2_x.up.sql", "SELECT 2")
    (project.directory / "3_x.up.sql").unlink()
    project.file("4_x.up.sql", "SELECT 1")
    project.file("6_x.up.sql", "SELECT 1")
    expected = {
        1: "applied",
        2: "changed",
        3: "missing",
        4: "out-of-order",
        5: "applied",
        6: "pending",
    }
    assert project.states() == expected
    *rows, counts = project.run("status").out.splitlines()
    assert counts == "2 applied, 1 changed, 1 missing, 1 out-of-order, 1 pending"
    lines = [line.split() for line in rows]
    assert [
        (line.split()[0])
        for line in project.run("status", "--pending").out.splitlines()[:-1]
    ] == ["4_x", "6_x"]
    pending = project.run("status", "--pending", "--json").json()
    assert [one["version"] for one in pending] == [4, 6]
    assert [(line[0], line[1]) for line in lines] == [
        (f"{version}_x", state) for version, state in expected.items()
    ]


def test_status_json_fields(project: Project) -> None:
    project.file("0007_one.up.sql", "SELECT 1")
    project.run("up")
    project.file("0008_two.up.sql", "SELECT 1")
    first, second = project.run("status", "--json").json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first.pop("applied_at"))
    assert 0 <= first.pop("seconds") < 60
    assert first == {
        "version": 7,
        "name": "one",
        "state": "applied",
        "applied_by": "postgres",
    }
    assert second == {
        "version": 8,
        "name": "two",
        "state": "pending",
        "applied_at": None,
        "applied_by": None,
        "seconds": None,
    }


def test_status_exit_code_tells_whether_all_is_applied(project: Project) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    project.run("status", "--exit-code", code=1)
    project.run("up")
    project.run("status", "--exit-code", code=0)
    project.file("1_x.up.sql", "SELECT 2")
    project.run("status", "--exit-code", code=1)
    project.run("status", code=0)


def test_status_works_in_a_read_only_session(project: Project) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    read_only = Project(
        project.directory,
        f"{project.url}&options=-c%20default_transaction_read_only%3Don",
    )
    assert read_only.states() == {1: "pending"}
    assert "is read-only for this role" in read_only.run("up", code=1).err
    project.run("up")
    assert read_only.states() == {1: "applied"}


def test_status_fails_if_role_cannot_see_ledger_rows(
    project: Project,
) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    project.run("up")
    project.query(
        "ALTER TABLE schema_migrations ENABLE ROW LEVEL SECURITY; GRANT SELECT ON schema_migrations TO pg_monitor"
    )
    monitor = Project(
        project.directory, f"{project.url}&options=-c%20role%3Dpg_monitor"
    )
    assert "row-level security policy" in monitor.run("status", code=1).err


@pytest.mark.parametrize(
    ("state", "word"),
    [("changed", "restore the file"), ("missing", "its file is gone")],
)
def test_up_refuses_while_an_applied_file_is_changed_or_missing(
    project: Project, state: str, word: str
) -> None:
    project.write(up_1_a="SELECT 1", down_1_a="SELECT 1", up_2_b="SELECT 1")
    project.run("up", "--to", "1")
    if state == "missing":
        (project.directory / "1_a.up.sql").unlink()
        (project.directory / "1_a.down.sql").unlink()
    else:
        project.write(up_1_a="SELECT 2")
    output = project.run("up", code=1)
    assert "1_a: " in output.err
    assert word in output.err
    assert project.states() == {1: state, 2: "pending"}


def test_down_works_if_up_file_has_changed(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ()", down_1_a="DROP TABLE a")
    project.run("up")
    project.write(up_1_a="CREATE TABLE b ()")
    project.run("down")
    assert project.tables() == set()


def test_up_refuses_out_of_order_version_unless_allowed(project: Project) -> None:
    project.write(up_2_b="SELECT 1", down_2_b="SELECT 1")
    project.run("up")
    project.write(up_1_a="SELECT 1")
    assert (
        "1_a: pending, but older than the newest applied"
        in project.run("up", code=1).err
    )
    project.run("up", "--allow-out-of-order")
    assert project.states() == {1: "applied", 2: "applied"}
    assert project.run("down").out.startswith(
        "reverted 2_b ("
    )  # the highest version, not the last one applied


def made(project: Project, *arguments: str) -> list[str]:
    """Run `new` and return the names of the files that it wrote."""
    names = [
        line.rpartition("/")[2]
        for line in project.run("new", *arguments).out.splitlines()
    ]
    assert all((project.directory / name).exists() for name in names)
    return names


def test_new_writes_the_next_pair_in_the_same_width(project: Project) -> None:
    assert made(project, "add users") == [
        "0001_add_users.up.sql",
        "0001_add_users.down.sql",
    ]
    assert made(project, "Ünïcode-Name!") == [
        "0002_ünïcode_name.up.sql",
        "0002_ünïcode_name.down.sql",
    ]
    project.file("099_x.up.sql", "")
    assert made(project, "y")[0] == "100_y.up.sql"


def test_new_writes_timestamp_if_newest_version_is_timestamp(project: Project) -> None:
    project.file("20240101120000_x.up.sql", "")
    assert re.fullmatch(r"20[2-9]\d{11}_y\.up\.sql", made(project, "y")[0])


def test_new_timestamp_is_always_newest_version(project: Project) -> None:
    project.file("29990101120000_x.up.sql", "")
    assert made(project, "y")[0] == "29990101120001_y.up.sql"


def test_what_new_writes_can_be_applied_and_reverted(project: Project) -> None:
    made(project, "nothing yet")
    project.run("up")
    project.run("down")
    assert project.states() == {1: "pending"}


def test_new_makes_the_directory_and_needs_no_database(tmp_path: Path) -> None:
    project = Project(
        tmp_path / "a" / "sql", "postgresql://nobody@nowhere.invalid/none"
    )
    assert "made the directory" in project.run("new", "first").err
    assert made(project, "second")[0] == "0002_second.up.sql"
    assert "made the directory" not in project.run("new", "third").err


def test_new_refuses_subdirectory_of_migrations_directory(project: Project) -> None:
    project.file("0001_a.up.sql", "")
    within = Project(project.directory / "sql", project.url)
    assert (
        "has migrations itself; name the directory with --dir"
        in within.run("new", "b", code=1).err
    )
    assert not within.directory.exists()


def test_new_refuses_name_without_letter_or_digit(project: Project) -> None:
    assert "has no letter or digit" in project.run("new", "!?", code=2).err
