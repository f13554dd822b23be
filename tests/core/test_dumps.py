"""A dump is a common first file. sqlmig runs it as pg_dump wrote it, and drift works after it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sqlmig import embedded
from sqlmig.core.sqlfile import load
from tests.support.project import url_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.project import Project

MADE = """
    CREATE TABLE patients (id int PRIMARY KEY, name text NOT NULL);
    CREATE VIEW names AS SELECT name FROM patients;
    CREATE FUNCTION double(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN n * 2; END $$;
    COMMENT ON TABLE patients IS 'a backslash \\restrict in a text';
    INSERT INTO patients VALUES (1, E'a \\\\unrestrict x');
"""


def dumped(project: Project, *options: str) -> str:
    """Return the output of pg_dump for the database."""
    program = embedded.programs() / "pg_dump"
    line = [str(program), "--no-owner", *options, "-d", project.url]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def other(project: Project) -> Iterator[Project]:
    """Yield the same files with another, empty database."""
    name = project.query("SELECT current_database()")[0][0] + "_other"
    project.query(f"CREATE DATABASE {name}")
    parts = conninfo_to_dict(project.url) | {"dbname": name}
    yield replace(project, url=make_conninfo("", **parts))
    project.query(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("options", [("--schema-only",), ("--inserts",)])
def test_unedited_dump_runs_as_first_file(
    project: Project, other: Project, options: tuple[str, ...]
) -> None:
    project.query(MADE)
    text = dumped(project, *options)
    assert re.match(r"(?s)--\n.*\\restrict \w+\n.*\\unrestrict \w+\n\s*\Z", text)
    text = text.replace("SET transaction_timeout = 0;\n", "")  # for an older server
    project.file("1_dump.up.sql", text)
    other.run("up")
    assert other.states() == {1: "applied"}
    assert other.query("SELECT double(2), count(*) FROM names") == [
        (4, int("--inserts" in options))
    ]
    project.run("stamp", "1")
    assert project.run("drift").out == "nothing differs\n"
    other.run("drift")


def test_error_positions_after_restrict_line_are_correct(project: Project) -> None:
    project.file("1_a.up.sql", "\\restrict abc\r\nSELECT 1;\n  SELECT nothing;\n")
    assert "1_a.up.sql:3:10: ERROR" in project.run("up", code=1).err


def test_checksum_covers_restrict_lines(project: Project) -> None:
    project.file("1_a.up.sql", "\\restrict abc\nSELECT 1;\n\\unrestrict abc\n")
    project.run("up")
    assert project.states() == {1: "applied"}
    project.file("1_a.up.sql", "\\restrict abd\nSELECT 1;\n\\unrestrict abd\n")
    assert project.states() == {1: "changed"}


def test_restrict_inside_strings_is_sent_unchanged(project: Project) -> None:
    project.file(
        "1_a.up.sql",
        "\\restrict x\nCREATE TABLE t AS SELECT '\n\\restrict abc\n'::text AS s, $$\n\\unrestrict y\n$$::text AS d;",
    )
    project.run("up")
    assert project.query("SELECT s, d FROM t") == [
        ("\n\\restrict abc\n", "\n\\unrestrict y\n")
    ]


@pytest.mark.parametrize(
    "text", ["\\connect x\n", "SELECT 1; \\restrict abc\n", "\\restrict\n", "\\d\n"]
)
def test_other_meta_commands_are_still_refused(project: Project, text: str) -> None:
    project.file("1_a.up.sql", text)
    assert "a psql meta-command" in project.run("up", code=1).err


def test_only_restrict_lines_are_blanked(tmp_path: Path) -> None:
    path = tmp_path / "1_a.up.sql"
    path.write_bytes(b"\\restrict abc\nSELECT 1;\n\\unrestrict abc")
    file = load(path)
    assert file.text == b"             \nSELECT 1;\n               "


def test_dump_with_public_schema_and_ledger_reports_no_drift(
    project: Project,
) -> None:
    project.file("1_a.up.sql", "SELECT 1;")
    project.run("up")
    text = dumped(project, "--schema-only", "-n", "public")
    assert "CREATE SCHEMA public;" in text
    assert "CREATE TABLE public.schema_migrations" in text
    project.query("CREATE TABLE kept ()")
    project.file(
        "2_dump.up.sql",
        text + "\nSET transaction_timeout = 0;\nCREATE TABLE public.kept ();",
    )
    project.run("stamp", "2")
    assert project.run("drift").out == "nothing differs\n"


def test_dump_with_ledger_of_another_tool_reports_no_drift(project: Project) -> None:
    project.query("CREATE TABLE kept ()")
    project.file(
        "1_dump.up.sql",
        "CREATE TABLE public.schema_migrations (version varchar NOT NULL);\n"
        "ALTER TABLE ONLY public.schema_migrations\n    ADD CONSTRAINT p PRIMARY KEY (version);\n"
        "CREATE UNIQUE INDEX i ON public.schema_migrations USING btree (version);\n"
        "INSERT INTO public.schema_migrations VALUES ('1');\n"
        "CREATE TABLE public.kept ();\n"
        "COMMENT ON TABLE public.kept IS 'schema_migrations';",
    )
    project.query("COMMENT ON TABLE kept IS 'schema_migrations'")
    project.run("stamp", "1")
    assert project.run("drift").out == "nothing differs\n"


def test_drift_compares_schema_migrations_in_another_schema(project: Project) -> None:
    project.file(
        "1_a.up.sql",
        "CREATE SCHEMA auth; CREATE TABLE auth.schema_migrations (version text);",
    )
    project.run("up")
    assert project.run("drift").out == "nothing differs\n"
    project.query("DROP TABLE auth.schema_migrations")
    assert "missing  table auth.schema_migrations" in project.run("drift", code=1).out


def test_backup_by_read_only_role_includes_ledger(
    tmp_path: Path, project: Project
) -> None:
    """Use a separate server. Other tests may have created Supabase's roles on the shared server."""
    with embedded.server(tmp_path / "server", {"fsync": "off"}) as url:
        apart = replace(project, url=url)
        apart.file("1_a.up.sql", "CREATE TABLE a (n int); INSERT INTO a VALUES (1);")
        apart.run("up")
        apart.query("CREATE ROLE backup LOGIN; GRANT pg_read_all_data TO backup")
        reading = make_conninfo("", **conninfo_to_dict(url) | {"user": "backup"})
        text = dumped(replace(apart, url=reading), "--inserts")
        assert "INSERT INTO public.schema_migrations VALUES (1, 'a'" in text
        assert replace(apart, url=reading).states() == {1: "applied"}

        apart.query("CREATE ROLE anon")
        apart.run("up", "--schema", "behind_an_api")
        with psycopg.connect(url) as connection:
            assert connection.execute(
                "SELECT schemaname::text, rowsecurity FROM pg_tables WHERE tablename = 'schema_migrations' ORDER BY 1"
            ).fetchall() == [("behind_an_api", True), ("public", False)]
            assert url_of(connection)


def test_file_that_replaces_the_ledger_is_refused(project: Project) -> None:
    project.write(up_1_x="SELECT 1;")
    project.run("up")
    project.file(
        "5_init.up.sql",
        "DROP TABLE IF EXISTS public.schema_migrations; CREATE TABLE public.schema_migrations"
        " (version bigint PRIMARY KEY, name text, checksum text, applied_at timestamptz, down text);"
        "INSERT INTO public.schema_migrations VALUES (1, 'x', 'y'), (9, 'q', 'y');",
    )
    error = project.run("up", code=1).err
    assert "it changes schema_migrations, which is the ledger of sqlmig" in error
    assert project.states() == {1: "applied", 5: "pending"}


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO schema_migrations VALUES (99, 'x', 'y');",
        "UPDATE schema_migrations SET checksum = 'x' WHERE version = 1;",
        "DELETE FROM public.schema_migrations WHERE version = 1;",
        "DO $$ BEGIN BEGIN UPDATE Schema_Migrations SET name = 'z'; EXCEPTION WHEN division_by_zero THEN NULL; END; END $$;",
    ],
)
def test_a_file_that_changes_a_row_of_the_ledger_is_refused(
    project: Project, change: str
) -> None:
    project.write(up_1_x="SELECT 1;", up_2_y="SELECT 1;")
    project.run("up")
    before = project.query("TABLE schema_migrations")
    project.file("3_z.up.sql", f"CREATE TABLE made ();\n{change}")
    project.write(up_4_last="SELECT 1;")
    for command in (["up", "--dry-run"], ["up"]):
        error = project.run(*command, code=1).err
        assert "3_z.up.sql: it changes schema_migrations, which is the ledger" in error
    assert project.query("TABLE schema_migrations") == before
    assert project.tables() == set()


def test_a_file_that_only_reads_the_ledger_runs(project: Project) -> None:
    project.write(up_1_x="CREATE TABLE t (n int);")
    # Scanning a long file with many such keywords must be fast.
    rows = ", ".join(f"({n}) /* create delete drop */" for n in range(60_000))
    project.file(
        "2_y.up.sql",
        f"INSERT INTO t SELECT count(*) FROM schema_migrations;\nINSERT INTO t VALUES {rows};\n-- schema_migrations",
    )
    project.run("up")
    assert project.query("SELECT count(*), min(n) FROM t") == [(60_001, 0)]


def test_dump_with_drop_statements_reports_no_drift(project: Project) -> None:
    project.file("1_a.up.sql", "SELECT 1;")
    project.run("up")
    project.query("CREATE TABLE kept ()")
    text = dumped(project, "--schema-only", "-c", "--if-exists", "-n", "public")
    assert "DROP TABLE IF EXISTS public.schema_migrations" in text
    project.file("2_dump.up.sql", text.replace("SET transaction_timeout = 0;", ""))
    project.run("stamp", "2")
    assert project.run("drift").out == "nothing differs\n"
