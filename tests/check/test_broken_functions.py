"""`check` names the version after which a function or procedure does not compile, and what `--queries` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.project import Project

BEFORE = """
    CREATE TABLE visits (id int, fee int);
    CREATE FUNCTION fee_total() RETURNS bigint LANGUAGE sql AS 'SELECT sum(fee) FROM visits';
    CREATE FUNCTION later() RETURNS int LANGUAGE sql AS 'SELECT id FROM visits LIMIT 1';
    CREATE FUNCTION atomic() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END;
    CREATE PROCEDURE clear() LANGUAGE sql AS 'DELETE FROM visits WHERE fee = 0';
    CREATE FUNCTION "Odd Name"(visits) RETURNS int LANGUAGE sql AS 'SELECT $1.fee';
"""
NO_DOWN = "-- sqlmig: irreversible, because the test needs no way back"
CHANGES = {
    "ALTER TABLE visits RENAME fee TO price": [
        'function "Odd Name"(visits): ERROR: column "fee" not found in data type visits',
        'function fee_total(): ERROR: column "fee" does not exist',
        'procedure clear(): ERROR: column "fee" does not exist',
    ],
    "ALTER TABLE visits ALTER fee TYPE text": [
        'function "Odd Name"(visits): ERROR: return type mismatch in function declared to return integer',
        "function fee_total(): ERROR: function sum(text) does not exist",
        "procedure clear(): ERROR: operator does not exist: text = integer",
    ],
    "DROP FUNCTION fee_total; CREATE FUNCTION fee_total() RETURNS int LANGUAGE sql AS 'SELECT 1'": [],
    "ALTER TABLE visits ADD note text": [],
    "CREATE TABLE other (fee int)": [],
    "SET check_function_bodies = off; CREATE FUNCTION new() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM nothing'": [],
    "SET check_function_bodies = off; CREATE OR REPLACE FUNCTION later() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM nothing'": [
        'function later(): ERROR: relation "nothing" does not exist'
    ],
    "DROP FUNCTION fee_total": [],
    "CREATE SCHEMA hidden; ALTER TABLE visits SET SCHEMA hidden": [
        'function fee_total(): ERROR: relation "visits" does not exist',
        'function later(): ERROR: relation "visits" does not exist',
        'procedure clear(): ERROR: relation "visits" does not exist',
    ],
}


def breaks_of(project: Project, *arguments: str, code: int = 0) -> list[list[str]]:
    output = project.run("check", "--json", *arguments, code=code)
    return [finding["breaks"] for finding in json.loads(output.out)]


@pytest.mark.parametrize("change", CHANGES)
def test_function_that_no_longer_compiles_is_reported(
    project: Project, change: str
) -> None:
    project.write(up_1_a=BEFORE, down_1_a=NO_DOWN, up_2_b=change, down_2_b=NO_DOWN)
    assert breaks_of(project) == [[], CHANGES[change]]


def test_function_is_reported_once_and_again_if_it_breaks_after_a_fix(
    project: Project,
) -> None:
    project.write(
        up_1_a=BEFORE,
        up_2_b="ALTER TABLE visits RENAME fee TO price",
        up_3_c="ALTER TABLE visits ADD x int",
        up_4_d="ALTER TABLE visits RENAME price TO fee",
        up_5_e="ALTER TABLE visits DROP fee",
    )
    for number, name in enumerate("abcde", start=1):
        project.file(f"{number}_{name}.down.sql", NO_DOWN)
    assert [len(found) for found in breaks_of(project)] == [0, 3, 0, 0, 3]
    assert [len(found) for found in breaks_of(project, "--from", "4")] == [0, 3]


def test_plpgsql_is_checked_if_server_has_plpgsql_check(
    project: Project,
) -> None:
    available = "SELECT 1 FROM pg_available_extensions WHERE name = 'plpgsql_check'"
    if not project.query(available):
        pytest.skip(
            "plpgsql_check is not installed (Debian's postgresql-N-plpgsql-check)"
        )
    project.write(
        up_1_a="""
            CREATE TABLE visits (id int, fee int);
            CREATE FUNCTION total() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT sum(fee) FROM visits); END';
            CREATE FUNCTION on_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.fee := 1; RETURN NEW; END';
            CREATE TRIGGER t BEFORE INSERT ON visits FOR EACH ROW EXECUTE FUNCTION on_change();
        """,
        down_1_a=NO_DOWN,
        up_2_b="ALTER TABLE visits RENAME fee TO price",
        down_2_b=NO_DOWN,
    )
    assert breaks_of(project) == [
        [],
        [
            'function on_change(): ERROR: record "new" has no field "fee"',
            'function total(): ERROR: column "fee" does not exist',
        ],
    ]


# What `check --queries` prints


def broken(project: Project, text: str) -> str:
    project.write(
        up_1_a="CREATE TABLE visits (id int, due_at date)",
        down_1_a="DROP TABLE visits",
        up_2_b="ALTER TABLE visits DROP due_at",
        down_2_b="ALTER TABLE visits ADD due_at date",
    )
    queries = project.directory.parent / "queries.sql"
    queries.write_text(text)
    return str(queries)


def test_broken_query_is_reported_with_line_and_server_message(
    project: Project,
) -> None:
    queries = broken(
        project, "-- All.\nSELECT 1;\n\nSELECT *\nFROM visits\nWHERE due_at < $1;\n"
    )
    output = project.run("check", "--queries", queries)
    assert output.out.splitlines() == [
        "ok            1_a",
        "ok            2_b",
        "              blocks reads and writes: visits",
        "              would lose due_at of visits",
        f'              breaks {queries}:4: ERROR: column "due_at" does not exist',
    ]


def test_gate_refuses_broken_query_unless_directive_accepts_it(
    project: Project,
) -> None:
    queries = broken(project, "SELECT due_at FROM visits")
    arguments = ("check", "--queries", queries, "--fail-on", "breaks")
    output = project.run(*arguments, code=1).out
    assert "refused       2_b" in output
    assert "refused: breaks 1 statement or function\n" in output
    assert "put “-- sqlmig: accepts breaks: REASON” in 2_b.up.sql" in output
    accepted = "-- sqlmig: accepts breaks: no release reads it since May\nALTER TABLE visits DROP due_at"
    project.file("2_b.up.sql", accepted)
    output = project.run(*arguments).out
    assert "note: it accepts breaks: no release reads it since May" in output
    assert "breaks " in output


def test_github_annotates_both_migration_and_query(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    queries = broken(project, "\nSELECT due_at FROM visits")
    output = project.run("check", "--queries", queries, "--fail-on", "breaks", code=1)
    errors = [line for line in output.err.splitlines() if line.startswith("::error")]
    assert len(errors) == 2
    assert "2_b.up.sql" in errors[0]
    assert "queries.sql,line=2" in errors[1]
    assert 'column "due_at" does not exist' in errors[1]


def test_query_that_never_prepares_is_reported_once_at_the_end(
    project: Project,
) -> None:
    queries = broken(project, "SELECT id FROM visits;\nSELECT id FROM visit;\n")
    output = project.run("check", "--queries", queries)
    assert output.err.splitlines() == [
        f'warning: {queries}:2 could be prepared after no version: ERROR: relation "visit" does not exist'
    ]
    assert "breaks" not in output.out


def test_failing_setting_affects_all_queries_below_it(project: Project) -> None:
    queries = broken(project, "SET ROLE nobody_of_this_name;\nSELECT id FROM visits;\n")
    output = project.run("check", "--queries", queries)
    assert [line.partition(" could ")[0] for line in output.err.splitlines()] == [
        f"warning: {queries}:1",
        f"warning: {queries}:2",
    ]
    queries = broken(
        project, "SET search_path = none;\nRESET search_path;\nSELECT id FROM visits;\n"
    )
    assert project.run("check", "--queries", queries).err == ""


def test_queries_are_never_executed(project: Project) -> None:
    project.write(
        up_1_a="CREATE TABLE t (id int UNIQUE)",
        down_1_a="DROP TABLE t",
        up_2_b="INSERT INTO t VALUES (1)",
        down_2_b="DELETE FROM t",
        up_3_c="DO $$ BEGIN IF (SELECT count(*) FROM t) <> 1 THEN RAISE 'run'; END IF; END $$",
        down_3_c="SELECT 1",
    )
    queries = project.directory.parent / "queries.sql"
    queries.write_text("""
        SET ROLE none;
        INSERT INTO t VALUES (2) ON CONFLICT (id) DO NOTHING;
        DELETE FROM t;
        WITH gone AS (DELETE FROM t RETURNING id) SELECT * FROM gone;
        TRUNCATE t;
    """)
    assert project.run("check", "--queries", str(queries)).err == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 'x", "a string that begins here is not closed"),
        ("\\d visits", "a psql meta-command"),
        (None, "No such file or directory"),
    ],
)
def test_unreadable_queries_file_is_reported(
    project: Project, text: str | None, message: str
) -> None:
    project.write(up_1_a="SELECT 1", down_1_a="SELECT 1")
    queries = project.directory.parent / "queries.sql"
    if text is not None:
        queries.write_text(text)
    error = project.run("check", "--queries", str(queries), code=1).err
    assert str(queries) in error
    assert message in error


def test_queries_are_checked_in_a_named_schema(project: Project) -> None:
    queries = broken(project, "SELECT due_at FROM visits")
    output = project.run("--schema", "clinic", "check", "--queries", queries).out
    assert f'breaks {queries}:1: ERROR: column "due_at" does not exist' in output
