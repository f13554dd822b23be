"""`drift` does not report these as changes by hand. Each was once a false alarm."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from tests.support.project import Project

NOTHING = "nothing differs\n"
FUNCTION = "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE plpgsql AS E'BEGIN{end}    RETURN 1;{end}END'"
# Supabase's dashboard creates a trigger like this for "Enable automatic RLS".
AUTOMATIC_RLS = """
    CREATE FUNCTION rls_auto_enable() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog AS $$
    DECLARE cmd record;
    BEGIN
        FOR cmd IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE object_type = 'table' AND schema_name = 'public'
        LOOP
            EXECUTE format('alter table if exists %s enable row level security', cmd.object_identity);
        END LOOP;
    END $$;
    CREATE EVENT TRIGGER ensure_rls ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION rls_auto_enable()
"""


def drift(project: Project, *arguments: str, code: int = 0) -> str:
    return project.run("drift", *arguments, code=code).out


@pytest.mark.parametrize("is_member", [False, True], ids=["superuser", "member"])
def test_role_other_than_the_owner_can_run_drift(
    project: Project, *, is_member: bool
) -> None:
    owner, asks = f"owner {os.getpid()}", f"asks_{os.getpid()}"
    rights = f'{"CREATEDB" if is_member else "SUPERUSER"} IN ROLE "{owner}"'
    ((name,),) = project.query("SELECT current_database()")
    project.query(f"""
        CREATE ROLE "{owner}" LOGIN CREATEDB; CREATE ROLE {asks} LOGIN {rights};
        GRANT ALL ON SCHEMA public TO "{owner}", {asks}; GRANT ALL ON DATABASE {name} TO "{owner}";
        ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" GRANT SELECT ON TABLES TO PUBLIC;
        ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" IN SCHEMA public REVOKE ALL ON FUNCTIONS FROM PUBLIC;
        ALTER DEFAULT PRIVILEGES FOR ROLE {asks} GRANT DELETE ON TABLES TO PUBLIC;
    """)
    try:
        owners = replace(project, url=make_conninfo(project.url, user=owner))
        owners.write(
            up_1_t="CREATE TABLE t (a int); GRANT UPDATE (a), INSERT ON t TO pg_monitor; CREATE SCHEMA s;"
            " CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE s.mood AS ENUM ('good');"
            " ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON SEQUENCES TO pg_monitor",
            down_1_t="SELECT 1",
        )
        owners.run("up")
        assert drift(owners) == NOTHING
        other = replace(owners, url=make_conninfo(project.url, user=asks))
        assert drift(other) == NOTHING

        other.query("CREATE TABLE s.by_hand (); ALTER TABLE t OWNER TO CURRENT_USER")
        lines = drift(other, code=1).splitlines()
        assert "extra  table s.by_hand" in lines
        owner_words = f'owner was "\\"{owner}\\"", is "{asks}"'
        assert f"changed  table public.t: {owner_words}" in lines
    finally:
        project.query(
            f'DROP OWNED BY "{owner}", {asks} CASCADE; DROP ROLE "{owner}", {asks}'
        )


def test_line_endings_in_bodies_and_comments_are_ignored(project: Project) -> None:
    project.write(
        up_1_f=FUNCTION.format(end=r"\n") + r"; COMMENT ON FUNCTION f() IS E'one\ntwo'"
    )
    project.run("up")
    project.query(
        FUNCTION.format(end=r"\r\n") + r"; COMMENT ON FUNCTION f() IS E'one\r\ntwo'"
    )
    assert drift(project) == NOTHING
    project.query(FUNCTION.format(end=r"\n\n"))
    assert "changed  function public.f(): definition was" in drift(project, code=1)


@pytest.fixture
def extension(project: Project) -> str:
    """Return an extension that the server offers and that new databases do not contain."""
    ((name,),) = project.query(
        "SELECT min(name) FROM pg_available_extensions WHERE name IN ('citext', 'vector')"
    )
    return str(name)


def test_extension_version_difference_is_a_note(
    project: Project, extension: str
) -> None:
    project.write(up_1_e=f"CREATE EXTENSION {extension}; CREATE TABLE t ()")
    project.run("up")
    project.query(
        "UPDATE pg_extension SET extversion = '0.0' WHERE extname = %s", extension
    )
    shown = drift(project)
    assert shown.startswith(f"note  extension {extension}: version was")
    assert shown.endswith(f"; it follows the server\n{NOTHING}")


@pytest.mark.parametrize("is_named", [False, True])
def test_extension_schema_difference_is_a_note_if_no_file_names_it(
    project: Project, extension: str, *, is_named: bool
) -> None:
    where = " WITH SCHEMA public" if is_named else ""
    project.write(up_1_e=f"CREATE EXTENSION {extension}{where}; CREATE TABLE t ()")
    project.run("up")
    project.query(
        f"CREATE SCHEMA extensions; ALTER EXTENSION {extension} SET SCHEMA extensions"
    )
    words = f'extension {extension}: schema was "public", is "extensions"'
    if is_named:
        assert f"changed  {words}\n" in drift(project, code=1)
    else:
        assert drift(project) == f"note  {words}; no file says which\n{NOTHING}"


def test_partitions_that_are_made_at_run_time_are_one_note(project: Project) -> None:
    project.write(
        up_1_p="""
            CREATE TABLE events (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
            CREATE INDEX ON events (v);
            CREATE TABLE "first.part" PARTITION OF events FOR VALUES FROM (0) TO (10);
        """
    )
    project.run("up")
    assert drift(project) == NOTHING
    project.query("""
        CREATE TABLE second PARTITION OF events FOR VALUES FROM (10) TO (20);
        CREATE TABLE "th.ird" PARTITION OF events FOR VALUES FROM (20) TO (30) PARTITION BY RANGE (id);
        CREATE TABLE fourth PARTITION OF "th.ird" FOR VALUES FROM (20) TO (30);
    """)
    assert (
        drift(project)
        == f"note  table public.events: partitions made at run time: 3\n{NOTHING}"
    )
    project.query("CREATE TABLE by_hand (LIKE events)")
    assert "extra  table public.by_hand" in drift(project, code=1)


def test_ignored_objects_are_left_out(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(up_1_t="CREATE TABLE t (a int)")
    project.run("up")
    project.query("""
        CREATE TABLE backup_1 (a int PRIMARY KEY); CREATE TABLE backup_2 (a int); CREATE VIEW w AS SELECT 1 AS a;
        COMMENT ON TABLE t IS 'by hand'
    """)
    assert (
        drift(project, "--ignore", "public.backup_?", "--ignore", "view *", code=1)
        == 'changed  table public.t: comment was null, is "by hand"\n'
    )
    monkeypatch.setenv("SQLMIG_IGNORE", "*.backup_* public.[ab] *.w *.t")
    assert drift(project) == NOTHING
    monkeypatch.setenv("SQLMIG_IGNORE", "public.T")  # patterns are case-sensitive
    assert "extra  view public.w" in drift(project, code=1)


def test_grant_difference_is_described_in_words(project: Project) -> None:
    project.write(
        up_1_t="CREATE TABLE t (a int); GRANT SELECT, UPDATE ON t TO pg_monitor"
    )
    project.run("up")
    project.query("""
        GRANT DELETE ON t TO PUBLIC; REVOKE UPDATE ON t FROM pg_monitor;
        GRANT SELECT ON t TO pg_monitor WITH GRANT OPTION
    """)
    assert (
        drift(project, code=1)
        == "changed  table public.t: PUBLIC may now DELETE; pg_monitor may now grant SELECT;"
        " pg_monitor may no longer UPDATE\n"
    )


ADDS_A_POLICY = """
    CREATE FUNCTION add_policy() RETURNS event_trigger LANGUAGE plpgsql AS $$
    DECLARE
        made record;
    BEGIN
        FOR made IN SELECT objid::regclass AS name FROM pg_event_trigger_ddl_commands() WHERE object_type = 'table' LOOP
            EXECUTE format('CREATE POLICY tenants ON %s USING (true)', made.name);
        END LOOP;
    END
    $$;
    CREATE EVENT TRIGGER add_policy ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION add_policy()
"""


def test_a_policy_that_the_platform_adds_to_each_table_is_a_note(
    project: Project,
) -> None:
    project.query(ADDS_A_POLICY)
    project.write(up_1_t="CREATE TABLE t (a int); CREATE TABLE u (a int)")
    project.run("up")
    shown = drift(project)
    assert shown.endswith(NOTHING)
    for table in "tu":
        assert (
            f"note  extra policy public.{table}.tenants; "
            "each table has it, and an event trigger of the database adds policies\n"
        ) in shown
    assert "schema_migrations" not in shown
    # A policy by hand has another definition or another name.
    project.query("ALTER POLICY tenants ON t USING (false)")
    shown = drift(project, code=1)
    assert "extra  policy public.t.tenants\n" in shown
    assert "extra  policy public.u.tenants\n" in shown
    project.query("ALTER POLICY tenants ON t USING (true)")
    project.query("CREATE POLICY mine ON u USING (true)")
    assert "extra  policy public.u.mine\n" in drift(project, code=1)
    project.query("DROP POLICY mine ON u")
    project.query("DROP EVENT TRIGGER add_policy")
    assert "extra  policy public.u.tenants\n" in drift(project, code=1)


def test_manual_policy_on_the_only_table_is_drift(project: Project) -> None:
    project.query(AUTOMATIC_RLS)  # it adds no policy
    project.write(up_1_t="CREATE TABLE t (a int)")
    project.run("up")
    project.query("CREATE POLICY by_hand ON t USING (true)")
    assert "extra  policy public.t.by_hand\n" in drift(project, code=1)


def test_row_level_security_that_the_platform_turns_on_is_a_note(
    project: Project,
) -> None:
    project.query(AUTOMATIC_RLS)
    project.write(up_1_t="CREATE TABLE t (a int)")
    project.run("up")
    shown = drift(project)
    assert shown.endswith(NOTHING)
    assert (
        "note  table public.t: row level security was false, is true; "
        "an event trigger of the database turns it on\n"
    ) in shown
    assert "note  extra function public.rls_auto_enable(); " in shown
    project.query("DROP EVENT TRIGGER ensure_rls")
    assert "changed  table public.t: row level security was false, is true\n" in drift(
        project, code=1
    )


GIVES_AWAY = """
    CREATE FUNCTION gives_away() RETURNS event_trigger LANGUAGE plpgsql AS $$
    DECLARE
        made record;
    BEGIN
        FOR made IN
            SELECT objid::regclass AS name
            FROM pg_event_trigger_ddl_commands()
            WHERE object_type = 'table' AND object_identity <> 'public.schema_migrations'
        LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO pg_monitor', made.name);
            EXECUTE format('GRANT SELECT ON %s TO PUBLIC', made.name);
        END LOOP;
    END
    $$;
    CREATE EVENT TRIGGER gives_away ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION gives_away()
"""


def test_grants_and_owners_that_the_platform_gives_to_each_table_are_notes(
    project: Project,
) -> None:
    project.write(up_1_t="CREATE TABLE t (a int); CREATE TABLE u (a int)")
    project.query(GIVES_AWAY)
    project.run("up")
    shown = drift(project)
    assert shown.endswith(NOTHING)
    for table in "tu":
        assert (
            f'note  table public.{table}: owner was "postgres", is "pg_monitor"; '
            "each table has it, and an event trigger of the database changes owner\n"
        ) in shown
        assert f"note  table public.{table}: PUBLIC may now SELECT; pg_monitor" in shown
    # What only one table has was done by hand.
    project.query("GRANT DELETE ON t TO PUBLIC")
    shown = drift(project, code=1)
    assert "changed  table public.t: PUBLIC may now SELECT, DELETE" in shown
    assert "changed  table public.u: PUBLIC may now SELECT" in shown
    project.query("REVOKE DELETE ON t FROM PUBLIC; DROP EVENT TRIGGER gives_away")
    assert 'changed  table public.t: owner was "postgres"' in drift(project, code=1)


def test_unpopulated_materialized_view_is_not_drift(project: Project) -> None:
    project.write(
        up_1_m="CREATE MATERIALIZED VIEW filled AS SELECT 1 AS a;"
        " CREATE MATERIALIZED VIEW empty AS SELECT 1 AS a WITH NO DATA"
    )
    project.run("up")
    project.query(
        "REFRESH MATERIALIZED VIEW empty; REFRESH MATERIALIZED VIEW filled WITH NO DATA"
    )
    assert drift(project) == NOTHING
    project.query("ALTER MATERIALIZED VIEW filled RENAME TO other")
    assert "missing  materialized view public.filled\n" in drift(project, code=1)


@pytest.mark.parametrize(
    "how", ["options of the URL", "a setting of the role", "the role's own schema"]
)
def test_files_run_on_another_search_path_are_not_drift(
    project: Project, how: str
) -> None:
    role = f"deploys_{os.getpid()}"
    project.query(
        f"CREATE ROLE {role} SUPERUSER LOGIN; CREATE SCHEMA {role}; CREATE SCHEMA app"
    )
    schema = "app"
    options = {"user": role}
    if how == "options of the URL":
        options["options"] = "-csearch_path=app"
    elif how == "a setting of the role":
        project.query(f"ALTER ROLE {role} SET search_path = app")
    else:
        schema = role
    try:
        deploys = replace(project, url=make_conninfo(project.url, **options))
        deploys.write(
            up_1_t="CREATE TABLE t (a int); CREATE VIEW v AS SELECT * FROM t;"
            " CREATE SCHEMA more CREATE TABLE t (b int)"
        )
        deploys.run("up")
        assert drift(deploys) == NOTHING
        note = ""
        if schema == "app":
            note = f"note  nothing of the files is in the schema {role}, so they are taken to have run in app\n"
        assert drift(project) == f"{note}{NOTHING}"
        project.query(f"CREATE TABLE {schema}.by_hand (); DROP VIEW {schema}.v")
        assert drift(project, code=1) == (
            f"extra  table {schema}.by_hand\n"
            f"missing  view {schema}.v\n"
            f"missing  column {schema}.v.a\n{note}"
        )
    finally:
        project.query(f"REASSIGN OWNED BY {role} TO postgres; DROP ROLE {role}")
