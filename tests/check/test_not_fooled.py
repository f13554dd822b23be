"""`check` and `drift` are not fooled by files that hide what they do, on purpose or not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from tests.support.project import RUN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.project import Project

NEW = f"hidden_{RUN}"
OWNER = f"fool_{RUN}_owner"
ROLE = f"fool_{RUN}"
NOTHING = "nothing differs\n"
NO_TRANSACTION = "-- sqlmig: no-transaction\n"


@pytest.fixture
def roles(project: Project) -> Iterator[Project]:
    """Yield the project, and drop the roles that a test made."""
    yield project
    project.query(f"DROP ROLE IF EXISTS {NEW}")
    for role in (ROLE, OWNER):
        if project.query("SELECT 1 FROM pg_roles WHERE rolname = %s", role):
            project.query(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}")
            project.query(f"DROP ROLE {role}")


def has_role(project: Project, name: str = NEW) -> bool:
    return bool(project.query("SELECT 1 FROM pg_roles WHERE rolname = %s", name))


UNLESS = (
    f"DO $$ BEGIN IF to_regrole('{NEW}') IS NULL THEN CREATE ROLE {NEW}; END IF; END $$"
)
HIDES_A_ROLE = {
    "prepared": f"{NO_TRANSACTION}BEGIN; CREATE ROLE {NEW}; PREPARE TRANSACTION 'fool'; COMMIT PREPARED 'fool';",
    "prepared, unless it exists": f"{NO_TRANSACTION}BEGIN; {UNLESS}; PREPARE TRANSACTION 'fool'; COMMIT PREPARED 'fool';",
    "track_counts for a moment": (
        f"SELECT set_config('track_' || 'counts', 'off', true); CREATE ROLE {NEW}; "
        "SELECT set_config('track_' || 'counts', 'on', true);"
    ),
}


@pytest.mark.parametrize("text", HIDES_A_ROLE.values(), ids=HIDES_A_ROLE)
def test_hidden_role_creation_is_blocked(roles: Project, text: str) -> None:
    roles.write(up_1_x=text, down_1_x="SELECT 1")
    assert "which the whole server would see" in roles.run("check", code=1).out
    assert not has_role(roles)
    roles.write(up_1_x="SELECT 1")
    roles.run("up")
    roles.write(up_1_x=text)
    roles.run("repair", "--yes")
    roles.run("drift", code=None)
    assert not has_role(roles)


ABORTS = "DO $$ BEGIN {statement}; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END $$;"
LOSSES = {
    "a type": (
        "CREATE TYPE m AS ENUM ('a', 'b')",
        ABORTS.format(statement="CREATE TYPE zz AS ENUM ('a', 'b')") + "DROP TYPE m",
        "lost: enum public.m",
    ),
    "a comment": (
        "CREATE TABLE t (a int); COMMENT ON TABLE t IS 'important'",
        ABORTS.format(statement="COMMENT ON COLUMN t.a IS 'x'")
        + "COMMENT ON TABLE t IS NULL",
        "comment was",
    ),
    "in a function": (
        (
            "CREATE TABLE t (a int); COMMENT ON TABLE t IS 'important'; CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql"
            " AS 'BEGIN COMMENT ON COLUMN t.a IS ''x''; RAISE ''no''; EXCEPTION WHEN others THEN NULL; END'"
        ),
        "SELECT f(); COMMENT ON TABLE t IS NULL",
        "comment was",
    ),
    "a sequence that only the down file moves": (
        "CREATE SEQUENCE s",
        "ALTER SEQUENCE s RESTART WITH 50",
        "sequence public.s: value was",
    ),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_rolled_back_change_does_not_hide_a_loss(
    project: Project, loss: tuple[str, str, str]
) -> None:
    first, down, words = loss
    project.write(
        up_1_a=first,
        down_1_a="-- sqlmig: irreversible: a test",
        up_2_b="SELECT 1",
        down_2_b=down,
    )
    shown = project.run("check", code=1).out
    assert "broken        2_b" in shown
    assert words in shown


def test_undone_change_is_not_a_difference(project: Project) -> None:
    project.write(
        up_1_a="CREATE TABLE t (a int); COMMENT ON TABLE t IS 'first'",
        down_1_a="DROP TABLE t",
        up_2_b="COMMENT ON TABLE t IS 'second'; GRANT SELECT ON t TO PUBLIC; CREATE INDEX i ON t (a)",
        down_2_b="COMMENT ON TABLE t IS 'first'; REVOKE SELECT ON t FROM PUBLIC; DROP INDEX i",
        up_3_c="SELECT 1",
        down_3_c=ABORTS.format(statement="CREATE TABLE u ()"),
    )
    assert "broken" not in project.run("check", code=None).out.replace(
        "changed: table public.t: grants was null", ""
    )


GRANTS_ELSEWHERE = """
    CREATE FUNCTION grants() RETURNS event_trigger LANGUAGE plpgsql AS
    'BEGIN IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands()) THEN GRANT USAGE ON SCHEMA public TO PUBLIC; END IF; END';
    CREATE EVENT TRIGGER grants ON ddl_command_end WHEN TAG IN ('CREATE EXTENSION') EXECUTE FUNCTION grants()
"""


def test_manual_grants_are_drift_despite_unrelated_event_trigger(
    project: Project,
) -> None:
    project.query(GRANTS_ELSEWHERE)
    project.write(up_1_t="CREATE TABLE a (); CREATE TABLE b ()")
    project.run("up")
    project.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO pg_monitor")
    shown = project.run("drift", code=1).out
    assert "changed  table public.a: pg_monitor may now " in shown


def test_table_moved_by_hand_is_reported(project: Project) -> None:
    project.write(up_1_t="CREATE TABLE t ()")
    project.run("up")
    project.query("CREATE SCHEMA archive; ALTER TABLE t SET SCHEMA archive")
    assert project.run("drift").out.startswith(
        "note  nothing of the files is in the schema public, so they are taken to have run in archive\n"
    )
    project.query("DROP TABLE archive.t; CREATE VIEW archive.t AS SELECT 1")
    assert "missing  table public.t\n" in project.run("drift", code=1).out


@pytest.mark.parametrize("unless", ["", "IF NOT EXISTS "])
def test_file_may_create_a_schema_of_the_search_path(
    project: Project, unless: str
) -> None:
    ((database,),) = project.query("SELECT current_database()")
    project.query(f"ALTER DATABASE {database} SET search_path = app, public")
    project.write(
        up_1_a=f"CREATE SCHEMA {unless}app; CREATE TABLE app.t (a int)",
        down_1_a="DROP TABLE app.t; DROP SCHEMA app",
    )
    project.run("up")
    assert project.run("check").out == "ok            1_a\n"
    assert project.run("drift").out == NOTHING


def owned(project: Project, rights: str) -> Project:
    """Return the project for a role, in a database whose objects belong to another role."""
    project.query(
        f"CREATE ROLE {OWNER} LOGIN CREATEDB; CREATE ROLE {ROLE} LOGIN CREATEDB {rights}; "
        f"GRANT ALL ON SCHEMA public TO {OWNER}, {ROLE}"
    )
    owners = replace(project, url=make_conninfo(project.url, user=OWNER))
    ((database,),) = project.query("SELECT current_database()")
    project.query(f"ALTER DATABASE {database} OWNER TO {OWNER}")
    owners.write(
        up_1_t=f"CREATE TABLE t (a int); GRANT SELECT ON t TO {ROLE}, postgres"
    )
    owners.run("up")
    assert owners.run("drift").out == NOTHING
    return replace(project, url=make_conninfo(project.url, user=ROLE))


@pytest.mark.parametrize("rights", ["SUPERUSER", "IN ROLE {owner}"])
def test_grants_to_the_role_that_runs_drift_are_not_drift(
    roles: Project, rights: str
) -> None:
    other = owned(roles, rights.format(owner=OWNER))
    assert other.run("drift").out == NOTHING
    other.query("REVOKE SELECT ON t FROM postgres")
    assert "postgres may no longer SELECT" in other.run("drift", code=1).out


def test_grants_that_cannot_be_compared_are_a_note(roles: Project) -> None:
    other = owned(roles, "")
    roles.query(f"GRANT SELECT ON schema_migrations TO {ROLE}")
    shown = other.run("drift", code=None).out
    assert (
        f"note  table public.t: {ROLE} may now SELECT; what {ROLE} may do is not"
        in (shown)
    )


def test_role_with_its_own_role_setting_sees_no_drift(roles: Project) -> None:
    roles.query(
        f"CREATE ROLE {OWNER} CREATEDB; CREATE ROLE {ROLE} LOGIN IN ROLE {OWNER}; ALTER ROLE {ROLE} SET role = {OWNER};"
        f"GRANT ALL ON SCHEMA public TO {OWNER};"
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT SELECT ON TABLES TO pg_monitor"
    )
    deploys = replace(roles, url=make_conninfo(roles.url, user=ROLE))
    deploys.write(up_1_t="CREATE TABLE t (a int)")
    deploys.run("up")
    assert deploys.run("drift").out == NOTHING


def test_failing_grant_is_reported(roles: Project) -> None:
    roles.write(up_1_t="CREATE TABLE t (); SELECT 1")
    roles.run("up")
    roles.write(up_1_t=f"CREATE TABLE t (); GRANT SELECT ON t TO {NEW}")
    roles.run("repair", "--yes")
    error = roles.run("drift", code=1).err
    assert f'role "{NEW}" does not exist' in error


SESSION = """-- sqlmig: no-transaction
SET search_path = app;
CREATE TABLE public.before (a int);
DO $$ BEGIN EXECUTE 'ALTER ROLE {role} NOLOGIN'; END $$;
CREATE TABLE u (a int); CREATE TABLE public.v (a int); CREATE TABLE public.w (a int);
"""
OWN_TRANSACTION = """-- sqlmig: no-transaction
CREATE TABLE first ();
BEGIN;
CREATE TABLE t (a int);
DO $$ BEGIN ALTER ROLE {role} NOLOGIN; END $$;
CREATE TABLE v (a int);
COMMIT;
"""


@pytest.mark.parametrize("text", [SESSION, OWN_TRANSACTION], ids=["session", "own"])
def test_rest_of_no_transaction_file_runs_after_skipped_block(
    roles: Project, text: str
) -> None:
    roles.query(f"CREATE ROLE {NEW}")
    roles.write(up_1_a="CREATE SCHEMA app", up_2_x=text.format(role=NEW))
    roles.run("up")
    output = roles.run("drift")
    assert output.out.endswith(NOTHING)
    assert "2_x.up.sql: a DO block was not run on the scratch database" in output.out


def test_role_that_is_read_only_by_default_can_use_scratch_database(
    roles: Project,
) -> None:
    roles.write(up_1_t="CREATE TABLE t ()", down_1_t="DROP TABLE t")
    roles.run("up")
    roles.query(
        f"CREATE ROLE {ROLE} LOGIN CREATEDB; ALTER ROLE {ROLE} SET default_transaction_read_only = on; "
        f"GRANT SELECT ON schema_migrations TO {ROLE}"
    )
    reads = replace(roles, url=make_conninfo(roles.url, user=ROLE))
    assert reads.run("check").out == "ok            1_t\n"
    assert reads.run("drift").out == NOTHING


def test_database_setting_made_by_superuser_is_copied(roles: Project) -> None:
    ((database,),) = roles.query("SELECT current_database()")
    roles.query(f"""ALTER DATABASE {database} SET "my.Custom" = 'x y\\ "z"''s'""")
    roles.query(f"CREATE ROLE {ROLE} LOGIN CREATEDB")
    roles.write(
        up_1_t="""DO $$ BEGIN ASSERT current_setting('my.Custom') = 'x y\\ "z"''s'; END $$""",
        down_1_t="SELECT 1",
    )
    reads = replace(roles, url=make_conninfo(roles.url, user=ROLE))
    assert reads.run("check").out == "ok            1_t\n"


def test_scratch_database_given_away_by_a_file_is_dropped(roles: Project) -> None:
    roles.query(
        f"CREATE ROLE {OWNER} CREATEDB; CREATE ROLE {ROLE} LOGIN CREATEDB NOINHERIT IN ROLE {OWNER}"
    )
    gives = replace(roles, url=make_conninfo(roles.url, user=ROLE))
    gives.write(
        up_1_t=f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO {OWNER}', current_database()); END $$",
        down_1_t="SELECT 1",
    )
    output = gives.run("check", code=None)
    assert "not dropped" not in output.err
    owned = "SELECT 1 FROM pg_database WHERE datdba::regrole::text IN (%s, %s)"
    assert roles.query(owned, OWNER, ROLE) == []


@pytest.fixture
def extension(project: Project) -> str:
    """Return an extension that the server offers and that new databases do not contain."""
    ((name,),) = project.query(
        "SELECT min(name) FROM pg_available_extensions WHERE name IN ('citext', 'vector')"
    )
    return str(name)


def test_extension_named_only_in_a_comment_is_preinstalled(
    project: Project, extension: str
) -> None:
    project.query(f"CREATE EXTENSION {extension}")
    project.write(
        up_1_t=f"-- The platform runs CREATE EXTENSION {extension} for us.\nCREATE TABLE c (a {extension})",
        down_1_t="DROP TABLE c",
    )
    project.run("up")
    assert project.run("check").out == "ok            1_t\n"
    assert project.run("drift").out == NOTHING


def test_schema_created_if_not_exists_has_its_extensions(
    project: Project, extension: str
) -> None:
    project.query(
        f"CREATE SCHEMA extensions; CREATE EXTENSION {extension} SCHEMA extensions"
    )
    project.write(
        up_1_t=f"CREATE SCHEMA IF NOT EXISTS extensions; CREATE TABLE c (a extensions.{extension})",
        down_1_t="DROP TABLE c",
    )
    project.run("up")
    assert project.run("check").out == "ok            1_t\n"
    assert project.run("drift").out == NOTHING


def test_table_named_role_is_not_taken_for_a_role(project: Project) -> None:
    project.write(
        up_1_t="CREATE TABLE role (a int); CREATE POLICY p ON role USING (true); COMMENT ON POLICY p ON role IS 'x'",
        down_1_t="DROP TABLE role",
    )
    project.run("up")
    assert project.run("drift").out == NOTHING
