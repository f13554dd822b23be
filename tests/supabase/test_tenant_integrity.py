"""Related rows belong to one organization, for every role including the owner, and under concurrency."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.rows import add, organization

if TYPE_CHECKING:
    from tests.supabase.conftest import Platform
    from tests.support.rows import Database

CROSSED = """
    SELECT count(*) FROM sessions s JOIN therapists t ON t.id = s.therapist_id JOIN patients p ON p.id = s.patient_id
    WHERE t.org_id <> s.org_id OR p.org_id <> s.org_id
"""


@pytest.mark.parametrize("role", ["service_role", "supabase_postgres"])
@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO sessions (therapist_id, patient_id, scheduled_at) VALUES (%(our_therapists)s, %(their_patients)s, now())",
        "UPDATE sessions SET patient_id = %(their_patients)s WHERE id = %(our_sessions)s",
        "UPDATE sessions SET therapist_id = %(their_therapists)s WHERE id = %(our_sessions)s",
        "UPDATE patients SET assigned_therapist_id = %(their_therapists)s WHERE id = %(our_patients)s",
        "INSERT INTO patients (org_id, full_name, assigned_therapist_id) VALUES (%(our_organizations)s, 'x', %(their_therapists)s)",
        "UPDATE therapists SET org_id = %(their_organizations)s WHERE id = %(our_therapists)s",
        "UPDATE patients SET org_id = %(their_organizations)s WHERE id = %(our_patients)s",
        "UPDATE therapists SET id = gen_random_uuid() WHERE id = %(our_therapists)s",
        "UPDATE patients SET id = gen_random_uuid() WHERE id = %(our_patients)s",
    ],
)
def test_no_role_can_cross_tenants(
    own_platform: Platform, role: str, query: str
) -> None:
    ids = {f"our_{key}": value for key, value in own_platform.ours.items()}
    ids |= {f"their_{key}": value for key, value in own_platform.theirs.items()}
    database = own_platform.owner
    with pytest.raises(psycopg.IntegrityError), database.transaction():
        database.execute(f"SET LOCAL ROLE {role}")
        database.execute(query, ids)
    assert database.execute(CROSSED).fetchone() == (0,)


def test_early_check_of_deferred_key_does_not_let_id_change_tenant(
    database: Database,
) -> None:
    ours, theirs = organization(database, "ours"), organization(database, "theirs")
    free = add(database, "therapists", org_id=ours["organizations"], full_name="free")
    with pytest.raises(psycopg.IntegrityError), database.transaction():
        database.execute("SET CONSTRAINTS ALL IMMEDIATE")
        database.execute(
            "UPDATE sessions SET therapist_id = %s WHERE id = %s",
            [free, ours["sessions"]],
        )
        database.execute("SET CONSTRAINTS ALL DEFERRED")
        again(database, {"therapists": free}, theirs)
    assert database.execute(CROSSED).fetchone() == (0,)


def again(database: Database, ids: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Delete our therapist, and add a therapist with the same id to their organization."""
    database.execute("DELETE FROM therapists WHERE id = %s", [ids["therapists"]])
    add(
        database,
        "therapists",
        id=ids["therapists"],
        org_id=theirs["organizations"],
        full_name="again",
    )


def test_referenced_id_cannot_be_reused_in_another_organization(
    database: Database,
) -> None:
    ours, theirs = organization(database, "ours"), organization(database, "theirs")
    with pytest.raises(psycopg.IntegrityError), database.transaction():
        again(database, ours, theirs)
    assert database.execute(CROSSED).fetchone() == (0,)


@pytest.mark.parametrize(
    "isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
)
@pytest.mark.parametrize("first", ["session", "therapist"])
def test_two_concurrent_transactions_cannot_cross_tenants(
    own_platform: Platform, isolation: str, first: str
) -> None:
    ours, theirs = own_platform.ours, own_platform.theirs
    other = add(
        own_platform.owner, "therapists", org_id=ours["organizations"], full_name="free"
    )

    def session(database: Database) -> None:
        add(
            database,
            "sessions",
            therapist_id=other,
            patient_id=ours["patients"],
            scheduled_at="2030-01-01",
        )

    def therapist(database: Database) -> None:
        again(database, {"therapists": other}, theirs)

    one, two = (session, therapist) if first == "session" else (therapist, session)
    failures: list[Exception] = []
    with psycopg.connect(own_platform.url) as a, psycopg.connect(own_platform.url) as b:
        for database in (a, b):
            database.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
            database.execute(
                "SELECT count(*) FROM sessions"
            )  # both take their snapshots

        def run_second() -> None:
            try:
                two(b)
                b.commit()
            except psycopg.Error as error:
                failures.append(error)
                b.rollback()

        one(a)
        second = threading.Thread(target=run_second)
        second.start()
        second.join(0.3)
        try:
            a.commit()
        except psycopg.Error as error:
            failures.append(error)
            a.rollback()
        second.join()
    assert failures
    assert own_platform.owner.execute(CROSSED).fetchone() == (0,)
