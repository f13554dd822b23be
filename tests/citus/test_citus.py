"""The promises for one server also hold on a Citus cluster. CITUS_DATABASE_URL is the URL of its coordinator."""

from __future__ import annotations

import os
import random
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.project import SQL, Project, until
from tests.support.rows import organization

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = os.environ.get("CITUS_DATABASE_URL", "")
pytestmark = [
    pytest.mark.skipif(not URL, reason="CITUS_DATABASE_URL names no coordinator"),
    pytest.mark.xdist_group("citus"),
]
BUSY = "SELECT 1 FROM pg_stat_activity WHERE application_name ~ '^sqlmig' AND pid <> pg_backend_pid()"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Yield an empty directory and the cluster's database, and drop the test's schemas afterwards."""
    directory = tmp_path / "sql"
    directory.mkdir()
    project = Project(directory, URL)
    clean(project)
    yield project
    clean(project)


def clean(project: Project) -> None:
    for (name,) in project.query(
        "SELECT nspname FROM pg_namespace WHERE nspname ~ '^c_'"
    ):
        project.query(f'DROP SCHEMA "{name}" CASCADE')


def everywhere(project: Project, query: str) -> list[str]:
    """Return the result of a query on each node."""
    return [
        str(row[0])
        for row in project.query(
            "SELECT result FROM run_command_on_all_nodes(%s)", query
        )
    ]


def named(*names: str) -> list[str]:
    return [word for name in names for word in ("--schema", name)]


def test_failure_in_last_statement_leaves_nothing_on_any_node(
    project: Project,
) -> None:
    project.write(
        up_1_a="CREATE TABLE a (id int PRIMARY KEY, n int);",
        up_2_b="CREATE TABLE b (id int PRIMARY KEY);\nINSERT INTO a VALUES (1, 1);\nSELECT 1 / 0;",
    )
    output = project.run("up", *named("c_1"), code=1)
    assert (
        "2_b.up.sql:3:1: ERROR: division by zero\n  3 | SELECT 1 / 0;\n    | ^"
        in output.err
    )
    assert project.query("SELECT count(*) FROM c_1.a") == [(0,)]
    assert project.query("SELECT version FROM c_1.schema_migrations") == [(1,)]
    assert set(
        everywhere(
            project,
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'c_1' AND relname ~ '^b(_[0-9]+)?$'",
        )
    ) == {"0"}


def test_error_positions_refer_to_file(project: Project) -> None:
    project.write(
        up_1_a="BEGIN;\nCREATE TABLE a (id int PRIMARY KEY);\nSELECT é FROM a;\nCOMMIT;"
    )
    error = project.run("up", *named("c_1"), code=1).err
    assert '1_a.up.sql:3:8: ERROR: column "é" does not exist' in error
    assert project.query("SELECT to_regclass('c_1.a')") == [(None,)]


def test_up_down_and_status_work_on_many_schemas(project: Project) -> None:
    project.write(
        up_1_a="CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1);",
        down_1_a="DROP TABLE a;",
    )
    project.run("up", *named("c_1", "c_2"))
    assert (
        project.run("status", "--schema", "c_*").out
        == "2 schemas (c_1, c_2), each: 1 applied\n"
    )
    assert (
        "would lose a (2 rows)"
        in project.run("down", "--schema", "c_*", "--dry-run").out
    )
    project.run("down", "--yes", *named("c_1"))
    assert project.query(
        "SELECT to_regclass('c_1.a'), (SELECT count(*) FROM c_2.a)"
    ) == [(None, 1)]
    assert (
        project.run("up", "--schema", "c_*").out.splitlines()[-1]
        == "2 schemas: 1 applied, 1 with nothing to do"
    )


def test_index_is_built_concurrently_while_other_runners_wait(
    project: Project,
) -> None:
    project.write(
        up_1_a="CREATE TABLE a (id int PRIMARY KEY, n int); INSERT INTO a SELECT g, g FROM generate_series(1, 1000) g;"
    )
    project.write(
        up_2_i="CREATE INDEX CONCURRENTLY i ON a (n);",
        down_2_i="DROP INDEX CONCURRENTLY i;",
    )
    runners = [project.fork("up", *named("c_1")) for _ in range(4)]
    said = "".join(runner.ended() for runner in runners)
    assert said.count("applied 2_i") == 1
    assert project.query(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'c_1.i'::regclass"
    ) == [(True,)]
    project.run("down", *named("c_1"))
    assert project.query("SELECT to_regclass('c_1.i')") == [(None,)]


def test_ledger_matches_tables_after_kills_at_random_moments(
    project: Project,
) -> None:
    for n in range(1, 7):
        project.file(
            f"{n}_t.up.sql",
            f"CREATE TABLE t{n} (id int PRIMARY KEY);\nINSERT INTO t{n} VALUES (1);",
        )
        project.file(f"{n}_t.down.sql", f"DROP TABLE t{n};")
    chance, seen = random.Random(0), set()
    for _ in range(15):
        runner = project.fork(
            *chance.choice([("up",), ("down", "--all", "--yes")]), *named("c_1")
        )
        until(lambda: project.query(BUSY) or runner.process.exitcode is not None)  # noqa: B023
        runner.process.join(chance.uniform(0, 0.6))
        runner.process.kill()
        runner.process.join()
        until(lambda: not project.query(BUSY), "the killed runner's backend")
        there = project.query(
            "SELECT to_regclass('c_1.schema_migrations') IS NOT NULL"
        ) == [(True,)]
        recorded = (
            {
                f"t{v}"
                for (v,) in project.query("SELECT version FROM c_1.schema_migrations")
            }
            if there
            else set()
        )
        found = {
            name
            for (name,) in project.query(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'c_1' AND tablename ~ '^t[0-9]$'"
            )
        }
        assert recorded == found
        seen.add(len(found))
    assert len(seen) > 1
    project.run("up", *named("c_1"))
    assert len(project.query("SELECT version FROM c_1.schema_migrations")) == 6


@pytest.fixture
def clinics(project: Project) -> Project:
    """Return the cluster with this project's tables for twenty organizations, each in its own schema."""
    names = [f"c_{n:02}" for n in range(20)]
    directory = project.directory.with_name(
        "files_1_to_9"
    )  # Citus refuses the policies of file 10
    directory.mkdir()
    for file in SQL.glob("000[1-9]_*.sql"):
        shutil.copy(file, directory)
    clinics = replace(project, directory=directory)
    begun = time.monotonic()
    output = clinics.run("up", *named(*names))
    assert "20 schemas: 20 applied" in output.out
    print(f"twenty organizations in {time.monotonic() - begun:.1f} s")
    return clinics


def test_project_schema_works_for_twenty_organizations(clinics: Project) -> None:
    placed = clinics.query(
        "SELECT count(DISTINCT (nodename, nodeport)), count(*) FROM citus_shards WHERE table_name::text ~ '^c_..[.]sessions$'"
    )
    assert placed == [(2, 20)]
    with psycopg.connect(URL, autocommit=True) as connection:
        for n in (3, 4):
            connection.execute(f"SET search_path = c_{n:02}")
            organization(connection)
            connection.execute("UPDATE sessions SET status = 'completed'")
            assert connection.execute(
                "SELECT updated_at > created_at FROM sessions"
            ).fetchone() == (True,)
            query = (
                "SELECT table_name, action FROM audit_logs WHERE table_name IS NOT NULL"
            )
            actions = connection.execute(query).fetchall()
            assert {
                ("patients", "insert"),
                ("sessions", "insert"),
                ("sessions", "update"),
            } <= {(t, a.lower()) for t, a in actions}
            changed = "SELECT details -> 'changed' FROM audit_logs WHERE table_name = 'sessions' AND action = 'UPDATE'"
            assert connection.execute(changed).fetchall() == [(["status"],)]
            whose = "SELECT DISTINCT organization_id, organization_name FROM audit_logs"
            (organization_id,) = (
                connection.execute("SELECT id FROM organizations").fetchone() or ()
            )
            assert connection.execute(whose).fetchall() == [
                (organization_id, "Asha Clinic")
            ]
            for statement in (
                "DELETE FROM audit_logs",
                "UPDATE audit_logs SET action = 'x'",
                "TRUNCATE audit_logs",
            ):
                with pytest.raises(
                    psycopg.Error, match=r"only ever added to|audit_logs"
                ):
                    connection.execute(statement)
            with pytest.raises(
                psycopg.Error, match="is audited: use DELETE, not TRUNCATE"
            ):
                connection.execute("TRUNCATE patients CASCADE")
        connection.execute("SET search_path = c_03")
        connection.execute("DELETE FROM organizations")
        for table in ("therapists", "patients", "sessions"):
            assert connection.execute(
                f"SELECT count(*) FROM c_03.{table}"
            ).fetchone() == (0,)
            assert connection.execute(
                f"SELECT count(*) FROM c_04.{table}"
            ).fetchone() == (1,)
        deleted = "SELECT DISTINCT table_name, org_id, organization_name FROM c_03.audit_logs WHERE action = 'DELETE'"
        tables = {
            "organizations",
            "therapists",
            "patients",
            "sessions",
            "clinical_notes",
        }
        rows = {
            (table, None, "Asha Clinic")
            for table in tables | {"session_recordings", "consent_records"}
        }
        assert set(connection.execute(deleted).fetchall()) == rows
    clinics.run("down", "--all", "--yes", *named("c_03"))
    left = clinics.query(
        "SELECT relname FROM pg_class WHERE relnamespace = 'c_03'::regnamespace AND relkind IN ('r', 'v')"
    )
    assert left == [("schema_migrations",)]
    assert clinics.query("SELECT count(*) FROM c_04.sessions") == [(1,)]
    assert clinics.run("status", "--schema", "c_*", "--exit-code", code=1)


def test_repeat_file_counts_rows_and_allows_only_countable_statements(
    project: Project,
) -> None:
    project.write(
        up_1_t="CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT generate_series(1, 50);",
        up_2_fill="-- sqlmig: repeat\nUPDATE t SET n = 1 WHERE id IN (SELECT id FROM t WHERE n IS NULL LIMIT 20);",
    )
    output = project.run("up", *named("c_1"))
    assert "50 rows" in output.out
    assert project.query("SELECT count(n) FROM c_1.t") == [(50,)]
    project.write(up_3_do="-- sqlmig: repeat\nDO $$BEGIN NULL; END$$;")
    error = project.run("up", *named("c_1"), code=1).err
    assert "on Citus a file that repeats may only INSERT" in error
