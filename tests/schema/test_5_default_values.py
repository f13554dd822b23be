"""Section 5, and "Default values configured": a row needs only the essential columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rows import TABLES, add, organization

if TYPE_CHECKING:
    from tests.support.rows import Database


@pytest.mark.parametrize(
    "table", [table for table in TABLES if table != "wearable_data"]
)
def test_created_at_defaults_to_now(database: Database, table: str) -> None:
    with database.transaction():
        organization(database)
        assert database.execute(
            f"SELECT DISTINCT created_at = now() FROM {table}"
        ).fetchall() == [(True,)]


@pytest.mark.parametrize("table", TABLES)
def test_id_defaults_to_a_unique_uuid4(database: Database, table: str) -> None:
    first, second = organization(database, "a"), organization(database, "b")
    assert first[table].version == second[table].version == 4
    assert first[table] != second[table]


def test_essential_columns_are_enough_to_insert(database: Database) -> None:
    org = add(database, "organizations", name="Asha Clinic")
    assert database.execute(
        "SELECT subscription_tier, settings FROM organizations"
    ).fetchall() == [("free", {})]
    patient = add(database, "patients", org_id=org, full_name="Meera")
    therapist = add(database, "therapists", org_id=org, full_name="Dr. Rao")
    session = add(
        database,
        "sessions",
        patient_id=patient,
        therapist_id=therapist,
        scheduled_at="2030-01-01",
    )
    assert database.execute(
        "SELECT status, duration_minutes FROM sessions"
    ).fetchall() == [("scheduled", None)]
    add(database, "clinical_notes", session_id=session, note_type="dap")
    assert database.execute(
        "SELECT content, approved_by_therapist FROM clinical_notes"
    ).fetchall() == [({}, False)]
    add(database, "consent_records", patient_id=patient, purpose="treatment")
    assert database.execute(
        "SELECT granted_at <= now(), revoked_at FROM consent_records"
    ).fetchall() == [(True, None)]
