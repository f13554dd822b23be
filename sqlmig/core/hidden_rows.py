"""Rows that row level security hides from a file. An UPDATE that sees none of them would be recorded as done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig.core.connection import fetch
from sqlmig.core.sql import OWN_SETTINGS, read_statements
from sqlmig.core.transaction import own_piece

if TYPE_CHECKING:
    from sqlmig.core.connection import Connection
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece

COLUMN = "sqlmig_hidden_rows"
_STATEMENTS = read_statements(Path(__file__).with_suffix(".sql"))
# Statements that may update, delete or copy rows; also those that call something that does.
_MAY_USE_ROWS = frozenset(
    (b"update", b"delete", b"merge", b"insert", b"with", b"do", b"call", b"select")
)
_CREATES_FROM_ROWS = re.compile(rb"\bas\s*\(?\s*(?:select|with|table)\b", re.IGNORECASE)
_CHANGES_ROLE = re.compile(
    rb"\bset\s+(?:local\s+|session\s+)?(?:role|session\s+authorization)\b",
    re.IGNORECASE,
)
_CHANGED_TABLE = re.compile(
    rb"(?:update|delete\s+from|merge\s+into)\s+(?:only\s+)?((?:\w+|\"[^\"]+\")(?:\.(?:\w+|\"[^\"]+\"))?)",
    re.IGNORECASE,
)


def hidden_rows_pieces(file: SqlFile) -> list[Piece]:
    """Return the query for the tables in which a file may not have seen all rows, if it may have used any.

    It runs after the file, with the role that the file has then. Its result has the column COLUMN.
    """
    words = set(file.first_words())
    creates = b"create" in words and _CREATES_FROM_ROWS.search(file.text)
    if not creates and not _MAY_USE_ROWS.intersection(words):
        return []
    # With which role each statement ran is not known afterwards.
    changes_role = bool(_CHANGES_ROLE.search(file.text))
    query = _STATEMENTS["written"].format(changes_role=changes_role)
    return [own_piece("other", f"{OWN_SETTINGS};{query}", file)]


def hidden_rows_after(connection: Connection, file: SqlFile) -> str:
    """Return the tables with hidden rows that a no-transaction file names; empty for none.

    Raises ServerError and ConnectionLost.
    """
    names = set()
    for start in file.statement_starts:
        match = _CHANGED_TABLE.match(file.text, start)
        if match:
            names.add(match[1].decode())
    oids = connection.resolve_tables(names).values()
    if not oids:
        return ""
    query = _STATEMENTS["named"].format(oids=", ".join(map(str, oids)))
    ((tables,),) = fetch(connection, query)
    return str(tables or "")


def warning_for_hidden_rows(label: str, tables: str) -> str:
    """Return the warning that a file may not have seen all rows of some tables."""
    return (
        f"warning: {label}: row level security applied to {tables}, so the file may not have seen all rows there. "
        "Run the file as a role that sees all of them (BYPASSRLS, or the owner without FORCE)"
    )
