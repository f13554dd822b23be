"""The server's notices go to standard error, and an error has the right place even if the server sends none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.project import Project


def test_notices_and_warnings_go_to_standard_error(either: Project) -> None:
    either.file(
        "1_x.up.sql",
        "DO $$ BEGIN RAISE NOTICE 'hello % %', 1, 'é' USING HINT = 'wave'; RAISE WARNING 'careful'; END $$; DROP TABLE IF EXISTS a;",
    )
    output = either.run("up")
    assert "NOTICE: hello 1 é\nHINT: wave\n" in output.err
    assert "WARNING: careful" in output.err
    assert 'NOTICE: table "a" does not exist, skipping' in output.err
    assert output.out.startswith("applied 1_x (")
    assert output.out.count("\n") == 1


def test_own_statements_raise_no_notices(either: Project) -> None:
    either.file("1_x.up.sql", "CREATE TABLE a ();")
    either.file("1_x.down.sql", "DROP TABLE a;")
    either.file("2_x.up.sql", "SELECT 1 / 0;")
    assert either.run("up", "--to", "1").err == ""
    assert "NOTICE" not in either.run("up", code=1).err
    assert "WARNING" not in either.run("up", code=1).err
    assert either.run("down").err == ""


def test_error_in_function_shows_its_query_and_calling_statement(
    project: Project,
) -> None:
    project.file(
        "1_x.up.sql",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETURN (SELECT nothing FROM pg_class);\nEND $$;\nSELECT 1;\nSELECT f();\n",
    )
    error = project.run("up", code=1).err
    assert '1_x.up.sql:6:1: ERROR: column "nothing" does not exist' in error
    assert (
        "in the query that it ran:\n  1 | (SELECT nothing FROM pg_class)\n    |         ^"
        in error
    )
    assert "CONTEXT: PL/pgSQL function f() line 3 at RETURN" in error


def test_error_in_function_body_names_line_in_file(project: Project) -> None:
    project.file(
        "1_x.up.sql",
        "SELECT 1;\nCREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$\n  SELECT nothing;\n$$;\n",
    )
    assert (
        '1_x.up.sql:3:10: ERROR: column "nothing" does not exist'
        in project.run("up", code=1).err
    )


@pytest.mark.parametrize(
    "begin", ["", "BEGIN;\n", "BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;\n"]
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("schema", [(), ("--schema", "tenant")])
def test_error_without_position_names_line_of_statement(
    project: Project, begin: str, newline: str, schema: tuple[str, ...]
) -> None:
    lines = [
        "\ufeff" + begin + "SELECT 'é漢';",
        "",
        "/* c */ INSERT INTO t VALUES (1);",
        "-- d",
        "INSERT INTO t VALUES (1);",
    ]
    project.file("1_t.up.sql", "CREATE TABLE t (id int PRIMARY KEY)")
    project.file("2_x.up.sql", newline.join([*lines, "COMMIT;" if begin else ""]))
    line = 6 if begin else 5
    assert (
        f"2_x.up.sql:{line}:1: ERROR: duplicate key"
        in project.run(*schema, "up", code=1).err
    )


@pytest.mark.parametrize("begin", ["", "BEGIN; "])
def test_a_position_counts_characters_and_not_bytes(
    project: Project, begin: str
) -> None:
    text = (
        begin
        + "SELECT '\U0001f600é', '漢';\n\tSELECT 'é' ||\tnothing;"
        + (" COMMIT" if begin else "")
    )
    project.file("1_x.up.sql", text)
    error = project.run("up", code=1).err
    assert '1_x.up.sql:2:16: ERROR: column "nothing" does not exist' in error
    assert "  2 | \tSELECT 'é' ||\tnothing;" in error
    assert "    | \t             \t^\n" in error


def test_caret_is_aligned_after_wide_and_combining_characters(
    project: Project,
) -> None:
    project.file("1_x.up.sql", "SELECT '漢字', 'e\u0301', nothing;")
    shown, caret = project.run("up", code=1).err.splitlines()[1:3]
    assert caret == "    | " + " " * len("SELECT '____', 'e', ") + "^"
    assert shown.endswith("nothing;")
