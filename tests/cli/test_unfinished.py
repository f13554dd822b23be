"""`status` names what a migration has begun and not finished, on standard error, and costs no round trip for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.project import Project

FILL = """-- sqlmig: repeat
UPDATE visits SET twice = id * 2
WHERE id = (SELECT min(id) FROM visits WHERE twice IS NULL) AND (id < 3 OR (SELECT ready FROM gate));
"""


def test_status_names_not_valid_constraints_and_invalid_indexes(
    project: Project,
) -> None:
    project.write(
        up_1_a="""
            CREATE TABLE visits (id int, amount int);
            INSERT INTO visits VALUES (1, -1), (1, 1);
            ALTER TABLE visits ADD CONSTRAINT positive CHECK (amount > 0) NOT VALID;
            CREATE DOMAIN fee AS int;
            ALTER DOMAIN fee ADD CONSTRAINT "Not odd" CHECK (VALUE % 2 = 0) NOT VALID;
        """
    )
    project.run("up")
    with pytest.raises(Exception, match="could not create unique index"):
        project.query("CREATE UNIQUE INDEX CONCURRENTLY one ON visits (id)")
    output = project.run("status")
    assert output.err.splitlines() == [
        'unfinished: constraint "Not odd" of public.fee is NOT VALID',
        "unfinished: constraint positive of public.visits is NOT VALID",
        "unfinished: index public.one of public.visits is INVALID",
    ]
    assert output.out.splitlines()[0].startswith("1_a  applied")
    assert project.run("status", "--json").err == output.err
    project.query(
        "UPDATE visits SET amount = 1; ALTER TABLE visits VALIDATE CONSTRAINT positive"
    )
    project.query('DROP INDEX one; ALTER DOMAIN fee VALIDATE CONSTRAINT "Not odd"')
    assert project.run("status").err == ""


def test_status_names_not_enforced_constraint(project: Project) -> None:
    if project.query("SELECT current_setting('server_version_num')::int < 180000") == [
        (True,)
    ]:
        pytest.skip("NOT ENFORCED is new in PostgreSQL 18")
    project.write(
        up_1_a="CREATE TABLE v (a int CONSTRAINT p CHECK (a > 0) NOT ENFORCED)"
    )
    project.run("up")
    assert (
        project.run("status").err
        == "unfinished: constraint p of public.v is NOT ENFORCED\n"
    )


@pytest.mark.parametrize("where", ["", "two schemas"])
def test_status_names_repeat_file_that_has_begun(project: Project, where: str) -> None:
    schemas = ["--schema", "one", "--schema", "two"] if where else []
    project.write(
        up_1_a="""
            CREATE TABLE visits AS SELECT n AS id, NULL::int AS twice FROM generate_series(1, 4) AS n;
            CREATE TABLE gate AS SELECT false AS ready;
        """,
        up_2_fill=FILL.replace(
            "(SELECT ready FROM gate)", "1 / (SELECT ready::int FROM gate) = 1"
        ),
    )
    project.run(*schemas, "up", code=1)
    error = project.run(*schemas, "status").err
    expected = [
        f"unfinished: 2_fill{f' in {schema}' if schema else ''} has begun, and repeats until a run changes no row; "
        "`sqlmig up` continues it"
        for schema in (["one", "two"] if where else [""])
    ]
    assert error.splitlines() == expected
    for schema in ["one", "two"] if where else ["public"]:
        project.query(f"UPDATE {schema}.gate SET ready = true")
    project.run(*schemas, "up")
    assert project.run(*schemas, "status").err == ""
    comment = "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE relname = 'schema_migrations'"
    assert {text for (text,) in project.query(comment)} == {
        "The migrations applied to this database, written by sqlmig alone."
    }


def test_foreign_comment_on_ledger_is_kept(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE visits AS SELECT 1 AS id, NULL::int AS twice")
    project.run("up")
    project.query("COMMENT ON TABLE schema_migrations IS 'do not touch'")
    project.file(
        "2_fill.up.sql",
        "-- sqlmig: repeat\nUPDATE visits SET twice = 2 WHERE twice IS NULL",
    )
    project.run("up")
    comment = "SELECT obj_description('schema_migrations'::regclass)"
    assert project.query(comment) == [("do not touch",)]
