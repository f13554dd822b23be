"""A file's settings never reach the next file, the ledger or another client of a pooler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.project import RUN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.project import Project

SETTINGS = {
    "search_path": "SELECT pg_catalog.set_config('search_path', '', false); SET search_path = ''",
    "statement_timeout": "SET statement_timeout = '1h'",
    "lock_timeout": "SET SESSION lock_timeout = '1h'",
    "timezone": "SET TIME ZONE 'Asia/Kolkata'",
    "check_function_bodies": "SET check_function_bodies = false",
    "row_security": "SET row_security = off",
    "role": "SET ROLE {role}",
    "session authorization": "SET SESSION AUTHORIZATION {role}",
    "read only": "SET default_transaction_read_only = on",
    "own setting": "SET my.setting = 'x'",
    "temporary table": "CREATE TEMP TABLE secret AS SELECT 1",
    "advisory lock": "SELECT pg_advisory_lock(42)",
    "listen": "LISTEN news",
    "prepared statement": "PREPARE later AS SELECT 1",
    "cursor": "DECLARE later CURSOR WITH HOLD FOR SELECT 1",
    "sequence": "CREATE SEQUENCE s; SELECT nextval('s')",
}
LEFT = """
    SELECT concat_ws(
        '|', current_user, session_user, current_setting('search_path'), current_setting('statement_timeout'),
        current_setting('lock_timeout'), current_setting('timezone'), current_setting('check_function_bodies'),
        current_setting('row_security'), current_setting('default_transaction_read_only'),
        nullif(current_setting('my.setting', true), ''), to_regclass('pg_temp.secret'),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_prepared_statements),
        (SELECT count(*) FROM pg_cursors WHERE is_holdable)
    ) AS v
"""


@pytest.fixture
def role(project: Project) -> Iterator[str]:
    """Yield a role without any rights."""
    name = f"powerless_{RUN}"
    project.query(f"CREATE ROLE {name}")
    yield name
    project.query(f"DROP ROLE {name}")


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_session_state_ends_with_the_file(
    either: Project, role: str, setting: str
) -> None:
    either.file("1_before.up.sql", f"CREATE TABLE public.seen AS {LEFT};")
    either.file("2_set.up.sql", f"{setting.format(role=role)};")
    either.file("2_set.down.sql", "DROP SEQUENCE IF EXISTS public.s")
    either.file("3_after.up.sql", f"INSERT INTO public.seen {LEFT};")
    either.run("up")
    assert either.query("SELECT count(*), count(DISTINCT v) FROM public.seen") == [
        (2, 1)
    ]
    assert either.states() == {1: "applied", 2: "applied", 3: "applied"}


def test_session_state_ends_when_the_file_fails(either: Project, role: str) -> None:
    (before,) = either.query(LEFT)[0]
    either.file(
        "1_set.up.sql",
        f"SET search_path = ''; LISTEN news; SET TIME ZONE 'Asia/Kolkata'; SET ROLE {role}; SELECT 1 / 0;",
    )
    either.run("up", code=1)
    assert either.query(LEFT) == [(before,)]


def test_ledger_stays_in_public_after_file_creates_user_schema(
    either: Project,
) -> None:
    either.file("1_x.up.sql", 'CREATE SCHEMA "postgres"; CREATE TABLE a ();')
    either.file("2_x.up.sql", "SELECT 1")
    either.run("up")
    assert either.states() == {1: "applied", 2: "applied"}
    assert either.query(
        "SELECT schemaname FROM pg_tables WHERE tablename = 'schema_migrations'"
    ) == [("public",)]


def test_deferred_triggers_run_under_the_files_own_settings(project: Project) -> None:
    project.file(
        "1_x.up.sql",
        """
        CREATE SCHEMA app; SET search_path = app; CREATE TABLE seen (v text); CREATE TABLE a (id int);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen VALUES (1); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER t AFTER INSERT ON a DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();
        INSERT INTO a VALUES (1);
        """,
    )
    project.run("up")
    assert project.query("SELECT * FROM app.seen") == [("1",)]
