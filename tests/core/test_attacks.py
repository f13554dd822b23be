"""Try attacks by a role that may create objects in public."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.project import RUN, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.project import Project

_COLUMNS = (
    "version bigint NOT NULL PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
    "applied_at timestamptz NOT NULL DEFAULT now(), down text"
)
_CODE = """
    CREATE FUNCTION ev.code(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        IF current_user <> 'EVIL' THEN RAISE EXCEPTION 'code ran'; END IF;
        RETURN 1;
    END $$;
    CREATE FUNCTION ev.code_of_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'code ran';
    END $$;
"""


@pytest.fixture
def evil(project: Project) -> Iterator[Project]:
    """Yield the project, connected as a role that may create schemas, and tables in public."""
    role = f"evil_{RUN}"
    ((name,),) = project.query("SELECT quote_ident(current_database())")
    project.query(f"""
        CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {name} TO {role};
        GRANT ALL ON SCHEMA public TO {role}; CREATE SCHEMA ev AUTHORIZATION {role}
    """)
    yield replace(project, url=project.url.replace("//postgres:", f"//{role}:"))
    project.query(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def _plant(evil: Project, statements: str) -> None:
    evil.query(_CODE.replace("EVIL", f"evil_{RUN}"))
    evil.query(statements)


_LEDGER = f"CREATE TABLE public.schema_migrations ({_COLUMNS});"


@pytest.mark.parametrize(
    "made",
    [
        f"{_LEDGER} CREATE STATISTICS public.st ON (ev.code(version)), version FROM public.schema_migrations",
        f"{_LEDGER} CREATE INDEX ON public.schema_migrations (ev.code(version))",
        "CREATE TABLE schema_migrations (version bigint, dirty bool); CREATE INDEX ON schema_migrations ((version + ev.code(1)))",
        "CREATE TABLE _sqlx_migrations (version bigint); CREATE INDEX ON _sqlx_migrations ((version + ev.code(1)))",
    ],
)
@pytest.mark.parametrize(
    "command", ["status", "up", "up --dry-run", "stamp 1", "repair --yes", "drift"]
)
def test_reading_a_table_of_another_role_runs_no_code(
    project: Project, evil: Project, made: str, command: str
) -> None:
    project.write(up_1_t="CREATE TABLE t ();", down_1_t="DROP TABLE t;")
    _plant(evil, made)
    assert "code ran" not in project.run(*command.split(), code=None).err


def test_import_reads_no_table_of_another_role(
    project: Project, evil: Project, tmp_path: Any
) -> None:
    _plant(
        evil,
        "CREATE TABLE goose_db_version (id int, version_id bigint, is_applied bool); CREATE INDEX ON goose_db_version ((ev.code(2)))",
    )
    files = tmp_path / "goose"
    files.mkdir()
    (files / "00001_a.sql").write_text(
        "-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 1;\n"
    )
    error = project.run("import", str(files), code=1).err
    assert "was not read" in error
    assert "code ran" not in error


def test_database_with_malicious_name_is_not_dropped_as_scratch(
    project: Project,
) -> None:
    role = f"maker_{RUN}"
    names = [
        "sqlmig_scratch_",
        f"sqlmig_scratch_ RESET ALL;ALTER ROLE {role} SUPERUSER;--",
    ]
    project.query(f"CREATE ROLE {role} CREATEDB")
    for name in names:
        with psycopg.connect(project.url, autocommit=True) as connection:
            connection.execute(f"SET ROLE {role}")
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
    try:
        project.write(up_1_t="CREATE TABLE t ();", down_1_t="DROP TABLE t;")
        project.run("check")
        assert project.query(
            "SELECT rolsuper FROM pg_roles WHERE rolname = %s", role
        ) == [(False,)]
        found = "SELECT count(*) FROM pg_database WHERE datname = ANY (%s)"
        assert project.query(found, names) == [(2,)]
    finally:
        for name in names:
            project.query(f'DROP DATABASE "{name}"')
        project.query(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    "command", ["up", "stamp 2", "up --dry-run", "down --dry-run", "script"]
)
def test_trigger_committed_while_runner_waits_is_detected(
    project: Project, evil: Project, command: str
) -> None:
    project.write(
        up_1_t="CREATE TABLE t ();",
        down_1_t="DROP TABLE t;",
        up_2_u="CREATE TABLE u ();",
    )
    project.run("up", "--to", "1")
    project.query(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO evil_{RUN}")
    _plant(evil, "SELECT 1")
    script = project.run("script").out
    with psycopg.connect(evil.url) as other:
        other.execute(
            "CREATE TRIGGER t BEFORE INSERT OR DELETE ON schema_migrations FOR EACH ROW EXECUTE FUNCTION ev.code_of_trigger()"
        )
        if command == "script":
            runner = project.fork("status")  # a process to wait for
            runner.ended()
            other.commit()
            with pytest.raises(psycopg.errors.RaiseException) as raised:
                project.query(script)
            assert "code ran" not in str(raised.value)
            return
        runner = (
            project.fork(*command.split(), "--lock-timeout", "20s")
            if command != "stamp 2"
            else project.fork("stamp", "2")
        )
        until(
            lambda: project.query(
                "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
            )
        )
        other.commit()
    runner.process.join(60)
    assert runner.process.exitcode == 1, runner.text()
    assert "code ran" not in runner.text()
    assert (
        "differs from a ledger that sqlmig makes" in runner.text()
        or "it changes schema_migrations" in runner.text()
    )


def test_a_foreign_key_to_the_ledger_is_refused(
    project: Project, evil: Project
) -> None:
    project.write(up_1_t="CREATE TABLE t ();", down_1_t="DROP TABLE t;")
    project.run("up")
    project.query(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO evil_{RUN}")
    _plant(
        evil,
        """
        CREATE TABLE ev.fk (v bigint REFERENCES public.schema_migrations ON DELETE CASCADE);
        INSERT INTO ev.fk VALUES (1);
        CREATE CONSTRAINT TRIGGER c AFTER DELETE ON ev.fk DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ev.code_of_trigger();
        """,
    )
    error = project.run("down", "--yes", code=1).err
    assert "code ran" not in error
    assert "differs from a ledger that sqlmig makes" in error


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER t BEFORE INSERT ON schema_migrations FOR EACH ROW EXECUTE FUNCTION f();",
        "ALTER TABLE schema_migrations ADD CONSTRAINT c CHECK (version > 0);",
        "ALTER TABLE schema_migrations OWNER TO pg_monitor;",
        "-- sqlmig: no-transaction\nDELETE FROM schema_migrations;",
        "DELETE FROM schema_migrations;",
        "UPDATE schema_migrations SET checksum = 'x';",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_file_that_changes_the_ledger_fails_at_once(
    project: Project, statement: str, *, first: bool
) -> None:
    if not first:
        project.write(up_1_t="CREATE TABLE t ();")
        project.run("up")
    elif "DELETE" in statement or "UPDATE" in statement:
        pytest.skip("a ledger that the same transaction makes is empty")
    project.write(up_2_x=statement)
    assert "it changes schema_migrations" in project.run("up", code=1).err


def test_a_password_in_a_statement_is_not_shown(project: Project) -> None:
    project.write(
        up_1_x="DO $$ BEGIN EXECUTE format('ALTER ROLE nosuch PASSWORD %L', 'hun' || 'ter2'); END $$;",
        up_2_y="ALTER ROLE nosuch PASSWORD 'hunter2';",
    )
    error = project.run("up", code=1).err
    assert "PASSWORD '***'" in error
    assert "hunter2" not in error
    project.write(up_1_x="SELECT 1;")
    error = project.run("up", code=1).err
    assert "PASSWORD '***'" in error
    assert "hunter2" not in error
