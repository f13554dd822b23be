"""`stamp` takes over a database. `--dry-run` runs the files for real and rolls back."""

from __future__ import annotations

import os
import pty
import re
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.ledgers import THEIRS
from tests.support.waits import tables

if TYPE_CHECKING:
    from tests.support.project import Project


def test_stamp_records_everything_up_to_a_version_without_running_it(
    either: Project,
) -> None:
    tables(either, 3)
    assert either.run("stamp", "2").out == "recorded 0001_t\nrecorded 0002_t\n"
    assert either.states() == {1: "applied", 2: "applied", 3: "pending"}
    assert either.tables() == set()
    assert either.run("stamp", "2").out == "nothing to do\n"
    either.run("up")
    assert either.tables() == {"t3"}


def test_stamp_refuses_if_recorded_file_has_changed(project: Project) -> None:
    tables(project, 3)
    project.run("up", "--to", "1")
    project.file("0001_t.up.sql", "SELECT 1")
    assert (
        "nothing was recorded: 0001_t is changed"
        in project.run("stamp", "3", code=1).err
    )
    assert project.states() == {1: "changed", 2: "pending", 3: "pending"}


@pytest.mark.parametrize(("version", "code"), [("9", 2), ("-1", 2), ("x", 2)])
def test_a_version_that_does_not_exist_is_a_usage_error(
    project: Project, version: str, code: int
) -> None:
    tables(project, 1)
    assert project.run("stamp", version, code=code).out == ""
    assert project.states() == {1: "pending"}


@pytest.mark.parametrize("tool", ["golang-migrate", "dbmate", "sqlx", "ecto"])
def test_commands_in_error_take_over_from_another_tool(
    project: Project, tool: str
) -> None:
    project.query(THEIRS[tool][0])
    for version in ("3", "7", "20240102000000", "20250101000000"):
        project.file(f"{version}_x.up.sql", f"CREATE TABLE t{version} ();")
    commands = [
        line.strip()
        for line in project.run("up", code=1).err.splitlines()
        if "ALTER TABLE" in line or "stamp" in line
    ]
    for line in commands:
        if line.startswith("ALTER"):
            project.query(line)
    version = commands[-1].rpartition("sqlmig stamp ")[2]
    project.run("stamp", version)
    project.run("up")
    assert project.tables() - {
        "_sqlx_migrations",
        "schema_migrations_before_sqlmig",
    } == {
        f"t{other}"
        for other in ("3", "7", "20240102000000", "20250101000000")
        if int(other) > int(version)
    }


def test_dry_run_of_up_lists_files_and_changes_nothing(
    either: Project,
) -> None:
    tables(either, 2)
    output = either.run("up", "--dry-run")
    assert [line.partition(" (")[0] for line in output.out.splitlines()] == [
        "would apply 0001_t",
        "would apply 0002_t",
    ]
    assert either.query(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    ) == [(0,)]
    either.run("up", "--steps", "1")
    assert either.run("up", "--dry-run").out.startswith("would apply 0002_t (")
    assert either.states() == {1: "applied", 2: "pending"}


def test_dry_run_fails_where_up_would_fail(project: Project) -> None:
    tables(project, 1)
    project.file("0002_x.up.sql", "SELECT 1;\nSELECT nothing;")
    assert "0002_x.up.sql:2:8: ERROR" in project.run("up", "--dry-run", code=1).err
    assert project.query(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    ) == [(0,)]


def test_dry_run_reports_what_cannot_be_rehearsed(project: Project) -> None:
    tables(project, 1)
    project.file("0002_i.up.sql", "CREATE INDEX CONCURRENTLY i ON t1 (id)")
    assert (
        "not rehearsed 0002_i: it runs outside a transaction"
        in project.run("up", "--dry-run").out
    )
    project.file("0003_e.up.sql", "CREATE TYPE e AS ENUM ('a');")
    project.run("up")
    project.file("0004_e.up.sql", "ALTER TYPE e ADD VALUE 'b';")
    project.file("0005_e.up.sql", "SELECT 'b'::e;")
    error = project.run("up", "--dry-run", code=1).err
    assert "this cannot be rehearsed in one transaction; `sqlmig up` can do it" in error
    project.run("up")


def lossy(project: Project) -> None:
    """Apply a table with three rows, and then another column."""
    project.write(
        up_1_t='CREATE TABLE "My t" (id int); INSERT INTO "My t" VALUES (1), (2), (3);',
        down_1_t='DROP TABLE "My t"',
    )
    project.write(
        up_2_c='ALTER TABLE "My t" ADD COLUMN c int, ADD COLUMN "D" int',
        down_2_c='ALTER TABLE "My t" DROP COLUMN c, DROP COLUMN "D"',
    )
    project.run("up")


def test_dry_run_of_down_reports_losses(either: Project) -> None:
    lossy(either)
    lines = either.run("down", "--dry-run").out.splitlines()
    assert lines[0].startswith("would revert 2_c (")
    assert re.fullmatch(r'  "My t": blocks reads and writes for up to \d+ ms', lines[1])
    assert lines[2:] == ['would lose c, "D" of "My t" (3 rows)']
    assert either.run("down", "--all", "--dry-run").out.splitlines()[3:] == [
        'would lose "My t" (3 rows)'
    ]
    assert either.states() == {1: "applied", 2: "applied"}


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 2), (b"y\n", 1)])
def test_down_on_terminal_shows_losses_and_asks(
    project: Project, answer: bytes, left: int
) -> None:
    lossy(project)
    terminal, inner = pty.openpty()
    process = project.start("down", stdin=inner)
    os.write(terminal, answer)
    out, err = process.communicate(timeout=60)
    os.close(terminal)
    os.close(inner)
    assert 'would lose c, "D" of "My t" (3 rows)' in out
    assert "? [y/N]" in err
    assert process.returncode == (0 if left == 1 else 1), err
    assert ("nothing was reverted" in err) == (left == 2)
    assert project.query("SELECT count(*) FROM schema_migrations") == [(left,)]


def test_down_on_terminal_with_yes_does_not_ask(project: Project) -> None:
    lossy(project)
    terminal, inner = pty.openpty()
    process = project.start("down", "--yes", stdin=inner)
    out, err = process.communicate(timeout=60)
    os.close(terminal)
    os.close(inner)
    assert out.startswith("reverted 2_c ("), err
    with psycopg.connect(project.url) as connection:
        assert connection.execute(
            "SELECT count(*) FROM schema_migrations"
        ).fetchone() == (1,)
