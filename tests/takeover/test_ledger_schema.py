"""`--ledger-schema` puts the ledger alone into another schema, next to another tool's ledger of the same name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

import sqlmig
from tests.support.pasting import paste
from tests.support.project import RUN

if TYPE_CHECKING:
    from tests.support.project import Project

THEIRS = "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)"
LEDGER = ("--ledger-schema", "sqlmig")


@pytest.fixture
def both(project: Project) -> Project:
    """Return a project with golang-migrate's ledger, which has version 2, and three versions."""
    project.query(f"{THEIRS}; INSERT INTO schema_migrations VALUES (2, false)")
    project.query("CREATE TABLE a (); CREATE TABLE b ()")
    project.write(
        up_1_a="CREATE TABLE a ()",
        down_1_a="DROP TABLE a",
        up_2_b="CREATE TABLE b ()",
        down_2_b="DROP TABLE b",
        up_3_c="CREATE TABLE c ()",
        down_3_c="DROP TABLE c",
    )
    return project


def theirs(project: Project) -> list[tuple[int, bool]]:
    return project.query("SELECT version, dirty FROM public.schema_migrations")


def test_printed_command_takes_over_next_to_other_ledger(both: Project) -> None:
    error = both.run("up", code=1).err
    command = error.splitlines()[1].split()
    assert command == ["sqlmig", "stamp", "2", *LEDGER]
    both.run(*command[1:])
    assert both.run(*LEDGER, "up").out.startswith("applied 3_c")
    assert both.tables() == {"a", "b", "c"} | ({"schema_migrations"} & both.tables())
    assert both.query("SELECT to_regclass('public.c')::text") == [("c",)]
    assert theirs(both) == [(2, False)]
    assert both.run("status", *LEDGER, "--exit-code").out.count(" applied ") == 3
    assert "ok            3_c" in both.run("check", *LEDGER).out
    shown = both.run("drift", *LEDGER, code=1).out
    assert "extra  table public.schema_migrations\n" in shown
    ignored = ["--ignore", "public.schema_migrations"]
    assert both.run("drift", *LEDGER, *ignored).out == "nothing differs\n"
    assert both.run("down", *LEDGER, "--yes").out.startswith("reverted 3_c")
    assert both.run("down", *LEDGER, "--dry-run").out.startswith("would revert 2_b")
    assert theirs(both) == [(2, False)]


def test_a_database_with_objects_is_still_refused(both: Project) -> None:
    error = both.run("up", *LEDGER, code=1).err
    assert "has no ledger in the schema sqlmig, but it is not empty" in error
    assert "`sqlmig stamp V --ledger-schema sqlmig` records everything" in error


def test_ledger_schema_can_be_set_from_environment_and_python(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(up_1_a="CREATE TABLE a ()", down_1_a="DROP TABLE a")
    monkeypatch.setenv("SQLMIG_LEDGER_SCHEMA", "it's")
    project.run("up")
    assert project.query('SELECT version FROM "it\'s".schema_migrations') == [(1,)]
    assert project.query("SELECT to_regclass('public.schema_migrations')") == [(None,)]
    monkeypatch.delenv("SQLMIG_LEDGER_SCHEMA")
    (row,) = sqlmig.status(project.url, project.directory, ledger_schema="it's")
    assert row.state == "applied"
    sqlmig.down(project.url, project.directory, ledger_schema="it's")
    sqlmig.up(project.url, project.directory, schema="app", ledger_schema="other")
    assert project.query(
        "SELECT to_regclass('app.a'), to_regclass('app.schema_migrations')"
    ) == [("app.a", None)]
    assert project.query("SELECT version FROM other.schema_migrations") == [(1,)]


@pytest.mark.parametrize("mode", ["", "-- sqlmig: no-transaction\n", "BEGIN;\n"])
def test_both_options_together(project: Project, mode: str) -> None:
    end = "COMMIT;" if "BEGIN" in mode else ""
    options = ["--schema", "app", *LEDGER]
    project.write(
        up_1_a=f"{mode}CREATE TABLE a (id int);{end}",
        down_1_a=f"{mode}DROP TABLE a;{end}",
    )
    project.run(*options, "up")
    assert project.query("SELECT to_regclass('app.a')::text") == [("app.a",)]
    assert project.query("SELECT version FROM sqlmig.schema_migrations") == [(1,)]
    assert project.run(*options, "check").out == "ok            1_a\n"
    assert project.run(*options, "drift").out == "nothing differs\n"
    project.query("CREATE TABLE app.by_hand ()")
    assert project.run(*options, "drift", code=1).out == "extra  table app.by_hand\n"
    assert "## a" in project.run(*options, "docs").out
    project.run(*options, "down", "--yes")
    assert project.query("SELECT to_regclass('app.a')") == [(None,)]


def test_pasted_script_keeps_ledgers_apart(both: Project) -> None:
    both.run(*LEDGER, "stamp", "2")
    text = both.run(*LEDGER, "script").out
    assert [row[2] for row in paste(both, text)] == [
        "applied before",
        "applied before",
        "applied now",
    ]
    assert both.query("SELECT to_regclass('public.c')::text") == [("c",)]
    assert both.run(*LEDGER, "up").out == "nothing to do\n"
    assert theirs(both) == [(2, False)]


def test_ledger_schema_with_several_schemas_is_usage_error(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ()")
    for schemas in (["--schema", "a", "--schema", "b"], ["--schema", "a*"]):
        error = project.run(*schemas, *LEDGER, "up", code=2).err
        assert "--ledger-schema is for one schema: with several, each has" in error


def test_view_in_place_of_ledger_is_refused_with_hint(both: Project) -> None:
    both.query("CREATE SCHEMA sqlmig; CREATE VIEW sqlmig.schema_migrations AS SELECT 1")
    error = both.run("up", *LEDGER, code=1).err
    assert "sqlmig.schema_migrations is a view" in error
    assert "or name another schema with --ledger-schema" in error


def test_error_without_option_names_schema_of_ledger(both: Project) -> None:
    both.run(*LEDGER, "stamp", "2")
    words = "There is a ledger of sqlmig in 1 other schema: sqlmig. If you meant that one, add --ledger-schema sqlmig"
    assert words in both.run("up", code=1).err
    both.query("DROP TABLE public.schema_migrations")
    assert words in both.run("up", code=1).err
    error = both.run("stamp", "2", code=1).err
    assert "nothing was recorded" in error
    assert words in error
    assert both.query("SELECT to_regclass('public.schema_migrations')") == [(None,)]
    both.run("--ledger-schema", "public", "stamp", "2")  # it is meant


def test_down_and_unstamp_distinguish_stamped_from_run_versions(both: Project) -> None:
    both.run(*LEDGER, "stamp", "2")
    both.run(*LEDGER, "up")
    shown = both.run(*LEDGER, "down", "--to", "1", "--dry-run").out
    stamped, ran = "it was stamped, sqlmig has not run it", "would revert 3_c ("
    assert stamped not in shown[shown.index(ran) : shown.index("would revert 2_b")]
    assert stamped in shown[shown.index("would revert 2_b") :]
    error = both.run(*LEDGER, "unstamp", "2", "3", code=1).err
    assert "would take 2_b out of the ledger; what it made stays\n" in error
    assert (
        "would take 3_c out of the ledger, although sqlmig has run it; what it" in error
    )


def test_hint_says_who_can_create_schema_if_role_cannot(both: Project) -> None:
    role = f"no_schema_{RUN}"
    both.query(f"CREATE ROLE {role} LOGIN")
    narrow = replace(both, url=make_conninfo(both.url, user=role))
    try:
        error = narrow.run(*LEDGER, "stamp", "2", code=1).err
        assert "HINT: the role may not create a schema here. An administrator" in error
    finally:
        both.query(f"DROP ROLE {role}")
