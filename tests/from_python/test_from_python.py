"""Call sqlmig from Python: up, down, status and the typed errors. Nothing is printed."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import make_url

import sqlmig
import sqlmig.testing
from sqlmig.core.url import without_driver
from tests.support.project import LOCK, SQL, until
from tests.support.waits import GO, WAITS, at_the_wait, tables

if TYPE_CHECKING:
    from tests.support.project import Project


@pytest.fixture
def three(project: Project) -> Project:
    """Return a project with three migrations."""
    tables(project, 3)
    return project


def test_up_down_and_status_return_versions(three: Project) -> None:
    applied = sqlmig.up(three.url, three.directory)
    assert [(one.version, one.name) for one in applied] == [
        (1, "t"),
        (2, "t"),
        (3, "t"),
    ]
    assert all(one.seconds > 0 for one in applied)
    rows = sqlmig.status(three.url, str(three.directory))
    assert [(row.version, row.name, row.state) for row in rows] == [
        (n, "t", "applied") for n in (1, 2, 3)
    ]
    assert all(row.applied_at and row.applied_at.tzinfo for row in rows)
    assert all(row.applied_by == "postgres" and row.seconds for row in rows)
    assert sqlmig.up(three.url, three.directory) == []
    assert [one.version for one in sqlmig.down(three.url, three.directory)] == [3]
    assert [one.version for one in sqlmig.down(three.url, three.directory, to=1)] == [2]
    assert [
        one.version for one in sqlmig.down(three.url, three.directory, all=True)
    ] == [1]
    assert [row.state for row in sqlmig.status(three.url, three.directory)] == [
        "pending"
    ] * 3
    assert sqlmig.status(three.url, three.directory)[0].applied_at is None


def test_keywords_match_command_line_options(three: Project) -> None:
    assert len(sqlmig.up(three.url, three.directory, to=2, schema="tenant")) == 2
    assert (
        len(
            sqlmig.up(
                three.url,
                three.directory,
                steps=1,
                schema="tenant",
                lock_timeout="2s",
                retries=0,
            )
        )
        == 1
    )
    assert three.query(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'tenant' AND tablename ~ '^t'"
    ) == [(3,)]
    three.file("0000_early.up.sql", "CREATE TABLE early ();")
    with pytest.raises(sqlmig.LedgerDisagrees) as disagrees:
        sqlmig.up(three.url, three.directory, schema="tenant")
    assert [(row.version, row.state) for row in disagrees.value.rows] == [
        (0, "out-of-order")
    ]
    assert (
        len(
            sqlmig.up(
                three.url, three.directory, schema="tenant", allow_out_of_order=True
            )
        )
        == 1
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda url, directory: sqlmig.up(url, directory, to=1, steps=1),
        lambda url, directory: sqlmig.up(url, directory, to=99),
        lambda url, directory: sqlmig.up(url, directory, lock_timeout="5"),
        lambda url, directory: sqlmig.down(url, directory, to=1, all=True),
        lambda _, directory: sqlmig.up("mysql://x/y", directory),
        lambda _, directory: sqlmig.up(None, directory),  # type: ignore[arg-type]
        lambda url, directory: sqlmig.up(url, directory, lock_timeout=3),  # type: ignore[arg-type]
        lambda url, directory: sqlmig.up(url, directory, wait="30s"),  # type: ignore[arg-type]
        lambda url, directory: sqlmig.status(url, directory, wait="30s"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_call_is_a_usage_error(three: Project, call: object) -> None:
    with pytest.raises(sqlmig.UsageError):
        call(three.url, three.directory)  # type: ignore[operator]
    assert three.tables() == set()


def test_error_does_not_repeat_url_of_wrong_type(three: Project) -> None:
    with pytest.raises(sqlmig.UsageError) as error:
        sqlmig.up({"password": "s3cret"}, three.directory)  # type: ignore[arg-type]
    assert (
        str(error.value)
        == "the database URL must be text or a URL of SQLAlchemy, and is a dict"
    )


def test_failure_has_position_and_versions_applied_before(three: Project) -> None:
    three.file("0002_t.up.sql", "CREATE TABLE t2 (id int);\n  SELECT é;\n")
    with pytest.raises(sqlmig.MigrationFailed) as failed:
        sqlmig.up(three.url, three.directory)
    failure = failed.value
    assert failure.path == three.directory / "0002_t.up.sql"
    assert (failure.line, failure.column, failure.sqlstate) == (2, 10, "42703")
    assert [(one.version, one.name) for one in failure.applied] == [(1, "t")]
    assert "0002_t.up.sql:2:10: ERROR: column" in str(failure)
    assert isinstance(failure, sqlmig.SqlmigError)
    assert three.states() == {1: "applied", 2: "pending", 3: "pending"}


def test_failed_no_transaction_file_has_position_and_applied_versions(
    three: Project,
) -> None:
    three.file(
        "0002_t.up.sql", "-- sqlmig: no-transaction\nCREATE TABLE kept ();\nSELECT 1/0;"
    )
    with pytest.raises(sqlmig.MigrationFailed) as failed:
        sqlmig.up(three.url, three.directory)
    failure = failed.value
    assert failure.path == three.directory / "0002_t.up.sql"
    assert (failure.line, failure.sqlstate) == (3, "22012")
    assert [one.version for one in failure.applied] == [1]
    assert "1 of 2 statements was committed" in str(failure)


def test_lock_timeout_raises_migration_failed_with_sqlstate(
    three: Project,
) -> None:
    sqlmig.up(three.url, three.directory, to=1)
    three.file("0002_t.up.sql", "DROP TABLE t1;")
    with psycopg.connect(three.url) as reader:
        reader.execute("SELECT * FROM t1")
        with pytest.raises(sqlmig.MigrationFailed) as failed:
            sqlmig.up(three.url, three.directory, lock_timeout="20ms", retries=1)
    assert failed.value.sqlstate == "55P03"
    assert failed.value.applied == []


def test_error_for_unreachable_server_hides_password(
    three: Project,
) -> None:
    with pytest.raises(sqlmig.SqlmigError, match="cannot connect") as error:
        sqlmig.up("postgresql://me:s3cret@127.0.0.1:1/x", three.directory)
    assert "s3cret" not in str(error.value)


def test_nothing_is_printed_and_messages_are_logged(
    three: Project, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    three.file("0001_t.up.sql", "DO $$BEGIN RAISE NOTICE 'hello'; END$$;")
    with caplog.at_level(logging.INFO, logger="sqlmig"):
        sqlmig.up(three.url, three.directory)
        sqlmig.status(three.url, three.directory)
    assert capfd.readouterr() == ("", "")
    lines = [record.getMessage() for record in caplog.records]
    assert {record.name for record in caplog.records} == {"sqlmig"}
    assert lines[0] == "NOTICE: hello"
    assert [line.partition(" (")[0] for line in lines[1:]] == [
        "applied 0001_t",
        "applied 0002_t",
        "applied 0003_t",
    ]


def test_from_a_thread_and_in_an_event_loop(three: Project) -> None:
    found: list[int] = []
    thread = threading.Thread(
        target=lambda: found.extend(
            one.version for one in sqlmig.up(three.url, three.directory, to=2)
        )
    )
    thread.start()
    thread.join()
    assert found == [1, 2]

    async def start_up() -> list[int]:
        return [
            one.version
            for one in await asyncio.to_thread(sqlmig.up, three.url, three.directory)
        ]

    assert asyncio.run(start_up()) == [3]


def test_up_works_alongside_command_line_runner(three: Project) -> None:
    three.file("0001_t.up.sql", f"{WAITS}CREATE TABLE t1 (id int);")
    runner = three.fork("up")
    at_the_wait(three, three.query("SELECT current_database()")[0][0])
    found: list[int] = []
    thread = threading.Thread(
        target=lambda: found.extend(
            one.version for one in sqlmig.up(three.url, three.directory)
        )
    )
    thread.start()
    with psycopg.connect(three.url, application_name=GO):
        runner.ended()
    thread.join()
    assert found == [] or found[0] > 1
    assert set(three.states().values()) == {"applied"}


def test_waiting_for_private_server_is_logged(
    three: Project, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = three.directory.parent / "data"
    data.mkdir(mode=0o700)
    descriptor = os.open(data, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # another command is making the directory
    with caplog.at_level(logging.INFO, logger="sqlmig"):
        thread = threading.Thread(
            target=sqlmig.up, args=(f"embedded:{data}", three.directory)
        )
        thread.start()
        until(lambda: "waiting for another command" in caplog.text)
        os.close(descriptor)
        thread.join()
    assert capfd.readouterr() == ("", "")
    assert sqlmig.status(f"embedded:{data}", three.directory)[0].state == "applied"


START_UP = """
import sys
import sqlmig

def lifespan(url, directory):
    return [one.version for one in sqlmig.up(url, directory, wait=5)]

print(*lifespan(*sys.argv[1:]))
"""


def test_two_processes_starting_at_once_apply_each_file_once(three: Project) -> None:
    line = [sys.executable, "-c", START_UP, three.url, str(three.directory)]
    with psycopg.connect(three.url) as holder:
        holder.execute(LOCK)
        processes = [
            subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(2)
        ]
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sqlmig'"
        until(lambda: three.query(waiting)[0][0] == 2, "both processes")
    versions: list[str] = []
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        versions += out.split()
    assert sorted(versions) == ["1", "2", "3"]


def test_an_import_loads_no_driver_and_no_click() -> None:
    program = "import sys, sqlmig, sqlmig.core.errors; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {
        "psycopg",
        "click",
        "logging",
        "sqlmig.api",
        "sqlmig.core.ledger",
    } & set(loaded)
    assert set(dir(sqlmig)) >= {"MigrationFailed", "SqlmigError"}
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = sqlmig.nonsense  # type: ignore[attr-defined]


def test_every_name_in_all_exists_and_has_docstring() -> None:
    for name in sqlmig.__all__:
        assert getattr(sqlmig, name).__doc__ or name == "State"  # a Literal has none


def test_short_conftest_gives_each_test_a_migrated_database(
    three: Project, tmp_path: Path
) -> None:
    tests = tmp_path / "app" / "tests"
    tests.mkdir(parents=True)
    with psycopg.connect(three.url) as connection:
        info = connection.info
        noproc = f"host={info.host!r}, port={info.port}, user={info.user!r}, password={info.password or None!r}, dbname='app_{info.backend_pid}_'"
    (tests / "conftest.py").write_text(
        textwrap.dedent(f"""
        from functools import partial
        from pytest_postgresql import factories
        import sqlmig.testing

        server = factories.postgresql_noproc({noproc}, load=[partial(sqlmig.testing.load, directory={str(three.directory)!r})])
        database = factories.postgresql("server")
        """)
    )
    (tests / "test_app.py").write_text(
        textwrap.dedent("""
        import pytest

        @pytest.mark.parametrize("number", [1, 2])
        def test_each_has_its_own(database, number):
            assert database.execute("SELECT count(*) FROM t3").fetchone() == (0,)
            database.execute("INSERT INTO t3 VALUES (%s)", [number])
            database.commit()
            assert database.execute("SELECT count(*) FROM schema_migrations").fetchone() == (3,)
        """)
    )
    line = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        f"--basetemp={tmp_path / 'run'}",
        "--rootdir",
        str(tests),
        str(tests),
    ]
    ran = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tests)
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr


def test_loader_ignores_unknown_keywords(three: Project) -> None:
    connection = psycopg.conninfo.conninfo_to_dict(three.url)
    sqlmig.testing.load(
        directory=three.directory, schema="app", newer_keyword=object(), **connection
    )
    assert replace(three).query("SELECT to_regclass('app.t3') IS NOT NULL") == [(True,)]


def test_each_migration_is_reported_when_it_is_committed(three: Project) -> None:
    seen: list[tuple[int, int]] = []

    def note(applied: sqlmig.Applied) -> None:
        ((count,),) = three.query("SELECT count(*) FROM schema_migrations")
        seen.append((applied.version, count))

    sqlmig.up(three.url, three.directory, on_applied=note)
    assert seen == [(1, 1), (2, 2), (3, 3)]
    sqlmig.down(three.url, three.directory, all=True, on_applied=note)
    assert seen[3:] == [(3, 2), (2, 1), (1, 0)]


def test_a_rehearsal_changes_nothing(three: Project) -> None:
    rehearsed = sqlmig.up(three.url, three.directory, to=2, dry_run=True)
    assert [one.version for one in rehearsed] == [1, 2]
    assert all(one.seconds > 0 for one in rehearsed)
    assert three.tables() == set()
    sqlmig.up(three.url, three.directory)
    (one,) = sqlmig.down(three.url, three.directory, dry_run=True)
    assert one.version == 3
    assert len(three.tables()) == 3
    three.write(up_4_x="SELECT wrong")
    with pytest.raises(sqlmig.MigrationFailed):
        sqlmig.up(three.url, three.directory, dry_run=True)


@pytest.mark.parametrize("scratch", ["", "embedded:"])
def test_find_drift_and_prove_return_results(three: Project, scratch: str) -> None:
    sqlmig.up(three.url, three.directory)
    assert not sqlmig.find_drift(three.url, three.directory, scratch=scratch)
    three.query("CREATE TABLE by_hand ()")
    drift = sqlmig.find_drift(three.url, three.directory, scratch=scratch)
    assert [" ".join(key) for key in drift.left] == ["table public.by_hand"]
    assert not sqlmig.find_drift(three.url, three.directory, ignore=["*.by_hand"])
    three.write(up_4_x="CREATE TABLE x ()", down_4_x="SELECT 1")
    *good, bad = sqlmig.prove(three.directory, url=three.url, scratch=scratch)
    assert [one.result for one in good] == ["ok"] * 3
    assert (bad.version, bad.result, bad.has_failed) == (4, "broken", True)


def test_check_needs_no_database(three: Project) -> None:
    assert [one.result for one in sqlmig.prove(three.directory)] == ["ok"] * 3


def test_type_checker_rejects_unknown_name(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sqlmig\n"
        "for row in sqlmig.status('x'):\n"
        "    if row.applied_at: print(row.applied_at.year, row.seconds)\n"
        "try: sqlmig.up('x', on_applied=print)\n"
        "except sqlmig.LedgerDisagrees as error:\n"
        "    states: list[sqlmig.VersionState] = error.rows\n"
        "except sqlmig.SqlmigError as error: print(error.hint, error.applied)\n"
        "sqlmig.upp('x')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(program)],
        cwd=SQL.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "program.py:8: error: Module has no attribute" in ran.stdout
    assert "Found 1 error" in ran.stdout, ran.stdout


def test_sqlalchemy_url_object_is_accepted(three: Project) -> None:
    url = make_url(three.url).set(drivername="postgresql+asyncpg")
    assert len(sqlmig.up(url, three.directory)) == 3
    assert not sqlmig.find_drift(url, three.directory)
    assert len(sqlmig.status(url, three.directory)) == 3


ASYNCPG = {
    "ssl=require": "sslmode=require",
    "ssl=true": "sslmode=require",
    "ssl=False": "sslmode=disable",
    "ssl=verify-full&prepared_statement_cache_size=0": "sslmode=verify-full",
    "prepared_statement_cache_size=0&command_timeout=60&server_settings=x": "",
    "timeout=5&application_name=a%20b&host=/tmp": "connect_timeout=5&application_name=a%20b&host=/tmp",
}


@pytest.mark.parametrize(("theirs", "ours"), ASYNCPG.items(), ids=ASYNCPG)
def test_asyncpg_url_is_converted_for_libpq(theirs: str, ours: str) -> None:
    expected = f"postgresql://u:p%3Fw@h/d?{ours}".rstrip("?")
    assert without_driver(f"postgresql+asyncpg://u:p%3Fw@h/d?{theirs}") == expected


def test_a_url_for_asyncpg_connects(three: Project) -> None:
    place, _, query = three.url.partition("://")[2].partition("?")
    url = f"postgresql+asyncpg://{place}?prepared_statement_cache_size=0&ssl=prefer&{query}"
    assert len(sqlmig.up(url, three.directory)) == 3
