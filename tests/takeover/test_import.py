"""`import` turns other tools' files into pairs: it splits the halves, keeps markers, and overwrites nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.project import Project

FUNCTION = """CREATE FUNCTION double(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    -- a comment; and a semicolon
    RETURN n * 2;
END $$"""

# A directory of each tool: its files, and the expected files.
DIRECTORIES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "dbmate": (
        {
            "20240101000000_users.sql": (
                f"-- users, first\n-- migrate:up\nCREATE TABLE users (id int);\n{FUNCTION};\n\n"
                "-- migrate:down\nDROP FUNCTION double;\nDROP TABLE users;\n"
            ),
            "20240102000000_index.sql": (
                "--migrate:up transaction:false\nCREATE INDEX CONCURRENTLY i ON users (id);\n"
                "-- migrate:down transaction:false\nDROP INDEX CONCURRENTLY i;\n"
            ),
            "20240103000000_nothing.sql": "-- migrate:up\n\n-- migrate:down\n",
        },
        {
            "20240101000000_users.up.sql": (
                f"-- users, first\nCREATE TABLE users (id int);\n{FUNCTION};\n"
            ),
            "20240101000000_users.down.sql": "DROP FUNCTION double;\nDROP TABLE users;\n",
            "20240102000000_index.up.sql": (
                "-- sqlmig: no-transaction\nCREATE INDEX CONCURRENTLY i ON users (id);\n"
            ),
            "20240102000000_index.down.sql": (
                "-- sqlmig: no-transaction\nDROP INDEX CONCURRENTLY i;\n"
            ),
            "20240103000000_nothing.up.sql": "",
        },
    ),
    "goose": (
        {
            "00001_users.sql": (
                "-- +goose Up\nCREATE TABLE users (id int);\n"
                f"-- +goose StatementBegin\n{FUNCTION}\n-- +goose StatementEnd\n"
                "SELECT double(2);\n\n-- +goose Down\nDROP FUNCTION double;\nDROP TABLE users;\n"
            ),
            "00002_index.sql": (
                "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY i ON users (id);\n"
                "-- +goose Down\nDROP INDEX CONCURRENTLY i;\n"
            ),
        },
        {
            "00001_users.up.sql": (
                f"CREATE TABLE users (id int);\n{FUNCTION}\n;\nSELECT double(2);\n"
            ),
            "00001_users.down.sql": "DROP FUNCTION double;\nDROP TABLE users;\n",
            "00002_index.up.sql": (
                "-- sqlmig: no-transaction\nCREATE INDEX CONCURRENTLY i ON users (id);\n"
            ),
            "00002_index.down.sql": (
                "-- sqlmig: no-transaction\nDROP INDEX CONCURRENTLY i;\n"
            ),
        },
    ),
    "sql-migrate": (
        {
            "1_users.sql": (
                "-- +migrate Up\nCREATE TABLE users (id int);\n"
                f"-- +migrate StatementBegin\n{FUNCTION};\n-- +migrate StatementEnd\n"
                "-- +migrate Down\nDROP FUNCTION double;\nDROP TABLE users;\n"
            ),
            "2_index.sql": (
                "-- +migrate Up notransaction\nCREATE INDEX CONCURRENTLY i ON users (id);\n"
                "-- +migrate Down\nDROP INDEX i;\n"
            ),
        },
        {
            "0001_users.up.sql": f"CREATE TABLE users (id int);\n{FUNCTION};\n",
            "0001_users.down.sql": "DROP FUNCTION double;\nDROP TABLE users;\n",
            "0002_index.up.sql": (
                "-- sqlmig: no-transaction\nCREATE INDEX CONCURRENTLY i ON users (id);\n"
            ),
            "0002_index.down.sql": "DROP INDEX i;\n",
        },
    ),
    "tern": (
        {
            "001_users.sql": (
                f"CREATE TABLE users (id int);\n{FUNCTION};\n\n---- create above / drop below ----\n\n"
                "DROP FUNCTION double;\nDROP TABLE users;\n"
            ),
            "002_index.sql": (
                "---- tern: disable-tx ----\nCREATE INDEX CONCURRENTLY i ON users (id);\n"
                "---- create above / drop below ----\nDROP INDEX CONCURRENTLY i;\n"
            ),
        },
        {
            "001_users.up.sql": f"CREATE TABLE users (id int);\n{FUNCTION};\n",
            "001_users.down.sql": "DROP FUNCTION double;\nDROP TABLE users;\n",
            "002_index.up.sql": (
                "-- sqlmig: no-transaction\nCREATE INDEX CONCURRENTLY i ON users (id);\n"
            ),
            "002_index.down.sql": (
                "-- sqlmig: no-transaction\nDROP INDEX CONCURRENTLY i;\n"
            ),
        },
    ),
    "the Supabase CLI": (
        {
            "20240101000000_users.sql": f"CREATE TABLE users (id int);\n{FUNCTION};\n",
            "20240102000000_index.sql": "CREATE INDEX i ON users (id);\n",
        },
        {
            "20240101000000_users.up.sql": f"CREATE TABLE users (id int);\n{FUNCTION};\n",
            "20240102000000_index.up.sql": "CREATE INDEX i ON users (id);\n",
        },
    ),
    "Flyway": (
        {
            "V1__users.sql": f"CREATE TABLE users (id int);\n{FUNCTION};\n",
            "U1__users.sql": "DROP FUNCTION double;\nDROP TABLE users;\n",
            "V1.10__index.sql": "CREATE INDEX CONCURRENTLY i ON users (id);\n",
            "V1.10__index.sql.conf": "executeInTransaction=false\n",
            "V1_2__view.sql": "CREATE VIEW v AS TABLE users;\n",
            "R__refresh.sql": "SELECT 1;\n",
        },
        {
            "0001_users.up.sql": f"CREATE TABLE users (id int);\n{FUNCTION};\n",
            "0001_users.down.sql": "DROP FUNCTION double;\nDROP TABLE users;\n",
            "0002_view.up.sql": "CREATE VIEW v AS TABLE users;\n",
            "0003_index.up.sql": (
                "-- sqlmig: no-transaction\nCREATE INDEX CONCURRENTLY i ON users (id);\n"
            ),
        },
    ),
}


def foreign(project: Project, files: dict[str, str]) -> Path:
    """Write another tool's files, and return their directory."""
    directory = project.directory.parent / "theirs"
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_bytes(text.encode())
    return directory


def written(project: Project) -> dict[str, str]:
    return {
        path.name: path.read_bytes().decode()
        for path in sorted(project.directory.iterdir())
    }


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("tool", DIRECTORIES)
def test_import_writes_pairs_that_can_be_applied(
    project: Project, tool: str, line_end: str
) -> None:
    theirs, ours = DIRECTORIES[tool]
    theirs = {name: text.replace("\n", line_end) for name, text in theirs.items()}
    output = project.run("import", str(foreign(project, theirs)))
    assert f"of {tool} written" in output.out
    plain = {
        name: text.replace("\r\n", "\n") for name, text in written(project).items()
    }
    assert plain == ours
    project.run("up")
    assert project.query("SELECT double(4), to_regclass('i')::text") == [(8, "i")]


@pytest.mark.parametrize("tool", ["dbmate", "goose", "sql-migrate", "tern"])
def test_imported_pairs_can_be_reverted(project: Project, tool: str) -> None:
    theirs, _ = DIRECTORIES[tool]
    theirs = {name: text for name, text in theirs.items() if "nothing" not in name}
    project.run("import", str(foreign(project, theirs)))
    project.run("up")
    project.run("down", "--all")
    assert project.tables() == set()


@pytest.mark.parametrize("tool", ["dbmate", "goose", "sql-migrate", "tern"])
def test_up_refuses_renamed_file_with_markers_of_other_tool(
    project: Project, tool: str
) -> None:
    text = next(iter(DIRECTORIES[tool][0].values()))
    project.file("1_users.up.sql", text)
    error = project.run("up", code=1).err
    assert "1_users.up.sql:" in error
    assert "here both halves would run" in error
    assert "`sqlmig import DIR`" in error
    assert project.tables() == set()


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '\n-- migrate:down\n';",
        "DO $$BEGIN\n-- +goose Down\nEND$$;",
        "/*\n-- +migrate Down\n*/ SELECT 1;",
        "SELECT 1; -- see -- migrate:down",
    ],
)
def test_markers_inside_strings_and_comments_are_ignored(
    project: Project, text: str
) -> None:
    project.file("1_x.up.sql", text)
    project.run("up")


def test_nothing_is_overwritten(project: Project) -> None:
    directory = foreign(project, DIRECTORIES["dbmate"][0])
    project.run("import", str(directory))
    before = written(project)
    error = project.run("import", str(directory), code=1).err
    assert "has version 20240101000000 already" in error
    assert written(project) == before


def test_import_writes_nothing_if_one_file_cannot_be_written(project: Project) -> None:
    too_long = f"00003_{'x' * 243}.sql"
    directory = foreign(
        project, DIRECTORIES["goose"][0] | {too_long: "-- +goose Up\nSELECT 1;"}
    )
    error = project.run("import", str(directory), code=1).err
    assert "nothing was written: " in error
    assert written(project) == {}


def test_import_reports_what_it_cannot_convert(project: Project) -> None:
    directory = foreign(
        project,
        {
            "001_a.sql": "SELECT {{.name}};\n---- create above / drop below ----\n",
            "002_b.sql": "BEGIN; SELECT 1;\n---- create above / drop below ----\n",
            "003_c.go": "package main",
        },
    )
    error = project.run("import", str(directory)).err
    assert "001_a.sql:1:8: {{.name}} is a template" in error
    assert "003_c.go: no SQL file" in error
    assert "no down file, because their down half is empty: 001, 002" in error
    assert "must be fixed before it can run: " in error
    assert "002_b.up.sql:1:1: BEGIN has no COMMIT" in error


def test_import_reports_repeatable_files_of_flyway(project: Project) -> None:
    error = project.run("import", str(foreign(project, DIRECTORIES["Flyway"][0]))).err
    assert "R__refresh.sql: a repeatable file" in error


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no .sql files there"),
        ({"1_a.up.sql": "SELECT 1"}, "these files are pairs already"),
        ({"a.sql": "SELECT 1"}, "no file there is one of dbmate, goose"),
        ({"1_a.sql": "SELECT 1", "01_b.sql": "SELECT 1"}, "version 1 has another file"),
        (
            {"V1__a.sql": "SELECT 1", "V1.__b.sql": "SELECT 1"},
            "version 1 has another file",
        ),
    ],
)
def test_import_refuses_directory_it_cannot_convert(
    project: Project, files: dict[str, str], said: str
) -> None:
    assert said in project.run("import", str(foreign(project, files)), code=1).err
    assert written(project) == {}


def test_import_refuses_own_migrations_directory(project: Project) -> None:
    error = project.run("import", str(project.directory), code=2).err
    assert "name another directory with --dir" in error


LEDGERS = {
    "dbmate": (
        (
            "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY);"
            "INSERT INTO schema_migrations VALUES ('20240101000000'), ('20240102000000')"
        ),
        "RENAME TO schema_migrations_before_sqlmig'\n  sqlmig stamp 20240102000000",
    ),
    "goose": (
        (
            "CREATE TABLE goose_db_version (id serial, version_id bigint, is_applied boolean);"
            "INSERT INTO goose_db_version (version_id, is_applied)"
            " VALUES (0, true), (1, true), (2, true), (2, false)"
        ),
        "sqlmig stamp 1",
    ),
    "sql-migrate": (
        (
            "CREATE TABLE gorp_migrations (id text, applied_at timestamptz);"
            "INSERT INTO gorp_migrations VALUES ('1_users.sql'), ('2_index.sql')"
        ),
        "sqlmig stamp 2",
    ),
    "tern": (
        "CREATE TABLE schema_version (version int); INSERT INTO schema_version VALUES (1)",
        "sqlmig stamp 1",
    ),
    "the Supabase CLI": (
        (
            "CREATE SCHEMA supabase_migrations;"
            "CREATE TABLE supabase_migrations.schema_migrations (version text, statements text[], name text);"
            "INSERT INTO supabase_migrations.schema_migrations VALUES ('20240101000000')"
        ),
        "sqlmig stamp 20240101000000",
    ),
    "Flyway": (
        (
            "CREATE TABLE flyway_schema_history (installed_rank int, version varchar(50), type text, success boolean);"
            "INSERT INTO flyway_schema_history VALUES (1, '1', 'SQL', true), (2, '1.2', 'SQL', true),"
            " (3, '1.10', 'SQL', true), (4, '1.10', 'UNDO_SQL', true), (5, NULL, 'SQL', true)"
        ),
        "sqlmig stamp 2",
    ),
}


@pytest.mark.parametrize("tool", LEDGERS)
def test_import_prints_stamp_command_from_other_tools_ledger(
    project: Project, tool: str
) -> None:
    made, stamp = LEDGERS[tool]
    project.query(made)
    output = project.run("import", str(foreign(project, DIRECTORIES[tool][0])))
    assert output.out.rstrip().endswith(stamp)
    assert project.query("SELECT current_database()")[0][0] in output.out


def test_own_ledger_is_not_mistaken_for_dbmate_ledger(project: Project) -> None:
    made, _ = LEDGERS["dbmate"]
    project.query(made)
    directory = foreign(project, DIRECTORIES["dbmate"][0])
    project.run("import", str(directory))
    project.query(
        "ALTER TABLE schema_migrations RENAME TO schema_migrations_before_sqlmig"
    )
    for _ in range(2):  # before and after the stamp
        again = project.directory.parent / f"again{_}"
        out = project.run("--dir", str(again), "import", str(directory)).out
        assert out.endswith(
            "up to 20240102000000. Next:\n  sqlmig stamp 20240102000000\n"
        )
        project.run("stamp", "20240102000000")


def test_import_reports_gap_in_other_tools_ledger(project: Project) -> None:
    project.query(
        "CREATE TABLE goose_db_version (id serial, version_id bigint, is_applied boolean);"
        "INSERT INTO goose_db_version (version_id, is_applied) VALUES (2, true)"
    )
    output = project.run("import", str(foreign(project, DIRECTORIES["goose"][0])))
    assert "goose has applied newer versions, but not 00001" in output.out


def test_import_suggests_up_if_other_tool_applied_nothing(project: Project) -> None:
    output = project.run("import", str(foreign(project, DIRECTORIES["goose"][0])))
    assert "goose has applied none of them to " in output.out
    assert "Next: `sqlmig up`" in output.out


def test_import_without_database_explains_which_version_to_stamp(
    project: Project,
) -> None:
    directory = foreign(project, DIRECTORIES["goose"][0])
    output = project.run("-d", "", "import", str(directory))
    assert "`sqlmig stamp V`" in output.out
    assert "The newest here is 2" in output.out


def test_import_reports_subdirectories_and_refuses_too_large_numbers(
    project: Project,
) -> None:
    directory = foreign(project, {"1_a.sql": "SELECT 1;"})
    (directory / "more").mkdir()
    assert (
        "more: a directory, which is not read"
        in project.run("import", str(directory)).err
    )
    (directory / f"{'9' * 20}_b.sql").write_text("SELECT 1;")
    other = str(project.directory.parent / "other")
    error = project.run("--dir", other, "import", str(directory), code=1).err
    assert "its number is larger than 64 bits" in error
