"""The audit log is append-only for everyone, everything has a comment, and `down` leaves nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from tests.support.project import SQL, Project
from tests.support.rows import add, organization, remove

if TYPE_CHECKING:
    from pathlib import Path

    from tests.supabase.conftest import Platform
    from tests.support.rows import Database

CHANGES = [
    "UPDATE audit_logs SET action = 'nothing'",
    "UPDATE audit_logs SET org_id = NULL",
    "UPDATE audit_logs SET org_id = org_id",
    "DELETE FROM audit_logs",
    "TRUNCATE audit_logs",
]


@pytest.mark.parametrize("query", CHANGES)
def test_owner_and_superuser_cannot_change_audit_log(
    database: Database, query: str
) -> None:
    organization(database)
    with pytest.raises(
        psycopg.errors.InsufficientPrivilege,
        match="the audit log is only ever added to",
    ):
        database.execute(query)


def test_audit_row_copies_organization_name_and_outlives_organization(
    database: Database,
) -> None:
    ids = organization(database, "Asha Clinic")
    forged = {
        "organization_name": "forged",
        "organization_id": uuid4(),
        "created_at": "2001-01-01",
    }
    add(database, "audit_logs", org_id=ids["organizations"], action="x", **forged)
    add(database, "audit_logs", action="of the platform", **forged)
    remove(database, "organizations", ids["organizations"])
    rows = database.execute("""
        SELECT org_id, organization_id, organization_name, action, created_at > now() - interval '1 hour'
        FROM audit_logs WHERE table_name IS NULL ORDER BY action
    """).fetchall()
    asha = (None, ids["organizations"], "Asha Clinic")
    assert rows == [
        (*asha, "login", True),
        (None, None, None, "of the platform", True),
        (*asha, "x", True),
    ]


def test_service_role_can_add_to_audit_log(platform: Platform) -> None:
    with platform.request("service_role") as database:
        add(
            database,
            "audit_logs",
            org_id=platform.ours["organizations"],
            action="login",
        )
        assert database.execute(
            "SELECT DISTINCT organization_name FROM audit_logs ORDER BY 1"
        ).fetchall() == [
            ("ours",),
            ("theirs",),
        ]


def test_everything_in_the_catalog_has_a_comment(platform: Platform) -> None:
    query = """
        SELECT pg_describe_object(class, oid, sub) FROM (
            SELECT 'pg_class'::regclass, oid, 0 FROM pg_class WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace
            UNION ALL
            SELECT 'pg_class'::regclass, attrelid, attnum FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
            WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
            UNION ALL
            SELECT 'pg_proc'::regclass, oid, 0 FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            UNION ALL
            SELECT 'pg_policy'::regclass, oid, 0 FROM pg_policy WHERE polname LIKE 'tenant%'
        ) AS things (class, oid, sub)
        WHERE NOT EXISTS (SELECT FROM pg_description WHERE classoid = class AND objoid = oid AND objsubid = sub)
    """
    assert [f"no comment on {what}" for (what,) in platform.owner.execute(query)] == []


def test_comments_mark_personal_health_data(database: Database) -> None:
    query = """
        SELECT count(*) FROM pg_description WHERE description LIKE '%Personal health data.'
            AND objoid IN ('patients'::regclass, 'clinical_notes'::regclass, 'wearable_data'::regclass)
    """
    ((count,),) = database.execute(query).fetchall()
    assert count >= 6


def test_up_works_again_after_down_on_supabase(
    own_platform: Platform, tmp_path: Path
) -> None:
    project = replace(Project(tmp_path, own_platform.url), directory=SQL)
    project.run("down", "--all", "--yes")
    assert project.tables() == set()
    project.run("up")
    assert set(project.states().values()) == {"applied"}


def test_each_policy_covers_one_command_and_compares_only_org_id(
    platform: Platform,
) -> None:
    query = "SELECT tablename, cmd, permissive, roles::text, coalesce(qual, '') || coalesce(with_check, '') FROM pg_policies WHERE tablename <> 'schema_migrations' AND permissive = 'PERMISSIVE'"
    rows = platform.owner.execute(query).fetchall()
    assert len({(table, command) for table, command, *_ in rows}) == len(rows)
    for table, command, permissive, roles, text in rows:
        assert (permissive, roles) == ("PERMISSIVE", "{public}")
        assert command in ("SELECT", "INSERT", "UPDATE")
        owner = "id" if table == "organizations" else "org_id"
        whole = f"({owner} = ( SELECT current_org_id() AS current_org_id))"
        assert text == whole * (2 if command == "UPDATE" else 1)
