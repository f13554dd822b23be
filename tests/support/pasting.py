"""Paste a script into the SQL editor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from tests.support.project import Project


def paste(project: Project, text: str) -> list[tuple[Any, ...]]:
    """Send a script in one message, like the SQL editor, and return the rows of its last statement."""
    with psycopg.connect(project.url, autocommit=True) as connection:
        cursor = connection.execute(text.encode())
        shown = [cursor.description]
        while cursor.nextset():
            shown.append(cursor.description)
        assert not any(shown[:-1])
        return cursor.fetchall()
