"""sqlmig refuses a wrong directory before it runs any file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sqlmig.core.migrations import find_replaces

if TYPE_CHECKING:
    from tests.support.project import Project


def refused(project: Project, *words: str) -> None:
    """Check that `up` refuses everything with these messages and leaves the database empty."""
    output = project.run("up", code=1)
    for word in words:
        assert word in output.err
    assert output.out == ""
    assert (
        project.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        == []
    )


@pytest.fixture
def first(project: Project) -> Project:
    """Return a project with a good first migration, which must not run if a later file is refused."""
    project.file("1_good.up.sql", "CREATE TABLE good ();")
    return project


@pytest.mark.parametrize(
    "name",
    [
        "2_x.sql",
        "x.up.sql",
        "2.up.sql",
        "2-x.up.sql",
        "2_x.UP.sql",
        "2_x.up.SQL",
        "-2_x.up.sql",
    ],
)
def test_malformed_sql_file_name_is_refused(first: Project, name: str) -> None:
    first.file(name, "SELECT 1")
    refused(first, name, "the name must be VERSION_NAME.up.sql")


@pytest.mark.parametrize(
    "name", [b"2_\xff.up.sql", b"2_a\nSELECT 1; --.up.sql", b"2_\x1b[31m.up.sql"]
)
def test_unprintable_file_name_is_refused(first: Project, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(first.directory) + b"/" + name)).write_text("SELECT 1")
    for command in ("up", "status", "script", "check"):
        assert (
            "the file name has bytes or characters that cannot be shown"
            in first.run(command, code=1).err
        )
    refused(first, "cannot be shown")


def test_a_version_beyond_64_bits_is_refused(first: Project) -> None:
    first.file("9223372036854775808_x.up.sql", "SELECT 1")
    refused(first, "9223372036854775808_x.up.sql", "with a 64-bit number as VERSION")


@pytest.mark.parametrize(
    "name", ["README.md", "2_x.up.sql.bak", ".2_x.up.sql", "notes", ".sql"]
)
def test_other_files_and_dot_files_are_ignored(first: Project, name: str) -> None:
    first.file(name, b"\xff")
    (first.directory / "folder.sql").mkdir()
    first.run("up")
    assert first.states() == {1: "applied"}


def test_two_files_of_one_version_and_direction_are_refused(first: Project) -> None:
    first.file("01_other.up.sql", "SELECT 1")
    refused(first, "version 1 has another up file", "01_other.up.sql", "1_good.up.sql")


def test_a_down_file_without_an_up_file_is_refused(first: Project) -> None:
    first.file("2_x.down.sql", "SELECT 1")
    refused(first, "2_x.down.sql", "version 2 has a down file but no up file")


def test_invalid_utf_8_is_refused_with_its_position(first: Project) -> None:
    first.file("2_x.up.sql", b"SELECT 1;\nSELECT '\xe9';")
    refused(first, "2_x.up.sql:2:9: not UTF-8")


def test_nul_byte_is_refused_with_its_position(first: Project) -> None:
    first.file("2_x.up.sql", "SELECT 1;\nSELECT '\0';")
    refused(first, "2_x.up.sql:2:9: a NUL byte")


def test_byte_order_mark_is_not_sent_or_included_in_checksum(project: Project) -> None:
    project.file("1_x.up.sql", "\ufeffCREATE TABLE x ();")
    project.run("up")
    project.file("1_x.up.sql", "CREATE TABLE x ();")
    assert project.states() == {1: "applied"}


def test_line_endings_do_not_affect_checksum(project: Project) -> None:
    project.file("1_x.up.sql", "SELECT 1;\r\nSELECT 2;\r\n")
    project.run("up")
    project.file("1_x.up.sql", "SELECT 1;\nSELECT 2;\n")
    assert project.states() == {1: "applied"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT 1;\n\\i other.sql\n", "2_x.up.sql:2:1: a psql meta-command"),
        ("\\copy t from 'f'", "2_x.up.sql:1:1: a psql meta-command"),
        ("SELECT 1 \\gset", "2_x.up.sql:1:10: a psql meta-command"),
        (
            "SELECT 1;\n  COPY t (a) FROM STDIN;\n1\n",
            "2_x.up.sql:2:3: COPY … FROM stdin has no data",
        ),
        (
            "copy/**/t\nfrom -- x\nstdin with csv;",
            "2_x.up.sql:1:1: COPY … FROM stdin has no data",
        ),
        ("COPY t TO STDOUT", "2_x.up.sql:1:1: COPY TO STDOUT"),
        ("SELECT 'x", "2_x.up.sql:1:8: a string that begins here is not closed"),
        ("SELECT E'x\\'", "2_x.up.sql:1:9: a string that begins here is not closed"),
        (
            'SELECT "x',
            "2_x.up.sql:1:8: a quoted identifier that begins here is not closed",
        ),
        (
            "SELECT $a$ $b$",
            "2_x.up.sql:1:8: a dollar-quoted string that begins here is not closed",
        ),
        (
            "SELECT 1 /* /* */",
            "2_x.up.sql:1:10: a comment that begins here is not closed",
        ),
        (
            "-- sqlmig: no-transactions\nSELECT 1",
            "2_x.up.sql:1:1: unknown directive “no-transactions”",
        ),
    ],
)
def test_unsendable_text_is_refused_with_its_position(
    first: Project, text: str, words: str
) -> None:
    first.file("2_x.up.sql", text)
    refused(first, words)


def test_a_down_file_is_read_before_anything_is_reverted(project: Project) -> None:
    project.write(
        up_1_a="CREATE TABLE a ()",
        down_1_a="COMMIT",
        up_2_b="CREATE TABLE b ()",
        down_2_b="DROP TABLE b",
    )
    project.run("up")
    assert "1_a.down.sql:1:1: COMMIT" in project.run("down", "--all", code=1).err
    assert project.tables() == {"a", "b"}


def test_an_empty_directory_is_an_error(project: Project) -> None:
    for command in ("up", "down", "status"):
        assert (
            "no migrations there; write the first with `sqlmig new NAME`"
            in project.run(command, code=1).err
        )


def test_a_missing_directory_is_an_error(project: Project) -> None:
    project.directory.rmdir()
    for command in ("up", "down", "status"):
        assert (
            "No such file or directory; name the directory of the SQL files (--dir"
            in project.run(command, code=1).err
        )


def test_a_directory_that_is_a_file_is_an_error(project: Project) -> None:
    project.directory.rmdir()
    project.directory.write_text("")
    assert "Not a directory" in project.run("up", code=1).err


def test_broken_symlink_is_an_error(first: Project) -> None:
    (first.directory / "2_x.up.sql").symlink_to("nowhere")
    refused(first, "2_x.up.sql: not a regular file")


def test_replaces_is_found_after_thousands_of_comment_lines() -> None:
    """The directive is found line by line. A file with thousands of comment lines is read at once."""
    digest = "0" * 64
    header = b"-- a line\r\n\r\n-- another\n\n\n" * 5000
    assert find_replaces(header + b"CREATE TABLE t ();") is None
    found = find_replaces(header + f"-- sqlmig: replaces 1 to 9: {digest}\n".encode())
    assert found == (1, 9, digest, 9, 9)
