"""Many files or a large file do not break a promise."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.project import Project


# `make soak` applies more.
IS_SOAK = bool(os.environ.get("SQLMIG_TEST_KILLS"))
FILES = 10_000 if IS_SOAK else 2_000
BYTES = 50_000_000 if IS_SOAK else 20_000_000


def test_up_applies_thousands_of_files(project: Project) -> None:
    for n in range(FILES):
        project.file(f"{n:05}_x.up.sql", f"SELECT {n};")
    output = project.run("up")
    assert output.out.count("\n") == FILES
    assert project.run("up").out == "nothing to do\n"
    assert set(project.states().values()) == {"applied"}


def test_error_in_long_file_names_correct_line(project: Project) -> None:
    lines = [
        f"INSERT INTO t VALUES ({n}, 'a row that is long enough for several messages');\n"
        for n in range(40_000)
    ]
    project.file(
        "1_x.up.sql",
        "CREATE TABLE t (i int CHECK (i <> 30000), v text);\n" + "".join(lines),
    )
    assert (
        "1_x.up.sql:30002:1: ERROR: new row for relation"
        in project.run("up", code=1).err
    )
    values = "".join(
        f"({n}, 'a row that is long enough for several messages'),\n"
        for n in range(40_000)
    )
    project.file(
        "1_x.up.sql", "CREATE TABLE t (i int, v text);\nINSERT INTO t VALUES\n" + values
    )
    assert "1_x.up.sql:40002:" in project.run("up", code=1).err
    assert project.tables() == set()


@pytest.mark.parametrize(
    "setting", ["standard_conforming_strings = off", "client_encoding = 'LATIN1'"]
)
def test_long_file_must_not_change_parsing_settings(
    project: Project, setting: str
) -> None:
    project.file(
        "1_x.up.sql", f"CREATE TABLE t ();\nSET {setting};\n" + "SELECT 1;\n" * 300_000
    )
    assert f"must not change {setting.split()[0]}" in project.run("up", code=1).err
    assert project.tables() == set()
    assert project.states() == {1: "pending"}


def test_up_applies_file_of_many_megabytes(project: Project) -> None:
    row = "INSERT INTO t VALUES ('" + "it''s; COMMIT; " * 3500 + "');\n"
    count = BYTES // len(row) + 1
    project.file("1_x.up.sql", "CREATE TABLE t (v text);\n" + row * count)
    project.run("up")
    assert project.query("SELECT count(*), min(length(v)) FROM t") == [
        (count, 3500 * 14)
    ]
    project.file("2_x.up.sql", "\n" + row * count + "SELECT nothing;\n")
    assert f"2_x.up.sql:{count + 2}:8: ERROR" in project.run("up", code=1).err
    assert project.query("SELECT count(*) FROM t") == [(count,)]
