"""Test rows: an organization with a row in every table, and helpers to add one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from uuid import UUID

    import psycopg

    Database = psycopg.Connection[Any]

TABLES = [
    "organizations",
    "therapists",
    "patients",
    "sessions",
    "clinical_notes",
    "session_recordings",
    "wearable_data",
    "consent_records",
    "audit_logs",
]
EDITED = [table for table in TABLES if table not in ("wearable_data", "audit_logs")]


def add(database: Database, table: str, **values: object) -> UUID:
    """Insert a row and return its id."""
    columns = sql.SQL(", ").join(map(sql.Identifier, values))
    holders = sql.SQL(", ").join([sql.Placeholder()] * len(values))
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
        sql.Identifier(table), columns, holders
    )
    adapted = [
        Jsonb(value) if isinstance(value, dict) else value for value in values.values()
    ]
    row = database.execute(query, adapted).fetchone()
    assert row
    identifier: UUID = row[0]
    return identifier


def organization(database: Database, name: str = "Asha Clinic") -> dict[str, UUID]:
    """Insert an organization with one row in every table, and return their ids by table."""
    org = add(database, "organizations", name=name)
    therapist = add(
        database, "therapists", org_id=org, full_name="Dr. Rao", email="rao@example.org"
    )
    patient = add(
        database,
        "patients",
        org_id=org,
        full_name="Meera",
        assigned_therapist_id=therapist,
        abha_id="91-1",
    )
    session = add(
        database,
        "sessions",
        therapist_id=therapist,
        patient_id=patient,
        scheduled_at="2030-01-01 10:00+00",
    )
    consent = add(database, "consent_records", patient_id=patient, purpose="recording")
    return {
        "organizations": org,
        "therapists": therapist,
        "patients": patient,
        "sessions": session,
        "consent_records": consent,
        "clinical_notes": add(
            database, "clinical_notes", session_id=session, note_type="soap"
        ),
        "session_recordings": add(
            database,
            "session_recordings",
            session_id=session,
            consent_record_id=consent,
        ),
        "wearable_data": add(
            database,
            "wearable_data",
            patient_id=patient,
            data_type="hrv",
            recorded_at="2030-01-01",
        ),
        "audit_logs": add(database, "audit_logs", org_id=org, action="login"),
    }


def count(database: Database, table: str) -> int:
    """Count the rows of a table."""
    row = database.execute(
        sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    ).fetchone()
    assert row
    return int(row[0])


def remove(database: Database, table: str, identifier: UUID) -> None:
    """Delete a row."""
    database.execute(
        sql.SQL("DELETE FROM {} WHERE id = %s").format(sql.Identifier(table)),
        [identifier],
    )
