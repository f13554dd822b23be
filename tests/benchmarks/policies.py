"""Measure what the policies, the indexes and the audit log cost: each query runs as a tenant and as the owner.

Run by ``make bench``. Both sides take turns in one run, over the same connection. The ratio compares their medians.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

import psycopg

from sqlmig import embedded
from sqlmig.cli import command

SQL = Path(__file__).parents[2] / "sql"
DATA = Path(".cache/bench")
ROUNDS = 200
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
}

# 1,000 sessions, notes and recordings and 5,000 rows of wearable data for each organization.
FILL = """
    SET session_replication_role = replica;
    INSERT INTO organizations (name) SELECT 'o' || n FROM generate_series(1, {organizations}) n;
    INSERT INTO therapists (org_id, full_name, email) SELECT id, 't', n || '@x.org' FROM organizations, generate_series(1, 5) n;
    INSERT INTO patients (org_id, full_name, assigned_therapist_id, abha_id)
    SELECT org_id, 'p', id, row_number() OVER () FROM therapists, generate_series(1, 4);
    INSERT INTO sessions (org_id, therapist_id, patient_id, scheduled_at)
    SELECT org_id, assigned_therapist_id, id, now() + (n - 40) * interval '1 day' + random() * interval '8 hours'
    FROM patients, generate_series(1, 50) n;
    INSERT INTO clinical_notes (org_id, session_id, note_type, created_at) SELECT org_id, id, 'soap', scheduled_at FROM sessions;
    INSERT INTO consent_records (org_id, patient_id, purpose) SELECT org_id, id, 'recording' FROM patients;
    INSERT INTO session_recordings (org_id, session_id, recorded_at, storage_path)
    SELECT org_id, id, scheduled_at, org_id || '/' || id FROM sessions;
    INSERT INTO wearable_data (org_id, patient_id, data_type, recorded_at)
    SELECT org_id, id, 'heart_rate', now() - n * interval '1 hour' FROM patients, generate_series(1, 250) n;
    INSERT INTO audit_logs (org_id, action, created_at)
    SELECT id, 'read', now() - n * interval '1 minute' FROM organizations, generate_series(1, 200) n;
    SET session_replication_role = origin;
"""
ROLES = """
    DO $$ BEGIN
        IF to_regrole('anon') IS NULL THEN
            CREATE ROLE anon; CREATE ROLE authenticated; CREATE ROLE service_role BYPASSRLS;
        END IF;
    END $$
"""

# {} is the filter on the tenant, for the owner's query. No policy adds it there.
QUERIES = {
    "the organization": "SELECT * FROM organizations WHERE true {id}",
    "its therapists": "SELECT * FROM therapists WHERE true {} ORDER BY full_name",
    "its patients": "SELECT * FROM patients WHERE true {} ORDER BY full_name",
    "a patient by id": "SELECT * FROM patients WHERE id = %(patient)s {}",
    "a patient by ABHA id": "SELECT * FROM patients WHERE abha_id = %(abha)s {}",
    "a therapist's patients": "SELECT * FROM patients WHERE assigned_therapist_id = %(therapist)s {}",
    "newest 50 sessions": "SELECT * FROM sessions WHERE true {} ORDER BY scheduled_at DESC LIMIT 50",
    "a calendar week": (
        "SELECT * FROM sessions WHERE scheduled_at >= now() AND scheduled_at < now() + interval '7 days' {} ORDER BY scheduled_at"
    ),
    "a therapist's sessions to come": (
        "SELECT * FROM sessions WHERE therapist_id = %(therapist)s AND scheduled_at > now() {} ORDER BY scheduled_at"
    ),
    "a patient's sessions": "SELECT * FROM sessions WHERE patient_id = %(patient)s {} ORDER BY scheduled_at DESC",
    "upcoming sessions": "SELECT * FROM upcoming_sessions WHERE true {} ORDER BY scheduled_at LIMIT 50",
    "count of sessions": "SELECT count(*) FROM sessions WHERE true {}",
    "newest 50 notes": "SELECT * FROM clinical_notes WHERE true {} ORDER BY created_at DESC LIMIT 50",
    "a session's notes": "SELECT * FROM clinical_notes WHERE session_id = %(session)s {}",
    "newest 50 recordings": "SELECT * FROM session_recordings WHERE true {} ORDER BY recorded_at DESC LIMIT 50",
    "a session's recordings": "SELECT * FROM session_recordings WHERE session_id = %(session)s {}",
    "newest 50 of wearable data": "SELECT * FROM wearable_data WHERE true {} ORDER BY recorded_at DESC LIMIT 50",
    "count of wearable data": "SELECT count(*) FROM wearable_data WHERE true {}",
    "a patient's wearable data of 24 hours": (
        "SELECT * FROM wearable_data WHERE patient_id = %(patient)s AND recorded_at > now() - interval '24 hours' {}"
    ),
    "a patient's consents": "SELECT * FROM consent_records WHERE patient_id = %(patient)s {}",
    "newest 100 of the audit log": "SELECT * FROM audit_logs WHERE true {} ORDER BY created_at DESC LIMIT 100",
}
THOUSAND = """
    INSERT INTO wearable_data ({}patient_id, data_type, recorded_at)
    SELECT {}%(patient)s, 'hrv', now() - n * interval '1 minute' FROM generate_series(1, 1000) n
"""
# The notes of a few organizations get 2 kB of content, which is a realistic size.
LARGE_NOTES = """
    SET session_replication_role = replica;
    UPDATE clinical_notes SET content = jsonb_build_object('subjective', (
        SELECT string_agg(md5(n || clinical_notes.id::text), ' ') FROM generate_series(1, 60) n
    )) WHERE org_id IN (SELECT id FROM organizations ORDER BY id LIMIT 5);
    SET session_replication_role = origin;
"""
OF_2000 = "WHERE org_id IN (SELECT id FROM organizations ORDER BY id LIMIT 2)"
OF_ONE = """
    WHERE id = (
        SELECT id FROM clinical_notes
        WHERE org_id = (SELECT id FROM organizations ORDER BY id LIMIT 1)
        ORDER BY created_at DESC
        LIMIT 1
    )
"""
AUDITED_CHANGES = (
    (
        "2,000 notes of 2 kB, the content changes",
        f"""UPDATE clinical_notes SET content = content || '{{"x": 1}}' {OF_2000}""",
        "4 times",
    ),
    (
        "2,000 notes of 2 kB, another column changes",
        f"UPDATE clinical_notes SET note_type = 'dap' {OF_2000}",
        "4 times",
    ),
    ("2,000 notes of 2 kB are removed", f"DELETE FROM clinical_notes {OF_2000}", ""),
    (
        "one note of 2 kB changes",
        f"""UPDATE clinical_notes SET content = content || '{{"x": 1}}' {OF_ONE}""",
        "+ 0.5 ms",
    ),
    (
        "one patient changes",
        "UPDATE patients SET phone = '1' WHERE id = %(patient)s",
        "+ 0.5 ms",
    ),
    (
        "one patient is added",
        "INSERT INTO patients (org_id, full_name) VALUES (%(org)s, 'x')",
        "+ 0.5 ms",
    ),
)
AUDITED = (
    "organizations",
    "therapists",
    "patients",
    "sessions",
    "clinical_notes",
    "session_recordings",
    "consent_records",
)


def timed(
    connection: psycopg.Connection[Any],
    query: str,
    values: dict[str, Any],
    *,
    tenant: bool,
) -> float:
    """Return the milliseconds that a query takes for a tenant's user or for the owner, and roll it back."""
    with connection.transaction(force_rollback=True):
        claims = json.dumps({"app_metadata": {"org_id": str(values["org"])}})
        connection.execute(
            "SELECT set_config('request.jwt.claims', %s, true)", [claims]
        )
        if tenant:
            connection.execute("SET LOCAL ROLE authenticated")
        begun = time.perf_counter()
        cursor = connection.execute(query, values)
        assert cursor.rowcount > 0, query
        return (time.perf_counter() - begun) * 1000


def compared(
    connection: psycopg.Connection[Any],
    people: list[tuple[Any, ...]],
    ours: tuple[str, bool],
    other: tuple[str, bool],
    rounds: int = ROUNDS,
) -> tuple[float, float]:
    """Return the medians of two queries that take turns with the same people, each as a tenant or as the owner."""
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        values = dict(
            zip(
                ("org", "therapist", "patient", "session", "abha"),
                random.choice(people),
                strict=True,
            )
        )
        for side in (0, 1) if number % 2 else (1, 0):
            query, tenant = (ours, other)[side]
            took[side].append(timed(connection, query, values, tenant=tenant))
    return statistics.median(took[0]), statistics.median(took[1])


def lists(
    connection: psycopg.Connection[Any],
    people: list[tuple[Any, ...]],
    organizations: int,
) -> None:
    """Print the cost of each query, and the cost of the owner's query with the filter written out."""
    print(
        f"\n| {organizations:,} organizations | tenant's user, ms | owner, ms | ratio | at most 1.5 times + 0.05 ms |"
    )
    print("| --- | --- | --- | --- | --- |")
    for name, query in QUERIES.items():
        written = query.format("AND org_id = %(org)s", id="AND id = %(org)s")
        tenants, owners = compared(
            connection, people, (query.format("", id=""), True), (written, False)
        )
        kept = "yes" if tenants <= 1.5 * owners + 0.05 else "**no**"
        print(
            f"| {name} | {tenants:.3f} | {owners:.3f} | {tenants / owners:.2f} | {kept} |"
        )


def writes(connection: psycopg.Connection[Any], people: list[tuple[Any, ...]]) -> None:
    """Print the cost of 1,000 new rows of wearable data, with and without an index, and the cost of the audit log."""
    named, bare = THOUSAND.format("org_id, ", "%(org)s, "), THOUSAND.format("", "")
    print(
        "\n| 1,000 rows of wearable data | ms | beside | ms | ratio | at most |\n| --- | --- | --- | --- | --- | --- |"
    )
    for name, query, at_most in (
        ("a tenant, org_id named", named, 1.3),
        ("a tenant, org_id from the token", bare, 2.2),
    ):
        tenants, owners = compared(connection, people, (query, True), (named, False))
        print(
            f"| {name} | {tenants:.1f} | the owner | {owners:.1f} | {tenants / owners:.2f} | {at_most} |"
        )
    with connection.transaction(force_rollback=True):
        with_index = compared(connection, people, (named, False), (named, False))[0]
        connection.execute("DROP INDEX idx_wearable_org_time")
        without = compared(connection, people, (named, False), (named, False))[0]
        print(
            f"| idx_wearable_org_time | {with_index:.1f} | without it | {without:.1f} | {with_index / without:.2f} | |"
        )
        for name in ("newest 50 of wearable data", "count of wearable data"):
            query = QUERIES[name].format("AND org_id = %(org)s")
            slow = timed(connection, query, {"org": people[0][0]}, tenant=False)
            print(f"| {name}, without it | {slow:.1f} | | | | |")
    print(
        "\n| audited | ms | not audited, ms | ratio | at most |\n| --- | --- | --- | --- | --- |"
    )
    connection.execute(LARGE_NOTES)
    connection.execute("VACUUM ANALYZE clinical_notes")
    for name, query, limit in AUDITED_CHANGES:
        rounds = 15 if name.startswith("2,000") else ROUNDS
        audited = compared(
            connection, people[:20], (query, False), (query, False), rounds
        )[0]
        switch(connection, "DISABLE")
        bare_time = compared(
            connection, people[:20], (query, False), (query, False), rounds
        )[0]
        switch(connection, "ENABLE")
        print(
            f"| {name} | {audited:.2f} | {bare_time:.2f} | {audited / bare_time:.2f} | {limit} |"
        )


def switch(connection: psycopg.Connection[Any], how: str) -> None:
    """Enable or disable the triggers that write the audit log."""
    for table in AUDITED:
        for verb in ("insert", "update", "delete"):
            connection.execute(f"ALTER TABLE {table} {how} TRIGGER audit_{verb}")


def deletes(connection: psycopg.Connection[Any]) -> None:
    """Print how long it takes to delete an organization with everything that belongs to it."""
    print("\n| an organization is deleted | seconds |\n| --- | --- |")
    for sessions in (10_000, 100_000):
        with connection.transaction(force_rollback=True):
            connection.execute("INSERT INTO organizations (name) VALUES ('big')")
            of = "(SELECT id FROM organizations WHERE name = 'big')"
            connection.execute(f"""
                INSERT INTO therapists (org_id, full_name) SELECT {of}, 't' FROM generate_series(1, 10);
                INSERT INTO patients (org_id, full_name, assigned_therapist_id)
                SELECT org_id, 'p', id FROM therapists, generate_series(1, {sessions // 500}) WHERE org_id = {of};
                INSERT INTO sessions (therapist_id, patient_id, scheduled_at)
                SELECT assigned_therapist_id, id, now() FROM patients, generate_series(1, 50) WHERE org_id = {of};
                INSERT INTO clinical_notes (session_id, note_type) SELECT id, 'soap' FROM sessions WHERE org_id = {of};
            """)
            begun = time.perf_counter()
            connection.execute("DELETE FROM organizations WHERE name = 'big'")
            print(
                f"| with {sessions:,} sessions and as many notes | {time.perf_counter() - begun:.1f} |"
            )


# One organization with 150,000 sessions, beside the equal ones.
LARGE_TENANT = """
    SET session_replication_role = replica;
    INSERT INTO organizations (name) VALUES ('large');
    INSERT INTO therapists (org_id, full_name) SELECT id, 't' FROM organizations, generate_series(1, 30) WHERE name = 'large';
    INSERT INTO patients (org_id, full_name, assigned_therapist_id)
    SELECT org_id, 'p', t.id FROM therapists AS t JOIN organizations AS o ON o.id = org_id, generate_series(1, 100) WHERE o.name = 'large';
    INSERT INTO sessions (org_id, therapist_id, patient_id, scheduled_at, status)
    SELECT org_id, assigned_therapist_id, p.id, now() - n * interval '20 days', 'completed'
    FROM patients AS p JOIN organizations AS o ON o.id = org_id, generate_series(1, 50) n WHERE o.name = 'large';
    INSERT INTO clinical_notes (org_id, session_id, note_type, created_at, approved_by_therapist)
    SELECT org_id, s.id, 'soap', scheduled_at, row_number() OVER () % 200 > 0
    FROM sessions AS s JOIN organizations AS o ON o.id = org_id WHERE o.name = 'large' AND random() < 0.95;
    INSERT INTO session_recordings (org_id, session_id, recorded_at, expires_at, deleted_at)
    SELECT org_id, s.id, scheduled_at, scheduled_at + interval '90 days',
        CASE WHEN scheduled_at < now() - interval '91 days' THEN scheduled_at + interval '91 days' END
    FROM sessions AS s JOIN organizations AS o ON o.id = org_id WHERE o.name = 'large';
    INSERT INTO consent_records (org_id, patient_id, purpose, granted_at, expires_at)
    SELECT org_id, p.id, 'recording', now() - n * interval '1 year', now() - (n - 1) * interval '1 year' + random() * interval '300 days'
    FROM patients AS p JOIN organizations AS o ON o.id = org_id, generate_series(1, 20) n WHERE o.name = 'large';
    INSERT INTO audit_logs (org_id, actor_id, action, table_name, record_id, created_at)
    SELECT org_id, therapist_id, CASE n WHEN 1 THEN 'INSERT' WHEN 6 THEN 'DELETE' ELSE 'UPDATE' END,
        CASE WHEN n = 6 AND random() < 0.01 THEN 'patients' ELSE 'sessions' END, s.id, scheduled_at + n * interval '1 hour'
    FROM sessions AS s JOIN organizations AS o ON o.id = org_id, generate_series(1, 6) n WHERE o.name = 'large';
    SET session_replication_role = origin;
"""
# A question of every day, and the index that it needs.
DAILY = {
    "notes to approve, counted": (
        "SELECT count(*) FROM clinical_notes WHERE NOT approved_by_therapist",
        "idx_clinical_notes_org_unapproved",
    ),
    "recordings past their time": (
        "SELECT count(*) FROM session_recordings WHERE expires_at < now() AND deleted_at IS NULL",
        "idx_session_recordings_expires",
    ),
    "consents that end within 30 days": (
        "SELECT count(*) FROM consent_records WHERE expires_at BETWEEN now() AND now() + interval '30 days'",
        "idx_consent_records_org_expires",
    ),
    "what did this user do": (
        "SELECT * FROM audit_logs WHERE actor_id = %(therapist)s ORDER BY created_at DESC LIMIT 100",
        "idx_audit_org_actor",
    ),
    "who deleted patients": (
        "SELECT * FROM audit_logs WHERE table_name = 'patients' AND action = 'DELETE' ORDER BY created_at DESC LIMIT 100",
        "idx_audit_org_table",
    ),
    "sessions of 30 days without a note": (
        """SELECT count(*) FROM sessions WHERE status = 'completed' AND scheduled_at > now() - interval '30 days'
        AND NOT EXISTS (SELECT FROM clinical_notes WHERE session_id = sessions.id AND clinical_notes.org_id = sessions.org_id)""",
        "idx_clinical_notes_org_session",
    ),
    "all sessions without a note": (
        """SELECT count(*) FROM sessions WHERE status = 'completed'
        AND NOT EXISTS (SELECT FROM clinical_notes WHERE session_id = sessions.id AND clinical_notes.org_id = sessions.org_id)""",
        "idx_clinical_notes_org_session",
    ),
}


def large_tenant(connection: psycopg.Connection[Any]) -> None:
    """Print what a tenant of 150,000 sessions waits for, with and without the index of each question."""
    connection.execute(LARGE_TENANT)
    connection.execute("VACUUM ANALYZE")
    (row,) = connection.execute(
        "SELECT t.org_id, t.id FROM therapists AS t JOIN organizations AS o ON o.id = t.org_id WHERE o.name = 'large' LIMIT 1"
    ).fetchall()
    people = [(*row, None, None, None)]
    print("\n| a tenant of 150,000 sessions | ms | without its index, ms | ratio |")
    print("| --- | --- | --- | --- |")
    for name, (query, index) in DAILY.items():
        ours = compared(connection, people, (query, True), (query, True), 20)[0]
        with connection.transaction(force_rollback=True):
            connection.execute(f"DROP INDEX {index}")
            bare = compared(connection, people, (query, True), (query, True), 6)[0]
        print(f"| {name} | {ours:.2f} | {bare:.2f} | {bare / ours:.1f} |")


def main() -> None:
    """Fill a database for each size, and print the tables."""
    with (
        embedded.server(DATA, SETTINGS) as url,
        psycopg.connect(url, autocommit=True) as admin,
    ):
        admin.execute(ROLES)
        for organizations in (200, 1000):
            name = f"policies_{organizations}"
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {name}")
            assert (
                command(
                    [
                        "-d",
                        url.replace("/postgres?", f"/{name}?"),
                        "--dir",
                        str(SQL),
                        "up",
                    ]
                )
                == 0
            )
            with psycopg.connect(url, dbname=name, autocommit=True) as connection:
                connection.execute(FILL.format(organizations=organizations))
                connection.execute("VACUUM ANALYZE")
                people = connection.execute("""
                    SELECT s.org_id, therapist_id, patient_id, s.id, abha_id
                    FROM sessions AS s JOIN patients AS p ON p.id = patient_id ORDER BY random() LIMIT 500
                """).fetchall()
                lists(connection, people, organizations)
                if organizations == 1000:
                    writes(connection, people)
                    deletes(connection)
                    large_tenant(connection)


if __name__ == "__main__":
    main()
