"""Every role needs a patient's consent to recording, in force at that time, to add a recording."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.rows import add, organization

if TYPE_CHECKING:
    from tests.supabase.conftest import Platform
    from tests.support.rows import Database

WHEN = "2020-01-01 00:00+00"
CONSENTS: dict[str, dict[str, object]] = {
    "another patient's": {"patient": True},
    "for another purpose": {"purpose": "treatment"},
    "revoked": {"granted_at": "2019-01-01", "revoked_at": "2019-06-01"},
    "expired": {"granted_at": "2019-01-01", "expires_at": "2019-06-01"},
    "given later": {"granted_at": "2021-01-01"},
    "ended at that moment": {"granted_at": "2019-01-01", "expires_at": WHEN},
}


@pytest.mark.parametrize("kind", [*CONSENTS, "another tenant's", "none there"])
@pytest.mark.parametrize("role", ["service_role", "supabase_postgres", "authenticated"])
def test_consent_that_does_not_cover_the_recording_is_refused(
    platform: Platform, role: str, kind: str
) -> None:
    ids = platform.ours
    with platform.request("service_role") as database:
        values: dict[str, object] = {
            "patient_id": ids["patients"],
            "purpose": "recording",
            "granted_at": "2019-01-01",
        }
        values |= {
            key: value
            for key, value in CONSENTS.get(kind, {}).items()
            if key != "patient"
        }
        if kind == "another patient's":
            values["patient_id"] = add(
                database, "patients", org_id=ids["organizations"], full_name="other"
            )
        if not {"expires_at", "revoked_at"} & set(values):
            values["expires_at"] = "2999-01-01"
        consent = add(database, "consent_records", **values)
        if kind == "another tenant's":
            consent = platform.theirs["consent_records"]
        elif kind == "none there":
            consent = ids["patients"]
        database.execute("RESET ROLE")
        if role != "supabase_postgres":
            database.execute(f"SET LOCAL ROLE {role}")
            database.execute(
                "SELECT set_config('request.jwt.claims', %s, true)",
                [json.dumps(platform.own())],
            )
        else:
            database.execute("SET LOCAL ROLE service_role")
        with pytest.raises(psycopg.IntegrityError):
            add(
                database,
                "session_recordings",
                session_id=ids["sessions"],
                consent_record_id=consent,
                recorded_at=WHEN,
            )


def test_consent_in_force_is_accepted_even_if_it_ends_later(
    database: Database,
) -> None:
    ids = organization(database)
    until = {"patient_id": ids["patients"], "purpose": "recording", "granted_at": WHEN}
    for end in ({"expires_at": "2030-06-01"}, {"revoked_at": "2030-06-01"}):
        consent = add(database, "consent_records", **until, **end)
        add(
            database,
            "session_recordings",
            session_id=ids["sessions"],
            consent_record_id=consent,
            recorded_at=WHEN,
        )
    database.execute(
        "UPDATE consent_records SET revoked_at = '2999-01-01' WHERE revoked_at IS NULL"
    )
    add(database, "session_recordings", session_id=ids["sessions"])


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE session_recordings SET recorded_at = '2001-01-01'",
        "UPDATE session_recordings SET session_id = %(session)s",
        "UPDATE consent_records SET patient_id = %(patient)s",
        "UPDATE consent_records SET purpose = 'treatment'",
        "UPDATE sessions SET patient_id = %(patient)s",
        "UPDATE sessions SET id = CASE id WHEN %(session)s THEN gen_random_uuid() ELSE %(session)s END",
        "UPDATE patients SET id = CASE id WHEN %(patient)s THEN gen_random_uuid() ELSE %(patient)s END",
        "UPDATE consent_records SET id = gen_random_uuid()",
        "UPDATE therapists SET id = gen_random_uuid()",
        "UPDATE organizations SET id = gen_random_uuid()",
        "UPDATE consent_records SET granted_at = '-infinity'",
        "UPDATE consent_records SET revoked_at = 'infinity'",
    ],
)
def test_facts_that_justified_a_recording_cannot_be_changed(
    database: Database, query: str
) -> None:
    ids = organization(database)
    patient = add(database, "patients", org_id=ids["organizations"], full_name="other")
    session = add(
        database,
        "sessions",
        therapist_id=ids["therapists"],
        patient_id=patient,
        scheduled_at="2030-01-01",
    )
    with pytest.raises(psycopg.IntegrityError):
        database.execute(query, {"patient": patient, "session": session})


def test_a_revoked_consent_stays_revoked(database: Database) -> None:
    organization(database)
    database.execute("UPDATE consent_records SET revoked_at = granted_at")
    for value in ("NULL", "now() + interval '1 day'"):
        with pytest.raises(
            psycopg.IntegrityError,
            match="the end of a consent only moves to an earlier time, and stays once reached",
        ):
            database.execute(f"UPDATE consent_records SET revoked_at = {value}")
    database.execute(
        "UPDATE consent_records SET document_path = NULL, revoked_at = revoked_at"
    )


def test_future_revocation_can_only_be_moved_earlier(database: Database) -> None:
    organization(database)
    database.execute("UPDATE consent_records SET revoked_at = '2999-01-01'")
    with pytest.raises(psycopg.IntegrityError):
        database.execute("UPDATE consent_records SET revoked_at = '3000-01-01'")
    with pytest.raises(psycopg.IntegrityError):
        database.execute("UPDATE consent_records SET revoked_at = NULL")
    database.execute("UPDATE consent_records SET revoked_at = now()")
    with pytest.raises(psycopg.IntegrityError):
        database.execute("UPDATE consent_records SET revoked_at = granted_at")


def test_recording_waits_for_uncommitted_revocation(
    own_platform: Platform,
) -> None:
    ids = own_platform.ours
    recording = {
        "session_id": ids["sessions"],
        "consent_record_id": ids["consent_records"],
    }
    with (
        psycopg.connect(own_platform.url) as revoking,
        psycopg.connect(own_platform.url) as second,
    ):
        revoking.execute(
            "UPDATE consent_records SET revoked_at = now() WHERE id = %s",
            [ids["consent_records"]],
        )
        second.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            add(second, "session_recordings", **recording)
        second.rollback()
        revoking.commit()
        with pytest.raises(psycopg.IntegrityError):
            add(second, "session_recordings", **recording)


@pytest.mark.parametrize(
    "isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
)
def test_consent_replaced_after_snapshot_is_not_accepted(
    own_platform: Platform, isolation: str
) -> None:
    ids = own_platform.ours
    other = add(
        own_platform.owner, "patients", org_id=ids["organizations"], full_name="other"
    )
    with psycopg.connect(own_platform.url) as a, psycopg.connect(own_platform.url) as b:
        a.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        a.execute("SELECT count(*) FROM consent_records")  # takes its snapshot
        b.execute("DELETE FROM consent_records WHERE id = %s", [ids["consent_records"]])
        add(
            b,
            "consent_records",
            id=ids["consent_records"],
            patient_id=other,
            purpose="recording",
        )
        b.commit()
        with pytest.raises(psycopg.Error):
            add(
                a,
                "session_recordings",
                session_id=ids["sessions"],
                consent_record_id=ids["consent_records"],
            )
