"""No role can change evidence: the end of a consent, the paths of files, an erasure, an approval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.rows import EDITED, TABLES, add, count, organization

if TYPE_CHECKING:
    from tests.supabase.conftest import Platform
    from tests.support.rows import Database

ENDS = "the end of a consent only moves to an earlier time, and stays once reached"
ROLES = ["authenticated", "service_role", "supabase_postgres"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "later", ["NULL", "'2999-01-01'", "expires_at + interval '1 second'"]
)
def test_ended_consent_cannot_be_reinstated(
    own_platform: Platform, role: str, later: str
) -> None:
    ids = own_platform.ours
    consent = add(
        own_platform.owner,
        "consent_records",
        patient_id=ids["patients"],
        purpose="recording",
        granted_at="2020-01-01",
        expires_at="2021-01-01",
    )
    with own_platform.request(
        "service_role" if role == ROLES[2] else role, own_platform.own()
    ) as database:
        if role == "supabase_postgres":
            database = own_platform.owner
        with pytest.raises(psycopg.IntegrityError, match=ENDS):
            database.execute(
                f"UPDATE consent_records SET expires_at = {later} WHERE id = %s",
                [consent],
            )


def test_consent_end_can_only_move_earlier(database: Database) -> None:
    organization(database)
    database.execute("UPDATE consent_records SET expires_at = '2999-01-01'")
    database.execute("UPDATE consent_records SET expires_at = '2998-01-01'")
    for later in ("'2999-01-01'", "NULL"):
        with pytest.raises(psycopg.IntegrityError, match=ENDS):
            database.execute(f"UPDATE consent_records SET expires_at = {later}")
    database.execute(
        "UPDATE consent_records SET expires_at = granted_at + interval '1 microsecond'"
    )
    with pytest.raises(psycopg.IntegrityError, match=ENDS):
        database.execute(
            "UPDATE consent_records SET expires_at = expires_at + interval '1 microsecond'"
        )
    database.execute(
        "UPDATE consent_records SET expires_at = expires_at, document_path = NULL"
    )


@pytest.mark.parametrize("role", ["authenticated", "service_role"])
def test_file_path_cannot_be_cleared_or_replaced(platform: Platform, role: str) -> None:
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
        for table, column in (
            ("session_recordings", "storage_path"),
            ("consent_records", "document_path"),
        ):
            for value in (None, f"{org}/2"):
                with (
                    pytest.raises(psycopg.IntegrityError, match=f"keeps its {column}"),
                    database.transaction(),
                ):
                    database.execute(
                        f"UPDATE {table} SET {column} = %s WHERE org_id = %s",
                        [value, org],
                    )


def test_erasure_is_final_and_allows_only_clearing_the_path(database: Database) -> None:
    org = organization(database)["organizations"]
    database.execute(
        "UPDATE session_recordings SET storage_path = %s", [f"{org}/1.opus"]
    )
    with pytest.raises(
        psycopg.IntegrityError, match="a recording keeps its storage_path"
    ):
        database.execute(
            "UPDATE session_recordings SET deleted_at = now(), storage_path = %s",
            [f"{org}/2.opus"],
        )
    database.execute("UPDATE session_recordings SET deleted_at = now()")
    for value in ("NULL", "now() + interval '1 day'"):
        with pytest.raises(
            psycopg.IntegrityError, match="a recording that was deleted stays so"
        ):
            database.execute(f"UPDATE session_recordings SET deleted_at = {value}")
    with pytest.raises(
        psycopg.IntegrityError, match="a recording keeps its storage_path"
    ):
        database.execute(
            "UPDATE session_recordings SET storage_path = %s", [f"{org}/2.opus"]
        )
    database.execute("UPDATE session_recordings SET storage_path = NULL")
    with pytest.raises(
        psycopg.IntegrityError,
        match="a recording that was deleted stays so, and gets no new file",
    ):
        database.execute(
            "UPDATE session_recordings SET storage_path = %s", [f"{org}/hidden.opus"]
        )
    assert database.execute(
        "SELECT storage_path, deleted_at IS NULL FROM session_recordings"
    ).fetchall() == [(None, False)]


@pytest.mark.parametrize(
    ("change", "approved"),
    [
        ("ai_generated_summary = 'another'", False),
        ("ai_generated_summary = NULL", False),
        ("""content = '{"plan": 2}'""", False),
        ("""content = '{"plan": 1.0}'""", False),
        ("ai_generated_summary = 'another', approved_by_therapist = true", False),
        ("ai_generated_summary = ai_generated_summary, content = content", True),
        ("note_type = 'dap'", False),
        ("approved_by_therapist = false", False),
    ],
)
def test_approval_is_withdrawn_when_note_changes(
    platform: Platform, change: str, *, approved: bool
) -> None:
    with platform.request(claims=platform.own()) as database:
        note = "UPDATE clinical_notes SET {} WHERE id = %s"
        first = """content = '{"plan": 1}', ai_generated_summary = 'one', approved_by_therapist = true"""
        database.execute(note.format(first), [platform.ours["clinical_notes"]])
        query = "SELECT approved_by_therapist FROM clinical_notes WHERE id = %s"
        assert database.execute(
            query, [platform.ours["clinical_notes"]]
        ).fetchone() == (True,)
        database.execute(note.format(change), [platform.ours["clinical_notes"]])
        assert database.execute(
            query, [platform.ours["clinical_notes"]]
        ).fetchone() == (approved,)


def test_audit_log_records_withdrawn_approval(database: Database) -> None:
    organization(database)
    database.execute("UPDATE clinical_notes SET approved_by_therapist = true")
    database.execute("UPDATE clinical_notes SET ai_generated_summary = 'another'")
    query = "SELECT details -> 'changed' FROM audit_logs WHERE table_name = 'clinical_notes' AND action = 'UPDATE' ORDER BY created_at"
    assert [columns for (columns,) in database.execute(query)] == [
        ["approved_by_therapist"],
        ["ai_generated_summary", "approved_by_therapist"],
    ]


@pytest.mark.parametrize(
    "table", ["clinical_notes", "session_recordings", "wearable_data"]
)
def test_rows_of_a_session_or_patient_cannot_be_moved(
    database: Database, table: str
) -> None:
    ids = organization(database)
    theirs = organization(database, "theirs")
    parent = "patient_id" if table == "wearable_data" else "session_id"
    patient = add(database, "patients", org_id=ids["organizations"], full_name="other")
    people = {"therapist_id": ids["therapists"], "patient_id": patient}
    session = add(database, "sessions", scheduled_at="2030-01-01", **people)
    other = patient if table == "wearable_data" else session
    stranger = theirs["patients" if table == "wearable_data" else "sessions"]
    database.execute("UPDATE session_recordings SET consent_record_id = NULL")
    for move in (
        "id = gen_random_uuid()",
        f"{parent} = '{other}'",
        f"org_id = '{theirs['organizations']}', {parent} = '{stranger}'",
    ):
        with pytest.raises(
            psycopg.IntegrityError,
            match=r"a \w+ keeps (its id, its organization and its session|id and organization|its patient, except)",
        ):
            database.execute(f"UPDATE {table} SET {move} WHERE id = %s", [ids[table]])


@pytest.mark.parametrize(
    "change",
    [
        "granted_at = now()",
        "granted_at = '2001-01-01'",
        "granted_by = 'x'",
        "notice_version = '2'",
        "purpose = 'treatment'",
    ],
)
def test_terms_of_a_consent_cannot_be_changed(database: Database, change: str) -> None:
    organization(database)
    with pytest.raises(
        psycopg.IntegrityError,
        match="a consent keeps its purpose, and when, by whom and on which",
    ):
        database.execute(f"UPDATE consent_records SET {change}")


@pytest.mark.parametrize("table", EDITED)
def test_audited_table_cannot_be_truncated(database: Database, table: str) -> None:
    organization(database)
    with pytest.raises(
        psycopg.IntegrityError, match=r"\w+ is audited: use DELETE, not TRUNCATE"
    ):
        database.execute(f"TRUNCATE {table} CASCADE")
    assert {name for name in TABLES if count(database, name)} == set(TABLES)


def test_unaudited_table_can_be_truncated(database: Database) -> None:
    organization(database)
    database.execute("TRUNCATE wearable_data")
    assert count(database, "wearable_data") == 0
