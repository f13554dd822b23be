"""What is evidence stays: the end of a consent, the paths of files, an erasure, an approval. For every role."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.schema.rows import EDITED, TABLES, add, count, organization

if TYPE_CHECKING:
    from tests.schema.rows import Database
    from tests.supabase.conftest import Platform

ROLES = ["authenticated", "service_role", "supabase_postgres"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("later", ["NULL", "'2999-01-01'", "expires_at + interval '1 second'"])
def test_an_ended_consent_does_not_stand_again(own_platform: Platform, role: str, later: str) -> None:
    ids = own_platform.ours
    consent = add(
        own_platform.owner,
        "consent_records",
        patient_id=ids["patients"],
        purpose="recording",
        granted_at="2020-01-01",
        expires_at="2021-01-01",
    )
    with own_platform.request("service_role" if role == ROLES[2] else role, own_platform.own()) as database:
        if role == "supabase_postgres":
            database = own_platform.owner
        with pytest.raises(psycopg.IntegrityError, match="a consent may end sooner, never later"):
            database.execute(f"UPDATE consent_records SET expires_at = {later} WHERE id = %s", [consent])


def test_a_consents_end_may_come_sooner_and_then_stays(database: Database) -> None:
    organization(database)
    database.execute("UPDATE consent_records SET expires_at = '2999-01-01'")
    database.execute("UPDATE consent_records SET expires_at = '2998-01-01'")
    for later in ("'2999-01-01'", "NULL"):
        with pytest.raises(psycopg.IntegrityError, match="a consent may end sooner, never later"):
            database.execute(f"UPDATE consent_records SET expires_at = {later}")
    database.execute("UPDATE consent_records SET expires_at = granted_at + interval '1 microsecond'")
    with pytest.raises(psycopg.IntegrityError, match="a consent may end sooner, never later"):
        database.execute("UPDATE consent_records SET expires_at = expires_at + interval '1 microsecond'")
    database.execute("UPDATE consent_records SET expires_at = expires_at, granted_by = 'mother'")


@pytest.mark.parametrize("role", ["authenticated", "service_role"])
def test_a_path_is_neither_blanked_nor_swapped(platform: Platform, role: str) -> None:
    org = platform.ours["organizations"]
    with platform.request(role, platform.own()) as database:
        database.execute(
            "UPDATE session_recordings SET storage_path = %s WHERE id = %s",
            [f"{org}/1.opus", platform.ours["session_recordings"]],
        )
        database.execute(
            "UPDATE consent_records SET document_path = %s WHERE id = %s",
            [f"{org}/1.pdf", platform.ours["consent_records"]],
        )
        for table, column in (("session_recordings", "storage_path"), ("consent_records", "document_path")):
            for value in (None, f"{org}/2"):
                with pytest.raises(psycopg.IntegrityError, match=f"keeps its {column}"), database.transaction():
                    database.execute(f"UPDATE {table} SET {column} = %s WHERE org_id = %s", [value, org])


def test_an_erasure_stays_and_then_the_path_may_be_blanked(database: Database) -> None:
    org = organization(database)["organizations"]
    database.execute("UPDATE session_recordings SET storage_path = %s", [f"{org}/1.opus"])
    with pytest.raises(psycopg.IntegrityError, match="a recording keeps its storage_path"):
        database.execute("UPDATE session_recordings SET deleted_at = now(), storage_path = %s", [f"{org}/2.opus"])
    database.execute("UPDATE session_recordings SET deleted_at = now()")
    for value in ("NULL", "now() + interval '1 day'"):
        with pytest.raises(psycopg.IntegrityError, match="a recording that was deleted stays so"):
            database.execute(f"UPDATE session_recordings SET deleted_at = {value}")
    with pytest.raises(psycopg.IntegrityError, match="a recording keeps its storage_path"):
        database.execute("UPDATE session_recordings SET storage_path = %s", [f"{org}/2.opus"])
    database.execute("UPDATE session_recordings SET storage_path = NULL")
    assert database.execute("SELECT storage_path, deleted_at IS NULL FROM session_recordings").fetchall() == [
        (None, False)
    ]


@pytest.mark.parametrize(
    ("change", "approved"),
    [
        ("ai_generated_summary = 'another'", False),
        ("ai_generated_summary = NULL", False),
        ("""content = '{"plan": 2}'""", False),
        ("""content = '{"plan": 1.0}'""", False),
        ("ai_generated_summary = 'another', approved_by_therapist = true", False),
        ("ai_generated_summary = ai_generated_summary, content = content", True),
        ("note_type = 'dap'", True),
        ("approved_by_therapist = false", False),
    ],
)
def test_an_approval_is_for_the_text_as_it_stands(platform: Platform, change: str, *, approved: bool) -> None:
    with platform.request(claims=platform.own()) as database:
        note = "UPDATE clinical_notes SET {} WHERE id = %s"
        first = """content = '{"plan": 1}', ai_generated_summary = 'one', approved_by_therapist = true"""
        database.execute(note.format(first), [platform.ours["clinical_notes"]])
        query = "SELECT approved_by_therapist FROM clinical_notes WHERE id = %s"
        assert database.execute(query, [platform.ours["clinical_notes"]]).fetchone() == (True,)
        database.execute(note.format(change), [platform.ours["clinical_notes"]])
        assert database.execute(query, [platform.ours["clinical_notes"]]).fetchone() == (approved,)


def test_the_trail_says_that_an_approval_was_taken_back(database: Database) -> None:
    organization(database)
    database.execute("UPDATE clinical_notes SET approved_by_therapist = true")
    database.execute("UPDATE clinical_notes SET ai_generated_summary = 'another'")
    query = "SELECT details -> 'changed' FROM audit_logs WHERE table_name = 'clinical_notes' AND action = 'UPDATE' ORDER BY created_at"
    assert [columns for (columns,) in database.execute(query)] == [
        ["approved_by_therapist"],
        ["ai_generated_summary", "approved_by_therapist"],
    ]


@pytest.mark.parametrize("table", ["clinical_notes", "session_recordings"])
def test_notes_and_recordings_keep_id_and_organization(database: Database, table: str) -> None:
    organization(database)
    theirs = organization(database, "theirs")
    moves = ["id = gen_random_uuid()", "org_id = %(organizations)s, session_id = %(sessions)s"]
    for move in moves:
        with pytest.raises(psycopg.IntegrityError, match="keeps id and organization"):
            database.execute(f"UPDATE {table} SET {move} WHERE org_id <> %(organizations)s", theirs)


@pytest.mark.parametrize("table", EDITED)
def test_an_audited_table_is_not_truncated(database: Database, table: str) -> None:
    organization(database)
    with pytest.raises(psycopg.IntegrityError, match=r"\w+ is audited: use DELETE, not TRUNCATE"):
        database.execute(f"TRUNCATE {table} CASCADE")
    assert {name for name in TABLES if count(database, name)} == set(TABLES)


def test_what_is_not_audited_can_be_truncated(database: Database) -> None:
    organization(database)
    database.execute("TRUNCATE wearable_data")
    assert count(database, "wearable_data") == 0
