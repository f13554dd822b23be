"""COPY … FROM stdin with its data works in each place that runs a file, as in psql, and errors name the line."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

import sqlmig
from sqlmig import embedded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.project import Project

DOWN = "DROP TABLE t"
TABLE = "CREATE TABLE t (a int, b text, c text);\n"
# The statement, the data, and the rows.
FORMATS: dict[str, tuple[str, str, list[tuple[object, ...]]]] = {
    "text": (
        "",
        "1\tx\t\\N\n2\ta\\tb\\n\\\\.\t\n",
        [(1, "x", None), (2, "a\tb\n\\.", "")],
    ),
    "a delimiter": (" WITH (DELIMITER ';', NULL 'nil')", "1;x;nil\n", [(1, "x", None)]),
    "csv": (" WITH (FORMAT csv)", '1,"x, ""y""",\n', [(1, 'x, "y"', None)]),
    "csv over lines": (" (FORMAT csv)", '1,"x\ny",z\n', [(1, "x\ny", "z")]),
    "csv with a header": (
        " CSV HEADER QUOTE '''' ESCAPE '!'",
        "a,b,c\n1,'it!'s',z\n",
        [(1, "it's", "z")],
    ),
    "force null": (" (FORMAT csv, FORCE_NULL (b))", '1,"",z\n', [(1, None, "z")]),
    "no rows": ("", "", []),
    "like SQL": (
        "",
        "1\t'; DROP TABLE t; --\t$$ /* \"\n",
        [(1, "'; DROP TABLE t; --", '$$ /* "')],
    ),
    "a directive and marks": (
        "",
        "1\t-- sqlmig: repeat\t-- +goose Down\n2\tCOMMIT;\t\\x41\n",
        [(1, "-- sqlmig: repeat", "-- +goose Down"), (2, "COMMIT;", "A")],
    ),
    "a marker within a line": ("", "1\tx\\\\.\t \\\\. \n", [(1, "x\\.", " \\. ")]),
    "other scripts": ("", "1\tमीरा\t👩‍⚕️\n", [(1, "मीरा", "👩‍⚕️")]),
    "freeze and where": (" WHERE a > 1", "1\tx\ty\n2\tx\ty\n", [(2, "x", "y")]),
}


def file_of(kind: str, newline: str = "\n") -> str:
    options, data, _ = FORMATS[kind]
    return f"{TABLE}COPY t FROM stdin{options};\n{data}\\.\nINSERT INTO t VALUES (99);\n".replace(
        "\n", newline
    )


def rows_of(project: Project) -> list[tuple[object, ...]]:
    return project.query("SELECT * FROM t WHERE a < 99 ORDER BY a")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("head", ["", "-- sqlmig: no-transaction\n"])
def test_copy_loads_each_format(either: Project, kind: str, head: str) -> None:
    either.file("1_t.up.sql", head + file_of(kind))
    either.file("1_t.down.sql", DOWN)
    either.run("up")
    assert rows_of(either) == FORMATS[kind][2]
    assert either.query("SELECT count(*) FROM t WHERE a = 99") == [(1,)]
    either.run("down", "--yes")


@pytest.mark.parametrize("kind", ["text", "csv", "no rows"])
def test_copy_accepts_windows_line_endings(project: Project, kind: str) -> None:
    """Write the bytes, because the helper writes the line ends of this system."""
    path = project.directory / "1_t.up.sql"
    path.write_bytes(file_of(kind, "\r\n").encode())
    project.run("up")
    assert [row[0] for row in rows_of(project)] == [row[0] for row in FORMATS[kind][2]]


def test_several_copy_blocks_between_statements(project: Project) -> None:
    project.write(
        up_1_t=f"""BEGIN;
{TABLE}
-- first
COPY t (a, b) FROM STDIN;
1\tx
\\.

COPY t (a, b) FROM stdin;
\\.
UPDATE t SET b = 'y';
copy t from stdin (format csv) ;
2,z,
\\.
COMMIT;
""",
        down_1_t=DOWN,
    )
    assert "ok            1_t" in project.run("check").out
    project.run("up", "--dry-run")
    project.run("up")
    assert rows_of(project) == [(1, "y", None), (2, "z", None)]
    assert project.run("drift").out == "nothing differs\n"
    assert project.run("status").out.startswith("1_t  applied")
    project.run("down", "--yes")


def test_copy_works_for_many_schemas_and_from_python(project: Project) -> None:
    project.write(up_1_t=file_of("text"))
    project.run("up", "--schema", "one", "--schema", "two")
    assert project.query(
        "SELECT (SELECT count(*) FROM one.t), (SELECT count(*) FROM two.t)"
    ) == [(3, 3)]
    sqlmig.up(project.url, project.directory)
    assert rows_of(project) == FORMATS["text"][2]


BAD = {
    "a value": (
        "COPY t FROM stdin;\n1\tx\ty\n2\tx\ty\nthree\tx\ty\n\\.\n",
        7,
        "invalid input syntax for type integer",
    ),
    "too few columns": (
        "COPY t FROM stdin;\n1\tx\ty\n2\n\\.\n",
        6,
        "missing data for column",
    ),
    "too many columns": (
        "COPY t FROM stdin CSV;\n1,x,y,z\n\\.\n",
        5,
        "extra data after last expected column",
    ),
    "a key": (
        "CREATE UNIQUE INDEX ON t (a);\nCOPY t FROM stdin;\n1\tx\ty\n1\tx\ty\n\\.\n",
        7,
        "duplicate key value",
    ),
    "no table": (
        "COPY nothing FROM stdin;\n1\n\\.\n",
        4,
        'relation "nothing" does not exist',
    ),
    "csv over lines": (
        'COPY t FROM stdin CSV;\n0,x,y\n1,"x\ny",z\nfour,x,y\n\\.\n',
        8,
        "invalid input syntax",
    ),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("head", ["-- a line\n", "-- sqlmig: no-transaction\n"])
def test_copy_error_names_line_and_rolls_back_transaction(
    project: Project, kind: str, head: str
) -> None:
    text, line, message = BAD[kind]
    project.file("1_t.up.sql", f"{head}{TABLE}\n{text}SELECT 1;\n")
    error = project.run("up", code=1).err
    assert f"1_t.up.sql:{line}:1: ERROR: " in error
    assert message in error
    exists = "no-transaction" in head
    assert project.query("SELECT to_regclass('t') IS NOT NULL") == [(exists,)]
    assert project.run("status").out.startswith("1_t  pending")


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("SELECT 1;\n  COPY t (a) FROM STDIN;\n1\n", "2:3", "has no data"),
        (
            "COPY t FROM stdin; SELECT 1;\n1\n\\.\n",
            "1:20",
            "the data begin on the next one",
        ),
        ("COPY t FROM stdin", "1:1", "has no data"),
        ("COPY t TO STDOUT", "1:1", "COPY TO STDOUT needs a client"),
        ("COPY t TO stdin", "1:1", "COPY TO STDOUT needs a client"),
        (
            "COPY t FROM stdin;\n1\n\\.\nSELECT 'x",
            "4:8",
            "a string that begins here is not closed",
        ),
    ],
)
def test_unreadable_copy_is_refused_before_anything_runs(
    project: Project, text: str, place: str, message: str
) -> None:
    project.write(up_1_a="CREATE TABLE a ()", up_2_b=text)
    error = project.run("up", code=1).err
    assert f"2_b.up.sql:{place}: " in error
    assert message in error
    assert project.tables() == set()


def test_script_refuses_copy_data(project: Project) -> None:
    project.write(up_1_t=file_of("text"))
    error = project.run("script", code=1).err
    assert "no script can hold the data of COPY … FROM stdin" in error


def test_copy_in_do_block_does_not_wait_for_data(project: Project) -> None:
    project.write(
        up_1_t="CREATE TABLE t (a int); DO $$ BEGIN EXECUTE 'COPY t FROM stdin'; END $$"
    )
    assert "1_t.up.sql:1:25: ERROR: " in project.run("up", code=1).err


def test_plain_dump_with_data_runs_as_first_file(project: Project) -> None:
    project.query(
        r"""
        CREATE TABLE t (a serial PRIMARY KEY, b text, c text[]);
        INSERT INTO t (b, c) VALUES (E'tab\there \\. and \\N', '{a,"b, c"}'), (NULL, NULL), (E'two\nlines', '{}');
        CREATE TABLE empty (x int);
        CREATE VIEW seen AS SELECT b FROM t;
        """
    )
    dump: list[str | Path] = [
        embedded.programs() / "pg_dump",
        "--no-owner",
        project.url,
    ]
    text = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
    text = text.replace("SET transaction_timeout = 0;\n", "")  # for an older server
    assert text.count("FROM stdin;") == 2
    before = project.query("SELECT * FROM t")
    project.query("DROP TABLE t, empty CASCADE")
    project.file("1_dump.up.sql", text)
    project.run("up")
    assert project.query("SELECT * FROM t") == before
    assert project.query("INSERT INTO t DEFAULT VALUES RETURNING a") == [(4,)]
    again = subprocess.run(
        [*dump, "--exclude-table=schema_migrations"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    def normal(dumped: str) -> str:
        dumped = dumped.replace("SET transaction_timeout = 0;\n", "")
        dumped = re.sub(r"^\\(un)?restrict .*", "", dumped, flags=re.MULTILINE)
        return dumped.replace("'public.t_a_seq', 4,", "'public.t_a_seq', 3,").replace(
            "4\t\\N\t\\N\n", ""
        )

    assert normal(again) == normal(text)


def test_failure_after_copy_blocks_counts_statements(project: Project) -> None:
    text = "-- sqlmig: no-transaction\nCREATE TABLE t (a int PRIMARY KEY);\n"
    text += "COPY t FROM stdin;\n1\n\\.\n\n-- a comment\n\nCOPY t FROM stdin;\n2\n\\.\n\n-- more\n\n"
    project.file("1_t.up.sql", f"{text}INSERT INTO t VALUES (1);\nSELECT 1;\n-- end\n")
    error = project.run("up", code=1).err
    assert "3 of 5 statements were committed, 1 failed, 1 did not run" in error
