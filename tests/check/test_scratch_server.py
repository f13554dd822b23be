"""`check` and `drift` with a scratch database on another server (--scratch), and with a file for it (--setup)."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from sqlmig import embedded
from tests.support.project import RUN, SQL, Project
from tests.support.servers import FAST

if TYPE_CHECKING:
    from collections.abc import Iterator

EMBEDDED = ("--scratch", "embedded:")
NOTHING = "nothing differs\n"
READER = f"reader_{RUN}"
OWNER = f"owner_{RUN}"
NEW = f"new_{RUN}"
SETUP = """
    DO $$ BEGIN
        IF to_regrole('platform_{run}') IS NULL THEN CREATE ROLE platform_{run}; END IF;
    END $$;
    CREATE SCHEMA auth; CREATE TABLE auth.users (id int PRIMARY KEY);
    CREATE FUNCTION auth.uid() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE TYPE auth.level AS ENUM ('aal1');
"""


@pytest.fixture
def reader(project: Project) -> Iterator[Project]:
    """Yield the project for a role that may read the ledger and nothing else."""
    project.query(f"CREATE ROLE {READER} LOGIN; CREATE ROLE {OWNER} LOGIN")
    yield replace(project, url=make_conninfo(project.url, user=READER))
    project.query(f"DROP OWNED BY {READER}, {OWNER} CASCADE")
    project.query(f"DROP ROLE {READER}, {OWNER}")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a second server, of the same version as that of ``alone``."""
    with embedded.server(tmp_path_factory.mktemp("second"), FAST) as url:
        yield url


def test_a_file_may_change_a_throwaway_server(project: Project) -> None:
    project.write(up_1_r=f"CREATE ROLE {NEW}", down_1_r=f"DROP ROLE {NEW}")
    error = project.run("check", code=1).out
    assert "use a throwaway server: --scratch embedded:" in error
    assert project.run("check", *EMBEDDED).out == "ok            1_r\n"
    assert project.query("SELECT 1 FROM pg_roles WHERE rolname = %s", NEW) == []


def test_check_needs_no_database_if_it_has_a_scratch_server(
    project: Project, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(up_1_t="CREATE TABLE t ()", down_1_t="DROP TABLE t")
    monkeypatch.setenv("SQLMIG_SCRATCH_URL", second)
    assert replace(project, url="").run("check").out == "ok            1_t\n"


def test_scratch_option_is_suggested_if_role_lacks_createdb(
    project: Project, reader: Project
) -> None:
    project.write(up_1_t="CREATE TABLE t ()", down_1_t="DROP TABLE t")
    error = reader.run("check", code=1).err
    assert "give the role CREATEDB, connect as a role that has it, or name" in error
    assert error.endswith("another server with --scratch\n")


def test_scratch_server_gets_settings_schemas_and_locale(
    alone: Project, second: str
) -> None:
    project = alone
    project.query(f"CREATE ROLE {OWNER} LOGIN")
    ((database,),) = project.query("SELECT current_database()")
    project.query(
        f"CREATE SCHEMA {OWNER} AUTHORIZATION {OWNER}; GRANT CREATE ON SCHEMA public TO {OWNER}; "
        f"ALTER ROLE {OWNER} SET search_path = \"$user\", public; ALTER ROLE {OWNER} SET app.key = 'it''s, \"so\"'; "
        f"ALTER DATABASE {database} SET timezone = 'Asia/Kolkata'; ALTER ROLE {OWNER} SET timezone = 'Asia/Tokyo'; "
        f"ALTER ROLE {OWNER} IN DATABASE {database} SET datestyle = 'SQL, DMY'"
    )
    owners = replace(project, url=make_conninfo(project.url, user=OWNER))
    owners.write(
        up_1_t=f"""
            CREATE TABLE t (); CREATE TABLE {OWNER}.qualified (LIKE t);
            DO $$ BEGIN ASSERT current_setting('timezone') = 'Asia/Tokyo', current_setting('timezone');
            ASSERT current_setting('app.key') = 'it''s, "so"', current_setting('app.key');
            ASSERT current_setting('datestyle') = 'SQL, DMY', current_setting('datestyle'); END $$
        """,
        down_1_t=f"DROP TABLE {OWNER}.t, qualified",
    )
    owners.run("up")
    for where in (second, "embedded:"):
        assert owners.run("check", "--scratch", where).out == "ok            1_t\n"
        assert owners.run("drift", "--scratch", where).out == NOTHING


def test_drift_of_latin1_database_works_on_scratch_server(
    alone: Project, second: str
) -> None:
    project = alone
    project.write(up_1_t="CREATE TABLE t ()", down_1_t="DROP TABLE t")
    other = f"like_{RUN}"
    project.query(
        f"CREATE DATABASE {other} TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'"
    )
    try:
        latin = replace(project, url=make_conninfo(project.url, dbname=other))
        latin.run("up")
        assert latin.run("drift", "--scratch", second).out == NOTHING
    finally:
        project.query(f"DROP DATABASE {other}")


PLANTED = {
    "CREATE TABLE by_hand ()": "extra  table public.by_hand",
    "ALTER TABLE patients ADD by_hand int": "extra  column public.patients.by_hand",
    "ALTER TABLE patients DROP phone CASCADE": "missing  column public.patients.phone",
    "ALTER TABLE sessions ALTER org_id DROP DEFAULT": "column public.sessions.org_id: default",
    "ALTER TABLE organizations ALTER name DROP NOT NULL": "column public.organizations.name: not null",
    "ALTER TABLE sessions DROP CONSTRAINT sessions_pkey CASCADE": "missing  constraint public.sessions.sessions_pkey",
    "ALTER TABLE therapists DISABLE ROW LEVEL SECURITY": "table public.therapists: row level security",
    "CREATE INDEX by_hand_i ON therapists (email)": "extra  index public.by_hand_i",
    "CREATE POLICY open ON therapists USING (true)": "extra  policy public.therapists.open",
    "CREATE TRIGGER by_hand AFTER INSERT ON therapists EXECUTE FUNCTION refuse_change()": (
        "extra  trigger public.therapists.by_hand"
    ),
    "CREATE OR REPLACE FUNCTION current_org_id() RETURNS uuid LANGUAGE sql STABLE AS 'SELECT null::uuid'": (
        "function public.current_org_id(): definition"
    ),
    "CREATE VIEW by_hand_v AS SELECT 1 AS one": "extra  view public.by_hand_v",
    "CREATE SEQUENCE by_hand_s": "extra  sequence public.by_hand_s",
    "CREATE TYPE by_hand_e AS ENUM ('a')": "extra  enum public.by_hand_e",
    "GRANT DELETE ON audit_logs TO anon": "anon may now DELETE",
    "REVOKE SELECT ON patients FROM authenticated": "authenticated may no longer SELECT",
    f"ALTER VIEW upcoming_sessions OWNER TO {READER}": "view public.upcoming_sessions: owner",
    "COMMENT ON TABLE organizations IS 'mine'": "table public.organizations: comment",
}


def test_read_only_role_sees_every_change(project: Project, tmp_path: Path) -> None:
    """On this project's own database, on a server of its own with Supabase's roles."""
    with embedded.server(tmp_path / "server", FAST) as url:
        here = replace(project, directory=SQL, url=url)
        reading = replace(here, url=make_conninfo(url, user=READER))
        here.query(
            f"CREATE ROLE {READER} LOGIN; "
            "CREATE ROLE anon; CREATE ROLE authenticated; CREATE ROLE service_role; "
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anon, authenticated"
        )
        here.run("up")
        error = reading.run("drift", *EMBEDDED, code=1).err
        assert "the ledger belongs to postgres: connect as that role" in error
        here.query(error.partition("let this role read it: ")[2])
        assert reading.run("drift", *EMBEDDED).out == NOTHING
        for statement in PLANTED:
            here.query(statement)
        shown = reading.run("drift", *EMBEDDED, code=1).out
        assert [words for words in PLANTED.values() if words not in shown] == []


def test_unreachable_scratch_server_is_reported(project: Project) -> None:
    project.write(up_1_t="CREATE TABLE t ()", down_1_t="DROP TABLE t")
    project.run("up")
    for command in ("check", "drift"):
        error = project.run(
            command, "--scratch", "postgresql://u:geheim@127.0.0.1:1/x", code=1
        ).err
        assert error.startswith("error: the server of --scratch: cannot connect: ")
        assert "geheim" not in error
        waited = project.run(
            command, "--scratch", "postgresql://127.0.0.1:1/x", "--wait", "1s", code=1
        ).err
        assert "error: the server of --scratch: " in waited


@pytest.mark.parametrize("wait", ["0s", "1s"])
def test_invalid_scratch_url_is_a_usage_error(project: Project, wait: str) -> None:
    project.write(up_1_t="CREATE TABLE t ()", down_1_t="DROP TABLE t")
    project.run("up")
    for command in ("check", "drift"):
        error = project.run(
            command, "--scratch", "embeded:", "--wait", wait, code=2
        ).err
        assert error.startswith("error: the server of --scratch: the database URL ")


def test_scratch_server_of_another_major_version_is_refused(project: Project) -> None:
    ((ours,),) = project.query(
        "SELECT current_setting('server_version_num')::int / 10000"
    )
    others = _programs_of_another_version(int(ours))
    project.write(up_1_t="CREATE TABLE t ()", down_1_t="DROP TABLE t")
    project.run("up")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SQLMIG_PG_BIN", str(others))
        error = project.run("drift", *EMBEDDED, code=1).err
    assert f"the database has PostgreSQL {ours}, and the scratch server has" in error
    assert f"Give --scratch a server of PostgreSQL {ours}\n" in error


def _programs_of_another_version(ours: int) -> Path:
    candidates = [embedded.programs(), *Path("/usr/lib/postgresql").glob("*/bin")]
    for directory in candidates:
        version = subprocess.run(
            [directory / "postgres", "-V"], capture_output=True, text=True, check=True
        ).stdout
        if f" {ours}." not in version and f" {ours}beta" not in version:
            return directory
    pytest.skip("there are no programs of a second version of PostgreSQL here")


@pytest.fixture
def platform(project: Project, tmp_path: Path) -> Iterator[Project]:
    """Yield a project with a platform's objects in the database, a file that needs them, and a setup file."""
    setup = SETUP.format(run=RUN)
    project.query(setup)
    (tmp_path / "setup.sql").write_text(setup)
    project.write(
        up_1_p=f"""
            CREATE TABLE profiles (id int REFERENCES auth.users, level auth.level);
            CREATE POLICY own ON profiles TO platform_{RUN} USING (id = auth.uid());
        """,
        down_1_p="DROP TABLE profiles",
    )
    project.run("up")
    yield project
    project.query(f"DROP OWNED BY platform_{RUN}; DROP ROLE platform_{RUN}")


@pytest.mark.parametrize("where", ["here", "embedded:"])
def test_setup_file_creates_what_the_platform_provides(
    platform: Project, tmp_path: Path, where: str
) -> None:
    options = ["--setup", str(tmp_path / "setup.sql")]
    if where != "here":
        options += ["--scratch", where]
    assert platform.run("check", *options).out == (
        "ok            1_p\n              blocks writes: auth.users\n"
    )
    platform.query("CREATE TABLE auth.more ()")  # not a schema of the files
    assert platform.run("drift", *options).out == NOTHING
    platform.query("ALTER TABLE profiles ADD by_hand int")
    assert (
        platform.run("drift", *options, code=1).out
        == "extra  column public.profiles.by_hand\n"
    )


@pytest.mark.parametrize("command", ["check", "drift"])
def test_objects_missing_from_scratch_database_are_named(
    platform: Project, command: str
) -> None:
    output = platform.run(command, code=1)
    words = output.out + output.err
    assert "1_p.up.sql:2:" in words
    assert (
        "HINT: the database has schema auth, relation auth.users, type auth.level, and the scratch database does not. "
        "If no file creates this, let --setup FILE create it" in words
    )


def test_a_setup_file_may_not_change_a_server_that_is_in_use(
    project: Project, tmp_path: Path
) -> None:
    setup = tmp_path / "setup.sql"
    setup.write_text(f"CREATE ROLE {NEW}")
    project.write(up_1_t="CREATE TABLE t ()", down_1_t="DROP TABLE t")
    error = project.run("check", "--setup", str(setup), code=1).err
    assert (
        f"setup.sql: it creates role {NEW}, which the whole server would see" in error
    )
    assert "--scratch embedded:" in error
    assert project.query("SELECT 1 FROM pg_roles WHERE rolname = %s", NEW) == []


def test_missing_or_failing_setup_file_is_reported(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(up_1_t="CREATE TABLE t ()", down_1_t="DROP TABLE t")
    project.run("up")
    setup = tmp_path / "setup.sql"
    monkeypatch.setenv("SQLMIG_SETUP", str(setup))
    for command in ("check", "drift"):
        error = project.run(command, code=1).err
        assert "setup.sql: No such file or directory" in error
    setup.write_text("SELECT 1;\nSELECT wrong")
    for command in ("check", "drift"):
        assert "setup.sql:2:8" in project.run(command, code=1).err
    mine = f"sqlmig_scratch_{os.getpid()}_%"
    assert project.query("SELECT 1 FROM pg_database WHERE datname LIKE %s", mine) == []


@pytest.fixture
def extension(project: Project) -> str:
    """Return an extension that the server offers and that new databases do not contain."""
    ((name,),) = project.query(
        "SELECT min(name) FROM pg_available_extensions WHERE name IN ('citext', 'vector')"
    )
    return str(name)


@pytest.mark.parametrize("command", ["check", "drift"])
def test_extension_no_file_creates_is_preinstalled_in_its_schema(
    project: Project, extension: str, command: str
) -> None:
    project.query(
        f"CREATE SCHEMA extensions; CREATE EXTENSION {extension} SCHEMA extensions"
    )
    project.write(
        up_1_t=f"CREATE TABLE t (e extensions.{extension})", down_1_t="DROP TABLE t"
    )
    project.run("up")
    assert project.run(command).out in ("ok            1_t\n", NOTHING)


@pytest.mark.parametrize("unless", ["", "IF NOT EXISTS "])
def test_extension_a_file_creates_is_not_preinstalled(
    project: Project, extension: str, unless: str
) -> None:
    project.query("CREATE SCHEMA extensions")
    project.write(
        up_1_e=f"CREATE EXTENSION {unless}{extension} SCHEMA extensions",
        down_1_e=f"DROP EXTENSION {extension}",
    )
    project.run("up")
    assert project.run("check").out == "ok            1_e\n"
    assert project.run("drift").out == NOTHING


@pytest.mark.parametrize("command", ["check", "drift"])
@pytest.mark.parametrize("unless", ["", "IF NOT EXISTS "])
def test_an_extension_that_the_role_may_not_create_is_named(
    project: Project, reader: Project, command: str, unless: str
) -> None:
    """It was there before the first file, from the administrator."""
    untrusted = project.query(
        "SELECT min(name) FROM pg_available_extension_versions WHERE NOT trusted AND superuser AND name IN ('vector', 'dblink')"
    )
    extension = untrusted[0][0]
    project.query(
        f"CREATE EXTENSION {extension}; GRANT CREATE ON SCHEMA public TO {READER}; ALTER ROLE {READER} CREATEDB"
    )
    reader.write(up_1_e=f"CREATE EXTENSION {unless}{extension}", down_1_e="SELECT 1")
    if unless:
        reader.run("up")
    else:
        reader.run("stamp", "1")
    output = reader.run(command, code=1)
    assert (
        f"HINT: the database has extension {extension}, and the scratch database does not"
        in (output.out + output.err)
    )
