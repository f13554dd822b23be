"""A role that may create in public before `up` runs cannot make the files or their triggers call its code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from sqlmig.cli import command
from tests.support.planted import names_in, planted
from tests.support.project import NUMBERS, SQL, url_of
from tests.support.rows import add, organization

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPES = ("uuid", "inet", "int8[]", "date")


@pytest.fixture
def database(supabase: str) -> Iterator[psycopg.Connection]:
    """Yield the owner's connection to a database in which another role has planted functions and operators."""
    name = f"planted_{os.getpid()}_{next(NUMBERS)}"
    with psycopg.connect(supabase, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} OWNER supabase_postgres".encode())
        try:
            with psycopg.connect(supabase, dbname=name, autocommit=True) as planter:
                called = names_in(SQL.glob("*.sql"))
                planter.execute(planted(called, TYPES).encode())
            with psycopg.connect(
                supabase, dbname=name, user="supabase_postgres", autocommit=True
            ) as owner:
                yield owner
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_planted_code_never_runs_with_owners_rights(
    database: psycopg.Connection,
) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="planted"):
        database.execute("SELECT format('%s', 'a'::text)")
    with pytest.raises(psycopg.errors.RaiseException, match="planted"):
        database.execute(
            "SELECT has_table_privilege('pg_class'::regclass, 'SELECT'::text)"
        )
    there = ["-d", url_of(database), "--dir", str(SQL)]
    assert command([*there, "up", "--allow-non-empty"]) == 0

    for who in ("ours", "theirs"):
        rows = organization(database, who)
        org = rows["organizations"]
        for statement, *values in (
            (
                "UPDATE patients SET full_name = full_name || ' x'::text, phone = %s",
                "1",
            ),
            (
                "UPDATE clinical_notes SET content = %s, approved_by_therapist = true",
                "{}",
            ),
            ("UPDATE session_recordings SET duration_seconds = 5",),
            ("UPDATE consent_records SET revoked_at = granted_at",),
            ("UPDATE sessions SET status = %s", "completed"),
        ):
            database.execute(sql.SQL(statement), values)
        twin = add(database, "patients", org_id=org, full_name="Mira", phone="2")
        add(database, "consent_records", patient_id=twin, purpose="recording")
        database.execute("SELECT merge_patients(%s, %s)", [twin, rows["patients"]])
        database.execute("SELECT count(*) FROM upcoming_sessions")
        database.execute("SELECT count(*) FROM audit_logs")
    database.execute(
        "SELECT set_config('request.headers', '{\"x-forwarded-for\": \"10.0.0.1\"}', false)"
    )
    database.execute("DELETE FROM organizations WHERE id = %s", [org])
    assert command([*there, "down", "--all", "--yes"]) == 0
