"""Section 2, and "Performance indexes created": by definition, and by a plan that uses each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.rows import Database
    from tests.support.servers import Server

INDEXES = {
    "idx_patients_therapist": "patients USING btree (assigned_therapist_id)",
    "idx_sessions_therapist_date": "sessions USING btree (therapist_id, scheduled_at DESC)",
    "idx_sessions_patient_date": "sessions USING btree (patient_id, scheduled_at DESC)",
    "idx_wearable_patient_time": "wearable_data USING btree (patient_id, recorded_at DESC)",
    "idx_audit_org_time": "audit_logs USING btree (org_id, created_at DESC)",
    "idx_sessions_org_date": "sessions USING btree (org_id, scheduled_at DESC)",
    "idx_clinical_notes_org_time": "clinical_notes USING btree (org_id, created_at DESC)",
    "idx_session_recordings_org_time": "session_recordings USING btree (org_id, recorded_at DESC)",
    "idx_wearable_org_time": "wearable_data USING btree (org_id, recorded_at DESC)",
    "idx_clinical_notes_org_unapproved": (
        "clinical_notes USING btree (org_id, created_at DESC) WHERE (NOT approved_by_therapist)"
    ),
    "idx_consent_records_org_expires": (
        "consent_records USING btree (org_id, expires_at) WHERE (expires_at IS NOT NULL)"
    ),
    "idx_session_recordings_expires": (
        "session_recordings USING btree (expires_at) WHERE (deleted_at IS NULL)"
    ),
    "idx_audit_org_record": "audit_logs USING btree (org_id, record_id)",
    "idx_audit_org_actor": (
        "audit_logs USING btree (org_id, actor_id, created_at DESC) WHERE (actor_id IS NOT NULL)"
    ),
    "idx_audit_org_table": "audit_logs USING btree (org_id, table_name, action, created_at DESC)",
    "idx_audit_time": "audit_logs USING brin (created_at)",
    "idx_patients_org_therapist": "patients USING btree (org_id, assigned_therapist_id)",
    "idx_sessions_org_therapist_date": "sessions USING btree (org_id, therapist_id, scheduled_at DESC)",
    "idx_sessions_org_patient_date": "sessions USING btree (org_id, patient_id, scheduled_at DESC)",
    "idx_clinical_notes_org_session": "clinical_notes USING btree (org_id, session_id)",
    "idx_session_recordings_org_session": "session_recordings USING btree (org_id, session_id)",
    "idx_session_recordings_org_consent": "session_recordings USING btree (org_id, consent_record_id)",
    "idx_consent_records_org_patient": "consent_records USING btree (org_id, patient_id)",
    "idx_therapists_org_email": "UNIQUE therapists USING btree (org_id, lower(email))",
    "idx_patients_org_abha": (
        "UNIQUE patients USING btree (org_id, abha_id) WHERE (abha_id IS NOT NULL)"
    ),
    "idx_session_recordings_path": "UNIQUE session_recordings USING btree (storage_path)",
    "idx_consent_records_open": (
        "UNIQUE consent_records USING btree (org_id, patient_id, purpose)"
        " WHERE ((revoked_at IS NULL) AND (expires_at IS NULL))"
    ),
    "therapists_org_id_id_key": "UNIQUE therapists USING btree (org_id, id)",
    "patients_org_id_id_key": "UNIQUE patients USING btree (org_id, id)",
    "sessions_org_id_id_key": "UNIQUE sessions USING btree (org_id, id)",
    "consent_records_org_id_id_key": "UNIQUE consent_records USING btree (org_id, id)",
    "idx_audit_deleted_organization": (
        "audit_logs USING btree (organization_id, created_at DESC)"
        " WHERE ((table_name = 'organizations'::text) AND (action = 'DELETE'::text))"
    ),
}

# {table} is the id of a row of this table, always of the same organization. The other indexes serve foreign keys.
QUERIES = {
    "idx_patients_therapist": "SELECT * FROM patients WHERE assigned_therapist_id = {therapists}",
    "idx_sessions_therapist_date": (
        "SELECT * FROM sessions WHERE therapist_id = {therapists} AND scheduled_at > now() ORDER BY scheduled_at DESC"
    ),
    "idx_sessions_patient_date": "SELECT * FROM sessions WHERE patient_id = {patients} ORDER BY scheduled_at DESC LIMIT 9",
    "idx_wearable_patient_time": (
        "SELECT * FROM wearable_data WHERE patient_id = {patients} AND recorded_at > now() - interval '24 hours'"
    ),
    "idx_audit_org_time": "SELECT * FROM audit_logs WHERE org_id = {organizations} ORDER BY created_at DESC LIMIT 9",
    "idx_sessions_org_date": "SELECT * FROM sessions WHERE org_id = {organizations} ORDER BY scheduled_at DESC LIMIT 9",
    "idx_clinical_notes_org_time": (
        "SELECT * FROM clinical_notes WHERE org_id = {organizations} ORDER BY created_at DESC LIMIT 9"
    ),
    "idx_session_recordings_org_time": (
        "SELECT * FROM session_recordings WHERE org_id = {organizations} ORDER BY recorded_at DESC LIMIT 9"
    ),
    "idx_audit_org_record": "SELECT * FROM audit_logs WHERE org_id = {organizations} AND record_id = {patients}",
    "idx_clinical_notes_org_unapproved": (
        "SELECT count(*) FROM clinical_notes WHERE org_id = {organizations} AND NOT approved_by_therapist"
    ),
    "idx_consent_records_org_expires": (
        "SELECT * FROM consent_records WHERE org_id = {organizations} AND expires_at BETWEEN now() AND now() + interval '30 days'"
    ),
    "idx_session_recordings_expires": (
        "SELECT id, storage_path FROM session_recordings WHERE expires_at < now() AND deleted_at IS NULL"
    ),
    "idx_audit_org_actor": (
        "SELECT * FROM audit_logs WHERE org_id = {organizations} AND actor_id = {therapists} ORDER BY created_at DESC LIMIT 9"
    ),
    "idx_audit_org_table": (
        "SELECT * FROM audit_logs WHERE org_id = {organizations} AND table_name = 'patients' AND action = 'DELETE'"
    ),
    "idx_audit_time": "SELECT ctid FROM audit_logs WHERE created_at < now() - interval '8 years'",
    "idx_wearable_org_time": "SELECT * FROM wearable_data WHERE org_id = {organizations} ORDER BY recorded_at DESC LIMIT 9",
    "idx_patients_org_therapist": (
        "SELECT * FROM patients WHERE org_id = {organizations} AND assigned_therapist_id = {therapists}"
    ),
    "idx_sessions_org_therapist_date": (
        "SELECT * FROM sessions WHERE org_id = {organizations} AND therapist_id = {therapists} AND scheduled_at > now()"
    ),
    "idx_sessions_org_patient_date": (
        "SELECT * FROM sessions WHERE org_id = {organizations} AND patient_id = {patients} AND scheduled_at > now()"
    ),
    "idx_clinical_notes_org_session": (
        "SELECT * FROM clinical_notes WHERE org_id = {organizations} AND session_id = {sessions}"
    ),
    "idx_session_recordings_org_session": (
        "SELECT * FROM session_recordings WHERE org_id = {organizations} AND session_id = {sessions}"
    ),
    "idx_session_recordings_org_consent": (
        "SELECT * FROM session_recordings WHERE org_id = {organizations} AND consent_record_id = {consent_records}"
    ),
    "idx_consent_records_org_patient": (
        "SELECT * FROM consent_records WHERE org_id = {organizations} AND patient_id = {patients}"
    ),
    "idx_therapists_org_email": "SELECT * FROM therapists WHERE org_id = {organizations} AND lower(email) = 't7@x.org'",
    "idx_patients_org_abha": "SELECT * FROM patients WHERE org_id = {organizations} AND abha_id = '7'",
    "idx_session_recordings_path": "SELECT * FROM session_recordings WHERE storage_path = 'recordings/7'",
    "idx_consent_records_open": (
        "SELECT * FROM consent_records WHERE org_id = {organizations} AND patient_id = {patients}"
        " AND purpose = 'recording' AND revoked_at IS NULL AND expires_at IS NULL"
    ),
}
# For so small a result from a small table, the planner may as well use a shorter index of the same table.
EQUALS = {
    "idx_sessions_org_therapist_date": "idx_sessions_therapist_date",
    "idx_sessions_org_patient_date": "idx_sessions_patient_date",
    "idx_patients_org_therapist": "idx_patients_therapist",
    "idx_consent_records_org_patient": "idx_consent_records_open",
}


# 20 organizations, 1,000 patients, 10,000 rows in the tables below them.
ROWS = """
    INSERT INTO organizations (name) SELECT 'o' || n FROM generate_series(1, 20) n;
    INSERT INTO therapists (org_id, full_name, email)
    SELECT id, 't', 't' || n || '@x.org' FROM organizations, generate_series(1, 25) n;
    INSERT INTO patients (org_id, full_name, abha_id, assigned_therapist_id)
    SELECT org_id, 'p', row_number() OVER (), id FROM therapists, generate_series(1, 2);
    INSERT INTO sessions (therapist_id, patient_id, scheduled_at)
    SELECT assigned_therapist_id, id, now() + (n - 5) * interval '1 day' FROM patients, generate_series(1, 10) n;
    INSERT INTO wearable_data (patient_id, data_type, recorded_at)
    SELECT id, 'hrv', now() - n * interval '5 hours' FROM patients, generate_series(1, 10) n;
    INSERT INTO consent_records (patient_id, purpose, granted_at, revoked_at)
    SELECT id, 'recording', now() - n * interval '1 day', CASE WHEN n > 1 THEN now() END
    FROM patients, generate_series(1, 10) n;
    INSERT INTO clinical_notes (session_id, note_type, approved_by_therapist)
    SELECT id, 'soap', row_number() OVER () % 50 > 0 FROM sessions;
    INSERT INTO session_recordings (session_id, consent_record_id, storage_path, expires_at)
    SELECT s.id, c.id, s.org_id || '/' || row_number() OVER (), now() + row_number() OVER () * interval '1 day'
    FROM sessions s JOIN consent_records c ON c.patient_id = s.patient_id AND c.revoked_at IS NULL;
    INSERT INTO audit_logs (org_id, action, created_at, actor_id)
    SELECT id, 'read', now() - n * interval '1 hour', gen_random_uuid() FROM organizations, generate_series(1, 500) n;
    ANALYZE;
"""


@pytest.fixture(scope="module")
def filled_database(server: Server, specified: str) -> Iterator[Database]:
    """Yield a connection to a database with many rows."""
    with server.database("sqlmig_filled", specified) as opened:
        opened.execute(ROWS)
        opened.commit()
        yield opened


@pytest.fixture
def filled(filled_database: Database) -> Iterator[Database]:
    """Yield that connection in a transaction that is rolled back."""
    with filled_database.transaction(force_rollback=True):
        yield filled_database


def test_schema_has_exactly_the_expected_indexes(
    database: Database,
) -> None:
    query = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname !~ '_pkey$'"
    found = {
        name: ("UNIQUE " if " UNIQUE " in definition else "")
        + definition.partition(" ON public.")[2]
        for name, definition in database.execute(query)
    }
    assert found == INDEXES


@pytest.mark.parametrize("index", QUERIES)
def test_query_plan_uses_its_index(filled: Database, index: str) -> None:
    row = filled.execute("""
        SELECT s.org_id, therapist_id, s.patient_id, s.id, c.id
        FROM sessions s JOIN consent_records c ON c.patient_id = s.patient_id LIMIT 1
    """).fetchone()
    tables = ("organizations", "therapists", "patients", "sessions", "consent_records")
    ids = {
        table: f"'{identifier}'"
        for table, identifier in zip(tables, row or (), strict=True)
    }
    if index in EQUALS:
        filled.execute(f"DROP INDEX {EQUALS[index]}")
    (plan,) = filled.execute(
        "EXPLAIN (FORMAT JSON) " + QUERIES[index].format(**ids)
    ).fetchall()
    assert f'"Index Name": "{index}"' in json.dumps(plan)


def test_every_foreign_key_but_one_has_a_leading_index(
    database: Database,
) -> None:
    query = """
        SELECT conname FROM pg_constraint
        WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_index
            WHERE indrelid = conrelid AND indpred IS NULL
                AND (string_to_array(indkey::text, ' ')::int2[])[:cardinality(conkey)] @> conkey
        )
    """
    # The largest table has one index fewer: another index already begins with the patient's column (see 0004).
    assert database.execute(query).fetchall() == [("wearable_data_patient_id_fkey",)]
