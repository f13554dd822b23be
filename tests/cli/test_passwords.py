"""A password never appears in any output, nor in the list of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.project import Project, until

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "s3cret-w0rd"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Project]:
    """Yield a project on a server that requires a password."""
    directory = tmp_path / "sql"
    directory.mkdir()
    private = Project(directory, f"embedded:{tmp_path / 'data'}")
    private.file(
        "1_x.up.sql", f"CREATE ROLE someone LOGIN SUPERUSER PASSWORD '{SECRET}';"
    )
    private.run("up")
    hba = tmp_path / "data" / "pg_hba.conf"
    hba.write_text(f"local all someone scram-sha-256\n{hba.read_text()}")
    private.file(
        "2_wait.up.sql",
        "DO $$ BEGIN RAISE NOTICE 'here'; PERFORM pg_sleep(600); END $$;",
    )
    holder = private.fork("up")
    holder.said("here")
    sockets = (tmp_path / "data" / "postmaster.pid").read_text().splitlines()[4]
    files = tmp_path / "files"
    files.mkdir()
    guarded = Project(files, f"postgresql://someone:{SECRET}@/app?host={sockets}")
    replace(guarded, url=guarded.url.replace("/app", "/postgres")).query(
        "CREATE DATABASE app"
    )
    guarded.file("1_x.up.sql", "SELECT 1;")
    yield guarded
    holder.process.terminate()
    holder.process.join()


def test_a_right_password_connects_and_a_wrong_one_is_a_clear_error(
    guarded: Project,
) -> None:
    assert guarded.states() == {1: "pending"}
    wrong = replace(guarded, url=guarded.url.replace(SECRET, f"{SECRET}-wrong"))
    error = wrong.run("status", code=1).err
    assert "cannot connect: " in error
    assert 'password authentication failed for user "someone"' in error
    assert SECRET not in error


def test_a_missing_password_is_a_clear_error(guarded: Project) -> None:
    assert (
        "no password supplied"
        in replace(guarded, url=guarded.url.replace(f":{SECRET}", ""))
        .run("status", code=1)
        .err
    )


def test_process_list_does_not_show_password(guarded: Project) -> None:
    """The runner gets the password in its environment, and passes it to psql the same way."""
    environment = os.environ | {"DATABASE_URL": guarded.url}
    line = [
        sys.executable,
        "-m",
        "sqlmig.embedded",
        "psql",
        "-Atc",
        "SELECT 'here', pg_sleep(2)",
    ]
    with subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        sleeping = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep' AND application_name = 'psql'"
        until(lambda: guarded.query(sleeping))
        shown = [
            path.read_bytes()
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if path.exists()
        ]
        assert any(b"psql" in line for line in shown)
        assert not any(SECRET.encode() in line for line in shown)
        out, _ = process.communicate()
        assert out == "here|\n"


def test_server_failures_do_not_reveal_password(guarded: Project) -> None:
    guarded.file("2_x.up.sql", "SELECT pg_terminate_backend(pg_backend_pid());")
    output = guarded.run("up", code=1)
    assert SECRET not in output.out + output.err
    with psycopg.connect(guarded.url, autocommit=True) as connection:
        connection.execute("ALTER ROLE someone NOLOGIN")
    output = guarded.run("up", code=1)
    assert "not permitted to log in" in output.err
    assert SECRET not in output.out + output.err
