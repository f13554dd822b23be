"""Run sql/GROWTH.md: its queries, and its files for partitions and for the table by the hour, with writers beside them."""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from tests.supabase.test_every_table import problems
from tests.support.project import SQL
from tests.support.rows import add, count

if TYPE_CHECKING:
    from pathlib import Path

    from tests.supabase.conftest import Platform
    from tests.support.project import Project

PAGE = (SQL / "GROWTH.md").read_text()


def blocks(title: str) -> list[str]:
    """Return the SQL blocks of a section. Tests have measurements of 2030, so the first partition has them too."""
    (text,) = re.findall(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    found = re.findall(r"^```sql\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block.replace("2027-02-01", FIRST_MONTH) for block in found]


FIRST_MONTH = "2027-02-01"
LATEST, NEXT_PAGE = blocks("Queries that stay fast")
KEYS_UP, KEYS_DOWN, PARTITIONS_UP, PARTITIONS_DOWN = blocks("Partitions by month")
HOURS_UP, HOURS_DOWN, OLD_UP, OLD_DOWN, CHART = blocks("By the hour")
JOBS = blocks("The jobs")
FILES = {
    "9001_partition_keys": (KEYS_UP, KEYS_DOWN),
    "9002_partitions": (PARTITIONS_UP, PARTITIONS_DOWN),
    "9003_hours": (HOURS_UP, HOURS_DOWN),
    "9004_hours_of_old_rows": (OLD_UP, OLD_DOWN),
}


def run_keys(platform: Platform) -> None:
    """Run the statements of the file without a transaction, after the measurements of 2030 are gone."""
    platform.owner.execute(
        "UPDATE wearable_data SET recorded_at = now() - interval '3 hours'"
    )
    for statement in re.sub(r"^--.*\n", "", KEYS_UP, flags=re.MULTILINE).split(";\n"):
        if statement.strip():
            platform.owner.execute(statement)


@pytest.fixture
def partitioned(own_platform: Platform) -> Platform:
    """Return a database with partitions, and with the table by the hour."""
    run_keys(own_platform)
    for text in (PARTITIONS_UP, HOURS_UP, OLD_UP):
        with own_platform.owner.transaction():
            own_platform.owner.execute(text)
    return own_platform


def measure(
    connection: psycopg.Connection[Any], patient: Any, when: str, value: float
) -> None:
    """Insert a measurement at an SQL time."""
    connection.execute(
        f"""
        INSERT INTO wearable_data (patient_id, data_type, metrics, recorded_at)
        VALUES (%s, 'heart_rate', jsonb_build_object('bpm', %s::numeric, 'note', 'x'), {when})
        """.encode(),
        [patient, value],
    )


def test_check_accepts_each_file_pair(therapyflow: Project, tmp_path: Path) -> None:
    directory = tmp_path / "all"
    directory.mkdir()
    for file in SQL.glob("*.sql"):
        (directory / file.name).write_bytes(file.read_bytes())
    for name, (up, down) in FILES.items():
        (directory / f"{name}.up.sql").write_text(up)
        (directory / f"{name}.down.sql").write_text(down)
    lines = therapyflow.run("--dir", str(directory), "check").out.splitlines()
    for name in FILES:
        assert f"ok            {name}" in lines


def test_page_uses_same_month_everywhere(own_platform: Platform) -> None:
    """The page names one month, and a reader who replaces it misses none."""
    assert own_platform
    months = set(re.findall(r"'(\d{4}-\d\d-\d\d) 00:00\+00'", PAGE))
    assert months == {FIRST_MONTH}


def test_tables_on_the_page_follow_all_table_rules(partitioned: Platform) -> None:
    assert problems(partitioned) == []


def test_api_roles_cannot_access_partitions_directly(partitioned: Platform) -> None:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'wearable_data'::regclass"
    partitions = [name for (name,) in partitioned.owner.execute(query)]
    assert len(partitions) > 1
    for partition in partitions:
        for role in ("anon", "authenticated", "service_role"):
            with (
                partitioned.request(role, partitioned.own()) as api,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                api.execute(f"SELECT * FROM {partition}".encode())
    with partitioned.request(claims=partitioned.own()) as api:
        assert api.execute("SELECT org_id FROM wearable_data").fetchall() == [
            (partitioned.ours["organizations"],)
        ]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            add(
                api,
                "wearable_data",
                org_id=partitioned.theirs["organizations"],
                patient_id=partitioned.theirs["patients"],
                data_type="hrv",
                recorded_at="2026-01-01",
            )


def test_writers_continue_during_conversion_and_lose_no_rows(
    own_platform: Platform,
) -> None:
    platform, stop = own_platform, threading.Event()
    written: list[Any] = []
    refused: list[str] = []

    def write() -> None:
        with psycopg.connect(platform.url, autocommit=True) as writer:
            while not stop.is_set():
                identifier = uuid4()
                try:
                    add(
                        writer,
                        "wearable_data",
                        id=identifier,
                        patient_id=platform.ours["patients"],
                        data_type="hrv",
                        recorded_at="2026-01-01",
                    )
                    written.append(identifier)
                except psycopg.Error as error:
                    refused.append(str(error))

    platform.owner.execute("UPDATE wearable_data SET recorded_at = '2026-01-01'")
    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        run_keys(platform)
        for text in (PARTITIONS_UP, HOURS_UP, OLD_UP):
            with platform.owner.transaction():
                platform.owner.execute(text)
        until = len(written) + 20
        while len(written) < until and not refused:
            stop.wait(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert refused == []
    query = "SELECT count(*) FROM wearable_data WHERE id = ANY (%s)"
    assert platform.owner.execute(query, [written]).fetchall() == [(len(written),)]
    assert count(platform.owner, "wearable_data") == len(written) + 2
    while platform.owner.execute("SELECT roll_up_wearable_data()").fetchall() != [(0,)]:
        pass
    query = "SELECT count(*) FROM wearable_hours_changed"
    assert platform.owner.execute(query).fetchall() == [(0,)]


def test_conversion_refuses_table_with_unknown_triggers(own_platform: Platform) -> None:
    run_keys(own_platform)
    with own_platform.owner.transaction():
        own_platform.owner.execute(HOURS_UP)
    with (
        pytest.raises(psycopg.errors.RaiseException, match="does not know"),
        own_platform.owner.transaction(),
    ):
        own_platform.owner.execute(PARTITIONS_UP)


def test_row_sent_twice_is_added_once(partitioned: Platform) -> None:
    insert = """
        INSERT INTO wearable_data (id, patient_id, data_type, recorded_at) VALUES (%s, %s, 'hrv', %s)
        ON CONFLICT (org_id, id, recorded_at) DO NOTHING
    """
    with partitioned.request(claims=partitioned.own()) as api:
        for when in ("2026-05-01", "now"):
            row = [uuid4(), partitioned.ours["patients"], when]
            assert api.execute(insert, row).rowcount == 1
            assert api.execute(insert, row).rowcount == 0
        for when in ("2062-01-01", "infinity"):
            row = [uuid4(), partitioned.ours["patients"], when]
            with pytest.raises(psycopg.errors.CheckViolation), api.transaction():
                api.execute(insert, row)


def test_job_creates_future_partitions_and_detaches_old_ones(
    partitioned: Platform,
) -> None:
    owner = partitioned.owner

    def partitions() -> list[str]:
        query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'wearable_data'::regclass ORDER BY 1"
        return [name for (name,) in owner.execute(query)]

    owner.execute("SET timezone = 'America/New_York'")
    owner.execute("SELECT keep_wearable_partitions(30)")
    before = partitions()
    assert len(before) > 12
    owner.execute("SELECT keep_wearable_partitions(30)")
    assert partitions() == before
    query = "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'wearable_data_2027_03'"
    owner.execute("SET timezone = 'UTC'")
    assert owner.execute(query).fetchall() == [
        ("FOR VALUES FROM ('2027-03-01 00:00:00+00') TO ('2027-04-01 00:00:00+00')",)
    ]
    owner.execute("SELECT keep_wearable_partitions(0, -24)")
    assert len(partitions()) < len(before)
    assert "wearable_data_first" in partitions()
    query = """
        SELECT bool_and(relrowsecurity), bool_or(has_table_privilege('authenticated', oid, 'SELECT'))
        FROM pg_class
        WHERE relname = ANY (%s)
    """
    detached = sorted({*before} - {*partitions()})
    assert owner.execute(query, [detached]).fetchall() == [(True, False)]


def test_erasing_a_patient_clears_detached_partitions_and_hourly_rows(
    partitioned: Platform,
) -> None:
    owner, patient = partitioned.owner, partitioned.ours["patients"]
    measure(owner, patient, "now() - interval '2 hours'", 60)
    owner.execute("SELECT roll_up_wearable_data()")
    assert count(owner, "wearable_hours") > 0
    owner.execute("ALTER TABLE wearable_data DETACH PARTITION wearable_data_first")
    assert count(owner, "wearable_data_first") == 3
    owner.execute("DELETE FROM patients WHERE id = %s", [patient])
    assert count(owner, "wearable_data_first") == 1
    assert count(owner, "wearable_hours") == 0


def chart_of(platform: Platform) -> list[tuple[Any, ...]]:
    """Return the averages and counts of our patient's chart, as a user of our organization."""
    text = CHART.replace("ORG_ID", str(platform.ours["organizations"])).replace(
        "PATIENT_ID", str(platform.ours["patients"])
    )
    with platform.request(claims=platform.own()) as api:
        return [(row[1], row[4]) for row in api.execute(text.encode())]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_chart_includes_late_rows_corrections_and_current_hour(
    partitioned: Platform, zone: str
) -> None:
    owner, patient = partitioned.owner, partitioned.ours["patients"]
    job = "SELECT roll_up_wearable_data()"
    owner.execute(f"SET timezone = '{zone}'")
    hour = "date_trunc('hour', now(), 'UTC')"
    for value in (60, 70):
        measure(owner, patient, f"{hour} - interval '90 minutes'", value)
    measure(owner, patient, f"{hour} - interval '30 minutes'", 100)
    measure(owner, patient, hour, 80)
    owner.execute(job)
    assert chart_of(partitioned) == [(65, 2), (100, 1), (80, 1)]
    assert owner.execute(job).fetchall() == [(0,)]
    measure(owner, patient, f"{hour} - interval '61 minutes'", 95)  # late
    owner.execute(
        f"UPDATE wearable_data SET recorded_at = recorded_at - interval '1 hour' WHERE recorded_at = {hour} - interval '30 minutes'"
    )
    owner.execute(job)
    assert chart_of(partitioned) == [(81.25, 4), (80, 1)]
    owner.execute("DELETE FROM wearable_data WHERE data_type = 'heart_rate'")
    owner.execute(job)
    assert chart_of(partitioned) == []
    with partitioned.request(claims=partitioned.other()) as api:
        query = "SELECT DISTINCT org_id FROM wearable_hours UNION SELECT org_id FROM wearable_hours_changed"
        seen = set(api.execute(query))
        assert seen <= {(partitioned.theirs["organizations"],)}


def test_concurrent_jobs_do_not_interfere(partitioned: Platform) -> None:
    job = "SELECT roll_up_wearable_data()"
    measure(
        partitioned.owner,
        partitioned.ours["patients"],
        "now() - interval '2 hours'",
        60,
    )
    with (
        psycopg.connect(partitioned.url) as first,
        psycopg.connect(partitioned.url) as second,
    ):
        assert first.execute(job).fetchall() != [(0,)]
        assert second.execute(job).fetchall() == [(None,)]
        first.commit()
        second.rollback()
        assert second.execute(job).fetchall() == [(0,)]
    assert (60, 1) in chart_of(partitioned)


def test_merging_patients_moves_hourly_rows(partitioned: Platform) -> None:
    owner, kept = partitioned.owner, partitioned.ours["patients"]
    twin = add(
        owner,
        "patients",
        org_id=partitioned.ours["organizations"],
        full_name="Mira",
    )
    for patient in (kept, twin):
        measure(owner, patient, "now() - interval '2 hours'", 60)
    owner.execute("SELECT roll_up_wearable_data()")
    old = """
        INSERT INTO wearable_hours
        SELECT org_id, id, 'heart_rate', 'bpm', now() - interval '20 days', 1, 50, 50, 50
        FROM patients
        WHERE id = %s
    """
    owner.execute(old, [twin])
    owner.execute("SELECT keep_wearable_partitions(3, -24)")
    with partitioned.api.transaction():
        partitioned.api.execute("SET LOCAL ROLE service_role")
        partitioned.api.execute("SELECT merge_patients(%s, %s)", [twin, kept])
    assert (50, 1) in chart_of(partitioned)
    owner.execute("SELECT roll_up_wearable_data()")
    assert (60, 2) in chart_of(partitioned)
    assert (50, 1) in chart_of(partitioned)  # its measurements are gone
    query = "SELECT count(*) FROM wearable_hours WHERE patient_id = %s"
    assert owner.execute(query, [twin]).fetchall() == [(0,)]


def test_queries_return_latest_rows_per_patient_and_next_page(
    platform: Platform,
) -> None:
    with platform.request(claims=platform.own()) as api:
        org, patient = platform.ours["organizations"], platform.ours["patients"]
        measure(api, patient, "'2040-01-01'", 60)
        rows = api.execute(LATEST.replace("ORG_ID", str(org)).encode()).fetchall()
        assert [(row[0], row[2]) for row in rows] == [(patient, "heart_rate")]
        pages = []
        time, identifier = "infinity", str(uuid4())
        for _ in range(3):
            page = (
                NEXT_PAGE.replace("ORG_ID", str(org))
                .replace("LAST_TIME", time)
                .replace("LAST_ID", identifier)
                .replace("LIMIT 50", "LIMIT 1")
            )
            for row in api.execute(page.encode()).fetchall():
                pages.append(row[2])
                identifier, time = str(row[0]), row[4].isoformat()
        assert pages == ["heart_rate", "hrv"]


def test_scheduled_jobs_call_existing_functions(partitioned: Platform) -> None:
    owner = partitioned.owner
    owner.execute("""
        CREATE SCHEMA cron;
        CREATE FUNCTION cron.schedule(name text, schedule text, command text) RETURNS void LANGUAGE plpgsql
            AS 'BEGIN EXECUTE command; END';
    """)
    (jobs,) = JOBS
    assert jobs.count("cron.schedule") == 2
    for job in jobs.strip().splitlines():
        owner.execute(job.encode())


def test_name_too_long_for_index_does_not_stop_job(partitioned: Platform) -> None:
    owner, patient = partitioned.owner, partitioned.ours["patients"]
    long = """
        INSERT INTO wearable_data (patient_id, data_type, metrics, recorded_at)
        SELECT %s, repeat('\u0905', 500), jsonb_build_object(string_agg(md5(n::text), ''), 1, 'bpm', 70), now() - interval '2 hours'
        FROM generate_series(1, 200) AS n
    """
    with partitioned.api.transaction():
        partitioned.api.execute("SET LOCAL ROLE authenticated")
        claims = json.dumps(partitioned.own())
        partitioned.api.execute(
            "SELECT set_config('request.jwt.claims', %s, true)", [claims]
        )
        partitioned.api.execute(long, [patient])
    owner.execute("SELECT roll_up_wearable_data()")
    query = "SELECT metric FROM wearable_hours WHERE samples = 1 AND highest = 70"
    assert owner.execute(query).fetchall() == [("bpm",)]


def test_job_limit_counts_hours_not_change_notes(partitioned: Platform) -> None:
    for _ in range(30):
        measure(
            partitioned.owner,
            partitioned.ours["patients"],
            "date_trunc('hour', now()) - interval '5 hours'",
            60,
        )
    job = "SELECT roll_up_wearable_data(20)"
    while partitioned.owner.execute(job).fetchall() != [(0,)]:
        pass
    assert (60, 30) in chart_of(partitioned)
    assert count(partitioned.owner, "wearable_hours_changed") == 0
