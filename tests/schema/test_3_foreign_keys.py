"""Section 3, and "All foreign key relationships established": each delete removes the specified rows of every table."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from tests.support.rows import TABLES, add, count, organization, remove

if TYPE_CHECKING:
    from tests.support.rows import Database

FOREIGN_KEYS = [
    ("therapists", "org_id", "organizations", "CASCADE"),
    ("patients", "org_id", "organizations", "CASCADE"),
    ("patients", "assigned_therapist_id", "therapists", "SET NULL"),
    ("sessions", "therapist_id", "therapists", "NO ACTION"),
    ("sessions", "patient_id", "patients", "CASCADE"),
    ("clinical_notes", "session_id", "sessions", "CASCADE"),
    ("session_recordings", "session_id", "sessions", "CASCADE"),
    ("session_recordings", "consent_record_id", "consent_records", "SET NULL"),
    ("wearable_data", "patient_id", "patients", "CASCADE"),
    ("consent_records", "patient_id", "patients", "CASCADE"),
    ("audit_logs", "org_id", "organizations", "SET NULL"),
]


def left(database: Database) -> set[str]:
    """Return the tables that still have a row."""
    return {table for table in TABLES if count(database, table)}


@pytest.mark.parametrize(("table", "column", "target", "rule"), FOREIGN_KEYS)
def test_foreign_key_has_expected_target_and_delete_rule(
    database: Database, table: str, column: str, target: str, rule: str
) -> None:
    rules = {"a": "NO ACTION", "c": "CASCADE", "n": "SET NULL"}
    query = """
        SELECT confdeltype, condeferrable AND condeferred FROM pg_constraint
        WHERE conname = %s AND conrelid = %s::regclass AND confrelid = %s::regclass AND contype = 'f'
    """
    ((letter, deferred),) = database.execute(
        query, [f"{table}_{column}_fkey", table, target]
    ).fetchall()
    assert (rules[letter], deferred) == (rule, rule == "NO ACTION")


@pytest.mark.parametrize(
    ("table", "column"), [(key[0], key[1]) for key in FOREIGN_KEYS]
)
def test_foreign_key_refuses_missing_target(
    database: Database, table: str, column: str
) -> None:
    """Insert a copy of a good row that differs only in this key."""
    ids = organization(database)
    database.execute(
        f"ALTER TABLE {table} DISABLE TRIGGER USER"
    )  # these triggers would refuse it first
    copy = f"""
        INSERT INTO {table} SELECT (jsonb_populate_record(
            t, jsonb_build_object('id', gen_random_uuid(), '{column}', %s::uuid, 'abha_id', NULL, 'email', NULL)
        )).* FROM {table} t WHERE id = %s
    """
    if (table, column) == ("patients", "org_id"):
        copy = copy.replace(
            "'abha_id', NULL", "'abha_id', NULL, 'assigned_therapist_id', NULL"
        )
    with pytest.raises(psycopg.errors.ForeignKeyViolation) as error:
        database.execute(copy, [uuid4(), ids[table]])
    assert error.value.diag.constraint_name == f"{table}_{column}_fkey"


def test_deleting_an_organization_removes_everything_but_its_audit_log(
    database: Database,
) -> None:
    other = organization(database, "Other")
    ids = organization(database)
    remove(database, "organizations", ids["organizations"])
    for table in TABLES:
        expected = {other[table]} | ({ids[table]} if table == "audit_logs" else set())
        words = "WHERE action = 'login'" if table == "audit_logs" else ""
        assert {
            row[0] for row in database.execute(f"SELECT id FROM {table} {words}")
        } == expected
    assert database.execute(
        "SELECT org_id FROM audit_logs WHERE id = %s", [ids["audit_logs"]]
    ).fetchone() == (None,)


def test_deleting_a_therapist_with_sessions_is_refused(database: Database) -> None:
    ids = organization(database)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        remove(database, "therapists", ids["therapists"])
    assert left(database) == set(TABLES)


def test_deleting_a_therapist_without_sessions_leaves_the_patient_unassigned(
    database: Database,
) -> None:
    ids = organization(database)
    free = add(database, "therapists", org_id=ids["organizations"], full_name="Dr. Sen")
    database.execute("UPDATE patients SET assigned_therapist_id = %s", [free])
    remove(database, "therapists", free)
    assert database.execute(
        "SELECT assigned_therapist_id FROM patients"
    ).fetchall() == [(None,)]


def test_therapist_can_be_replaced_and_removed_in_one_transaction(
    database: Database,
) -> None:
    ids = organization(database)
    with database.transaction():
        remove(database, "therapists", ids["therapists"])
        heir = add(
            database, "therapists", org_id=ids["organizations"], full_name="Dr. Sen"
        )
        database.execute("UPDATE sessions SET therapist_id = %s", [heir])
    assert count(database, "sessions") == 1


def test_deleting_a_session_removes_its_notes_and_recordings(
    database: Database,
) -> None:
    ids = organization(database)
    remove(database, "sessions", ids["sessions"])
    assert left(database) == set(TABLES) - {
        "sessions",
        "clinical_notes",
        "session_recordings",
    }


def test_deleting_a_patient_removes_all_of_the_patients_rows(
    database: Database,
) -> None:
    ids = organization(database)
    remove(database, "patients", ids["patients"])
    assert left(database) == {"organizations", "therapists", "audit_logs"}


def test_deleting_a_consent_record_keeps_the_recording(database: Database) -> None:
    ids = organization(database)
    remove(database, "consent_records", ids["consent_records"])
    assert database.execute(
        "SELECT consent_record_id FROM session_recordings"
    ).fetchall() == [(None,)]
