"""Section 6, and "Updated_at trigger created and applied"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rows import EDITED, organization

if TYPE_CHECKING:
    from tests.support.rows import Database


@pytest.mark.parametrize("table", EDITED)
def test_update_changes_updated_at_but_not_created_at(
    database: Database, table: str
) -> None:
    organization(database)
    before = database.execute(f"SELECT created_at, updated_at FROM {table}").fetchone()
    database.execute(f"UPDATE {table} SET updated_at = '2001-01-01'")
    after = database.execute(f"SELECT created_at, updated_at FROM {table}").fetchone()
    assert before
    assert after
    assert after[0] == before[0]
    assert after[1] > before[1]


def test_every_table_with_updated_at_has_the_trigger(database: Database) -> None:
    query = """
        SELECT tgrelid::regclass::text FROM pg_trigger
        WHERE tgfoid = 'update_updated_at_column'::regproc AND tgenabled = 'O' AND tgtype = 19  -- BEFORE UPDATE, each row
    """
    columns = "SELECT table_name FROM information_schema.columns WHERE column_name = 'updated_at' AND table_schema = 'public'"
    tables = {name for (name,) in database.execute(query)}
    assert (
        tables
        == {name for (name,) in database.execute(columns)} - {"upcoming_sessions"}
        == set(EDITED)
    )


def test_trigger_function_has_empty_search_path(database: Database) -> None:
    query = (
        "SELECT proconfig FROM pg_proc WHERE oid = 'update_updated_at_column'::regproc"
    )
    assert database.execute(query).fetchall() == [(['search_path=""'],)]
