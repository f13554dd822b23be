"""Migrations that wait, and helpers that detect the wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.project import RUN, until

if TYPE_CHECKING:
    from tests.support.project import Project


def tables(project: Project, count: int, body: str = "") -> None:
    """Write migrations that create the tables t1, t2 and so on."""
    for n in range(1, count + 1):
        project.file(f"{n:04}_t.up.sql", f"{body}CREATE TABLE t{n} (id int);")
        project.file(f"{n:04}_t.down.sql", f"{body}DROP TABLE t{n};")


GO = f"go on {RUN}"  # a connection with this application name ends the wait


WAITS = f"""DO $$
BEGIN
    WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '{GO}') LOOP
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
    END LOOP;
END $$;
"""


def at_the_wait(project: Project, database: str) -> None:
    """Wait until a file waits in a database with a name LIKE this pattern."""
    asleep = "SELECT 1 FROM pg_stat_activity WHERE datname LIKE %s AND wait_event = 'PgSleep'"
    until(lambda: project.query(asleep, database), "WAITS")


BUILDING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^CREATE INDEX' AND wait_event = 'virtualxid'"
