"""Measure wearable data that grows: the queries of sql/GROWTH.md beside the plain ones, the conversion, the roll-up.

Run by ``make bench``, or with numbers of rows in millions: ``python -m tests.benchmarks.growth 1 5 20``. Each ratio
compares two sides that ran in turns on the same server. The writers beside the conversion are real connections.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg

from sqlmig import embedded
from sqlmig.cli import command
from tests.benchmarks.policies import DATA, ROLES, SETTINGS, SQL, timed

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (SQL / "GROWTH.md").read_text()
BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
LATEST, NEXT_PAGE = BLOCKS[:2]
KEYS_UP, PARTITIONS_UP, HOURS_UP, OLD_HOURS_UP = (BLOCKS[n] for n in (2, 4, 6, 8))
CHART = BLOCKS[10]
PATIENTS = 1000  # in ten organizations; each sends a sample a minute
BATCH = """
    INSERT INTO wearable_data (org_id, patient_id, data_type, metrics, recorded_at)
    SELECT org_id, id, 'heart_rate', jsonb_build_object('bpm', 60 + n %% 40), now() - n * interval '1 second'
    FROM patients, generate_series(1, 10) n WHERE patients.org_id = %(org)s
"""
ROUNDS = 15


def fill(connection: psycopg.Connection[Any], millions: int) -> None:
    """Insert the rows in the order of their time, like devices do, up to an hour from now."""
    connection.execute(f"""
        SET session_replication_role = replica;
        INSERT INTO organizations (name) SELECT 'o' || n FROM generate_series(1, 10) n;
        INSERT INTO patients (org_id, full_name)
        SELECT id, 'p' FROM organizations, generate_series(1, {PATIENTS // 10}) n;
        INSERT INTO wearable_data (org_id, patient_id, data_type, metrics, recorded_at)
        SELECT org_id, id, 'heart_rate', jsonb_build_object('bpm', 60 + n % 40), now() - n * interval '1 minute'
        FROM generate_series({60 + millions * 1000}, 61, -1) n, patients;
        SET session_replication_role = origin;
    """)
    connection.execute("VACUUM ANALYZE")


def queries(
    connection: psycopg.Connection[Any], values: dict[str, Any], *, more: bool
) -> None:
    """Print each query of the page beside the plain one, both as a tenant's user."""
    of_org = re.compile(
        r"^ +AND org_id = 'ORG_ID'\n|^WHERE patients.org_id = 'ORG_ID';\n", re.MULTILINE
    )
    latest = of_org.sub("", LATEST)
    page = NEXT_PAGE.replace("org_id = 'ORG_ID'\n    AND ", "").replace(
        "'LAST_TIME', 'LAST_ID'", "%(time)s, %(id)s"
    )
    pairs = [
        (
            "the latest of each patient",
            latest,
            "SELECT DISTINCT ON (patient_id) * FROM wearable_data ORDER BY patient_id, recorded_at DESC",
        ),
        (
            "the page after 50,000 rows",
            page,
            "SELECT * FROM wearable_data ORDER BY recorded_at DESC, id DESC OFFSET 50000 LIMIT 50",
        ),
    ]
    if more:
        chart = CHART.replace("org_id = 'ORG_ID'\n    AND ", "").replace(
            "'PATIENT_ID'", "%(patient)s"
        )
        pairs.append(
            (
                "a patient's chart of 30 days",
                chart,
                """SELECT date_trunc('hour', recorded_at, 'UTC'), avg((metrics ->> 'bpm')::float8) FROM wearable_data
                WHERE patient_id = %(patient)s AND recorded_at > now() - interval '30 days' GROUP BY 1 ORDER BY 1""",
            )
        )
    for name, ours, plain in pairs:
        took: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS):
            for side, query in enumerate((ours, plain)):
                took[side].append(timed(connection, query, values, tenant=True))
        fast, slow = map(statistics.median, took)
        print(f"| {name} | {fast:.2f} | {slow:.2f} | {slow / fast:.1f} |")


@contextlib.contextmanager
def writers(url: str, org: Any) -> Iterator[list[float]]:
    """Run two writers, each with a small batch after another, and yield how long each batch took, in seconds."""
    took: list[float] = []
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not stop.is_set():
                begun = time.perf_counter()
                connection.execute(BATCH, {"org": org})
                took.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield took
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def each_statement(
    connection: psycopg.Connection[Any], url: str, org: Any, name: str, text: str
) -> None:
    """Run a file with writers beside it, and print its time and the longest wait of a batch."""
    with writers(url, org) as took:
        time.sleep(1)
        alone = statistics.median(took)
        begun = time.perf_counter()
        if "no-transaction" in text:
            for statement in re.split(
                r";\n", re.sub(r"^--.*\n", "", text, flags=re.MULTILINE)
            ):
                if statement.strip():
                    connection.execute(statement)
        else:
            with connection.transaction():
                connection.execute(text)
        seconds = time.perf_counter() - begun
        time.sleep(0.5)
    print(f"| {name} | {seconds:.2f} s | {max(took):.2f} s | {alone * 1000:.0f} ms |")


def inserts(connection: psycopg.Connection[Any], org: Any) -> float:
    """Return the median milliseconds of a batch of 1,000 rows, rolled back each time."""
    return statistics.median(
        timed(connection, BATCH, {"org": org}, tenant=False) for _ in range(ROUNDS)
    )


def main() -> None:
    """Print the tables for each size."""
    with (
        embedded.server(DATA, SETTINGS) as url,
        psycopg.connect(url, autocommit=True) as admin,
    ):
        admin.execute(ROLES)
        for millions in [int(word) for word in sys.argv[1:]] or [1, 5, 20]:
            name = f"growth_{millions}"
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {name}")
            here = url.replace("/postgres?", f"/{name}?")
            assert command(["-d", here, "--dir", str(SQL), "up"]) == 0
            with psycopg.connect(here, autocommit=True) as connection:
                measure(connection, here, millions)
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def measure(connection: psycopg.Connection[Any], url: str, millions: int) -> None:
    """Fill a database, and measure before and after each step."""
    begun = time.perf_counter()
    fill(connection, millions)
    print(f"\n{millions} million rows, filled in {time.perf_counter() - begun:.0f} s")
    ((size,),) = connection.execute(
        "SELECT pg_total_relation_size('wearable_data')"
    ).fetchall()
    print(f"{size / millions / 1e6:.0f} bytes a row with its indexes")
    ((org, patient),) = connection.execute(
        "SELECT org_id, id FROM patients LIMIT 1"
    ).fetchall()
    ((another,),) = connection.execute(
        "SELECT id FROM organizations WHERE id <> %s LIMIT 1", [org]
    ).fetchall()
    ((last, id_of_last),) = connection.execute(
        "SELECT recorded_at, id FROM wearable_data WHERE org_id = %s ORDER BY 1 DESC, 2 DESC OFFSET 49999 LIMIT 1",
        [org],
    ).fetchall()
    values = {
        "org": org,
        "therapist": None,
        "patient": patient,
        "time": last,
        "id": id_of_last,
    }
    print("\n| one table | ms | plain query, ms | ratio |\n| --- | --- | --- | --- |")
    queries(connection, values, more=False)
    print(
        "\n| with two writers beside it | time | longest batch | batch before |\n| --- | --- | --- | --- |"
    )
    ((first,),) = connection.execute(
        "SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months', 'YYYY-MM-DD')"
    ).fetchall()
    costs = {"one table": inserts(connection, org)}
    for file, text in (
        ("unique index and conditions", KEYS_UP),
        ("conversion", PARTITIONS_UP),
        ("table by the hour", HOURS_UP),
        ("hours of old rows", OLD_HOURS_UP),
    ):
        each_statement(
            connection, url, another, file, text.replace("2027-02-01", first)
        )
        costs[file] = inserts(connection, org)
    begun = time.perf_counter()
    rounds = hours = 0
    while done := connection.execute("SELECT roll_up_wearable_data()").fetchall()[0][0]:
        rounds, hours = rounds + 1, hours + done
    seconds = time.perf_counter() - begun
    print(
        f"\nroll-up of {hours:,} hours of a patient: {seconds:.1f} s in {rounds} runs, {millions * 1e6 / seconds:,.0f} rows/s"
    )
    connection.execute("VACUUM ANALYZE")
    print(
        "\n| partitions and hours | ms | plain query, ms | ratio |\n| --- | --- | --- | --- |"
    )
    queries(connection, values, more=True)
    print("\n| 1,000 new rows | ms | ratio |\n| --- | --- | --- |")
    for file, cost in costs.items():
        print(f"| {file} | {cost:.1f} | {cost / costs['one table']:.2f} |")


if __name__ == "__main__":
    main()
