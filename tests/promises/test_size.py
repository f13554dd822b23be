"""Neither many files nor a large one break a promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import Project


def test_ten_thousand_files(project: Project) -> None:
    for n in range(10_000):
        project.file(f"{n:05}_x.up.sql", f"SELECT {n};")
    output = project.run("up")
    assert output.out.count("\n") == 10_000
    assert project.run("up").out == "nothing to do\n"
    assert set(project.states().values()) == {"applied"}


def test_a_file_of_fifty_megabytes(project: Project) -> None:
    row = "INSERT INTO t VALUES ('" + "it''s; COMMIT; " * 3500 + "');\n"
    count = 50_000_000 // len(row) + 1
    project.file("1_x.up.sql", "CREATE TABLE t (v text);\n" + row * count)
    project.run("up")
    assert project.query("SELECT count(*), min(length(v)) FROM t") == [(count, 3500 * 14)]
    project.file("2_x.up.sql", "\n" + row * count + "SELECT nothing;\n")
    assert f"2_x.up.sql:{count + 2}:8: ERROR" in project.run("up", code=1).err
    assert project.query("SELECT count(*) FROM t") == [(count,)]
