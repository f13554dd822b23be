"""A file that does not run in one transaction is stopped after each statement, and started again."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.project import Project

BEFORE = """
    CREATE TABLE visits (id int PRIMARY KEY, amount int NOT NULL, note text, seen timestamptz, token uuid);
    CREATE TABLE totals (name text PRIMARY KEY, value int NOT NULL);
    CREATE SEQUENCE numbers;
"""
ROWS = """
    INSERT INTO visits (id, amount) SELECT n, n FROM generate_series(1, 5) AS n;
    INSERT INTO totals VALUES ('all', 15);
"""
RESTART = {
    "if not exists": """
        ALTER TABLE visits ADD COLUMN IF NOT EXISTS city text;
        CREATE INDEX CONCURRENTLY IF NOT EXISTS visits_city ON visits (city);
        ANALYZE visits;
    """,
    "if exists": """
        DROP INDEX CONCURRENTLY IF EXISTS visits_city;
        ALTER TABLE visits DROP COLUMN IF EXISTS note;
    """,
    "an update to a value": """
        UPDATE visits SET note = 'x' WHERE note IS NULL;
        UPDATE visits SET amount = 5;
        VACUUM visits;
    """,
    "on conflict": """
        INSERT INTO totals VALUES ('new', 1) ON CONFLICT DO NOTHING;
        INSERT INTO totals VALUES ('newer', 2) ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value;
        VACUUM totals;
    """,
    "values of its own": """
        UPDATE visits SET seen = clock_timestamp(), token = gen_random_uuid();
        UPDATE visits SET note = id::text;
    """,
    "or replace": """
        CREATE OR REPLACE VIEW seen AS SELECT id FROM visits;
        CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
        COMMENT ON TABLE visits IS 'x';
    """,
    "a transaction of its own": """
        BEGIN;
        ALTER TABLE visits RENAME COLUMN note TO remark;
        UPDATE visits SET amount = amount + 1;
        COMMIT;
    """,
    "a sequence that is set": """
        SELECT setval('numbers', 100);
        VACUUM visits;
    """,
    "valid or not": """
        ALTER TABLE visits DROP CONSTRAINT IF EXISTS positive;
        ALTER TABLE visits ADD CONSTRAINT positive CHECK (amount > 0) NOT VALID;
        ALTER TABLE visits VALIDATE CONSTRAINT positive;
    """,
    "a block that asks": """
        DO $$ BEGIN IF to_regclass('extra') IS NULL THEN CREATE TABLE extra (id int); END IF; END $$;
        INSERT INTO extra SELECT 1 WHERE NOT EXISTS (SELECT FROM extra);
        VACUUM extra;
    """,
    "numbers that are skipped": """
        INSERT INTO totals VALUES ('n', nextval('numbers')) ON CONFLICT DO NOTHING;
        VACUUM totals;
    """,
}
# What the check prints below the version.
NO_RESTART = {
    "a missing IF NOT EXISTS": (
        "CREATE TABLE extra (); VACUUM visits",
        [
            'cannot restart after statement 1 of 2: ERROR: relation "extra" already exists'
        ],
    ),
    "a missing IF EXISTS": (
        "ALTER TABLE visits DROP COLUMN note; VACUUM visits",
        [
            'cannot restart after statement 1 of 2: ERROR: column "note" of relation "visits" does not exist'
        ],
    ),
    "rows that are written twice": (
        "INSERT INTO visits (id, amount) SELECT max(id) + 1, 1 FROM visits; VACUUM visits",
        [
            "restarts with another result after statement 1 of 2: 7 rows of visits instead of 6"
        ],
    ),
    "a value that grows twice": (
        "UPDATE visits SET amount = amount + 1; UPDATE visits SET note = 'x'; VACUUM visits",
        [
            "restarts with another result after statement 1 of 3: values of amount of visits",
            "restarts with another result after statement 2 of 3: values of amount of visits",
        ],
    ),
    "a total that is written twice": (
        "UPDATE totals SET value = value + (SELECT count(*) FROM visits); DELETE FROM visits; VACUUM visits",
        [
            "restarts with another result after statement 1 of 3: values of value of totals",
        ],
    ),
    "a rename": (
        "ALTER TABLE visits RENAME TO old_visits; VACUUM totals",
        [
            'cannot restart after statement 1 of 2: ERROR: relation "visits" does not exist'
        ],
    ),
    "a swap of tables": (
        "CREATE TABLE IF NOT EXISTS fresh (LIKE visits); ALTER TABLE visits RENAME TO gone; ALTER TABLE fresh RENAME TO visits",
        [
            'cannot restart after statement 2 of 3: ERROR: relation "visits" does not exist'
        ],
    ),
    "a sequence that advances twice": (
        "SELECT setval('numbers', nextval('numbers') + 100); VACUUM visits",
        [
            "restarts with another result after statement 1 of 2: changed sequence public.numbers: value was …"
        ],
    ),
    "a second index without a name": (
        "CREATE INDEX CONCURRENTLY ON visits (note); VACUUM visits",
        [
            "restarts with another result after statement 1 of 2: left index public.visits_note_idx1"
        ],
    ),
    "values that are swapped back": (
        "UPDATE visits SET amount = 3 - amount WHERE id < 3; ANALYZE visits",
        [
            "restarts with another result after statement 1 of 2: values of id, amount, note, seen, token of visits"
        ],
    ),
    "a new enum value": (
        "CREATE TYPE mood AS ENUM ('happy'); ALTER TYPE mood ADD VALUE 'sad'",
        ['cannot restart after statement 1 of 2: ERROR: type "mood" already exists'],
    ),
}


def lines_below(project: Project, *arguments: str, code: int = 0) -> list[str]:
    """Return what `check` prints below version 2 about restarts."""
    project.write(up_1_a=BEFORE, down_1_a="-- sqlmig: irreversible, a test")
    project.file("1_a.rows.sql", ROWS)
    project.file("2_b.down.sql", "-- sqlmig: irreversible, a test")
    output = project.run("check", *arguments, code=code).out
    lines = [line.strip() for line in output.splitlines() if "restart" in line]
    return [re.sub(r"(value was ).*", r"\1…", line) for line in lines]


@pytest.mark.parametrize("kind", RESTART)
def test_restartable_file_passes_the_gate(project: Project, kind: str) -> None:
    file = f"-- sqlmig: no-transaction\n{RESTART[kind]}"
    project.file("2_b.up.sql", file)
    places = RESTART[kind].count(";\n") - 1
    if kind == "a block that asks":
        places = 2
    noun = "place" if places == 1 else "places"
    assert lines_below(project, "--fail-on", "restarts") == [
        f"restarts: {places} of {places} {noun}"
    ]


@pytest.mark.parametrize("kind", NO_RESTART)
def test_non_restartable_file_is_refused_unless_accepted(
    project: Project, kind: str
) -> None:
    text, expected = NO_RESTART[kind]
    project.file("2_b.up.sql", f"-- sqlmig: no-transaction\n{text};\n")
    found = lines_below(project, "--fail-on", "restarts", code=1)
    count = len(expected)
    places = text.count("; ")
    noun = "place" if places == 1 else "places"
    assert found == [
        *expected,
        f"refused: does not restart from {count} of {places} {noun}",
        "note: to let it pass, put “-- sqlmig: accepts restarts: REASON” in 2_b.up.sql",
    ]
    accepted = (
        f"-- sqlmig: no-transaction\n-- sqlmig: accepts restarts: a test\n{text};\n"
    )
    project.file("2_b.up.sql", accepted)
    found = lines_below(project, "--fail-on", "restarts")
    assert found == [*expected, "note: it accepts restarts: a test"]


def test_repeat_file_is_stopped_after_one_run(project: Project) -> None:
    fill = "UPDATE visits SET note = 'x' WHERE id = (SELECT min(id) FROM visits WHERE note IS NULL)"
    project.file("2_b.up.sql", f"-- sqlmig: repeat\n{fill};\n")
    assert lines_below(project) == ["restarts: 1 of 1 place"]
    once = "INSERT INTO totals SELECT 'once', 1 WHERE NOT EXISTS (SELECT FROM totals WHERE name = 'once')"
    both = "UPDATE totals SET value = value + 1 WHERE value < 20 AND name = 'all'"
    project.file("2_b.up.sql", f"-- sqlmig: repeat\n{once};\n{both};\n")
    assert lines_below(project) == ["restarts: 1 of 1 place"]


def test_a_file_in_one_transaction_has_no_places(project: Project) -> None:
    project.file("2_b.up.sql", "CREATE TABLE b ()")
    assert lines_below(project) == []
    (_, second) = json.loads(project.run("check", "--json").out)
    assert second["restarts"] is None


def test_json_reports_restart_places_and_failures(project: Project) -> None:
    project.write(up_1_a=BEFORE, down_1_a="-- sqlmig: irreversible, a test")
    text = "-- sqlmig: no-transaction\nCREATE TABLE c ();\nVACUUM visits;\n"
    project.write(up_2_b=text, down_2_b="DROP TABLE c")
    (_, second) = json.loads(project.run("check", "--json").out)
    assert second["restarts"] == {
        "places": 1,
        "failures": [
            'cannot restart after statement 1 of 2: ERROR: relation "c" already exists'
        ],
    }
    assert second["result"] == "ok"


def test_no_copy_of_the_database_is_left(project: Project) -> None:
    project.write(up_1_a=BEFORE, down_1_a="-- sqlmig: irreversible, a test")
    for text in ("CREATE TABLE c ();\nVACUUM visits;\n", "SELECT 1;\nSELECT 1 / 0;\n"):
        project.file("2_b.up.sql", f"-- sqlmig: no-transaction\n{text}")
        project.run("check", code=None)
        query = "SELECT datname FROM pg_database WHERE datname LIKE 'sqlmig_scratch_' || %s || '%%'"
        assert project.query(query, str(os.getpid())) == []


def test_later_versions_are_checked_as_usual(project: Project) -> None:
    """The connection is another one after the copy. What is counted and watched must be the same."""
    project.write(
        up_1_a=BEFORE,
        down_1_a="DROP SEQUENCE numbers; DROP TABLE visits, totals",
        up_2_b="-- sqlmig: no-transaction\nCREATE INDEX CONCURRENTLY i ON visits (note);\nVACUUM visits;\n",
        down_2_b="DROP INDEX i",
        up_3_c="ALTER TABLE visits ALTER amount TYPE bigint",
        down_3_c="ALTER TABLE visits ALTER amount TYPE int",
        up_4_d="CREATE TABLE d ()",
        down_4_d="SELECT 1",
    )
    output = project.run("check", code=1).out
    assert "ok            3_c\n" in output
    assert "rewrites it: visits" in output
    assert "left: table public.d" in output
