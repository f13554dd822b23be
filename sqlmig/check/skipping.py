"""Leave out the statements that turn out to change the whole server, so that drift can run the rest of a file."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.check.dumps import without_statements
from sqlmig.core.connection import rollback
from sqlmig.core.errors import MigrationFailed, SqlmigError
from sqlmig.core.lexer import plain_text
from sqlmig.core.sending import send_pieces
from sqlmig.core.session import FileSettings
from sqlmig.core.transaction import cut, file_transaction

if TYPE_CHECKING:
    from sqlmig.check.scratch import Scratch
    from sqlmig.check.server_wide import ServerGuard
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece

# A failed statement with one of these probably wanted to change the whole server.
_ABOUT_SERVER = re.compile(
    rb"\b(?:create|alter|drop)\s+(?:role|user(?!\s+mapping)|group|database|tablespace|subscription)\b"
    rb"|\bgrant\s+(?:(?!\bon\b)[\w\s,%\"])+\bto\b",
    re.IGNORECASE,
)

# The session of a no-transaction file begins again with these.
_SETS_SESSION = (b"set", b"reset", b"load", b"prepare", b"listen")


class Rest(NamedTuple):
    """A file without a statement, and the first words of that statement."""

    file: SqlFile
    words: str


def without_server_wide_statement(
    scratch: Scratch, file: SqlFile, error: SqlmigError
) -> Rest | None:
    """Return what is still to run of a file that failed, without a statement that changes the whole server.

    Returns None if no such statement is the reason. A file in a transaction runs again from
    its start. Another file goes on after the statement, or from the BEGIN of its own
    transaction, with the settings that it has made until then.
    """
    begin = 0
    if file.in_transaction:
        statement = _find_by_trial(scratch, file)
    else:
        statement = scratch.guard.statement
        begin = _committed_until(scratch.guard)
        if statement and not _changes_server(statement, error):
            return None
    if statement is None:
        return None

    words = " ".join(plain_text(bytes(statement.text)).split()[:2]).upper()
    if words.startswith("DO "):
        words = "a DO block"
    starts = file.statement_starts
    own_start = starts[bisect_right(starts, statement.begin) - 1]
    unwanted = {own_start}
    for start, word in zip(starts, file.first_words(), strict=True):
        if start < begin and word not in _SETS_SESSION:
            unwanted.add(start)
    return Rest(without_statements(file, unwanted), words)


def _committed_until(guard: ServerGuard) -> int:
    """Return the byte up to which a no-transaction file is committed: where it goes on."""
    at = guard.own_begin or guard.statement
    return at.begin if at else 0


def _changes_server(statement: Piece, error: SqlmigError) -> bool:
    if not isinstance(error, MigrationFailed):  # the guard has refused it
        return True
    return bool(_ABOUT_SERVER.search(bytes(statement.text)))


def _find_by_trial(scratch: Scratch, file: SqlFile) -> Piece | None:
    """Run the statements of a file one by one, up to the one that is the reason, and roll back."""
    connection = scratch.connection
    transaction = file_transaction(file, FileSettings(connection.callers_search_path))
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
