"""A scratch database is like the database that is checked: its encoding, its locale, its schemas and its owner."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import sqlmig
from sqlmig import embedded
from tests.support.project import RUN, Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


OTHER = f"like_{RUN}"
ROLE = f"like_{RUN}_role"
GROUP = f"like_{RUN}_group"
NOTHING = "nothing differs\n"
HELLO = "SELECT count(*) FROM pg_database WHERE datname ~ '^sqlmig_scratch_' AND datdba::regrole::text = '{}'"


@pytest.fixture
def other(project: Project) -> Iterator[Callable[[str], Project]]:
    """Return a function that creates a database with options, and its project."""

    def create(options: str) -> Project:
        project.query(f"CREATE DATABASE {OTHER} TEMPLATE template0 {options}")
        return replace(project, url=make_conninfo(project.url, dbname=OTHER))

    yield create
    project.query(f"DROP DATABASE IF EXISTS {OTHER} WITH (FORCE)")


@pytest.fixture
def roles(project: Project) -> Iterator[Project]:
    """Yield the project, for a role that may create databases and is a member of a group."""
    project.query(
        f"CREATE ROLE {GROUP}; CREATE ROLE {ROLE} LOGIN CREATEDB IN ROLE {GROUP}; "
        f"GRANT CREATE ON SCHEMA public TO {ROLE}"
    )
    yield replace(project, url=make_conninfo(project.url, user=ROLE))
    for role in (ROLE, GROUP):
        project.query(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}")
    project.query(f"DROP ROLE {ROLE}, {GROUP}")


LIKE = {
    "another encoding": (
        "ENCODING LATIN1 LOCALE 'C'",
        "pg_encoding_to_char(encoding) = 'LATIN1'",
    ),
    "another locale": (
        "ENCODING UTF8 LOCALE 'C.UTF-8'",
        "datcollate = 'C.UTF-8' AND datctype = 'C.UTF-8'",
    ),
    "another provider": (
        "ENCODING UTF8 LOCALE_PROVIDER {provider} {provider}_LOCALE '{locale}' LOCALE 'C.UTF-8'",
        "to_jsonb(d)::text ~ '\"{locale}\"' AND datlocprovider <> 'c'",
    ),
}


@pytest.mark.parametrize(("options", "is_like_it"), LIKE.values(), ids=LIKE)
def test_scratch_database_has_same_encoding_and_locale(
    project: Project, other: Callable[[str], Project], options: str, is_like_it: str
) -> None:
    # The builtin provider is new in PostgreSQL 17. The embedded server has no ICU.
    is_new = int(project.query("SHOW server_version_num")[0][0]) >= 170000
    words = {"provider": "builtin", "locale": "C.UTF-8"}
    if not is_new:
        words = {"provider": "icu", "locale": "sv"}
    is_like_it = is_like_it.format(**words)
    project = other(options.format(**words))
    project.write(
        up_1_a=f"CREATE TABLE a (n int CHECK (n > 0)); DO $$ BEGIN ASSERT (SELECT {is_like_it} FROM pg_database AS d "
        "WHERE datname = current_database()), 'another database'; END $$;",
        down_1_a="DROP TABLE a",
    )
    project.run("up")
    assert project.run("check").out.startswith("ok")
    assert project.run("drift").out == NOTHING


PATHS = {
    "$user": 'ALTER DATABASE {database} SET search_path = "$user"',
    "of the database": "ALTER DATABASE {database} SET search_path = app, public",
    "with PostgreSQL's own": "ALTER DATABASE {database} SET search_path = app, pg_catalog, information_schema, pg_temp",
    "of the role": "ALTER ROLE {role} SET search_path = app",
    "of the role in the database": "ALTER ROLE {role} IN DATABASE {database} SET search_path = app",
}


@pytest.mark.parametrize("statement", PATHS.values(), ids=PATHS)
def test_scratch_database_has_schemas_of_the_search_path(
    project: Project, roles: Project, statement: str
) -> None:
    ((database,),) = project.query("SELECT current_database()")
    project.query(
        f"CREATE SCHEMA app AUTHORIZATION {ROLE}; CREATE SCHEMA {ROLE} AUTHORIZATION {ROLE}; "
        + statement.format(database=database, role=ROLE)
    )
    roles.write(up_1_a="CREATE TABLE a ()", down_1_a="DROP TABLE a")
    roles.run("up")
    assert roles.run("drift").out == NOTHING
    assert roles.run("check").out.startswith("ok")
    roles.query("CREATE TABLE by_hand ()")
    assert "by_hand" in roles.run("drift", code=1).out


def test_search_path_from_the_url_is_used(project: Project) -> None:
    project.query("CREATE SCHEMA app")
    led = replace(project, url=make_conninfo(project.url, options="-csearch_path=app"))
    led.write(up_1_a="CREATE TABLE a ()", down_1_a="DROP TABLE a")
    led.run("up")
    assert led.run("drift").out == NOTHING
    assert led.run("check").out.startswith("ok")
    led.query("CREATE TABLE by_hand ()")
    assert led.run("drift", code=1).out == "extra  table app.by_hand\n"


@pytest.mark.parametrize("schema", ["public", "app"])
def test_owning_group_has_the_same_rights_in_scratch_database(
    project: Project, roles: Project, schema: str
) -> None:
    ((database,),) = project.query("SELECT current_database()")
    project.query(
        f"ALTER DATABASE {database} OWNER TO {GROUP}; CREATE SCHEMA app AUTHORIZATION {GROUP}; "
        f"ALTER DATABASE {database} SET search_path = {schema}"
    )
    roles.write(
        up_1_a=f"SET ROLE {GROUP}; CREATE TABLE a (); CREATE SCHEMA more;",
        down_1_a=f"SET ROLE {GROUP}; DROP TABLE a; DROP SCHEMA more;",
    )
    try:
        roles.run("up")
        assert roles.run("check").out.startswith("ok")
        assert roles.run("drift").out == NOTHING
    finally:
        project.query(f"ALTER DATABASE {database} OWNER TO postgres")


class Agent:
    """A monitoring agent of the provider: a superuser that connects to each new database, for some seconds."""

    def __init__(self, url: str, *, leaves: bool) -> None:
        self._url = url
        self._leaves = leaves
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Agent:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._has_ended.set()
        self._thread.join()

    def _watch(self) -> None:
        mine = f"SELECT datname FROM pg_database WHERE datname ~ '^sqlmig_scratch_' AND datdba::regrole::text = '{ROLE}'"
        with psycopg.connect(self._url, autocommit=True) as connection:
            seen: set[str] = set()
            while not self._has_ended.is_set():
                for (name,) in connection.execute(mine).fetchall():
                    if name not in seen:
                        self._connect(name)
                    seen.add(name)

    def _connect(self, name: str) -> None:
        with (
            suppress(psycopg.OperationalError),
            psycopg.connect(self._url, dbname=name),
        ):
            self._has_ended.wait(1 if self._leaves else None)


@pytest.mark.parametrize("command", ["check", "drift"])
def test_briefly_connected_agent_does_not_block_the_drop(
    project: Project, roles: Project, command: str
) -> None:
    roles.write(up_1_a="CREATE TABLE a ()", down_1_a="DROP TABLE a")
    roles.run("up")
    with Agent(project.url, leaves=True):
        output = roles.run(command)
    assert "sqlmig_scratch_" not in output.err
    assert project.query(HELLO.format(ROLE)) == [(0,)]


def test_an_agent_that_stays_does_not_hide_the_verdict(
    project: Project, roles: Project
) -> None:
    roles.write(up_1_a="CREATE TABLE a ()", down_1_a="SELECT 1")
    with Agent(project.url, leaves=False):
        output = roles.run("check", code=1)
    assert "left: table public.a\n" in output.out
    assert "warning: the scratch database sqlmig_scratch_" in output.err
    assert "another session is connected to it" in output.err
    roles.run("check", code=1)  # drops what was left
    assert project.query(HELLO.format(ROLE)) == [(0,)]


# pg_cron raises this in every database but one.
ONE_DATABASE_ONLY = """
    DO $$
    BEGIN
        RAISE 'can only create extension in database postgres'
        USING HINT = format('Add cron.database_name = ''%s'' in postgresql.conf', current_database());
    END
    $$
"""


@pytest.mark.parametrize("mode", ["", "-- sqlmig: no-transaction\n"])
def test_hint_does_not_suggest_configuring_the_scratch_database(
    project: Project, mode: str
) -> None:
    project.write(up_1_a=f"{mode}{ONE_DATABASE_ONLY}", down_1_a="SELECT 1")
    shown = project.run("check", code=1).out
    assert "can only create extension in database postgres" in shown
    assert "HINT: this works in one database of the server only" in shown
    assert "postgresql.conf" not in shown

    project.write(up_1_a=f"{mode}SELECT 1")
    project.run("up")
    project.write(up_1_a=f"{mode}{ONE_DATABASE_ONLY}")
    project.run("repair", "1", "--yes")
    error = project.run("drift", code=1).err
    assert "HINT: this works in one database of the server only" in error
    assert "postgresql.conf" not in error


@pytest.fixture
def guarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Project
) -> Iterator[Callable[[str], Project]]:
    """Return a function that sets the rules of a server's pg_hba.conf, and the project there. .pgpass has one database."""
    data = tmp_path / "data"
    passwords = tmp_path / "pgpass"
    passwords.write_text("*:*:shop:app:geheim\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    with embedded.server(data, {"fsync": "off"}) as url:
        here = replace(project, url=url)
        here.query("CREATE ROLE app LOGIN CREATEDB PASSWORD 'geheim'")
        here.query("CREATE DATABASE shop OWNER app")

        def allow(rules: str) -> Project:
            (data / "pg_hba.conf").write_text(f"local all postgres trust\n{rules}\n")
            here.query("SELECT pg_reload_conf()")
            return replace(project, url=make_conninfo(url, dbname="shop", user="app"))

        yield allow
        assert here.query("SELECT 1 FROM pg_database WHERE datname ~ 'scratch'") == []


def test_first_password_is_reused_for_the_scratch_database(
    guarded: Callable[[str], Project],
) -> None:
    project = guarded("local all app scram-sha-256")
    project.write(up_1_a="CREATE TABLE a ()", down_1_a="DROP TABLE a")
    project.run("up")
    assert project.run("check").out.startswith("ok")
    assert project.run("drift").out == NOTHING


@pytest.mark.parametrize("command", ["check", "drift"])
def test_scratch_database_that_rejects_connections_is_named(
    guarded: Callable[[str], Project], command: str
) -> None:
    project = guarded("local shop app scram-sha-256\nlocal all app reject")
    project.write(up_1_a="CREATE TABLE a ()", down_1_a="DROP TABLE a")
    project.run("up")
    error = project.run(command, code=1).err
    assert "error: the scratch database sqlmig_scratch_" in error
    assert "was made, but does not let us in: cannot connect: " in error
    assert "or name another server with --scratch" in error
    assert "geheim" not in error


def test_packaged_sql_files_are_ascii() -> None:
    """A database may have an encoding that lacks a character, and comments are sent too."""
    files = list(Path(sqlmig.__file__).parent.rglob("*.sql"))
    assert files
    assert [path.name for path in files if not path.read_bytes().isascii()] == []
