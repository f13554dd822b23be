"""sqlmig recognizes the ledgers of other tools, does not touch them, and prints the commands to take over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.ledgers import THEIRS

if TYPE_CHECKING:
    from tests.support.project import Project


@pytest.mark.parametrize(("made", "words"), THEIRS.values(), ids=THEIRS)
def test_up_refuses_other_tools_ledger_and_leaves_it_unchanged(
    project: Project, made: str, words: list[str]
) -> None:
    project.query(made)
    content = f"TABLE {made.split()[2]}"
    before = project.query(content)
    project.file("1_x.up.sql", "CREATE TABLE a ();")
    error = project.run("up", code=1).err
    for word in words:
        assert word in error
    assert "WARNING" not in error
    assert project.query(content) == before
    assert project.query("SELECT to_regclass('a')") == [(None,)]


@pytest.mark.parametrize(
    "made", [made for made, _ in THEIRS.values() if " schema_migrations " in made]
)
def test_pasted_script_refuses_other_tools_ledger(project: Project, made: str) -> None:
    project.query(
        made.replace("applied_at timestamp)", "applied_at timestamp, down text)")
    )
    before = project.query("TABLE schema_migrations")
    project.file("1_x.up.sql", "CREATE TABLE a ();")
    with pytest.raises(
        psycopg.errors.RaiseException,
        match="is not the ledger of sqlmig; `sqlmig up` says how",
    ):
        project.query(project.run("script").out)
    assert project.query("TABLE schema_migrations") == before
    assert project.query(
        "SELECT to_regclass('a'), relrowsecurity FROM pg_class WHERE relname = 'schema_migrations'"
    ) == [(None, False)]


@pytest.mark.parametrize(("schema", "shown"), [("b", "b"), ("it's", "'it'\"'\"'s'")])
@pytest.mark.parametrize(
    "made",
    [
        "schema_migrations (version bigint, dirty boolean)",
        "_sqlx_migrations (version bigint)",
    ],
)
def test_takeover_command_names_schema(
    project: Project, made: str, schema: str, shown: str
) -> None:
    project.query(f'CREATE SCHEMA "{schema}"; CREATE TABLE "{schema}".{made}')
    table = made.partition(" ")[0]
    project.query(f'INSERT INTO "{schema}".{table} (version) VALUES (7)')
    project.file("1_x.up.sql", "CREATE TABLE a ();")
    assert (
        f"sqlmig stamp 7 --schema {shown}\n"
        in project.run("--schema", schema, "up", code=1).err
    )


def test_a_view_of_that_name_is_refused(project: Project) -> None:
    project.query("CREATE VIEW schema_migrations AS SELECT 1 AS number")
    project.file("1_x.up.sql", "CREATE TABLE a ();")
    assert "not sqlmig's ledger" in project.run("up", code=1).err
