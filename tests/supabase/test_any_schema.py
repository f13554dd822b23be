"""The same files create a complete database in any schema, and in several schemas of one database."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.schema.test_8_acceptance import UPS
from tests.support.pasting import paste
from tests.support.project import SQL, Project
from tests.support.rows import EDITED, TABLES, count, organization, remove

if TYPE_CHECKING:
    from pathlib import Path

    from tests.supabase.conftest import Platform

SCHEMAS = ["public", "org_1", "Org 2 $sqlmig$"]
OBJECTS = """
    SELECT count(*) FROM pg_depend JOIN pg_namespace n ON refobjid = n.oid AND refclassid = 'pg_namespace'::regclass
    WHERE nspname = %s AND NOT EXISTS (SELECT FROM pg_class WHERE pg_class.oid = objid AND relname LIKE '%%schema_migrations%%')
        AND NOT EXISTS (SELECT FROM pg_type WHERE pg_type.oid = objid AND typname LIKE '%%schema_migrations%%')
"""


@pytest.fixture
def three(own_platform: Platform, tmp_path: Path) -> Project:
    """Return the project on a database like Supabase's, which already has the schema public."""
    return replace(Project(tmp_path, own_platform.url), directory=SQL)


def in_schema(project: Project, schema: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(project.url, autocommit=True)
    connection.execute(
        "SELECT set_config('search_path', quote_ident(%s), false)", [schema]
    )
    return connection


def apply(project: Project, schema: str, how: str) -> None:
    """Apply the files to a schema in one of the usual ways."""
    if how == "up":
        project.run("--schema", schema, "up")
    elif how == "script":
        for _ in range(2):
            paste(project, project.run("--schema", schema, "script").out)
    else:
        with in_schema(project, schema) as connection:
            connection.execute(f'CREATE SCHEMA "{schema}"')
            for path in UPS:
                assert connection.pgconn.exec_(path.read_bytes()).error_message == b""


@pytest.mark.parametrize("how", ["up", "script", "pasted file by file"])
def test_schemas_work_side_by_side_and_revert_independently(
    three: Project, how: str
) -> None:
    for schema in SCHEMAS[1:]:
        apply(three, schema, how)
    for schema in SCHEMAS:
        with in_schema(three, schema) as database:
            ids = organization(database, f"of {schema}")
            database.execute("SET search_path = pg_catalog")
            table = '"{}"."patients"'.format(schema.replace('"', '""'))
            database.execute(
                f"UPDATE {table} SET phone = '1' WHERE id = %s", [ids["patients"]]
            )
            database.execute(
                "SELECT set_config('search_path', quote_ident(%s), false)", [schema]
            )
            log = "SELECT DISTINCT organization_name FROM audit_logs WHERE record_id = %s AND action = 'UPDATE'"
            assert database.execute(log, [ids["patients"]]).fetchall() == [
                (f"of {schema}",)
            ]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                database.execute("DELETE FROM audit_logs")
    with in_schema(three, SCHEMAS[1]) as database:
        (org,) = database.execute("SELECT id FROM organizations").fetchall()
        remove(database, "organizations", org[0])
        assert [table for table in EDITED if count(database, table)] == []
    if how != "pasted file by file":
        three.run("--schema", SCHEMAS[1], "down", "--all", "--yes")
        assert three.query(OBJECTS, SCHEMAS[1]) == [(0,)]
        assert set(three.states().values()) == {"applied"}
    for schema in (SCHEMAS[0], SCHEMAS[2]):
        with in_schema(three, schema) as database:
            assert all(count(database, table) for table in TABLES)
            organization(database, "another")


def test_another_schema_has_same_access_rules_as_public(
    three: Project, own_platform: Platform
) -> None:
    three.run("--schema", "org_1", "up")
    query = """
        SELECT relname, relrowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid),
            (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(relacl) a), (SELECT count(*) FROM pg_trigger WHERE tgrelid = c.oid)
        FROM pg_class c WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'v') AND relname <> 'schema_migrations' ORDER BY relname
    """
    first, second = (
        own_platform.owner.execute(query, [schema]).fetchall()
        for schema in ("public", "org_1")
    )
    assert first == second
    assert len(first) >= 10


def test_no_file_names_a_schema() -> None:
    for path in SQL.glob("*.sql"):
        assert "public." not in path.read_text()
        assert "SCHEMA" not in path.read_text()
