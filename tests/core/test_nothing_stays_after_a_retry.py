"""Session state that survives a rollback reaches neither the next try nor the next schema."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

import sqlmig
from tests.support.project import LOCK, until
from tests.support.waits import GO, WAITS, at_the_wait

if TYPE_CHECKING:
    from tests.support.project import Project


@pytest.mark.parametrize(
    "stays",
    [
        "PREPARE p AS SELECT 1;",
        "SELECT pg_advisory_lock(4711);",
        "LISTEN x; CREATE TEMP TABLE c (); PREPARE p AS SELECT 1;",
    ],
)
@pytest.mark.parametrize("options", [(), ("--schema", "a", "--schema", "b")])
def test_retry_starts_without_session_state_of_first_try(
    project: Project, stays: str, options: tuple[str, ...]
) -> None:
    project.query("CREATE SCHEMA far; CREATE TABLE far.t (n int)")
    project.write(up_1_x=f"{stays} ALTER TABLE far.t ALTER n SET DEFAULT 1;")
    with psycopg.connect(project.url) as other:
        other.execute("LOCK TABLE far.t")
        runner = project.fork("up", "--lock-timeout", "200ms", "--jobs", "1", *options)
        runner.said("trying again")
        assert project.query(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711"
        ) == [(0,)]
    assert "already exists" not in runner.ended()


def test_failed_schema_leaves_no_session_state_to_the_next(project: Project) -> None:
    project.query("CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t ()")
    project.write(up_1_x="PREPARE p AS SELECT 1; CREATE TABLE t ();")
    options = ("--schema", "a", "--schema", "b", "--jobs", "1", "--allow-non-empty")
    output = project.run("up", *options, code=1)
    assert "2 schemas: 1 applied, 1 failed" in output.out
    assert "prepared statement" not in output.err


def test_up_succeeds_after_standard_error_is_closed(project: Project) -> None:
    project.write(
        up_1_x="DO $$ BEGIN RAISE NOTICE 'one'; PERFORM pg_sleep(11); RAISE NOTICE 'two'; END $$;",
        up_2_y="CREATE TABLE y ();",
    )
    process = project.start("up", stdout=subprocess.DEVNULL)
    assert process.stderr
    process.stderr.close()
    assert process.wait(60) == 0
    assert project.states() == {1: "applied", 2: "applied"}


def test_wait_ends_for_an_address_that_drops_packets(project: Project) -> None:
    """The listener accepts no connection: its queue is full, and the kernel drops further packets."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        full = [socket.socket() for _ in range(4)]
        for one in full:
            one.settimeout(0.01)
            with contextlib.suppress(OSError):
                one.connect(("127.0.0.1", port))
        program = "import sys; from sqlmig.cli import command; sys.exit(command(sys.argv[1:]))"
        url = f"postgresql://x@127.0.0.1:{port}/x?connect_timeout=2"
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                program,
                "-d",
                url,
                "--dir",
                str(project.directory),
                "--wait",
                "1s",
                "status",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        project.write(up_1_x="SELECT 1;")
        _, error = process.communicate(timeout=100)
        assert "cannot connect" in error
        for one in full:
            one.close()


def test_lost_connection_during_lock_wait_lists_applied_files(project: Project) -> None:
    project.write(up_1_x=f"CREATE TABLE x (); {WAITS}", up_2_y="CREATE TABLE y ();")
    ((database,),) = project.query("SELECT current_database()")
    applied: list[list[str]] = []

    def run() -> None:
        try:
            sqlmig.up(project.url, project.directory)
        except sqlmig.SqlmigError as error:
            applied.append([one.name for one in error.applied])

    thread = threading.Thread(target=run)
    thread.start()
    at_the_wait(project, database)
    with psycopg.connect(project.url, autocommit=True) as other:
        # This connection gets the runners' lock after the first file's commit, before the runner requests it again.
        queue = threading.Thread(target=lambda: other.execute(f"BEGIN; {LOCK}"))
        queue.start()
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: project.query(waiting))
        with psycopg.connect(project.url, application_name=GO):
            queue.join(60)
        end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'sqlmig' AND datname = current_database()"
        until(lambda: project.query(end)[0][0] or applied)
        thread.join(60)
    assert applied == [["x"]]
