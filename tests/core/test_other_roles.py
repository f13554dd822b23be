"""A role that may create objects in public cannot run code with the runner's rights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.planted import planted
from tests.support.project import LOCK, RUN

if TYPE_CHECKING:
    from tests.support.project import Project


def test_own_statements_never_call_planted_functions(
    project: Project,
) -> None:
    project.write(
        up_1_planted=planted(),
        up_2_t="CREATE TABLE t (n int);",
        down_2_t="DROP TABLE t;",
        up_3_i="CREATE INDEX CONCURRENTLY i ON t (n);",
        down_3_i="DROP INDEX CONCURRENTLY i;",
        up_4_rows="-- sqlmig: repeat\nINSERT INTO t SELECT WHERE false;",
        down_4_rows="",
        up_5_s="CREATE TABLE s ();",
        down_5_s="DROP TABLE s;",
    )
    project.run("up", "--to", "1")
    with pytest.raises(psycopg.errors.RaiseException, match="planted"):
        project.query("SELECT format('%s', 'a'::name)")
    with pytest.raises(psycopg.errors.RaiseException, match="planted"):
        project.query("SELECT 'a'::name ~ 'b'::name")
    project.run("up", "--dry-run")
    project.run("up")
    project.run("status")
    project.run("status", "--schema", "pub*")
    project.run("down", "--dry-run")
    project.run("down")
    project.run("down", "--yes", "--to", "2")
    project.run("up", "--to", "3")
    project.run("stamp", "4")
    project.run("repair", "--yes")
    project.run("docs")
    project.run("--schema", "public", "--schema", "pub?ic", "up", "--dry-run")
    project.query(project.run("script", "--from", "5").out)
    assert set(project.states().values()) == {"applied"}
    project.query(project.run("script", "--down", "--from", "5").out)
    project.run("up")
    assert project.run("drift").out == "nothing differs\n"
    assert "broken" not in project.run("check", "--from", "2").out


def test_waiting_runner_never_calls_planted_functions(project: Project) -> None:
    project.write(
        up_1_planted=planted(),
        up_2_t="CREATE TABLE t (n int);",
        up_3_u="ALTER TABLE t ADD COLUMN m int;",
    )
    project.run("up", "--to", "2")
    with psycopg.connect(project.url) as other:
        other.execute(LOCK)
        runner = project.fork("up", "--lock-timeout", "300ms")
        runner.said("waiting for process")
        other.rollback()
        other.execute("LOCK TABLE t")
        runner.said("the lock is held by process")
        assert "planted" not in runner.text()
        other.rollback()
    runner.ended()


_COLUMNS = (
    "version bigint NOT NULL PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
    "applied_at timestamptz NOT NULL DEFAULT now(), down text"
)
_CODE = """
    CREATE FUNCTION code() RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''code ran''; END';
    CREATE FUNCTION code_of_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''code ran''; END';
    CREATE FUNCTION code_of_check(bigint) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE EXCEPTION ''code ran''; END';
"""
_MADE_IN_ADVANCE = {
    "a view": "CREATE VIEW schema_migrations AS SELECT 1::bigint AS version, code() AS name, ''::text AS checksum, now() AS applied_at, ''::text AS down",
    "a default": f"CREATE TABLE schema_migrations ({_COLUMNS}, more text DEFAULT code())",
    "a default that runs a query": f"CREATE TABLE schema_migrations ({_COLUMNS}, more xml DEFAULT query_to_xml('SELECT public.code()', true, true, ''))",
    "a trigger": f"CREATE TABLE schema_migrations ({_COLUMNS}); CREATE TRIGGER t BEFORE INSERT ON schema_migrations EXECUTE FUNCTION code_of_trigger()",
    "a check": f"CREATE TABLE schema_migrations ({_COLUMNS}, CHECK (code_of_check(version)))",
    "a domain": f"CREATE DOMAIN d AS bigint CHECK (code_of_check(value)); CREATE TABLE schema_migrations ({_COLUMNS}, more d DEFAULT 1)",
    "a rule": f"CREATE TABLE schema_migrations ({_COLUMNS}); CREATE RULE r AS ON INSERT TO schema_migrations DO ALSO SELECT code()",
    "an index expression": f"CREATE TABLE schema_migrations ({_COLUMNS}); CREATE INDEX ON schema_migrations (code_of_check(version))",
    "a generated column": f"CREATE TABLE schema_migrations ({_COLUMNS}, more bool GENERATED ALWAYS AS (code_of_check(version)) STORED)",
    "a partitioned table": f"CREATE TABLE schema_migrations ({_COLUMNS}) PARTITION BY LIST (version)",
}


@pytest.mark.parametrize("made", _MADE_IN_ADVANCE.values(), ids=_MADE_IN_ADVANCE)
@pytest.mark.parametrize(
    "command",
    ["up", "status", "up --dry-run", "stamp 1", "drift", "up --schema pub*"],
)
def test_planted_ledger_runs_no_code(project: Project, made: str, command: str) -> None:
    project.write(up_1_t="CREATE TABLE t ();", down_1_t="DROP TABLE t;")
    project.query(f"{_CODE}; {made}")
    output = project.run(*command.split(), code=1)
    assert "code ran" not in output.err
    assert "no schema that matches has a ledger" in output.err or (
        "public.schema_migrations" in output.err
    )
    assert project.query("SELECT to_regclass('t')") == [(None,)]


@pytest.mark.parametrize("owner", ["another role", "a member's role"])
def test_ledger_of_another_role_is_refused_unless_member(
    project: Project, owner: str
) -> None:
    them, us = f"them_{RUN}", f"us_{RUN}"
    project.write(up_1_t="CREATE TABLE t ();")
    project.query(f"""
        CREATE ROLE {them}; CREATE ROLE {us} LOGIN SUPERUSER;
        CREATE TABLE schema_migrations ({_COLUMNS});
        ALTER TABLE schema_migrations OWNER TO {them};
        INSERT INTO schema_migrations VALUES (1, 't', 'x', now(), 'SELECT');
    """)
    ours = replace(project, url=project.url.replace("//postgres:", f"//{us}:"))
    try:
        if owner == "another role":
            assert "belongs to" in ours.run("status", code=1).err
            error = ours.run("up", code=1).err
            assert f"public.schema_migrations belongs to {them}" in error
            assert 'ALTER TABLE "public"."schema_migrations" OWNER TO' in error
        else:
            project.query(f"GRANT {them} TO {us}")
            assert "reverted 1_t" in ours.run("down", "--yes").out
    finally:
        project.query(f"DROP TABLE schema_migrations; DROP ROLE {us}; DROP ROLE {them}")


def test_ledger_is_checked_again_after_waiting(
    project: Project,
) -> None:
    project.write(up_1_t="CREATE TABLE t ();", up_2_u="CREATE TABLE u ();")
    project.run("up", "--to", "1")
    with psycopg.connect(project.url) as other:
        other.execute(LOCK)
        runner = project.fork("up")
        runner.said("waiting for process")
        other.execute(
            f"{_CODE}; CREATE TRIGGER t BEFORE INSERT ON schema_migrations EXECUTE FUNCTION code_of_trigger()"
        )
        other.commit()
    assert "differs from a ledger that sqlmig makes" in runner.ended(code=1)
    assert project.query("SELECT to_regclass('u')") == [(None,)]


def test_view_posing_as_ledger_of_another_tool_is_not_read(
    project: Project,
) -> None:
    project.write(up_1_t="CREATE TABLE t ();")
    for made, said in (
        (
            "schema_migrations AS SELECT code() AS version, false AS dirty",
            "is a view, and so not sqlmig's ledger",
        ),
        ("_sqlx_migrations AS SELECT code() AS version", "managed by sqlx"),
    ):
        project.query(f"DROP SCHEMA public CASCADE; CREATE SCHEMA public; {_CODE}")
        project.query(f"CREATE VIEW {made}")
        error = project.run("up", code=1).err
        assert said in error
        assert "code ran" not in error


def test_ledger_with_extra_plain_column_is_accepted(
    project: Project,
) -> None:
    project.write(up_1_t="CREATE TABLE t ();", up_2_u="CREATE TABLE u ();")
    project.run("up", "--to", "1")
    project.query("ALTER TABLE schema_migrations ADD COLUMN note text DEFAULT 'x'")
    project.run("up")
    assert project.states() == {1: "applied", 2: "applied"}


@pytest.mark.parametrize(
    "emptied",
    [
        "TRUNCATE %I",
        "DELETE FROM %I",
    ],
)
@pytest.mark.parametrize("directive", ["", "-- sqlmig: repeat\n"])
def test_a_file_that_empties_all_tables_does_not_empty_the_ledger(
    project: Project, emptied: str, directive: str
) -> None:
    loop = f"""
        DO $$
        DECLARE one text;
        BEGIN
            FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
                EXECUTE format('{emptied}', one);
            END LOOP;
        END $$;
    """
    project.write(up_1_t="CREATE TABLE t ();", up_2_clean=directive + loop)
    project.run("up", "--to", "1")
    assert "which is the ledger of sqlmig" in project.run("up", code=1).err
    assert project.states() == {1: "applied", 2: "pending"}
    if not directive:
        with pytest.raises(psycopg.errors.RaiseException, match="2_clean changes"):
            project.query(project.run("script").out)
