"""What the policies cost: the four queries that the specification indexes for, as a tenant's user and as the owner.

Run by ``make bench``. Both sides are measured in turn, in one run, over the same connection; the ratio is of the medians.
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
ROUNDS = 400
SETTINGS = {"fsync": "off", "synchronous_commit": "off", "shared_buffers": "1GB", "max_wal_size": "8GB"}

FILL = """
    SET session_replication_role = replica;
    INSERT INTO organizations (name) SELECT 'o' || n FROM generate_series(1, 200) n;
    INSERT INTO therapists (org_id, full_name) SELECT id, 't' FROM organizations, generate_series(1, 10);
    INSERT INTO patients (org_id, full_name, assigned_therapist_id)
    SELECT org_id, 'p', id FROM therapists, generate_series(1, 10);
    INSERT INTO sessions (therapist_id, patient_id, scheduled_at)
    SELECT assigned_therapist_id, id, now() + (n - 40) * interval '1 day' FROM patients, generate_series(1, 50) n;
    INSERT INTO wearable_data (patient_id, data_type, recorded_at)
    SELECT id, 'heart_rate', now() - n * interval '1 hour' FROM patients, generate_series(1, 250) n;
    INSERT INTO audit_logs (org_id, action, created_at)
    SELECT id, 'read', now() - n * interval '1 minute' FROM organizations, generate_series(1, 1000) n;
"""
ROLES = "CREATE ROLE anon; CREATE ROLE authenticated; CREATE ROLE service_role BYPASSRLS"

# The query, and the tenant in words where no policy adds it.
QUERIES = {
    "a therapist's upcoming sessions": (
        "SELECT * FROM sessions WHERE therapist_id = %(therapist)s AND scheduled_at > now() {} ORDER BY scheduled_at",
        "AND therapist_id IN (SELECT id FROM therapists WHERE org_id = %(org)s)",
    ),
    "a patient's sessions": (
        "SELECT * FROM sessions WHERE patient_id = %(patient)s {} ORDER BY scheduled_at DESC",
        "AND patient_id IN (SELECT id FROM patients WHERE org_id = %(org)s)",
    ),
    "a patient's wearable data of the last 24 hours": (
        (
            "SELECT * FROM wearable_data WHERE patient_id = %(patient)s AND recorded_at > now() - interval '24 hours' {}"
            " ORDER BY recorded_at DESC"
        ),
        "AND patient_id IN (SELECT id FROM patients WHERE org_id = %(org)s)",
    ),
    "an organization's audit log": (
        "SELECT * FROM audit_logs WHERE true {} ORDER BY created_at DESC LIMIT 100",
        "AND org_id = %(org)s",
    ),
}


def measure(connection: psycopg.Connection[Any], query: str, values: dict[str, Any], *, tenant: bool) -> float:
    """Return the milliseconds that a query takes, as a tenant's user or as the owner; it must find something."""
    with connection.transaction(force_rollback=True):
        claims = json.dumps({"app_metadata": {"org_id": str(values["org"])}})
        connection.execute("SELECT set_config('request.jwt.claims', %s, true)", [claims])
        if tenant:
            connection.execute("SET LOCAL ROLE authenticated")
        begun = time.perf_counter()
        rows = connection.execute(query, values).fetchall()
        took = time.perf_counter() - begun
    assert rows, query
    return took * 1000


def main() -> None:
    """Fill a database where there is none yet, and print the table."""
    fresh = not DATA.exists()
    with embedded.server(DATA, SETTINGS) as url, psycopg.connect(url, autocommit=True) as connection:
        if fresh:
            connection.execute(ROLES)
            assert command(["-d", url, "--dir", str(SQL), "up"]) == 0
            connection.execute(FILL)
        connection.execute("SET session_replication_role = origin")
        connection.execute("VACUUM ANALYZE")
        people = connection.execute("SELECT org_id, assigned_therapist_id, id FROM patients").fetchall()
        print("| query | tenant's user, ms | owner, ms | ratio |\n| --- | --- | --- | --- |")
        for name, (query, words) in QUERIES.items():
            took: dict[bool, list[float]] = {True: [], False: []}
            for number in range(ROUNDS):
                values = dict(zip(("org", "therapist", "patient"), random.choice(people), strict=True))
                for tenant in (True, False) if number % 2 else (False, True):
                    took[tenant].append(
                        measure(connection, query.format("" if tenant else words), values, tenant=tenant)
                    )
            tenants, owners = statistics.median(took[True]), statistics.median(took[False])
            print(f"| {name} | {tenants:.3f} | {owners:.3f} | {tenants / owners:.2f} |")


if __name__ == "__main__":
    main()
