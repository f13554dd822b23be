"""sqlmig finds an INVALID index of CONCURRENTLY in the catalog, not by its name in the file's text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from sqlmig.core.indexes import named_in
from sqlmig.core.sqlfile import scan

if TYPE_CHECKING:
    from tests.support.project import Project

PAIR = "CREATE TABLE users (id int, email text); INSERT INTO users VALUES (1, 'a'), (2, 'a');"


@pytest.mark.parametrize(
    ("text", "tables", "indexes", "created"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a)", {"t"}, set(), {("t", "i")}),
        (
            "create unique index concurrently if not exists I_a on only s.T using btree (a)",
            {"s.T"},
            set(),
            {("s.T", "I_a")},
        ),
        (
            'CREATE INDEX CONCURRENTLY "my ""index""" ON "a b"."c" (x)',
            {'"a b"."c"'},
            set(),
            {('"a b"."c"', '"my ""index"""')},
        ),
        ("CREATE INDEX CONCURRENTLY ON t (a)", {"t"}, set(), set()),
        (
            "CREATE INDEX CONCURRENTLY /* c */ i -- d\n ON t(a)",
            {"t"},
            set(),
            {("t", "i")},
        ),
        ("DROP INDEX CONCURRENTLY IF EXISTS a, s.b", set(), {"a", "s.b"}, set()),
        ("REINDEX TABLE CONCURRENTLY t", {"t"}, set(), set()),
        ("REINDEX (VERBOSE) INDEX CONCURRENTLY i", set(), {"i"}, set()),
        (
            "CREATE TABLE on_t (i int); SELECT 'CREATE INDEX i ON t'",
            set(),
            set(),
            set(),
        ),
    ],
)
def test_tables_and_indexes_named_in_statement(
    text: str, tables: set[str], indexes: set[str], created: set[tuple[str, str]]
) -> None:
    named = named_in(scan(text.encode()))
    assert (set(named.tables), set(named.indexes), set(named.created)) == (
        tables,
        indexes,
        created,
    )
    assert not named.everything


@pytest.mark.parametrize(
    "text",
    [
        "REINDEX SCHEMA CONCURRENTLY s",
        "REINDEX DATABASE CONCURRENTLY",
        "REINDEX SYSTEM x",
    ],
)
def test_reindex_of_schema_or_database_covers_everything(text: str) -> None:
    assert named_in(scan(text.encode())).everything


def test_if_not_exists_with_folded_name_does_not_hide_invalid_index(
    project: Project,
) -> None:
    project.write(up_1_t=PAIR)
    project.run("up")
    project.write(
        up_2_i="CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS Users_Email ON users (email);"
    )
    assert (
        "DROP INDEX CONCURRENTLY public.users_email;" in project.run("up", code=1).err
    )
    project.query("DELETE FROM users WHERE id = 2")
    error = project.run("up", code=1).err
    assert "all statements ran, but the file is not recorded" in error
    assert "DROP INDEX CONCURRENTLY public.users_email;" in error
    assert project.states() == {1: "applied", 2: "pending"}


def test_unnamed_invalid_index_is_reported(project: Project) -> None:
    project.write(up_1_t=PAIR)
    project.run("up")
    project.write(up_2_i="CREATE UNIQUE INDEX CONCURRENTLY ON users (email);")
    error = project.run("up", code=1).err
    assert "the index public.users_email_idx is INVALID" in error
    assert error.count("is INVALID") == 1


def test_existing_invalid_index_of_another_table_is_ignored(project: Project) -> None:
    """The file contains its name, but the index existed before."""
    project.query(
        "CREATE SCHEMA other; CREATE TABLE other.t (n int); INSERT INTO other.t VALUES (1), (1)"
    )
    with (
        psycopg.connect(project.url, autocommit=True) as connection,
        pytest.raises(psycopg.errors.UniqueViolation),
    ):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY email ON other.t (n)")
    project.write(up_1_t=PAIR)
    project.write(up_2_i="CREATE INDEX CONCURRENTLY users_by_email ON users (email);")
    assert project.run("up").err == ""
    assert project.states() == {1: "applied", 2: "applied"}


def test_invalid_index_of_earlier_run_is_reported_if_named(
    project: Project,
) -> None:
    project.write(up_1_t=PAIR)
    project.run("up")
    project.write(up_2_i="CREATE UNIQUE INDEX CONCURRENTLY i ON users (email);")
    project.run("up", code=1)
    project.write(up_2_i="REINDEX INDEX CONCURRENTLY i;")
    assert "DROP INDEX CONCURRENTLY public.i;" in project.run("up", code=1).err
