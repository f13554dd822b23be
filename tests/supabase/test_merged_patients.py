"""Two records of one patient are merged: nothing is lost, the log says so, and nobody moves a row in another way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.rows import add, count

if TYPE_CHECKING:
    from uuid import UUID

    from tests.supabase.conftest import Platform

MERGE = "SELECT merge_patients(duplicate => %s, kept => %s, actor => %s)"
BELOW = ("sessions", "consent_records", "wearable_data")


def twin_of(platform: Platform) -> UUID:
    """Add a second record of our patient, with a row in every table below it."""
    ids, owner = platform.ours, platform.owner
    twin = add(
        owner,
        "patients",
        org_id=ids["organizations"],
        full_name="Meera K.",
        phone="+919876543210",
        abha_id="91-2",
        demographics={"born": 1990, "language": "hi"},
    )
    session = add(
        owner,
        "sessions",
        therapist_id=ids["therapists"],
        patient_id=twin,
        scheduled_at="2024-01-01",
    )
    consent = add(owner, "consent_records", patient_id=twin, purpose="recording")
    add(owner, "consent_records", patient_id=twin, purpose="treatment")
    add(
        owner,
        "session_recordings",
        session_id=session,
        consent_record_id=consent,
    )
    add(owner, "clinical_notes", session_id=session, note_type="dap")
    add(
        owner,
        "wearable_data",
        patient_id=twin,
        data_type="hrv",
        recorded_at="2024-01-01",
    )
    return twin


def rows_of(platform: Platform, patient: UUID) -> list[int]:
    query = "SELECT count(*) FROM {} WHERE patient_id = %s"
    return [
        platform.owner.execute(query.format(table).encode(), [patient]).fetchall()[0][0]
        for table in BELOW
    ]


@pytest.mark.parametrize("role", ["service_role", "supabase_postgres"])
def test_merge_moves_everything_to_the_kept_record(
    own_platform: Platform, role: str
) -> None:
    platform, kept = own_platform, own_platform.ours["patients"]
    platform.owner.execute(
        "UPDATE patients SET abha_id = NULL, demographics = %s WHERE id = %s",
        ['{"language": "ta"}', kept],
    )
    twin, user = twin_of(platform), platform.ours["sessions"]
    notes = count(platform.owner, "clinical_notes")
    with platform.owner.transaction():
        if role == "service_role":
            platform.owner.execute("SET LOCAL ROLE service_role")
        platform.owner.execute(MERGE, [twin, kept, user])
    assert rows_of(platform, twin) == [0, 0, 0]
    assert rows_of(platform, kept) == [2, 3, 2]
    assert count(platform.owner, "clinical_notes") == notes
    query = "SELECT full_name, phone, abha_id, demographics FROM patients WHERE id = ANY (%s)"
    assert platform.owner.execute(query, [[kept, twin]]).fetchall() == [
        ("Meera", "+919876543210", "91-2", {"born": 1990, "language": "ta"})
    ]
    query = "SELECT revoked_at IS NULL FROM consent_records WHERE patient_id = %s ORDER BY purpose, 1"
    assert platform.owner.execute(query, [kept]).fetchall() == [
        (False,),
        (True,),
        (True,),
    ]
    query = "SELECT action, actor_id, details FROM audit_logs WHERE record_id = %s"
    entries: list[Any] = platform.owner.execute(query, [twin]).fetchall()
    assert ("merge", user, {"into": str(kept)}) in entries
    assert [action for action, *_ in entries].count("DELETE") == 1


def test_merge_moves_rows_of_later_tables_or_fails_if_trigger_refuses(
    own_platform: Platform,
) -> None:
    platform, kept = own_platform, own_platform.ours["patients"]
    platform.owner.execute("""
        CREATE TABLE goals (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            org_id uuid NOT NULL,
            whose uuid NOT NULL,
            FOREIGN KEY (org_id, whose) REFERENCES patients (org_id, id) ON DELETE CASCADE
        );
    """)
    twin = twin_of(platform)
    goal = "INSERT INTO goals (org_id, whose) VALUES (%s, %s)"
    platform.owner.execute(goal, [platform.ours["organizations"], twin])
    platform.owner.execute("""
        CREATE TRIGGER keep_id BEFORE UPDATE ON goals FOR EACH ROW EXECUTE FUNCTION refuse_change('a goal stays')
    """)
    with pytest.raises(psycopg.IntegrityError, match="a goal stays"):
        platform.owner.execute(MERGE, [twin, kept, None])
    assert rows_of(platform, twin) == [1, 2, 1]
    platform.owner.execute("DROP TRIGGER keep_id ON goals")
    platform.owner.execute(MERGE, [twin, kept, None])
    assert platform.owner.execute("SELECT whose FROM goals").fetchall() == [(kept,)]


@pytest.mark.parametrize("other", ["theirs", "the same", "none there"])
def test_only_two_patients_of_one_organization_can_be_merged(
    own_platform: Platform, other: str
) -> None:
    kept = own_platform.ours["patients"]
    duplicate = {
        "theirs": own_platform.theirs["patients"],
        "the same": kept,
        "none there": own_platform.ours["sessions"],
    }[other]
    before = count(own_platform.owner, "audit_logs")
    with pytest.raises(
        psycopg.errors.ForeignKeyViolation, match="two patients of one organization"
    ):
        own_platform.owner.execute(MERGE, [duplicate, kept, None])
    assert count(own_platform.owner, "audit_logs") == before


def test_signed_in_user_cannot_merge_patients(own_platform: Platform) -> None:
    platform = own_platform
    twin = twin_of(platform)
    with (
        platform.request(claims=platform.own()) as api,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        api.execute(MERGE, [twin, platform.ours["patients"], None])


@pytest.mark.parametrize("table", BELOW)
@pytest.mark.parametrize(
    "log", ["none", "of another transaction", "of another patient"]
)
def test_rows_cannot_move_without_merge_entry_in_same_transaction(
    own_platform: Platform, table: str, log: str
) -> None:
    platform, kept = own_platform, own_platform.ours["patients"]
    twin = twin_of(platform)
    into = platform.ours["sessions"] if log == "of another patient" else kept
    entry = {"action": "merge", "table_name": "patients", "record_id": twin}
    org = platform.ours["organizations"]
    if log == "of another transaction":
        add(
            platform.owner,
            "audit_logs",
            org_id=org,
            details={"into": str(into)},
            **entry,
        )
    with (
        pytest.raises(psycopg.IntegrityError, match="keeps its patient"),
        platform.owner.transaction(),
    ):
        if log == "of another patient":
            add(
                platform.owner,
                "audit_logs",
                org_id=org,
                details={"into": str(into)},
                **entry,
            )
        platform.owner.execute(
            f"UPDATE {table} SET patient_id = %s WHERE patient_id = %s".encode(),
            [kept, twin],
        )
