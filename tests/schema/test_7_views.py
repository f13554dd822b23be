"""Section 7, and "Common views created"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg.rows import dict_row

from tests.support.project import RUN
from tests.support.rows import add, organization

if TYPE_CHECKING:
    from tests.support.rows import Database


@pytest.mark.parametrize(
    ("scheduled_at", "status", "upcoming"),
    [
        ("2999-01-01", "scheduled", True),
        ("2001-01-01", "scheduled", False),
        ("2999-01-01", "cancelled", False),
        ("2999-01-01", "in_progress", False),
        ("2999-01-01", "completed", False),
    ],
)
def test_upcoming_sessions_are_those_scheduled_in_the_future(
    database: Database, scheduled_at: str, status: str, *, upcoming: bool
) -> None:
    ids = organization(database)
    database.execute("DELETE FROM sessions")
    people = {"therapist_id": ids["therapists"], "patient_id": ids["patients"]}
    session = add(
        database, "sessions", scheduled_at=scheduled_at, status=status, **people
    )
    rows = database.execute("SELECT id FROM upcoming_sessions").fetchall()
    assert rows == ([(session,)] if upcoming else [])


def test_upcoming_session_has_session_columns_and_both_names(
    database: Database,
) -> None:
    organization(database)
    database.row_factory = dict_row
    (row,) = database.execute("SELECT * FROM upcoming_sessions").fetchall()
    (session,) = database.execute("SELECT * FROM sessions").fetchall()
    assert row == session | {"therapist_name": "Dr. Rao", "patient_name": "Meera"}


VIEWS_THAT_SHOW_ALL = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace
        AND NOT coalesce((SELECT option_value::bool FROM pg_options_to_table(reloptions) WHERE option_name = 'security_invoker'), false)
"""


def test_every_view_uses_callers_rights(database: Database) -> None:
    """A view that is replaced or recreated silently loses the setting. See sql/GUIDE.md, "Your next column"."""
    assert database.execute(VIEWS_THAT_SHOW_ALL).fetchall() == [], (
        "ALTER VIEW … SET (security_invoker = true)"
    )


def test_view_recreated_from_ticket_text_is_detected(
    database: Database,
) -> None:
    given = Path(__file__).with_name("specification.sql").read_text()
    view = given[given.index("CREATE VIEW") :].partition(";")[0]
    database.execute(view.replace("CREATE VIEW", "CREATE OR REPLACE VIEW"))
    assert database.execute(VIEWS_THAT_SHOW_ALL).fetchall() == [("upcoming_sessions",)]


def test_upcoming_sessions_view_uses_callers_rights(database: Database) -> None:
    options = database.execute(
        "SELECT reloptions FROM pg_class WHERE oid = 'upcoming_sessions'::regclass"
    ).fetchall()
    assert options == [(["security_invoker=true"],)]
    # A role without a policy sees no rows of the tables, so the view must not show it any.
    nosy = f"nosy_{RUN}"
    database.execute(
        f"CREATE ROLE {nosy}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {nosy}"
    )
    database.execute(f"GRANT EXECUTE ON FUNCTION current_org_id() TO {nosy}")
    try:
        organization(database)
        database.execute(f"SET ROLE {nosy}")
        assert database.execute("SELECT * FROM upcoming_sessions").fetchall() == []
        database.execute("RESET ROLE")
    finally:
        database.execute(f"RESET ROLE; DROP OWNED BY {nosy}; DROP ROLE {nosy}")
