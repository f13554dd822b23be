"""Leave out the statements that turn out to change the whole server, so that drift can run the rest of a file."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.check.dumps import without_statements
from sqlmig.core.connection import rollback
from sqlmig.core.errors import MigrationFailed
from sqlmig.core.lexer import plain_text
from sqlmig.core.sending import send_pieces
from sqlmig.core.transaction import cut, file_transaction

if TYPE_CHECKING:
    from sqlmig.check.scratch import Scratch
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece

# A failed statement with one of these probably wanted to change the whole server.
_ABOUT_SERVER = re.compile(
    rb"\b(?:create|alter|drop)\s+(?:role|user(?!\s+mapping)|group|database|tablespace|subscription)\b"
    rb"|\bset\s+role\b|\bgrant\s+[\w\s,%\"]+\s+to\b",
    re.IGNORECASE,
)


class Rest(NamedTuple):
    """A file without a statement, and the first words of that statement."""

    file: SqlFile
    words: str


def without_server_wide_statement(scratch: Scratch, file: SqlFile) -> Rest | None:
    """Return what is still to run of a file that failed, without a statement that changes the whole server.

    Returns None if no such statement is the reason. A file in a transaction runs again from
    its start. Another file goes on after the statement.
    """
    if file.in_transaction:
        statement = _find_by_trial(scratch, file)
        done: list[int] = []
    else:
        statement = scratch.guard.statement
        done = [*file.statement_starts]
    if statement is None:
        return None

    text = bytes(statement.text)
    if not file.in_transaction and not _ABOUT_SERVER.search(text):
        return None
    unwanted = {start for start in done if start < statement.begin}
    words = " ".join(plain_text(text).split()[:2]).upper()
    if words.startswith("DO "):
        words = "a DO block"
    start = file.statement_starts[
        bisect_right(file.statement_starts, statement.begin) - 1
    ]
    return Rest(without_statements(file, {*unwanted, start}), words)


def _find_by_trial(scratch: Scratch, file: SqlFile) -> Piece | None:
    """Run the statements of a file one by one, up to the one that is the reason, and roll back."""
    connection = scratch.connection
    transaction = file_transaction(file, connection.callers_search_path)
    try:
        send_pieces(connection, transaction.begin)
        for piece in transaction.body:
            for statement in cut(piece, 0):
                writes_before = scratch.guard.writes()
                try:
                    send_pieces(connection, [statement])
                except MigrationFailed:
                    is_about = _ABOUT_SERVER.search(bytes(statement.text))
                    return statement if is_about else None
                if scratch.guard.reaches_beyond(writes_before):
                    return statement if statement.role == "file" else None
    finally:
        rollback(connection)
    return None
