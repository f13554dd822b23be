"""`drift` reports every kind of object that was changed by hand, and nothing else."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.objects import ALONE, BASE, TOGETHER, left
from tests.support.project import Project
from tests.support.waits import GO, WAITS, at_the_wait

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers import Server

NOTHING = "nothing differs\n"
# Objects outside any schema belong to the platform unless the files create them. So do schemas from elsewhere.
OUTSIDE = (
    "event trigger", "schema", "extension", "schema grant", "publication", "database setting",
    "user mapping",
)  # fmt: skip
# Findings qualify every name, whatever the search path.
OTHERWISE = {
    "operator": "extra  operator public.##(integer,integer)",
    "owned sequence": 'changed  sequence settings of public.s: owned by was null, is "public.t.n"',
    "default privileges": "changed  table public.t: PUBLIC may no longer SELECT",  # the files would grant it now
    "lost extension": "missing  function public.g()",
}


def drift(project: Project, *arguments: str, code: int = 0) -> str:
    return project.run("drift", *arguments, code=code).out


@pytest.fixture(scope="module")
def applied(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the name of a template in which one object of each kind is applied."""
    with server.unconnected("sqlmig_applied") as name:
        project = Project(tmp_path_factory.mktemp("sql"), server.url_of(name))
        project.file("1_base.up.sql", BASE)
        project.run("up")
        yield name


@pytest.fixture
def base(server: Server, applied: str, tmp_path: Path) -> Iterator[Project]:
    """Yield a project that has applied one object of each kind."""
    with server.project(tmp_path, applied) as project:
        project.file("1_base.up.sql", BASE)
        yield project


@pytest.mark.parametrize(
    "kinds",
    [[kind for kind in TOGETHER if kind not in OUTSIDE], *([kind] for kind in ALONE)],
    ids=["together", *ALONE],
)
def test_every_kind_of_manual_change_is_reported(
    base: Project, kinds: list[str]
) -> None:
    expected = []
    for number, kind in enumerate(kinds):
        text, words = left(kind, number)
        base.query(text)
        what, _, where = words.partition(": ")
        word = {"left": "extra", "lost": "missing", "changed": "changed"}[what]
        expected.append(OTHERWISE.get(kind, f"{word}  {where}"))
    output = drift(base, code=1)
    assert [line for line in expected if line not in output] == []


@pytest.mark.parametrize("kind", OUTSIDE)
def test_objects_outside_schemas_are_ignored_if_no_file_made_them(
    base: Project, kind: str
) -> None:
    base.query(left(kind)[0])
    assert drift(base) == NOTHING


def test_objects_outside_schemas_are_compared_if_a_file_made_them(
    project: Project,
) -> None:
    project.write(
        up_1_a="CREATE TABLE a (); CREATE SCHEMA own; CREATE PUBLICATION pub FOR TABLE a"
    )
    project.run("up")
    assert drift(project) == NOTHING
    project.query("DROP PUBLICATION pub; COMMENT ON SCHEMA own IS 'mine'")
    assert drift(project, code=1).splitlines() == [
        "missing  publication pub",
        'changed  schema own: comment was null, is "mine"',
    ]


def test_no_drift_after_up_check_or_down_or_with_pending_files(base: Project) -> None:
    assert drift(base) == NOTHING
    base.write(up_2_x="CREATE TABLE x ()", down_2_x="DROP TABLE x")
    base.run("check", code=1)  # the base has no down file
    assert drift(base) == NOTHING
    base.run("up")
    assert drift(base) == NOTHING
    base.run("down")
    assert drift(base) == NOTHING


def test_drift_fails_if_no_file_is_applied(
    project: Project,
) -> None:
    project.write(up_1_a="CREATE TABLE a ()")
    project.query("CREATE TABLE a ()")
    assert (
        "nothing can be compared: no file is applied here"
        in project.run("drift", code=1).err
    )
    assert project.tables() == {"a"}


def test_a_column_that_was_dropped_and_added_again_is_a_note(project: Project) -> None:
    project.write(up_1_t="CREATE TABLE t (a int, b int)")
    project.run("up")
    project.query("ALTER TABLE t DROP COLUMN a; ALTER TABLE t ADD COLUMN a int")
    note = "note  table public.t: its columns are in another order, which no SQL can prevent\n"
    assert drift(project) == note + NOTHING


def test_default_privileges_and_database_settings_are_not_drift(
    project: Project,
) -> None:
    project.query("""
        ALTER DEFAULT PRIVILEGES GRANT SELECT, UPDATE ON TABLES TO pg_monitor WITH GRANT OPTION;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT INSERT ON TABLES TO PUBLIC;
        ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
        ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO pg_monitor;
        ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC;
        CREATE SCHEMA elsewhere;
        ALTER DEFAULT PRIVILEGES IN SCHEMA elsewhere GRANT ALL ON TABLES TO PUBLIC;
        DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %I SET search_path = elsewhere, "Odd, Schema", public', current_database());
            EXECUTE format('ALTER DATABASE %I SET quote_all_identifiers = on', current_database());
            EXECUTE format('ALTER DATABASE %I SET "app.the_key" = %L', current_database(), 'it''s, "so"');
            EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET default_table_access_method = heap', current_database());
        END $$;
    """)
    project.write(
        up_1_t="""
            CREATE TABLE public.t (id serial, v text DEFAULT current_setting('app.the_key'));
            CREATE TYPE public.mood AS ENUM ('good');
            CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS 'SELECT current_setting(''app.the_key'')';
            DO $$ BEGIN EXECUTE format('COMMENT ON TABLE public.t IS %L', current_setting('app.the_key')); END $$
        """
    )
    project.run("up")
    assert drift(project) == NOTHING
    project.query("REVOKE INSERT ON public.t FROM PUBLIC")
    assert 'changed  table "public"."t": PUBLIC may no longer INSERT' in drift(
        project, code=1
    )


def test_only_the_named_schema_is_compared(project: Project) -> None:
    schema = 'My "Schema"'
    project.write(up_1_t="CREATE TABLE t (a int); CREATE INDEX i ON t (a)")
    project.run("--schema", schema, "up")
    project.query("CREATE TABLE public.x ()")
    assert drift(project, "--schema", schema) == NOTHING
    project.query('DROP INDEX "My ""Schema""".i')
    assert (
        drift(project, "--schema", schema, code=1)
        == 'missing  index "My ""Schema""".i\n'
    )
    assert "give --schema once" in project.run("drift", "--schema", "a*", code=2).err


def test_object_owner_with_createdb_can_run_drift(
    project: Project,
) -> None:
    role = f"owner_{os.getpid()}"
    ((name,),) = project.query("SELECT current_database()")
    project.query(f"""
        CREATE ROLE {role} LOGIN CREATEDB;
        GRANT ALL ON SCHEMA public TO {role};
        ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT SELECT ON TABLES TO PUBLIC;
        ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO PUBLIC;
        ALTER DATABASE {name} SET log_statement = 'none';
    """)
    try:
        apart = replace(project, url=make_conninfo(project.url, user=role))
        apart.write(up_1_t="CREATE TABLE t (a int)")
        apart.run("up")
        assert drift(apart) == NOTHING
        apart.query("GRANT UPDATE (a) ON t TO pg_monitor")
        assert "changed  column public.t.a: pg_monitor may now UPDATE" in drift(
            apart, code=1
        )
    finally:
        project.query(
            f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}"
        )


def test_drift_refuses_changed_or_missing_files(project: Project) -> None:
    project.write(
        up_1_a="CREATE TABLE a ()",
        up_2_b="CREATE TABLE b ()",
        up_3_c="CREATE TABLE c ()",
    )
    project.run("up")
    project.write(up_1_a="CREATE TABLE a (n int)")
    (project.directory / "2_b.up.sql").unlink()
    error = project.run("drift", code=1).err
    assert "nothing can be compared: 1_a is changed, 2_b is missing" in error


def test_json_lists_differences(project: Project) -> None:
    project.write(up_1_t="CREATE TABLE t (a int)")
    project.run("up")
    assert project.run("drift", "--json").json() == []
    project.query(
        "ALTER TABLE t DROP COLUMN a, ADD COLUMN b int NOT NULL DEFAULT 1; COMMENT ON TABLE t IS 'x'"
    )
    assert project.run("drift", "--json", code=1).json() == [
        {"state": "extra", "object": "column public.t.b"},
        {"state": "missing", "object": "column public.t.a"},
        {"state": "changed", "object": 'table public.t: comment was null, is "x"'},
    ]


def test_scratch_database_is_dropped_and_real_one_is_unchanged(
    project: Project,
) -> None:
    project.write(up_1_t="CREATE TABLE t (a int)")
    project.run("up")
    with psycopg.connect(project.url) as reader:  # drift must not wait for its locks
        reader.execute("LOCK TABLE t, schema_migrations IN SHARE MODE")
        assert drift(project) == NOTHING
    assert (
        project.query(
            "SELECT 1 FROM pg_database WHERE datname LIKE %s",
            f"sqlmig_scratch_{os.getpid()}_%",
        )
        == []
    )
    assert project.tables() == {"t"}


def test_grant_is_a_note_if_a_file_changes_default_privileges(
    project: Project,
) -> None:
    project.query("ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO PUBLIC")
    project.write(
        up_1_a="CREATE TABLE a ()",
        up_2_p="ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    )
    project.write(up_3_c="CREATE TABLE c ()")
    project.run("up")
    why = "; a file changes default privileges, which may be why"
    shown = drift(project)
    assert shown.startswith("note  table public.a: PUBLIC may no")
    assert shown.endswith(f"{why}\n{NOTHING}")
    project.query("GRANT INSERT ON c TO PUBLIC; COMMENT ON TABLE a IS 'x'")
    assert drift(project, code=1).count(why) == 2


@pytest.mark.parametrize(
    ("defaults", "hides"),
    [
        ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", True),
        (
            "alter default privileges in schema public revoke all on tables from pg_monitor",
            True,
        ),
        (
            "DO $$ BEGIN EXECUTE 'ALTER DEFAULT PRIVILEGES REVOKE ALL ON ' || 'TABLES FROM pg_monitor'; END $$",
            True,
        ),
        ("ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO PUBLIC", False),
        (
            "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; GRANT SELECT ON a TO pg_monitor",
            False,
        ),
    ],
)
def test_manual_grant_is_a_note_only_if_a_file_changes_matching_defaults(
    project: Project, defaults: str, *, hides: bool
) -> None:
    project.write(up_1_a="CREATE TABLE a ()", up_2_b=defaults)
    project.run("up")
    project.query("GRANT ALL ON a TO PUBLIC")
    words = (
        "note  table public.a: PUBLIC may now"
        if hides
        else "changed  table public.a: PUBLIC may now"
    )
    assert words in drift(project, code=int(not hides))


@pytest.mark.parametrize("owner", ["pg_database_owner", "CURRENT_USER", "owner_{}"])
def test_platform_grants_on_the_schema_apply_to_the_files(
    project: Project, owner: str
) -> None:
    role, group = f"owner_{os.getpid()}", f"group_{os.getpid()}"
    project.query(f"""
        CREATE ROLE {group}; CREATE ROLE {role} LOGIN CREATEDB NOINHERIT IN ROLE {group};
        ALTER DEFAULT PRIVILEGES FOR ROLE {group} GRANT SELECT ON TABLES TO PUBLIC;
        ALTER SCHEMA public OWNER TO {owner.format(os.getpid())}; GRANT CREATE ON SCHEMA public TO {role}, {group}
    """)
    try:
        apart = replace(project, url=make_conninfo(project.url, user=role))
        apart.write(up_1_t=f"CREATE TABLE t (a int); ALTER TABLE t OWNER TO {group}")
        apart.run("up")
        assert drift(apart) == NOTHING
        apart.write(up_1_t="CREATE TABLE t (a int)", down_1_t="DROP TABLE t")
        apart.run("check")
    finally:
        project.query(f"DROP OWNED BY {role}, {group}; DROP ROLE {role}, {group}")


def test_database_timeout_and_read_only_settings_are_not_inherited(
    project: Project,
) -> None:
    slowly = "DO $$ BEGIN IF current_database() LIKE 'sqlmig_scratch%' THEN PERFORM pg_sleep(2); END IF; END $$"
    project.write(up_1_t=f"CREATE TABLE t (a int); {slowly}", down_1_t="DROP TABLE t")
    project.run("up")
    project.query("""
        DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %I SET idle_session_timeout = %L', current_database(), '1s');
            EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
        END $$
    """)
    assert drift(project) == NOTHING
    project.run("check")
    assert (
        project.query(
            "SELECT 1 FROM pg_database WHERE datname LIKE %s",
            f"sqlmig_scratch_{os.getpid()}_%",
        )
        == []
    )


CAST = "CREATE CAST (e AS int) WITH FUNCTION cf (e) AS"
BEHIND = {
    "changed  cast from public.e to integer: context was": (
        f"CREATE TYPE e AS ENUM ('a'); CREATE FUNCTION cf(e) RETURNS int LANGUAGE sql AS 'SELECT 1'; {CAST} IMPLICIT",
        f"DROP CAST (e AS int); {CAST} ASSIGNMENT",
    ),
    "changed  operator public.##(integer,integer): function was": (
        "CREATE OPERATOR ## (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
        "DROP OPERATOR ## (int, int); CREATE OPERATOR ## (LEFTARG = int, RIGHTARG = int, FUNCTION = int4ne)",
    ),
    "changed  collation public.c: collcollate was": (
        "CREATE COLLATION c (LOCALE = 'C')",
        "DROP COLLATION c; CREATE COLLATION c (LOCALE = 'POSIX')",
    ),
    "changed  statistics public.st: target was": (
        "CREATE TABLE t (a int, b int); CREATE STATISTICS st ON a, b FROM t",
        "ALTER STATISTICS st SET STATISTICS 50",
    ),
    "changed  text search configuration public.words: owner was": (
        "CREATE TEXT SEARCH CONFIGURATION words (COPY = english)",
        "ALTER TEXT SEARCH CONFIGURATION words OWNER TO pg_monitor",
    ),
    "extra  conversion public.other": (
        "CREATE CONVERSION con FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
        "CREATE CONVERSION other FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
    ),
}


@pytest.mark.parametrize("words", BEHIND)
def test_objects_are_compared_by_definition_and_name(
    project: Project, words: str
) -> None:
    made, by_hand = BEHIND[words]
    project.write(up_1_a=f"{made}; CREATE TABLE x ()")
    project.run("up")
    assert drift(project) == NOTHING
    project.query(by_hand)
    assert words in drift(project, code=1)


def test_unvalidated_not_null_is_a_change(project: Project) -> None:
    project.write(up_1_t="CREATE TABLE t (a int NOT NULL)")
    project.run("up")
    by_hand, words = (
        "ALTER TABLE t ALTER a DROP NOT NULL",
        "column public.t.a: not null was true, is false",
    )
    if project.query("SELECT current_setting('server_version_num')::int >= 180000") == [
        (True,)
    ]:
        by_hand = "ALTER TABLE t ALTER a DROP NOT NULL, ADD CONSTRAINT t_a_not_null NOT NULL a NOT VALID"
        words = "column public.t.a: not-null validated was true, is false"
    project.query(by_hand)
    assert words in drift(project, code=1)


def test_ledger_change_during_drift_is_an_error(project: Project) -> None:
    project.file("1_a.up.sql", f"{WAITS}CREATE TABLE a ()")
    with psycopg.connect(project.url, application_name=GO):
        project.run("up")
    runner = project.fork("drift")
    at_the_wait(project, f"sqlmig_scratch_{runner.process.pid}_%")
    project.query(
        "INSERT INTO schema_migrations (version, name, checksum) VALUES (2, 'b', '')"
    )
    with psycopg.connect(project.url, application_name=GO):
        assert (
            "the ledger changed in the meantime; run the command again"
            in runner.ended(1)
        )
