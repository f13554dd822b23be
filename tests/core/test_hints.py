"""sqlmig adds hints to the server's messages when it knows more than the server."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.project import RUN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.project import Project


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            "SELECT 1; VACUUM;",
            "HINT: move it to a file of its own without BEGIN (enough for CONCURRENTLY), or put “-- sqlmig: no-tr",
        ),
        (
            "DO $$BEGIN COMMIT; END$$;",
            "HINT: a DO block or procedure may not end the file's transaction: remove that, or put",
        ),
        (
            "CREATE TABLE t (); GRANT ALL ON t TO authenticated;",
            "HINT: this role is Supabase's: create it, or check pg_roles",
        ),
        (
            "-- sqlmig: no-transaction\nBEGIN; CREATE TABLE t (); VACUUM; COMMIT;",
            "HINT: remove BEGIN and COMMIT: this file runs statement by statement",
        ),
        (
            "-- sqlmig: no-transaction\nCREATE TABLE t (); CREATE TABLE t ();",
            "HINT: it may be left over from an interrupted run. Check that it is complete, or drop it",
        ),
        (
            "CREATE EXTENSION no_such_thing;",
            "HINT: this server does not have the extension. The private server has those of",
        ),
        (
            "SET transaction_timeout_of_tomorrow = 0;",
            "ERROR: unrecognized configuration parameter",
        ),
        (
            "CREATE SCHEMA public;",
            "HINT: every database has this schema, and a dump creates it again. Remove the line",
        ),
        (
            "CREATE TABLE public.schema_migrations (version text);",
            "HINT: this table is sqlmig's ledger. The file, perhaps a dump, has a ledger of its own",
        ),
        (
            "SET LOCAL statement_timeout = 1; SELECT pg_sleep(1);",
            "HINT: the file, the role or the database sets statement_timeout. For this file alone, begin it with: SET LOCAL",
        ),
        (
            "-- sqlmig: no-transaction\nSET statement_timeout = 1; SELECT pg_sleep(1);",
            "HINT: the file, the role or the database sets statement_timeout. For this file alone, begin it with: SET statement",
        ),
        (
            (
                "CREATE TABLE a (n int PRIMARY KEY REFERENCES a DEFERRABLE INITIALLY DEFERRED); INSERT INTO a VALUES (1);"
                "ALTER TABLE a ADD m int;"
            ),
            "HINT: deferred constraints are still to be checked: put SET CONSTRAINTS ALL IMMEDIATE;",
        ),
        (
            "SET LOCAL transaction_read_only = on; CREATE TABLE t ();",
            "HINT: this server is a standby, or default_transaction_read_only is on",
        ),
    ],
)
def test_error_shows_matching_hint(project: Project, text: str, hint: str) -> None:
    project.write(up_1_a=text)
    assert hint in project.run("up", code=1).err


@pytest.mark.parametrize(
    "again", ["GRANT ALL ON t TO somebody_else", "CREATE TABLE t ()"]
)
def test_error_without_matching_hint_shows_none(project: Project, again: str) -> None:
    project.write(up_1_a=f"CREATE TABLE t (); {again};")
    assert "HINT" not in project.run("up", code=1).err


def test_hint_suggests_stamp_for_non_empty_database(project: Project) -> None:
    project.query("CREATE TABLE t ()")
    project.write(up_1_a="CREATE TABLE t ();", up_2_b="CREATE TABLE t ();")
    error = project.run("up", "--allow-non-empty", code=1).err
    assert "HINT: the ledger has no version yet, but the database is not empty" in error
    assert "`sqlmig stamp V`" in error
    project.run("stamp", "1")
    assert "not empty" not in project.run("up", code=1).err


@pytest.fixture
def clerk(project: Project) -> Iterator[Project]:
    """Return the project, connected as a role without any rights."""
    role = f"clerk_{RUN}"
    ((_name,),) = project.query("SELECT current_database()")
    project.query(f"CREATE ROLE {role} LOGIN")
    yield replace(project, url=f"{project.url}&options=-c%20role%3D{role}")
    project.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_hint_names_missing_create_privilege_on_schema(
    project: Project, clerk: Project
) -> None:
    project.query("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    project.write(up_1_a="CREATE TABLE t ();")
    error = clerk.run("up", code=1).err
    assert "permission denied for schema public" in error
    assert "HINT: since PostgreSQL 15 a role needs a privilege" in error
    assert "GRANT CREATE ON SCHEMA public" in error


def test_error_names_owner_of_ledger(project: Project, clerk: Project) -> None:
    project.write(up_1_a="SELECT 1;", up_2_b="SELECT 2;")
    project.run("up", "--to", "1")
    ((owner,),) = project.query("SELECT current_user::text")
    words = f"the ledger belongs to {owner}: connect as that role"
    assert words in clerk.run("status", code=1).err
    project.query(f"GRANT SELECT ON schema_migrations TO clerk_{RUN}")
    assert clerk.states() == {1: "applied", 2: "pending"}
    for command in (["up"], ["stamp", "2"]):
        assert words in clerk.run(*command, code=1).err
    assert project.states() == {1: "applied", 2: "pending"}


def test_following_timeout_hint_overrides_database_setting(project: Project) -> None:
    ((name,),) = project.query("SELECT quote_ident(current_database())")
    project.query(f"ALTER DATABASE {name} SET statement_timeout = '100ms'")
    project.write(up_1_a="SELECT pg_sleep(0.3);")
    assert "SET LOCAL statement_timeout = 0;" in project.run("up", code=1).err
    project.write(up_1_a="SET LOCAL statement_timeout = 0;\nSELECT pg_sleep(0.3);")
    project.run("up")
