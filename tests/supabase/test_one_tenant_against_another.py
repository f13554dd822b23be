"""What one tenant, or one open request, does to the requests of others: ids that can be computed, locks, plans."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from tests.support.rows import add

if TYPE_CHECKING:
    from tests.supabase.conftest import Platform


def test_measurement_id_used_by_one_tenant_does_not_block_another(
    platform: Platform,
) -> None:
    measurement = uuid4()
    insert = """
        INSERT INTO wearable_data (id, patient_id, data_type, recorded_at)
        VALUES (%s, %s, 'hrv', now())
        ON CONFLICT (org_id, id) DO NOTHING
    """
    with platform.request("authenticated", platform.other()) as api:
        assert (
            api.execute(insert, [measurement, platform.theirs["patients"]]).rowcount
            == 1
        )
        api.execute(
            "SELECT set_config('request.jwt.claims', %s, true)",
            [json.dumps(platform.own())],
        )
        for expected in (1, 0):
            ours = api.execute(insert, [measurement, platform.ours["patients"]])
            assert ours.rowcount == expected


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE patients SET abha_id = '91-7' WHERE id = %(patients)s",
        "UPDATE patients SET phone = '1', assigned_therapist_id = NULL WHERE id = %(patients)s",
        "UPDATE therapists SET email = 'new@example.org' WHERE id = %(therapists)s",
        "UPDATE sessions SET scheduled_at = now() WHERE id = %(sessions)s",
    ],
)
def test_parent_update_is_not_blocked_by_uncommitted_child_rows(
    own_platform: Platform, change: str
) -> None:
    ids = own_platform.ours
    with (
        psycopg.connect(own_platform.url) as adding,
        psycopg.connect(own_platform.url) as changing,
    ):
        add(
            adding,
            "wearable_data",
            patient_id=ids["patients"],
            data_type="hrv",
            recorded_at="2026-01-01",
        )
        add(adding, "clinical_notes", session_id=ids["sessions"], note_type="dap")
        add(
            adding,
            "sessions",
            patient_id=ids["patients"],
            therapist_id=ids["therapists"],
            scheduled_at="2026-01-01",
        )
        adding.execute("SET CONSTRAINTS ALL IMMEDIATE")
        changing.execute("SET lock_timeout = '2s'")
        changing.execute(change.encode(), ids)
        changing.commit()


def test_tenant_query_runs_in_parallel_on_postgres_17_and_later(
    platform: Platform,
) -> None:
    with platform.request(claims=platform.own()) as api:
        if api.info.server_version < 170000:
            pytest.skip("before version 17 no query with an EXCEPTION block can")
        for setting in (
            "parallel_setup_cost = 0",
            "parallel_tuple_cost = 0",
            "min_parallel_table_scan_size = 0",
            "enable_indexscan = off",
            "enable_bitmapscan = off",
        ):
            api.execute(f"SET LOCAL {setting}".encode())
        query = "SELECT count(*) FROM wearable_data"
        plan = api.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}".encode())
        assert '"Workers Launched": ' in json.dumps(plan.fetchall())
        assert api.execute(query).fetchall() == [(1,)]
        api.execute("SELECT set_config('request.jwt.claims', 'no json', true)")
        assert api.execute(query).fetchall() == [(0,)]
