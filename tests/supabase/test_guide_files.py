"""Run the guide's other blocks: a new status, a change of a million rows, narrower policies, a patient's data, jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.supabase.test_guide import blocks, with_ids
from tests.support.project import SQL
from tests.support.rows import TABLES, add, count

if TYPE_CHECKING:
    from pathlib import Path

    from tests.supabase.conftest import Platform
    from tests.support.project import Project

STATUS_UP, STATUS_DOWN, LENGTHS = blocks("A new status, and a change of a million rows")
FUNCTION, MATERIALIZED, NARROWER = blocks("Traps of the next migration")


def with_files(directory: Path, files: dict[str, str]) -> Path:
    """Copy the project's SQL files, and add some."""
    directory.mkdir()
    for file in SQL.glob("*.sql"):
        (directory / file.name).write_bytes(file.read_bytes())
    for name, text in files.items():
        (directory / f"{name}.sql").write_text(text)
    return directory


def test_new_status_can_be_added_and_reverted(
    therapyflow: Project, tmp_path: Path
) -> None:
    validate = "ALTER TABLE sessions VALIDATE CONSTRAINT check_session_status;"
    assert validate in (SQL / "GUIDE.md").read_text()
    files = {
        "9001_no_show.up": STATUS_UP,
        "9001_no_show.down": STATUS_DOWN,
        "9001_no_show.rows": "UPDATE sessions SET status = 'no_show' WHERE status = 'completed'",
        "9002_no_show_validated.up": validate,
        "9002_no_show_validated.down": "-- Undoes nothing: the check is the same.\nSELECT 1;",
    }
    directory = with_files(tmp_path / "status", files)
    therapyflow.run("--dir", str(directory), "up")
    with psycopg.connect(therapyflow.url, autocommit=True) as connection:
        org = add(connection, "organizations", name="x")
        ids = {
            "therapist_id": add(connection, "therapists", org_id=org, full_name="t"),
            "patient_id": add(connection, "patients", org_id=org, full_name="p"),
        }
        add(connection, "sessions", scheduled_at="2026-01-01", status="no_show", **ids)
        with pytest.raises(psycopg.errors.CheckViolation):
            add(connection, "sessions", scheduled_at="2026-01-01", status="x", **ids)
    therapyflow.run("--dir", str(directory), "down", "--to", "10", "--yes")
    assert therapyflow.query("SELECT status FROM sessions") == [("cancelled",)]


def test_batched_change_runs_until_no_rows_remain(
    therapyflow: Project, tmp_path: Path
) -> None:
    files = {
        "9001_lengths.up": LENGTHS.replace("LIMIT 10000", "LIMIT 2"),
        "9001_lengths.down": "-- sqlmig: irreversible",
    }
    directory = with_files(tmp_path / "lengths", files)
    therapyflow.run("--dir", str(directory), "up", "--to", "10")
    with psycopg.connect(therapyflow.url, autocommit=True) as connection:
        org = add(connection, "organizations", name="x")
        ids = {
            "therapist_id": add(connection, "therapists", org_id=org, full_name="t"),
            "patient_id": add(connection, "patients", org_id=org, full_name="p"),
        }
        for _ in range(5):
            add(connection, "sessions", scheduled_at="2026-01-01", **ids)
    assert "5 rows" in therapyflow.run("--dir", str(directory), "up").out
    assert therapyflow.query("SELECT DISTINCT duration_minutes FROM sessions") == [
        (50,)
    ]


def test_a_therapist_sees_only_her_own_patients(own_platform: Platform) -> None:
    platform, ids = own_platform, own_platform.ours
    hers = add(
        platform.owner,
        "therapists",
        org_id=ids["organizations"],
        full_name="Dr. Sen",
    )
    patient = add(
        platform.owner,
        "patients",
        org_id=ids["organizations"],
        full_name="Anu",
        assigned_therapist_id=hers,
    )
    add(
        platform.owner,
        "wearable_data",
        patient_id=patient,
        data_type="hrv",
        recorded_at="2026-01-01",
    )
    platform.owner.execute(NARROWER)
    claims: dict[str, Any] = platform.own()
    claims["app_metadata"]["therapist_id"] = str(hers)
    with platform.request(claims=claims) as api:
        assert api.execute("SELECT id FROM patients").fetchall() == [(patient,)]
        seen = {table: count(api, table) for table in TABLES}
        assert seen == {
            "organizations": 1,
            "therapists": 2,
            "patients": 1,
            "sessions": 0,
            "clinical_notes": 0,
            "session_recordings": 0,
            "wearable_data": 1,
            "consent_records": 0,
            "audit_logs": 0,
        }
        assert count(api, "upcoming_sessions") == 0
        changed = api.execute("UPDATE patients SET phone = '1'")
        assert changed.rowcount == 1
        for forbidden in (
            "UPDATE patients SET assigned_therapist_id = NULL",
            "INSERT INTO patients (full_name) VALUES ('x')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), api.transaction():
                api.execute(forbidden)
    with platform.request(claims=platform.own()) as api:
        assert count(api, "patients") == 0  # no therapist_id in the token


def test_only_service_role_can_read_materialized_view(own_platform: Platform) -> None:
    own_platform.owner.execute(MATERIALIZED)
    with own_platform.request("service_role") as api:
        assert count(api, "sessions_per_day") == 2
    for role in ("anon", "authenticated"):
        with (
            own_platform.request(role, own_platform.own()) as api,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            count(api, "sessions_per_day")


def test_function_counts_only_rows_visible_under_policies(
    own_platform: Platform,
) -> None:
    own_platform.owner.execute(FUNCTION)
    query = "SELECT patients_of(%s)"
    with own_platform.request(claims=own_platform.own()) as api:
        for ids, expected in ((own_platform.ours, 1), (own_platform.theirs, 0)):
            assert api.execute(query, [ids["therapists"]]).fetchall() == [(expected,)]
    with (
        own_platform.request("anon") as api,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        api.execute(query, [own_platform.ours["therapists"]])


def test_members_table_stays_private_with_old_default_grants(
    own_platform: Platform, supabase: str
) -> None:
    with psycopg.connect(supabase, autocommit=True) as admin:
        admin.execute("""
            DO $$ BEGIN IF to_regrole('supabase_auth_admin') IS NULL THEN CREATE ROLE supabase_auth_admin; END IF; END $$
        """)
    own_platform.owner.execute(
        "CREATE SCHEMA auth; CREATE TABLE auth.users (id uuid PRIMARY KEY)"
    )
    (members,) = blocks("How `org_id` gets into the token")
    own_platform.owner.execute(members)
    query = """
        SELECT DISTINCT grantee::regrole::text
        FROM pg_class CROSS JOIN aclexplode(relacl)
        WHERE relname = 'members' AND grantee <> relowner
        UNION ALL
        SELECT DISTINCT grantee::regrole::text
        FROM pg_proc CROSS JOIN aclexplode(proacl)
        WHERE proname = 'add_org_id' AND grantee <> proowner
        ORDER BY 1
    """
    assert own_platform.owner.execute(query).fetchall() == [
        ("service_role",),
        ("supabase_auth_admin",),
        ("supabase_auth_admin",),
    ]


def test_patient_export_is_complete_and_contains_no_other_patients_data(
    own_platform: Platform,
) -> None:
    (export,) = blocks("Merge two patients, copy a patient's data")
    with own_platform.request("service_role") as api:
        ((text,),) = api.execute(with_ids(export, own_platform).encode()).fetchall()
    data, ids = json.loads(text), own_platform.ours
    assert data["patient"]["id"] == str(ids["patients"])
    (session,) = data["sessions"]
    assert session["id"] == str(ids["sessions"])
    assert [note["id"] for note in session["notes"]] == [str(ids["clinical_notes"])]
    assert [row["id"] for row in session["recordings"]] == [
        str(ids["session_recordings"])
    ]
    assert [row["id"] for row in data["consents"]] == [str(ids["consent_records"])]
    assert [row["id"] for row in data["wearable_data"]] == [str(ids["wearable_data"])]
    assert [row["action"] for row in data["audit_log"]] == ["INSERT"]
    assert str(own_platform.theirs["organizations"]) not in text


def test_jobs_find_expired_recordings_and_ending_consents(
    own_platform: Platform,
) -> None:
    owner = own_platform.owner
    owner.execute("""
        CREATE SCHEMA cron; CREATE SCHEMA net; CREATE SCHEMA vault;
        CREATE FUNCTION cron.schedule(name text, schedule text, command text) RETURNS void LANGUAGE plpgsql
            AS 'BEGIN EXECUTE command; END';
        CREATE TABLE net.sent (url text, headers jsonb);
        CREATE FUNCTION net.http_post(url text, headers jsonb, timeout_milliseconds int) RETURNS void LANGUAGE sql
            AS 'INSERT INTO net.sent VALUES (url, headers)';
        CREATE VIEW vault.decrypted_secrets AS SELECT 'erase_recordings_key' AS name, 'key' AS decrypted_secret;
    """)
    (jobs,) = blocks("Jobs")
    owner.execute(jobs)
    assert owner.execute("SELECT * FROM net.sent").fetchall() == []
    owner.execute("UPDATE session_recordings SET expires_at = '2026-01-01'")
    ending = add(
        owner,
        "consent_records",
        patient_id=own_platform.ours["patients"],
        purpose="treatment",
        expires_at=owner.execute("SELECT now() + interval '29.5 days'").fetchall()[0][
            0
        ],
    )
    owner.execute(jobs)
    assert owner.execute("SELECT headers FROM net.sent").fetchall() == [
        ({"apikey": "key"},)
    ]
    query = "SELECT record_id FROM audit_logs WHERE action = 'ends soon'"
    assert owner.execute(query).fetchall() == [(ending,)]


def test_edge_function_finds_and_marks_expired_recordings(
    own_platform: Platform,
) -> None:
    """Run the SQL that PostgREST sends for its calls, as the role of a secret key."""
    (function,) = blocks("Jobs", "ts")
    parts = [
        ".select('id, storage_path')\n  .lt('expires_at', 'now').is('deleted_at', null)",
        ".remove([path])",
        ".update({ deleted_at: 'now' }).eq('id', id)",
        "mark.is('storage_path', null)",
        "keys.includes(request.headers.get('apikey') ?? '')) return new Response('wrong key', { status: 401 })",
    ]
    places = [function.index(part) for part in parts]
    assert places == sorted(places)

    recording = own_platform.ours["session_recordings"]
    own_platform.owner.execute(
        "UPDATE session_recordings SET expires_at = '2026-01-01' WHERE id = %s",
        [recording],
    )
    expired = "SELECT id FROM session_recordings WHERE expires_at < 'now' AND deleted_at IS NULL"
    mark = "UPDATE session_recordings SET deleted_at = 'now' WHERE id = %s"
    with own_platform.request("service_role") as api:
        assert api.execute(expired).fetchall() == [(recording,)]
        assert api.execute(f"{mark} AND storage_path IS NULL", [recording]).rowcount
        assert api.execute(expired).fetchall() == []
