"""After a release is rolled back, its files are gone: `down` uses the ledger's copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.project import RUN

if TYPE_CHECKING:
    from tests.support.project import Project

QUOTES = "DO $a$BEGIN EXECUTE 'SELECT ''x'', $$y$$, E\\'\\\\\\''; END$a$; -- 'odd\nDROP TABLE \"b\""


def gone(project: Project, *versions: int) -> None:
    """Remove the files of these versions."""
    for version in versions:
        for path in project.directory.glob(f"{version}_*.sql"):
            path.unlink()


@pytest.fixture
def three(project: Project) -> Project:
    for n, name in enumerate("abc", 1):
        project.file(f"{n}_{name}.up.sql", f"CREATE TABLE {name} ();")
        project.file(f"{n}_{name}.down.sql", f"DROP TABLE {name};")
    project.run("up")
    return project


def test_down_mixes_files_and_ledger_copies(three: Project) -> None:
    gone(three, 2, 3)
    assert "ahead" in three.run("status").out
    assert three.run("status").out.count("(the ledger has its down file)") == 2
    lines = three.run("down", "--all").out.splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        "reverted 3_c",
        "reverted 2_b",
        "reverted 1_a",
    ]
    assert three.tables() == set()
    assert three.run("up").out.startswith("applied 1_a")


def test_down_uses_copy_for_newest_version_and_rehearsal(three: Project) -> None:
    gone(three, 3)
    assert "would revert 3_c" in three.run("down", "--dry-run").out
    three.run("down")
    assert three.states() == {1: "applied", 2: "applied"}


def test_down_file_takes_precedence_over_copy(three: Project) -> None:
    three.file("3_c.down.sql", "DROP TABLE c; CREATE TABLE from_the_file ();")
    three.run("down")
    assert "from_the_file" in three.tables()


@pytest.mark.parametrize(
    "text",
    [QUOTES, "DROP TABLE b -- no end", "DROP TABLE b; -- \u00e9\u6f22 \\ $1 %s {} :x"],
)
def test_copy_preserves_every_kind_of_quote(project: Project, text: str) -> None:
    project.file("1_b.up.sql", "CREATE TABLE b ();")
    project.file("1_b.down.sql", text.replace("E\\'\\\\\\''", "x"))
    project.run("up")
    assert project.query("SELECT down FROM schema_migrations") == [
        ((project.directory / "1_b.down.sql").read_text(),)
    ]


def test_error_in_copy_names_the_ledger_copy(project: Project) -> None:
    project.write(
        up_1_a="SELECT 1;",
        up_2_b="CREATE TABLE b ();",
        down_2_b="SELECT 1;\n  DROP TABLE nothing;",
    )
    project.run("up")
    gone(project, 2)
    error = project.run("down", code=1).err
    assert (
        'the ledger\'s copy of 2_b.down.sql:2:3: ERROR: table "nothing" does not exist'
        in error
    )
    assert project.states() == {1: "applied", 2: "ahead"}


def test_down_refuses_irreversible_copy(project: Project) -> None:
    project.write(
        up_1_a="SELECT 1;",
        up_2_b="SELECT 1;",
        down_2_b="-- sqlmig: irreversible: rows are gone",
    )
    project.run("up")
    gone(project, 2)
    assert "2_b is irreversible: rows are gone" in project.run("down", code=1).err


def test_down_fails_if_there_is_no_copy(project: Project) -> None:
    project.write(up_1_a="SELECT 1;", up_2_b="SELECT 1;")
    project.run("up")
    gone(project, 2)
    assert "there is no down file for 2_b" in project.run("down", code=1).err


def test_stamp_and_pasted_script_store_copy(three: Project) -> None:
    before = three.query("SELECT version, down FROM schema_migrations ORDER BY 1")
    assert before == [(n, f"DROP TABLE {name};") for n, name in enumerate("abc", 1)]
    script = three.run("script").out
    three.query("DROP TABLE schema_migrations")
    three.run("stamp", "3")
    assert (
        three.query("SELECT version, down FROM schema_migrations ORDER BY 1") == before
    )
    three.query("DROP TABLE schema_migrations, a, b, c")
    three.query(script)
    assert (
        three.query("SELECT version, down FROM schema_migrations ORDER BY 1") == before
    )


def test_unreadable_down_file_stops_up(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();", up_2_b="SELECT 1;")
    project.file("2_b.down.sql", b"\xff")
    assert "2_b.down.sql:1:1: not UTF-8" in project.run("up", code=1).err
    assert project.tables() == set()


def test_only_owner_can_read_copy(three: Project) -> None:
    role = f"curious_{RUN}"
    three.query(f"CREATE ROLE {role}")
    try:
        assert three.query(
            f"SELECT has_table_privilege('{role}', 'schema_migrations', 'SELECT')"
        ) == [(False,)]
    finally:
        three.query(f"DROP ROLE {role}")
