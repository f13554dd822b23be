"""Section 4, and "Check constraints applied": every constraint by violating it, and what it lets through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.schema.rows import add, organization

if TYPE_CHECKING:
    from tests.schema.rows import Database

CHECKS = [
    ("check_subscription_tier", "organizations", "subscription_tier", ["free", "pro", "biosync"], ["gold", "Free", ""]),
    (
        "check_session_status",
        "sessions",
        "status",
        ["scheduled", "in_progress", "completed", "cancelled"],
        ["done", "canceled"],
    ),
    ("check_note_type", "clinical_notes", "note_type", ["soap", "dap", "progress"], ["SOAP", "birp"]),
    ("check_session_duration", "sessions", "duration_minutes", [1, 50, None], [0, -5]),
    (
        "check_recording_storage_path",
        "session_recordings",
        "storage_path",
        ["org/session/1.opus", None],
        ["https://bucket.example.org/1.opus", "s3://bucket/1.opus"],
    ),
    ("check_recording_duration", "session_recordings", "duration_seconds", [0, 3600, None], [-1]),
    ("check_recording_size", "session_recordings", "size_bytes", [0, 5_000_000_000, None], [-1]),
    (
        "check_consent_purpose",
        "consent_records",
        "purpose",
        ["treatment", "recording", "ai_processing", "wearable_data", "data_sharing"],
        ["marketing"],
    ),
    ("check_consent_revoked_after_granted", "consent_records", "revoked_at", ["2999-01-01", None], ["2001-01-01"]),
]


@pytest.mark.parametrize(("constraint", "table", "column", "good", "bad"), CHECKS, ids=[check[0] for check in CHECKS])
def test_a_check_lets_good_values_through_and_refuses_bad_ones(
    database: Database, constraint: str, table: str, column: str, good: list[object], bad: list[object]
) -> None:
    organization(database)
    for value in good:
        database.execute(f"UPDATE {table} SET {column} = %s", [value])
    for value in bad:
        with pytest.raises(psycopg.errors.CheckViolation) as error:
            database.execute(f"UPDATE {table} SET {column} = %s", [value])
        assert error.value.diag.constraint_name == constraint


def test_there_are_these_checks_and_no_other(database: Database) -> None:
    query = "SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
    assert sorted(name for (name,) in database.execute(query)) == sorted(check[0] for check in CHECKS)


def refused(database: Database, index: str, table: str, **values: object) -> None:
    """Insert a row that a unique index must refuse."""
    with pytest.raises(psycopg.errors.UniqueViolation) as error:
        add(database, table, **values)
    assert error.value.diag.constraint_name == index


def test_an_organization_has_one_therapist_per_email_case_aside(database: Database) -> None:
    org, other = organization(database)["organizations"], organization(database, "Other")["organizations"]
    refused(database, "idx_therapists_org_email", "therapists", org_id=org, full_name="x", email="RAO@example.org")
    add(database, "therapists", org_id=other, full_name="x", email="new@example.org")


def test_an_organization_has_one_patient_per_abha_id(database: Database) -> None:
    org = organization(database)["organizations"]
    refused(database, "idx_patients_org_abha", "patients", org_id=org, full_name="x", abha_id="91-1")
    for _ in range(2):
        add(database, "patients", org_id=org, full_name="without an id")


def test_a_recordings_path_is_one_recordings_only(database: Database) -> None:
    session = organization(database)["sessions"]
    add(database, "session_recordings", session_id=session, storage_path="a/1")
    refused(database, "idx_session_recordings_path", "session_recordings", session_id=session, storage_path="a/1")
    for _ in range(2):
        add(database, "session_recordings", session_id=session, storage_path=None)


def test_a_patient_has_one_open_consent_per_purpose(database: Database) -> None:
    patient = organization(database)["patients"]
    refused(database, "idx_consent_records_open", "consent_records", patient_id=patient, purpose="recording")
    add(database, "consent_records", patient_id=patient, purpose="treatment")
    database.execute("UPDATE consent_records SET revoked_at = now()")
    add(database, "consent_records", patient_id=patient, purpose="recording")
