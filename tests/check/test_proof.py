"""`check` proves that a down file undoes its up file, and names every object that it leaves, loses or changes."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.objects import ALONE, BASE, TOGETHER, left
from tests.support.project import RUN, SQL, until
from tests.support.waits import GO, WAITS, at_the_wait

if TYPE_CHECKING:
    from tests.support.project import Project


@pytest.fixture
def base(project: Project) -> Project:
    """Return a project with one migration that creates one object of each kind."""
    project.file("1_base.up.sql", BASE)
    project.file("1_base.down.sql", "-- sqlmig: irreversible, it is the base")
    return project


def found(project: Project, code: int = 1) -> dict[int, dict[str, Any]]:
    """Return the result of `check --json`, by version."""
    return {
        finding["version"]: finding
        for finding in project.run("check", "--json", code=code).json()
    }


@pytest.mark.parametrize(
    "kinds", [TOGETHER, *([kind] for kind in ALONE)], ids=["together", *ALONE]
)
def test_every_kind_of_difference_is_named(base: Project, kinds: list[str]) -> None:
    for number, kind in enumerate(kinds, start=2):
        base.file(f"{number}_x.up.sql", left(kind, number)[0])
        base.file(f"{number}_x.down.sql", "SELECT 1;")
    base.file("100_y.up.sql", "CREATE TABLE y ()")
    base.file("100_y.down.sql", "DROP TABLE y")
    findings = found(base)
    for number, kind in enumerate(kinds, start=2):
        what, _, where = left(kind, number)[1].partition(": ")
        assert findings[number]["result"] == "broken"
        assert any(where in line for line in findings[number][what]), findings[number]
    assert findings[100]["result"] == "ok"  # check continues with the next file


def test_leftover_property_graph_is_reported(base: Project) -> None:
    if base.query("SELECT to_regproc('pg_get_propgraphdef')") == [(None,)]:
        pytest.skip("this server has no property graphs")
    base.file("2_x.up.sql", "CREATE PROPERTY GRAPH g VERTEX TABLES (t)")
    base.file("2_x.down.sql", "SELECT 1;")
    assert "left: property graph public.g" in base.run("check", code=1).out
    base.file("2_x.down.sql", "DROP PROPERTY GRAPH g;")
    assert "ok            2_x\n" in base.run("check").out


def test_a_clean_directory_passes_and_touches_nothing(project: Project) -> None:
    clean = replace(project, directory=SQL)
    output = clean.run("check").out
    versions = [line for line in output.splitlines() if not line.startswith(" ")]
    assert {line.split()[0] for line in versions} == {"ok"}
    assert project.query(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    ) == [(0,)]
    mine = f"sqlmig_scratch_{os.getpid()}_%"
    assert project.query("SELECT 1 FROM pg_database WHERE datname LIKE %s", mine) == []


def test_column_order_after_drop_and_add_is_a_note_not_a_failure(
    base: Project,
) -> None:
    base.file("2_x.up.sql", "ALTER TABLE t DROP COLUMN v;")
    base.file(
        "2_x.down.sql",
        "ALTER TABLE t ADD COLUMN v text DEFAULT 'a'; CREATE INDEX i ON t (v);",
    )
    finding = found(base, code=0)[2]
    assert finding["result"] == "ok"
    assert finding["notes"] == [
        "table public.t: its columns are in another order, which no SQL can prevent"
    ]


def test_missing_empty_and_misnamed_down_files_are_reported(project: Project) -> None:
    project.write(
        up_1_a="SELECT 1",
        up_2_b="SELECT 1",
        down_2_b="-- nothing",
        up_3_c="SELECT 1",
        down_3_other="SELECT 1",
    )
    project.write(
        up_4_d="CREATE TABLE d ()",
        down_4_d="-- sqlmig: irreversible: the letters are burnt",
    )
    findings = found(project)
    assert [findings[n]["result"] for n in (1, 2, 3, 4)] == [
        "no-down",
        "ok",
        "ok",
        "irreversible",
    ]
    assert findings[2]["notes"] == ["the down file is empty"]
    assert findings[3]["notes"] == ["the down file has another name"]
    assert findings[4]["notes"] == ["the letters are burnt"]


def test_down_refuses_irreversible_version_and_gives_reason(project: Project) -> None:
    project.write(
        up_1_a="CREATE TABLE a ()",
        down_1_a="-- sqlmig: irreversible, the letters are burnt",
    )
    project.run("up")
    error = project.run("down", code=1).err
    assert "nothing was reverted: 1_a is irreversible: the letters are burnt" in error
    assert project.states() == {1: "applied"}


def test_later_versions_see_added_rows_only_once(project: Project) -> None:
    project.write(up_1_t="CREATE TABLE t (name text)", down_1_t="DROP TABLE t")
    project.write(up_2_seed="INSERT INTO t VALUES ('a')", down_2_seed="SELECT 1")
    project.write(
        up_3_key="ALTER TABLE t ADD CONSTRAINT k UNIQUE (name)",
        down_3_key="ALTER TABLE t DROP CONSTRAINT k",
    )
    project.write(
        up_4_f="CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        down_4_f="DROP FUNCTION f",
    )
    replaced = "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT {}'; DELETE FROM t; INSERT INTO t VALUES ('b')"
    project.write(up_5_f=replaced.format(2), down_5_f=replaced.format(1))
    project.write(
        up_6_one="ALTER TABLE t ADD CHECK (name = 'b')",
        down_6_one="ALTER TABLE t DROP CONSTRAINT t_name_check",
    )
    project.run("check")


def test_later_versions_see_added_rows_only_once_after_broken_down(
    project: Project,
) -> None:
    project.write(up_1_t="CREATE TABLE t (name text)", down_1_t="DROP TABLE t")
    project.write(
        up_2_seed="INSERT INTO t VALUES ('a'); CREATE TABLE IF NOT EXISTS x ()",
        down_2_seed="SELECT 1",
    )
    project.write(
        up_3_key="ALTER TABLE t ADD CONSTRAINT k UNIQUE (name)",
        down_3_key="ALTER TABLE t DROP CONSTRAINT k",
    )
    findings = found(project)
    assert [findings[n]["result"] for n in (1, 2, 3)] == ["ok", "broken", "ok"]
    assert findings[2]["left"] == ["table public.x"]


def test_concurrent_change_to_shared_catalog_does_not_hide_a_loss(
    project: Project,
) -> None:
    other = f"other_{RUN}"
    ((mine,),) = project.query("SELECT current_database()")
    project.query(f"ALTER DATABASE {mine} SET work_mem = '5MB'")
    project.query(f"CREATE DATABASE {other}")
    reset = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET work_mem', current_database()); END $$"
    project.write(up_1_a=f"{WAITS}{reset}", down_1_a="SELECT 1")
    runner = project.fork("check")
    at_the_wait(project, f"sqlmig_scratch_{runner.process.pid}_%")
    project.query(f"ALTER DATABASE {other} SET work_mem = '6MB'")
    with psycopg.connect(project.url, application_name=GO):
        assert "lost: settings of all roles" in runner.ended(1)
    project.query(f"DROP DATABASE {other}")


@pytest.mark.parametrize(
    "text",
    [
        "DEALLOCATE ALL",
        "PREPARE p AS SELECT 1",
        "-- sqlmig: no-transaction\nDISCARD ALL",
    ],
)
def test_file_that_uses_or_discards_prepared_statements_is_checked(
    project: Project, text: str
) -> None:
    project.write(
        up_1_a="CREATE TABLE a ()",
        down_1_a="DROP TABLE a",
        up_2_b=text,
        down_2_b="SELECT 1",
    )
    project.write(
        up_3_c="CREATE TABLE c ()",
        down_3_c="SELECT 1",
        up_4_d="CREATE TABLE d ()",
        down_4_d="DROP TABLE d",
    )
    findings = found(project)
    assert [findings[n]["result"] for n in (1, 2, 3, 4)] == ["ok", "ok", "broken", "ok"]


def test_view_altered_and_restored_is_not_a_difference(project: Project) -> None:
    project.write(
        up_1_t="CREATE TABLE t (a int, b int); CREATE VIEW v AS SELECT a FROM t",
        down_1_t="DROP VIEW v; DROP TABLE t",
    )
    view = "DROP VIEW v; CREATE VIEW v AS SELECT {} FROM t"
    project.write(up_2_v=view.format("a, b"), down_2_v=view.format("a"))
    project.write(
        up_3_c="ALTER TABLE t ALTER a SET DEFAULT 1",
        down_3_c="ALTER TABLE t ALTER a DROP DEFAULT",
    )
    project.run("check")


@pytest.mark.parametrize(
    "length", [1_034_000, 1_038_000, 1_042_000, 1_048_576, 2_200_000]
)
def test_file_about_as_long_as_a_message_is_checked(
    project: Project, length: int
) -> None:
    rows = "INSERT INTO t VALUES ('a row of some length');\n" * (length // 47)
    project.write(up_1_t=f"CREATE TABLE t (v text);\n{rows}", down_1_t="DROP TABLE t")
    project.run("check")


def test_up_file_that_fails_on_second_run_is_a_failure(project: Project) -> None:
    project.write(up_1_t="CREATE TABLE t (id int PRIMARY KEY)", down_1_t="DROP TABLE t")
    project.write(up_2_seed="INSERT INTO t VALUES (1)", down_2_seed="SELECT 1")
    finding = found(project)[2]
    assert finding["result"] == "failed"
    assert "up again failed: " in finding["notes"][0]


def test_the_verdict_is_the_same_once_the_files_are_applied(project: Project) -> None:
    grant = "ALTER DEFAULT PRIVILEGES {} SELECT ON TABLES {} {}; {} CREATE ON SCHEMA public {} {}"
    one, other = "pg_monitor", "pg_read_all_data"
    project.write(up_1_g=grant.format("GRANT", "TO", one, "GRANT", "TO", one))
    project.write(down_1_g=grant.format("REVOKE", "FROM", one, "REVOKE", "FROM", one))
    project.write(
        up_2_g=grant.format("GRANT", "TO", other, "GRANT", "TO", other),
        down_2_g="SELECT 1",
    )
    findings = found(project)
    assert [findings[n]["result"] for n in (1, 2)] == ["ok", "broken"]
    project.run("up")
    assert found(project) == findings


def test_note_appears_once_even_if_files_run_twice(
    project: Project,
) -> None:
    project.write(
        up_1_t="CREATE TABLE t (a int, b int); CREATE TABLE s (i int UNIQUE)",
        down_1_t="DROP TABLE t, s",
    )
    project.write(
        up_2_a="ALTER TABLE t DROP a; INSERT INTO s VALUES (1)",
        down_2_a="ALTER TABLE t ADD a int",
    )
    notes = found(project)[2]["notes"]
    assert [note.partition(":")[0] for note in notes] == [
        "table public.t",
        "up again failed",
    ]


AGGREGATE = """
    CREATE TYPE ty AS (a int); CREATE FUNCTION sf(ty, int) RETURNS ty LANGUAGE sql AS 'SELECT $1';
    CREATE AGGREGATE ag (int) (SFUNC = sf, STYPE = ty)
"""


@pytest.mark.parametrize(
    ("base", "up", "down"),
    [
        (
            "CREATE TABLE t (); CREATE POLICY p ON t TO pg_monitor, pg_read_all_data USING (true)",
            "DROP POLICY p ON t",
            "CREATE POLICY p ON t TO pg_read_all_data, pg_monitor USING (true)",
        ),
        (
            "CREATE SCHEMA aa; CREATE SCHEMA bb; CREATE PUBLICATION pb FOR TABLES IN SCHEMA aa, bb",
            "ALTER PUBLICATION pb SET TABLES IN SCHEMA bb",
            "ALTER PUBLICATION pb ADD TABLES IN SCHEMA aa",
        ),
        (
            "CREATE TABLE t () WITH (fillfactor = 50, autovacuum_enabled = false)",
            "ALTER TABLE t RESET (fillfactor)",
            "ALTER TABLE t SET (fillfactor = 50)",
        ),
        (
            AGGREGATE,
            "DROP AGGREGATE ag (int); DROP FUNCTION sf; DROP TYPE ty",
            AGGREGATE,
        ),
        (
            "CREATE TABLE p (a int, b int); CREATE PUBLICATION pub FOR TABLE p (a, b)",
            "ALTER PUBLICATION pub DROP TABLE p; ALTER TABLE p DROP COLUMN b",
            "ALTER TABLE p ADD COLUMN b int; ALTER PUBLICATION pub ADD TABLE p (a, b)",
        ),
        (
            "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (x '1', y '2')",
            "ALTER SERVER s OPTIONS (DROP x)",
            "ALTER SERVER s OPTIONS (ADD x '1')",
        ),
        (
            "CREATE TABLE t (); GRANT SELECT ON t TO pg_monitor, PUBLIC",
            "REVOKE SELECT ON t FROM pg_monitor",
            "GRANT SELECT ON t TO pg_monitor",
        ),
    ],
    ids=[
        "roles of a policy",
        "schemas of a publication",
        "options",
        "aggregate",
        "publication",
        "server",
        "grants",
    ],
)
def test_order_of_the_same_items_is_not_a_difference(
    project: Project, base: str, up: str, down: str
) -> None:
    project.write(
        up_1_b=base,
        down_1_b="-- sqlmig: irreversible, the base",
        up_2_x=up,
        down_2_x=down,
    )
    assert found(project, code=0)[2]["result"] == "ok"


def test_failing_file_is_reported_with_position_and_check_continues(
    project: Project,
) -> None:
    project.write(
        up_1_a="CREATE TABLE a ()",
        down_1_a="DROP TABLE b",
        up_2_b="SELECT nothing",
        down_2_b="",
        up_3_c="CREATE TABLE c ()",
        down_3_c="DROP TABLE c",
    )
    findings = found(project)
    assert [findings[n]["result"] for n in (1, 2, 3)] == ["failed", "failed", "ok"]
    assert (
        '1_a.down.sql:1:1: ERROR: table "b" does not exist' in findings[1]["notes"][0]
    )
    assert "2_b.up.sql:1:8" in findings[2]["notes"][-1]


def test_files_that_cannot_run_in_one_transaction_are_checked(base: Project) -> None:
    base.write(
        up_2_i="CREATE INDEX CONCURRENTLY x ON t (n)",
        down_2_i="DROP INDEX CONCURRENTLY x",
    )
    base.write(
        up_3_v="-- sqlmig: no-transaction\nALTER TYPE mood ADD VALUE 'so so'; SET search_path = ''",
        down_3_v="SELECT 1",
    )
    base.write(
        up_4_v="BEGIN; CREATE TABLE z (); COMMIT",
        down_4_v="BEGIN; DROP TABLE z; COMMIT",
    )
    findings = found(base)
    assert [findings[n]["result"] for n in (2, 3, 4)] == ["ok", "broken", "ok"]


def test_new_enum_value_used_at_once_falls_back_to_own_transactions(
    base: Project,
) -> None:
    base.write(
        up_2_v="ALTER TYPE mood ADD VALUE 'so so'",
        down_2_v="CREATE TABLE used AS SELECT 'so so'::mood; DROP TABLE used",
    )
    assert found(base)[2]["changed"] == [
        'enum public.mood: values was ["good", "bad"], is ["good", "bad", "so so"]'
    ]


def test_error_asks_for_createdb_if_role_lacks_it(project: Project) -> None:
    role = f"no_createdb_{RUN}"
    project.query(f"CREATE ROLE {role}")
    project.file("1_a.up.sql", "SELECT 1")
    try:
        error = (
            replace(project, url=f"{project.url}&options=-c%20role%3D{role}")
            .run("check", code=1)
            .err
        )
    finally:
        project.query(f"DROP ROLE {role}")
    assert "a scratch database is needed: give the role CREATEDB" in error
    assert "warning" not in error


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_the_scratch_database_is_dropped_after_an_interrupt(
    project: Project, sent: signal.Signals
) -> None:
    project.file("1_a.up.sql", "SELECT pg_sleep(60)")
    runner = project.fork("check")
    sleeping = "SELECT datname FROM pg_stat_activity WHERE datname LIKE %s AND wait_event = 'PgSleep'"
    mine = f"sqlmig_scratch_{runner.process.pid}_%"
    until(lambda: project.query(sleeping, mine))
    runner.send(sent)
    runner.ended(130 if sent == signal.SIGINT else 143)
    assert project.query("SELECT 1 FROM pg_database WHERE datname LIKE %s", mine) == []


def test_named_schema_exists_in_scratch_database(
    project: Project,
) -> None:
    project.write(
        up_1_a="CREATE TABLE tenant.a (); SELECT * FROM a", down_1_a="DROP TABLE a"
    )
    project.run("--schema", "tenant", "check")


def test_json_is_a_list_with_exactly_these_fields(project: Project) -> None:
    project.write(up_1_a="SELECT 1", down_1_a="SELECT 1")
    assert json.loads(project.run("check", "--json").out) == [
        {
            "version": 1,
            "result": "ok",
            "left": [],
            "lost": [],
            "changed": [],
            "refused": [],
            "notes": [],
            "locks": {},
            "rewrites": [],
            "reads": [],
            "losses": [],
            "restarts": None,
            "breaks": [],
        }
    ]


def test_from_runs_earlier_versions_without_checking_them(project: Project) -> None:
    project.write(
        up_1_a="CREATE TABLE a ()", down_1_a="SELECT 1", up_2_b="CREATE TABLE b ()"
    )
    project.write(up_3_c="CREATE TABLE c (LIKE a, LIKE b)", down_3_c="DROP TABLE c")
    assert project.run("check", "--from", "3").out == "ok            3_c\n"
    assert [
        finding["version"]
        for finding in project.run("check", "--from", "2", "--json", code=1).json()
    ] == [2, 3]
    assert "there is no version 9" in project.run("check", "--from", "9", code=2).err
    project.write(up_1_a="SELECT nothing")
    assert "1_a.up.sql:1:8: ERROR" in project.run("check", "--from", "3", code=1).err
