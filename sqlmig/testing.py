"""For tests: a loader that gives pytest-postgresql a migrated template database.

server = factories.postgresql_proc(load=[partial(sqlmig.testing.load, directory="sql")])
database = factories.postgresql("server")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlmig

if TYPE_CHECKING:
    from pathlib import Path

# What pytest-postgresql gives a loader, and what libpq calls it.
_CONNECTION_KEYWORDS = ("host", "port", "user", "dbname", "password", "options")


def load(
    *, directory: str | Path, schema: str | None = None, **connection: object
) -> None:
    """Apply the migrations of a directory to the database that the connection keywords name.

    Keywords that are not about the connection are ignored, as newer versions of
    pytest-postgresql may add some. Raises as sqlmig.up does.
    """
    from psycopg.conninfo import make_conninfo

    given = {}
    for name in _CONNECTION_KEYWORDS:
        value = connection.get(name)
        if value not in (None, ""):
            given[name] = str(value)
    sqlmig.up(make_conninfo("", **given), directory, schema=schema)
