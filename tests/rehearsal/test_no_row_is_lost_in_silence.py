"""Off a terminal, `down` cannot ask. It runs if no row would be lost, and otherwise refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.project import RUN
from tests.support.waits import at_the_wait, tables

if TYPE_CHECKING:
    from tests.support.project import Project
    from tests.support.proxy import Proxy


def test_down_drops_empty_tables_without_yes(project: Project) -> None:
    tables(project, 2)
    project.run("up")
    assert project.run("down", "--all").out.count("reverted") == 2


def test_error_says_connection_lost_in_rehearsal_changed_nothing(
    project: Project, proxy: Proxy
) -> None:
    project.write(up_1_t="CREATE TABLE t ();", down_1_t="DROP TABLE t;")
    project.run("up")
    proxy.cut_at = b"DROP TABLE t"
    error = proxy.before(project).run("down", code=1).err
    assert "the connection was lost in the rehearsal; nothing was done" in error
    assert "may have been committed" not in error


@pytest.mark.parametrize("options", [(), ("--schema", "a", "--schema", "b")])
def test_rows_are_not_lost_without_yes(
    project: Project, options: tuple[str, ...]
) -> None:
    project.write(
        up_1_t="CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2);",
        down_1_t="DROP TABLE t;",
    )
    project.run("up", *options)
    output = project.run("down", "--json", *options, code=1)
    assert json.loads(output.out) == []
    assert "because rows would be lost" in output.err
    assert "would lose t (" in output.err
    assert "add --yes" in output.err
    states = project.run("status", "--json", *options).json()
    assert {row["state"] for row in states} == {"applied"}
    assert "reverted" in project.run("down", "--yes", *options).out


@pytest.mark.parametrize(
    ("down", "code"),
    [
        ("DROP INDEX CONCURRENTLY i;", 0),
        ("-- sqlmig: no-transaction\nDROP INDEX i; VACUUM t;", 0),
        ("-- sqlmig: no-transaction\nDROP INDEX i; DELETE FROM t;", 1),
    ],
)
def test_down_without_rehearsal_runs_only_if_it_touches_no_rows(
    project: Project, down: str, code: int
) -> None:
    project.write(
        up_1_t="CREATE TABLE t (n int); INSERT INTO t VALUES (1);",
        up_2_i="CREATE INDEX CONCURRENTLY i ON t (n);",
        down_2_i=down,
    )
    project.run("up")
    output = project.run("down", code=code)
    assert ("it runs outside a transaction" in output.err) == bool(code)
    assert project.query("SELECT count(*) FROM t") == [(1,)]


def test_down_retries_while_table_is_locked(project: Project) -> None:
    tables(project, 1)
    project.run("up")
    with psycopg.connect(project.url) as other:
        other.execute("LOCK TABLE t1")
        runner = project.fork("down", "--lock-timeout", "100ms")
        runner.said("trying again in")
    assert "reverted 0001_t" in runner.ended()


def test_down_rehearses_what_another_runner_applied_while_it_waited(
    project: Project,
) -> None:
    from tests.support.waits import GO, WAITS

    project.write(
        up_1_a="CREATE TABLE a (n int);",
        down_1_a="DROP TABLE a;",
        up_2_b="CREATE TABLE b (n int); INSERT INTO b VALUES (1);" + WAITS,
        down_2_b="DROP TABLE b;",
    )
    project.run("up", "--to", "1")
    applying = project.fork("up")
    ((database,),) = project.query("SELECT current_database()")
    at_the_wait(project, database)
    reverting = project.fork("down")
    reverting.said("waiting for process")
    with psycopg.connect(project.url, application_name=GO):
        applying.ended()
        said = reverting.ended(code=1)
    assert "would lose b (1 row)" in said
    assert project.tables() == {"a", "b"}


FILLED = "CREATE TABLE m (id int PRIMARY KEY, b int); INSERT INTO m SELECT n, n % 3 FROM generate_series(1, 30) AS n;"


@pytest.mark.parametrize(
    "down",
    [
        # It reads the whole table, empties it, and fills it again.
        (
            "CREATE TEMP TABLE keep AS SELECT DISTINCT ON (b) id, b FROM m ORDER BY b, id; TRUNCATE m;"
            " INSERT INTO m SELECT id, b FROM keep;"
        ),
        # A later run loses rows, not the first.
        "-- sqlmig: repeat\nDELETE FROM m WHERE b = 9; UPDATE m SET b = b + 1 WHERE id IN (SELECT id FROM m LIMIT 10);",
        "SET LOCAL track_counts = off; DELETE FROM m;",
        "DO $$ BEGIN DELETE FROM m; END $$;",
    ],
)
def test_down_detects_hidden_row_losses(project: Project, down: str) -> None:
    project.write(up_1_m=FILLED, up_2_x="SELECT 1;", down_2_x=down)
    project.run("up")
    assert "add --yes" in project.run("down", code=1).err
    assert project.query("SELECT count(*) FROM m") == [(30,)]


@pytest.mark.parametrize(
    "down",
    [
        "ALTER TABLE m ALTER b TYPE bigint; INSERT INTO m VALUES (31, 1);",
        "ALTER TABLE m DROP c;",  # this column is empty
    ],
)
def test_down_runs_if_loss_is_only_apparent(project: Project, down: str) -> None:
    project.write(up_1_m=FILLED, up_2_x="ALTER TABLE m ADD c int;", down_2_x=down)
    project.run("up")
    assert "reverted 2_x" in project.run("down").out


def test_down_on_many_schemas_detects_losses_in_other_schema(project: Project) -> None:
    project.query("CREATE SCHEMA shared; CREATE TABLE shared.t AS SELECT 1 AS n")
    project.write(up_1_x="SELECT 1;", down_1_x="DELETE FROM shared.t;")
    names = ("--schema", "a", "--schema", "b")
    project.run("up", *names)
    assert "would lose rows of shared.t" in project.run("down", *names, code=1).err
    assert project.query("SELECT count(*) FROM shared.t") == [(1,)]


def test_down_refuses_if_role_cannot_see_rows(project: Project) -> None:
    role = f"owner_{RUN}"
    ((name,),) = project.query("SELECT quote_ident(current_database())")
    project.query(
        f"CREATE ROLE {role}; GRANT ALL ON DATABASE {name} TO {role}; GRANT ALL ON SCHEMA public TO {role}"
    )
    try:
        owner = replace(project, url=f"{project.url}&options=-c%20role%3D{role}")
        owner.write(
            up_1_m="CREATE TABLE m (n int); ALTER TABLE m ENABLE ROW LEVEL SECURITY; ALTER TABLE m FORCE ROW LEVEL SECURITY;",
            down_1_m="DROP TABLE m;",
        )
        owner.run("up")
        assert "add --yes" in owner.run("down", code=1).err
        owner.run("down", "--yes")
    finally:
        project.query(f"DROP OWNED BY {role}; DROP ROLE {role}")
