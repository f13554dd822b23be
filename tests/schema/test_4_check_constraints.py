"""Section 4, and "Check constraints applied": each constraint refuses bad values and accepts good values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.rows import add, organization

if TYPE_CHECKING:
    from tests.support.rows import Database

BAD_PATHS: list[object] = [
    "https://bucket.example.org/1.opus",
    "s3://bucket/1.opus",
    "//evil.com/../x",
    "1.opus",
    "/{org}/1.opus",
    "{org}",
    "{org}/",
    "{org}x/1.opus",
    "{org}//1.opus",
    "{org}/../other/1.opus",
    "{org}/a/..",
    "{org}/./1.opus",
    "{org}/a/",
    "",
    "00000000-0000-4000-8000-000000000000/1.opus",
    "{org}/..\\other/1.opus",
    "{org}/%2e%2e/other/1.opus",
    "{org}/.\t./other/1.opus",
    "{org}/1.opus?download",
    "{org}/1.opus#t=1",
    "{org}/a\nb",
    "{org}/" + "x" * 1024,
]
# No-break, ideographic and zero-width blanks, joiners, marks of direction, fillers, variation selectors.
INVISIBLE: list[object] = [
    "\u00a0",
    "\u3000\u2003",
    "\u200b\u200d",
    "\u202e\u2066",
    "\u2060\ufeff",
    "\u3164\uffa0",
    "\u00ad\ufe0f",
]
NO_OBJECTS: list[object] = [Jsonb([]), Jsonb("x"), Jsonb(1), Jsonb(None)]


def nested(levels: int) -> str:
    return '{"a": ' * levels + "1" + "}" * levels


# A day of steps by the minute, most of them 0; a long note; numbers as sensors write them.
NORMAL_JSON = [
    {"steps": [0, 12] * 720},
    {"plan": "x" * 200_000},
    {"values": [1e-12, 1.5, -3.25e9, 0.0, 6.02e23]},
    nested(30),
]
# Each is short, and its text is long, or it cannot be restored from a dump. test_json_bombs.py has larger ones, sent by a
# tenant. The owner gets the row back in the error, as text.
JSON_BOMBS = [
    '{"s": [' + "1e131071," * 50 + "1]}",
    '{"s": [' + "-1e131071," * 50 + "1]}",
    '{"s": [' + "1e-16383," * 50 + "1]}",
    '{"s": [' + "0e-16383," * 400 + "1]}",
    '{"s": [' + "0," * 10_001 + "1]}",
    '{"a": {"b": [[{"c": 1e40}]]}}',
    nested(40),
    nested(13_099),
    '{"s": "' + "x" * 1_000_001 + '"}',
    "{" + ", ".join(f'"{n:0100}": 1' for n in range(10_000)) + "}",
]

CHECKS: list[tuple[str, str, str, list[Any], list[Any]]] = [
    (
        "check_subscription_tier",
        "organizations",
        "subscription_tier",
        ["free", "pro", "biosync"],
        ["gold", "Free", ""],
    ),
    (
        "check_session_status",
        "sessions",
        "status",
        ["scheduled", "in_progress", "completed", "cancelled"],
        ["done", "canceled"],
    ),
    (
        "check_note_type",
        "clinical_notes",
        "note_type",
        ["soap", "dap", "progress"],
        ["SOAP", "birp"],
    ),
    ("check_session_duration", "sessions", "duration_minutes", [1, 50, None], [0, -5]),
    (
        "check_recording_storage_path",
        "session_recordings",
        "storage_path",
        ["{org}/session/1.opus", "{org}/a b..c", None],
        [*BAD_PATHS],
    ),
    (
        "check_consent_document_path",
        "consent_records",
        "document_path",
        ["{org}/consent.pdf", None],
        BAD_PATHS,
    ),
    (
        "check_organization_name",
        "organizations",
        "name",
        ["Asha", " é ", "आशा", "李", "O\u200bK", "👩‍⚕️"],
        ["", "  ", "\n\t", "x" * 501, *INVISIBLE],
    ),
    (
        "check_therapist_name",
        "therapists",
        "full_name",
        ["Dr. Rao"],
        ["", " ", "x" * 501, *INVISIBLE],
    ),
    (
        "check_therapist_email",
        "therapists",
        "email",
        ["rao@example.org", None],
        ["", " ", "x" * 501],
    ),
    ("check_patient_name", "patients", "full_name", ["Meera"], ["", " ", "x" * 501]),
    (
        "check_patient_abha_id",
        "patients",
        "abha_id",
        ["91-1", None],
        ["", " ", "1" * 101],
    ),
    *(
        (name, table, column, ["x" * limit, "", None], ["x" * (limit + 1)])
        for name, table, column, limit in (
            ("check_therapist_texts", "therapists", "license_number", 500),
            ("check_therapist_texts", "therapists", "specialization", 500),
            ("check_patient_phone", "patients", "phone", 100),
            (
                "check_note_summary",
                "clinical_notes",
                "ai_generated_summary",
                1_000_000,
            ),
            ("check_recording_media_type", "session_recordings", "media_type", 500),
            ("check_consent_texts", "consent_records", "notice_version", 500),
            ("check_consent_texts", "consent_records", "granted_by", 500),
        )
    ),
    (
        "check_wearable_data_type",
        "wearable_data",
        "data_type",
        ["x" * 500],
        ["x" * 501],
    ),
    ("check_audit_texts", "audit_logs", "action", ["x" * 500], ["x" * 501]),
    ("check_audit_texts", "audit_logs", "table_name", ["x" * 500, None], ["x" * 501]),
    ("check_audit_texts", "audit_logs", "user_agent", ["x" * 500, None], ["x" * 501]),
    (
        "check_recording_times",
        "session_recordings",
        "recorded_at",
        ["2999-01-01"],
        ["infinity"],
    ),
    (
        "check_recording_times",
        "session_recordings",
        "expires_at",
        ["2999-01-01", None],
        ["infinity"],
    ),
    (
        "check_recording_times",
        "session_recordings",
        "deleted_at",
        ["2999-01-01", None],
        ["infinity", "-infinity"],
    ),
    (
        "check_wearable_recorded_at",
        "wearable_data",
        "recorded_at",
        ["2029-01-01"],
        ["infinity", "-infinity"],
    ),
    (
        "check_consent_times",
        "consent_records",
        "expires_at",
        ["2999-01-01", None],
        ["infinity"],
    ),
    (
        "check_session_scheduled_at",
        "sessions",
        "scheduled_at",
        ["2030-01-01"],
        ["infinity", "-infinity"],
    ),
    *(
        (
            name,
            table,
            column,
            [{}, {"a": [1]}, *NORMAL_JSON],
            [*NO_OBJECTS, *JSON_BOMBS],
        )
        for name, table, column in (
            ("check_organization_settings", "organizations", "settings"),
            ("check_patient_demographics", "patients", "demographics"),
            ("check_note_content", "clinical_notes", "content"),
            ("check_wearable_metrics", "wearable_data", "metrics"),
        )
    ),
    (
        "check_consent_granted_by_now",
        "consent_records",
        "granted_at",
        ["2001-01-01", "now"],
        ["2062-01-01", "tomorrow"],
    ),
    (
        "check_consent_expires_after_granted",
        "consent_records",
        "expires_at",
        ["2999-01-01", None],
        ["2001-01-01"],
    ),
    (
        "check_recording_duration",
        "session_recordings",
        "duration_seconds",
        [0, 3600, None],
        [-1],
    ),
    (
        "check_recording_size",
        "session_recordings",
        "size_bytes",
        [0, 5_000_000_000, None],
        [-1],
    ),
    (
        "check_consent_purpose",
        "consent_records",
        "purpose",
        [
            "treatment",
            "recording",
            "ai_processing",
            "wearable_data",
            "data_sharing",
            "recording",
        ],
        ["marketing"],
    ),
    (
        "check_consent_revoked_after_granted",
        "consent_records",
        "revoked_at",
        ["2999-01-01", None],
        ["2001-01-01"],
    ),
]


@pytest.mark.parametrize(
    ("constraint", "table", "column", "good", "bad"),
    CHECKS,
    ids=[f"{check[0]}.{check[2]}" for check in CHECKS],
)
def test_check_accepts_good_values_and_refuses_bad_ones(
    database: Database,
    constraint: str,
    table: str,
    column: str,
    good: list[object],
    bad: list[object],
) -> None:
    org = str(organization(database)["organizations"])
    database.execute(
        f"ALTER TABLE {table} DISABLE TRIGGER USER"
    )  # these triggers refuse a change of evidence

    def written(value: object) -> object:
        return (
            value.replace("{org}", org)
            if isinstance(value, str)
            else Jsonb(value)
            if isinstance(value, dict)
            else value
        )

    for value in good:
        database.execute(f"UPDATE {table} SET {column} = %s", [written(value)])
    for value in bad:
        with pytest.raises(psycopg.errors.CheckViolation) as error:
            database.execute(f"UPDATE {table} SET {column} = %s", [written(value)])
        assert error.value.diag.constraint_name == constraint


def test_schema_has_exactly_the_expected_checks(database: Database) -> None:
    query = "SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
    names = {check[0] for check in CHECKS} | {"check_audit_details"}
    assert sorted(name for (name,) in database.execute(query)) == sorted(names)


def test_audit_details_must_be_a_json_object(database: Database) -> None:
    for value in NO_OBJECTS:
        with pytest.raises(psycopg.errors.CheckViolation) as error:
            add(database, "audit_logs", action="x", details=value)
        assert error.value.diag.constraint_name == "check_audit_details"


def refused(database: Database, index: str, table: str, **values: object) -> None:
    """Check that a unique index refuses a row."""
    with pytest.raises(psycopg.errors.UniqueViolation) as error:
        add(database, table, **values)
    assert error.value.diag.constraint_name == index


def test_therapist_email_is_unique_per_organization_ignoring_case(
    database: Database,
) -> None:
    org, other = (
        organization(database)["organizations"],
        organization(database, "Other")["organizations"],
    )
    refused(
        database,
        "idx_therapists_org_email",
        "therapists",
        org_id=org,
        full_name="x",
        email="RAO@example.org",
    )
    add(database, "therapists", org_id=other, full_name="x", email="new@example.org")


def test_abha_id_is_unique_per_organization(database: Database) -> None:
    org = organization(database)["organizations"]
    refused(
        database,
        "idx_patients_org_abha",
        "patients",
        org_id=org,
        full_name="x",
        abha_id="91-1",
    )
    for _ in range(2):
        add(database, "patients", org_id=org, full_name="without an id")


def test_recording_path_is_unique(database: Database) -> None:
    ids = organization(database)
    session, path = ids["sessions"], f"{ids['organizations']}/1"
    add(database, "session_recordings", session_id=session, storage_path=path)
    refused(
        database,
        "idx_session_recordings_path",
        "session_recordings",
        session_id=session,
        storage_path=path,
    )
    for _ in range(2):
        add(database, "session_recordings", session_id=session, storage_path=None)


def test_patient_has_one_open_ended_consent_per_purpose(
    database: Database,
) -> None:
    patient = organization(database)["patients"]
    for end in (
        "2029-01-01",
        "2031-01-01",
    ):  # a consent with an end, past or future, can be renewed
        add(
            database,
            "consent_records",
            patient_id=patient,
            purpose="recording",
            expires_at=end,
        )
    refused(
        database,
        "idx_consent_records_open",
        "consent_records",
        patient_id=patient,
        purpose="recording",
    )
    add(database, "consent_records", patient_id=patient, purpose="treatment")
    database.execute(
        "UPDATE consent_records SET revoked_at = '2999-01-01' WHERE expires_at IS NULL"
    )
    add(database, "consent_records", patient_id=patient, purpose="recording")
