"""Messages in situations that look like another one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from sqlmig import embedded
from sqlmig.core.hints import hints_for
from tests.support.project import RUN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.project import Project


@pytest.mark.parametrize(
    "text",
    [
        (
            "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            " LOOP EXECUTE format('ALTER TABLE %I ADD extra int', t); EXECUTE format('DELETE FROM %I', t); END LOOP; END $$"
        ),
        "TRUNCATE schema_migrations",
    ],
)
def test_file_that_changes_all_tables_suggests_ledger_schema(
    project: Project, text: str
) -> None:
    project.write(up_1_a="CREATE TABLE a ()")
    project.run("up")
    project.write(up_2_all=text)
    error = project.run("up", code=1).err
    assert "2_all.up.sql: it changes schema_migrations, which is the ledger" in error
    assert "keep the ledger in another one with --ledger-schema" in error


def test_file_that_drops_the_schema_suggests_ledger_schema(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ()")
    project.run("up")
    project.write(up_2_all="DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    error = project.run("up", code=1).err
    assert "--ledger-schema" in error
    assert project.tables() == {"a"}


def test_emptied_ledger_suggests_stamp(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ()")
    project.run("up")
    project.query("DELETE FROM schema_migrations")  # as a test cleaner does
    error = project.run("up", code=1).err
    assert "HINT: the ledger has no version yet, but the database is not empty" in error
    assert "`sqlmig stamp V`" in error
    project.run("stamp", "1")
    assert project.run("up").out == "nothing to do\n"


@pytest.mark.parametrize("statement", ["CALL p()", "DO $$ BEGIN CALL p(); END $$"])
def test_error_mentions_commits_inside_failed_procedure(
    project: Project, statement: str
) -> None:
    project.write(
        up_1_t="CREATE TABLE t (n int); CREATE PROCEDURE p() LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO t VALUES (1); COMMIT; PERFORM 1 / 0; END'",
        up_2_x=f"-- sqlmig: no-transaction\n{statement};\nSELECT 1;",
    )
    error = project.run("up", code=1).err
    assert (
        "0 of 2 statements were committed, 1 failed, 1 did not run. What the statement itself committed stays\n"
    ) in error
    assert project.query("SELECT n FROM t") == [(1,)]


def test_rehearsal_that_exhausts_locks_suggests_up(
    project: Project, tmp_path: Path
) -> None:
    """On a server of its own, because all sessions of a server share this room."""
    room = {"max_locks_per_transaction": "10", "max_connections": "10"}
    with embedded.server(tmp_path / "data", {"fsync": "off", **room}) as url:
        narrow = replace(project, url=url)
        text = "DO $$ BEGIN FOR n IN 1..5000 LOOP EXECUTE format('CREATE TABLE t%s ()', n); END LOOP; END $$"
        narrow.write(up_1_many=text)
        error = narrow.run("up", "--dry-run", code=1).err
    assert "max_locks_per_transaction). `sqlmig up` runs one file at a time" in error


def test_utf_16_file_is_recognized(project: Project) -> None:
    project.file("1_a.up.sql", "CREATE TABLE a ();".encode("utf-16-le"))
    error = project.run("up", code=1).err
    assert "1_a.up.sql: this looks like UTF-16; save the file as UTF-8" in error


def test_wait_hint_is_omitted_if_wait_is_given(project: Project) -> None:
    project.write(up_1_a="SELECT 1")
    nowhere = replace(project, url="postgresql://u@127.0.0.1:1/x")
    assert "--wait 30s" in nowhere.run("status", code=1).err
    error = nowhere.run("status", "--wait", "1s", code=1).err
    assert error.startswith("error: no answer within 1 s: cannot connect: ")
    assert "--wait" not in error


def test_single_connection_limit_is_explained(project: Project) -> None:
    role = f"narrow_{RUN}"
    project.query(
        f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1; GRANT CREATE ON SCHEMA public TO {role}"
    )
    narrow = replace(project, url=make_conninfo(project.url, user=role))
    narrow.write(
        up_1_a="CREATE TABLE a ()", up_2_b="-- sqlmig: no-transaction\nSELECT 1"
    )
    try:
        error = narrow.run("up", code=1).err
        assert "2_b.up.sql: a no-transaction file needs a second connection: " in error
        # The server counts a session for a moment after its end.
        project.query(f"ALTER ROLE {role} CONNECTION LIMIT -1")
        assert narrow.states() == {1: "applied", 2: "pending"}
    finally:
        project.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


GERMAN = {
    "a role": (
        "42704",
        "FEHLER:  Rolle »anon« existiert nicht",
        "this role is Supabase's",
    ),
    "an extension": (
        "0A000",
        "FEHLER:  Erweiterung »x« ist nicht verfügbar\ncreate  extension x",
        "this server does not have the extension",
    ),
    "a setting": (
        "42704",
        "FEHLER:  unbekannter Konfigurationsparameter »transaction_timeout«",
        "pg_dump of PostgreSQL 17",
    ),
    "a schema": (
        "42P06",
        "FEHLER:  Schema »public« existiert bereits",
        "every database",
    ),
    "the ledger": (
        "42P07",
        "FEHLER:  Relation »schema_migrations« existiert bereits",
        "this table is sqlmig's ledger",
    ),
    "a privilege": (
        "42501",
        "FEHLER:  keine Berechtigung für Schema public",
        "since PostgreSQL 15",
    ),
}


@pytest.mark.parametrize(("sqlstate", "message", "words"), GERMAN.values(), ids=GERMAN)
def test_hints_do_not_depend_on_the_servers_language(
    sqlstate: str, message: str, words: str
) -> None:
    (hint,) = hints_for(
        sqlstate, message, in_transaction=True, run="later", version="1"
    )
    assert words in hint
