"""The ledger says who applied a version and how long it ran. Ledgers without these columns stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.pasting import paste

if TYPE_CHECKING:
    from tests.support.project import Project

OLD = "ALTER TABLE schema_migrations DROP applied_by, DROP duration"
ODD = {
    "as it is": "",
    "an older ledger": OLD,
    "a column of others": "ALTER TABLE schema_migrations ADD note text DEFAULT 'x'",
    "a column of that name": f"{OLD}; ALTER TABLE schema_migrations ADD duration int",
}
MODES = {
    "in a transaction": "",
    "no-transaction": "-- sqlmig: no-transaction\n",
    "repeat": "-- sqlmig: repeat\n",
}


def who_and_how_long(project: Project) -> list[tuple[Any, Any]]:
    rows = project.run("status", "--json").json()
    return [(row["applied_by"], row["seconds"]) for row in rows]


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_ledger_records_role_and_duration(project: Project, mode: str) -> None:
    project.write(
        up_1_t="CREATE TABLE t (n int)",
        up_2_x=f"{mode}INSERT INTO t SELECT 1 FROM pg_sleep(0.2) WHERE NOT EXISTS (SELECT FROM t)",
    )
    project.run("up")
    (_, first), (by, seconds) = who_and_how_long(project)
    assert by == "postgres"
    assert 0 < first < 60
    assert 0.2 <= seconds < 60


def test_a_stamped_version_has_no_duration(project: Project) -> None:
    project.write(up_1_t="CREATE TABLE t ()", up_2_u="CREATE TABLE u ()")
    project.run("stamp", "1")
    project.run("up")
    (_, stamped), (_, ran) = who_and_how_long(project)
    assert stamped is None
    assert ran > 0


def test_pasted_script_records_role_and_duration(project: Project) -> None:
    project.write(up_1_t="SELECT pg_sleep(0.1)", up_2_u="SELECT 1")
    paste(project, project.run("script").out)
    (by, first), (_, second) = who_and_how_long(project)
    assert by == "postgres"
    assert first >= 0.1 > second >= 0
    project.query(OLD)
    project.write(up_3_v="SELECT 1")
    paste(project, project.run("script").out)
    assert who_and_how_long(project) == [(None, None)] * 3


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_commands_keep_columns_of_older_or_extended_ledger(
    project: Project, change: str
) -> None:
    project.write(up_1_a="CREATE TABLE a ()", down_1_a="DROP TABLE a")
    project.run("up")
    if change:
        project.query(change)
    columns = project.query(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'schema_migrations'::regclass AND attnum > 0 ORDER BY attnum"
    )
    project.write(
        up_2_b="CREATE TABLE b ()",
        down_2_b="DROP TABLE b",
        up_3_c="-- sqlmig: no-transaction\nCREATE TABLE c ()",
        down_3_c="DROP TABLE c",
        up_4_d="-- sqlmig: repeat\nDELETE FROM a WHERE false",
        down_4_d="SELECT 1",
    )
    project.run("up")
    assert project.run("status", "--exit-code").out.count("  applied  ") == 4
    assert project.run("drift").out == "nothing differs\n"
    assert "4_d" in project.run("check").out
    project.run("down", "--to", "2", "--yes")
    project.run("stamp", "3")
    project.run("unstamp", "3", "--yes")
    project.file("1_a.up.sql", "CREATE TABLE a (); SELECT 1")
    project.run("repair", "--yes")
    project.run("up", "--dry-run")
    paste(project, project.run("script", "--to", "2").out)
    assert columns == project.query(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'schema_migrations'::regclass AND attnum > 0 ORDER BY attnum"
    )
