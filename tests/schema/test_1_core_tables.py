"""Section 1, and "All 9 tables created with correct schema"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rows import TABLES

if TYPE_CHECKING:
    from tests.support.rows import Database

ID = ("id", "uuid", "NOT NULL", "gen_random_uuid()")
ORG = ("org_id", "uuid", "NOT NULL", "current_org_id()")
CREATED = ("created_at", "timestamp with time zone", "NOT NULL", "now()")
UPDATED = ("updated_at", "timestamp with time zone", "NOT NULL", "now()")

# Clients compute the ids of measurements, so no organization may take those of another.
KEYS = {"wearable_data": "org_id, id"}

COLUMNS = {
    "organizations": [
        ID,
        ("name", "text", "NOT NULL", None),
        ("subscription_tier", "text", "NOT NULL", "'free'::text"),
        ("settings", "jsonb", "NOT NULL", "'{}'::jsonb"),
        CREATED,
        UPDATED,
    ],
    "therapists": [
        ID,
        ORG,
        ("email", "text", "NULL", None),
        ("full_name", "text", "NOT NULL", None),
        ("license_number", "text", "NULL", None),
        ("specialization", "text", "NULL", None),
        CREATED,
        UPDATED,
    ],
    "patients": [
        ID,
        ORG,
        ("assigned_therapist_id", "uuid", "NULL", None),
        ("full_name", "text", "NOT NULL", None),
        ("phone", "text", "NULL", None),
        ("abha_id", "text", "NULL", None),
        ("demographics", "jsonb", "NOT NULL", "'{}'::jsonb"),
        CREATED,
        UPDATED,
    ],
    "sessions": [
        ID,
        ORG,
        ("therapist_id", "uuid", "NOT NULL", None),
        ("patient_id", "uuid", "NOT NULL", None),
        ("scheduled_at", "timestamp with time zone", "NOT NULL", None),
        ("status", "text", "NOT NULL", "'scheduled'::text"),
        ("duration_minutes", "integer", "NULL", None),
        CREATED,
        UPDATED,
    ],
    "clinical_notes": [
        ID,
        ORG,
        ("session_id", "uuid", "NOT NULL", None),
        ("note_type", "text", "NOT NULL", None),
        ("content", "jsonb", "NOT NULL", "'{}'::jsonb"),
        ("ai_generated_summary", "text", "NULL", None),
        ("approved_by_therapist", "boolean", "NOT NULL", "false"),
        CREATED,
        UPDATED,
    ],
    "session_recordings": [
        ID,
        ORG,
        ("session_id", "uuid", "NOT NULL", None),
        ("consent_record_id", "uuid", "NULL", None),
        ("storage_path", "text", "NULL", None),
        ("media_type", "text", "NULL", None),
        ("duration_seconds", "integer", "NULL", None),
        ("size_bytes", "bigint", "NULL", None),
        ("recorded_at", "timestamp with time zone", "NOT NULL", "now()"),
        ("expires_at", "timestamp with time zone", "NULL", None),
        ("deleted_at", "timestamp with time zone", "NULL", None),
        CREATED,
        UPDATED,
    ],
    "wearable_data": [
        ID,
        ORG,
        ("patient_id", "uuid", "NOT NULL", None),
        ("data_type", "text", "NOT NULL", None),
        ("metrics", "jsonb", "NOT NULL", "'{}'::jsonb"),
        ("recorded_at", "timestamp with time zone", "NOT NULL", None),
    ],
    "consent_records": [
        ID,
        ORG,
        ("patient_id", "uuid", "NOT NULL", None),
        ("purpose", "text", "NOT NULL", None),
        ("notice_version", "text", "NULL", None),
        ("granted_at", "timestamp with time zone", "NOT NULL", "now()"),
        ("expires_at", "timestamp with time zone", "NULL", None),
        ("revoked_at", "timestamp with time zone", "NULL", None),
        ("granted_by", "text", "NULL", None),
        ("document_path", "text", "NULL", None),
        CREATED,
        UPDATED,
    ],
    "audit_logs": [
        ID,
        ("org_id", "uuid", "NULL", "current_org_id()"),
        ("organization_id", "uuid", "NULL", None),
        ("organization_name", "text", "NULL", None),
        ("actor_id", "uuid", "NULL", None),
        ("action", "text", "NOT NULL", None),
        ("table_name", "text", "NULL", None),
        ("record_id", "uuid", "NULL", None),
        ("details", "jsonb", "NOT NULL", "'{}'::jsonb"),
        ("ip_address", "inet", "NULL", None),
        ("user_agent", "text", "NULL", None),
        CREATED,
    ],
}


def test_schema_has_exactly_the_nine_tables(database: Database) -> None:
    rows = database.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    ).fetchall()
    assert {name for (name,) in rows} == {*TABLES, "schema_migrations"}


@pytest.mark.parametrize("table", TABLES)
def test_table_columns_have_expected_type_nullability_and_default(
    database: Database, table: str
) -> None:
    query = """
        SELECT attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' ELSE 'NULL' END,
               pg_get_expr(adbin, adrelid)
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
        ORDER BY attnum
    """
    assert database.execute(query, [table]).fetchall() == COLUMNS[table]


@pytest.mark.parametrize("table", TABLES)
def test_table_has_expected_primary_key(database: Database, table: str) -> None:
    query = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'"
    assert database.execute(query, [table]).fetchall() == [
        (f"{table}_pkey", f"PRIMARY KEY ({KEYS.get(table, 'id')})")
    ]


@pytest.mark.parametrize("table", TABLES)
def test_row_level_security_is_enabled(database: Database, table: str) -> None:
    assert database.execute(
        "SELECT relrowsecurity FROM pg_class WHERE oid = %s::regclass", [table]
    ).fetchone() == (True,)
