"""The server's error in words: where it is in the file, the line with a caret, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlmig.lexer import statements
from sqlmig.places import Place, excerpt, find_place, place
from sqlmig.transaction import joined, piece_at
from sqlmig.wording import server_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlmig.sqlfile import SqlFile
    from sqlmig.transaction import Piece, Role

# Where our own statements fail, it says which.
_WHEN: dict[Role, str] = {
    "ledger": "cannot create the ledger: ",
    "constraints": "at its end, when deferred constraints are checked: ",
    "record": "when it was to be recorded: ",
    "commit": "at COMMIT: ",
}
_RUN_ALONE = "put “-- sqlmig: no-transaction” on a line before the first statement"


class _Hint(NamedTuple):
    """What to do about an error: for files in a transaction or not, by SQLSTATE and words of the message."""

    in_transaction: bool
    sqlstates: str  # a regular expression
    message: str  # likewise
    advice: str


_HINTS = (
    _Hint(
        in_transaction=True,
        sqlstates="25001",
        message="",
        advice=f"give it a file of its own without a BEGIN (for CONCURRENTLY that will do), or {_RUN_ALONE}",
    ),
    _Hint(
        in_transaction=True,
        sqlstates="2D000",
        message="",
        advice=f"a DO block or procedure may not end the file's transaction: take that out, or {_RUN_ALONE}",
    ),
    _Hint(
        in_transaction=True,
        sqlstates="42704",
        message='role "(anon|authenticated|service_role)"',
        advice="it is Supabase's: create the role, or look into pg_roles before you use it",
    ),
    _Hint(
        in_transaction=True,
        sqlstates="0A000|58P01",
        message="extension ",
        advice="use a server that has the extension, with --database-url",
    ),
    _Hint(
        in_transaction=False,
        sqlstates="25001",
        message="",
        advice="take BEGIN and COMMIT out: this file runs statement by statement",
    ),
    _Hint(
        in_transaction=False,
        sqlstates="42P0[67]|42710|42701|42723",
        message="",
        advice="it may be left over from an interrupted run. Check that it is complete, or drop it",
    ),
)


class Explanation(NamedTuple):
    """What is known of an error: the role of the piece that failed, the words, and the place in the file."""

    role: Role
    words: str
    file: SqlFile | None
    place: Place | None


def explain(
    diagnostic: Any,
    statements_done: int,
    message: Sequence[Piece],
    file: SqlFile | None,
) -> Explanation:
    """Say where and why the server stopped in a message.

    statements_done: how many of the message's statements it had done. file: the one to
    name where the piece that failed is of no file.
    """
    offset = _offset_in_message(diagnostic, statements_done, joined(message))
    piece, offset = piece_at(message, offset)
    file = _file_of(piece, message, file)
    first, *more = server_words(diagnostic).splitlines()

    found: Place | None = None
    if piece.file is None:
        where = f"{file.path}: {_WHEN.get(piece.role, '')}" if file else ""
        lines = [f"{where}{first}"]
    else:
        # A statement that has no end is refused behind the text.
        offset = min(piece.begin + offset, len(piece.file.text.rstrip()))
        found = find_place(piece.file.text, offset)
        lines = [
            f"{place(piece.file.path, piece.file.text, offset)}: {first}",
            excerpt(piece.file.text, offset),
        ]

    lines += _inner_query(diagnostic)
    lines += more
    if file:
        lines += _hints(diagnostic.sqlstate, first, in_transaction=file.in_transaction)
    return Explanation(piece.role, "\n".join(lines), file, found)


def _file_of(
    piece: Piece, message: Sequence[Piece], file: SqlFile | None
) -> SqlFile | None:
    """Return the file to name: the piece's own, or the last one before it."""
    for other in message:
        file = other.file or file
        if other is piece:
            break
    return file


def _offset_in_message(diagnostic: Any, statements_done: int, text: bytes) -> int:
    """Return the byte at which the server stopped: its own position, else where the statement begins."""
    if diagnostic.statement_position:
        characters = int(diagnostic.statement_position) - 1
        return len(text.decode()[:characters].encode())
    starts = [start for start, _ in statements(text)]
    # A rule that adds results makes the server look further than it is.
    return starts[min(statements_done, len(starts) - 1)]


def _inner_query(diagnostic: Any) -> list[str]:
    """Return the query that a function ran, with the place of the error in it, where the server tells."""
    if not diagnostic.internal_query or not diagnostic.internal_position:
        return []
    query = diagnostic.internal_query
    offset = len(query[: int(diagnostic.internal_position) - 1].encode())
    return ["in the query that it ran:", excerpt(query.encode(), offset)]


def _hints(sqlstate: str, first_line: str, *, in_transaction: bool) -> Iterator[str]:
    for hint in _HINTS:
        if hint.in_transaction != in_transaction:
            continue
        if re.fullmatch(hint.sqlstates, sqlstate) and re.search(
            hint.message, first_line
        ):
            yield f"HINT: {hint.advice}"
