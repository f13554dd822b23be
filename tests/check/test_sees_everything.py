"""`check` sees every kind of object and every property that a migration can make or change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

import sqlmig.check
from sqlmig.check.server_wide import SHARED_CATALOGS
from tests.support.catalog_columns import NOT_COMPARED, SHARED_AND_NOT_READ, TOLD_BY
from tests.support.pairs import BASE, NOTED, PAIRS
from tests.support.project import RUN

if TYPE_CHECKING:
    from tests.support.pairs import Pair
    from tests.support.project import Project

CATALOG = Path(sqlmig.check.__file__).parent / "catalog"
_COLUMNS = """
    SELECT relname, attname, relisshared
    FROM pg_class
    JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = 'pg_catalog'::regnamespace
        AND relkind = 'r'
        AND attnum > 0
        AND NOT attisdropped
    ORDER BY 1, attnum
"""


def _pairs_for(project: Project) -> dict[str, Pair]:
    ((major,),) = project.query(
        "SELECT current_setting('server_version_num')::int / 10000"
    )
    return {name: pair for name, pair in PAIRS.items() if pair.since <= major}


def _write_base(project: Project) -> None:
    project.file("1_base.up.sql", BASE)
    project.file("1_base.down.sql", "-- sqlmig: irreversible: it is the base")


def test_a_down_file_that_leaves_one_property_wrong_is_broken(project: Project) -> None:
    _write_base(project)
    pairs = _pairs_for(project)
    for number, pair in enumerate(pairs.values(), 2):
        project.file(f"{number}_x.up.sql", pair.up)
        project.file(f"{number}_x.down.sql", "SELECT 1;")

    findings = project.run("check", "--json", code=1).json()[1:]
    missed = {}
    for (name, pair), finding in zip(pairs.items(), findings, strict=True):
        said = [
            f"{state}: {words}"
            for state in ("left", "lost", "changed")
            for words in finding[state]
        ]
        if not any(words.startswith(pair.words) for words in said):
            missed[name] = finding
    assert missed == {}


def test_down_file_that_undoes_each_change_is_ok(project: Project) -> None:
    _write_base(project)
    pairs = _pairs_for(project)
    for number, pair in enumerate(pairs.values(), 2):
        project.file(f"{number}_x.up.sql", pair.up)
        project.file(f"{number}_x.down.sql", pair.down)

    findings = project.run("check", "--json").json()[1:]
    for name, finding in zip(pairs, findings, strict=True):
        assert (finding["result"], finding["notes"]) == ("ok", []), (name, finding)


def test_change_that_no_sql_can_undo_is_a_note(project: Project) -> None:
    _write_base(project)
    for number, (up, down, _) in enumerate(NOTED.values(), 2):
        project.file(f"{number}_x.up.sql", up)
        project.file(f"{number}_x.down.sql", down)

    findings = project.run("check", "--json").json()[1:]
    for (name, (_, _, words)), finding in zip(NOTED.items(), findings, strict=True):
        assert finding["result"] == "ok", (name, finding)
        assert any(note.startswith(words) for note in finding["notes"]), finding


def test_every_catalog_column_is_read_or_excluded_with_a_reason(
    project: Project,
) -> None:
    text = "".join(
        path.read_text(encoding="utf-8")
        for folder in (CATALOG, CATALOG.parent)
        for path in folder.glob("*.sql")
    )
    words = set(re.findall(r"\w+", text))
    for told_by, _ in TOLD_BY.values():
        assert told_by in words

    unexplained = []
    for catalog, column, is_shared in project.query(_COLUMNS):
        told = TOLD_BY.get(catalog, ("", ""))[1].split()
        left_out = " ".join(NOT_COMPARED.get(catalog, {}).values()).split()
        is_explained = (
            column in {*words, *told, *left_out}
            or "*" in left_out
            or (is_shared and catalog in {*SHARED_AND_NOT_READ, *SHARED_CATALOGS})
        )
        if not is_explained:
            unexplained.append(f"{catalog}.{column}")
    assert unexplained == []


def test_tablespace_change_of_an_index_is_reported(project: Project) -> None:
    tablespace = f"sqlmig_spare_{RUN}"
    with psycopg.connect(project.url, autocommit=True) as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute(f"CREATE TABLESPACE {tablespace} LOCATION ''")
        try:
            project.write(
                up_1_t="CREATE TABLE t (a int); CREATE INDEX i ON t (a); CREATE TABLE p (a int) PARTITION BY LIST (a);"
                " CREATE INDEX pi ON p (a)",
                down_1_t="DROP TABLE t, p",
                up_2_x=f"ALTER INDEX i SET TABLESPACE {tablespace}",
                down_2_x="SELECT 1",
                up_3_x=f"ALTER INDEX pi SET TABLESPACE {tablespace}",
                down_3_x="SELECT 1",
            )
            output = project.run("check", code=1).out
        finally:
            connection.execute(f"DROP TABLESPACE {tablespace}")
    for index in ("i", "pi"):
        assert (
            f'changed: index public.{index}: tablespace was null, is "{tablespace}"'
            in output
        )
