"""Pasting a script into the SQL editor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from tests.support.project import Project


def paste(project: Project, text: str) -> list[tuple[Any, ...]]:
    """Send a script as the SQL editor does, as one message, and return the rows of its last statement, the only one."""
    with psycopg.connect(project.url, autocommit=True) as connection:
        cursor = connection.execute(text.encode())
        shown = [cursor.description]
        while cursor.nextset():
            shown.append(cursor.description)
        assert not any(shown[:-1])
        return cursor.fetchall()
