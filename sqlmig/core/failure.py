"""The server's error in words: where it is in the file, the line with a caret, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlmig.core.lexer import statements
from sqlmig.core.text import Place, excerpt, find_place, place
from sqlmig.core.transaction import joined, piece_at
from sqlmig.core.wording import server_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece, Role

# Where our own statements fail, it says which.
_WHEN: dict[Role, str] = {
    "ledger": "cannot create the ledger: ",
    "constraints": "at its end, when deferred constraints are checked: ",
    "record": "when it was to be recorded: ",
    "commit": "at COMMIT: ",
}
_RUN_ALONE = "put “-- sqlmig: no-transaction” on a line before the first statement"


class _Hint(NamedTuple):
    """What to do about an error: by SQLSTATE and words of the message, and by how the file runs."""

    sqlstates: str  # a regular expression
    message: str  # likewise
    advice: str
    in_transaction: bool | None = None  # None: either way
    in_first_file: bool = False  # only where the same run makes the ledger


# The first that fits is the one that is shown.
_HINTS = (
    _Hint(
        sqlstates="25001",
        message="",
        advice=f"give it a file of its own without a BEGIN (for CONCURRENTLY that will do), or {_RUN_ALONE}",
        in_transaction=True,
    ),
    _Hint(
        sqlstates="2D000",
        message="",
        advice=f"a DO block or procedure may not end the file's transaction: take that out, or {_RUN_ALONE}",
        in_transaction=True,
    ),
    _Hint(
        sqlstates="25001",
        message="",
        advice="take BEGIN and COMMIT out: this file runs statement by statement",
        in_transaction=False,
    ),
    _Hint(
        sqlstates="42704",
        message='role "(anon|authenticated|service_role)"',
        advice="it is Supabase's: create the role, or look into pg_roles before you use it",
    ),
    _Hint(
        sqlstates="0A000|58P01",
        message="extension ",
        advice="use a server that has the extension, with --database-url",
    ),
    _Hint(
        sqlstates="42704",
        message='unrecognized configuration parameter "transaction_timeout"',
        advice="a pg_dump of PostgreSQL 17 or newer wrote this line, and this server is older: take the line out",
    ),
    _Hint(
        sqlstates="42P06",
        message='schema "public"',
        advice="every database has this schema; a dump makes it anew. Take the line out",
    ),
    _Hint(
        sqlstates="42P07|42P16",
        message='"schema_migrations"',
        advice=(
            "this is the ledger of sqlmig. The file, a dump perhaps, brings a ledger of its own: "
            "take the statements about this table out"
        ),
    ),
    _Hint(
        sqlstates="42P0[67]|42710|42701|42723",
        message="",
        advice="it may be left over from an interrupted run. Check that it is complete, or drop it",
        in_transaction=False,
    ),
    _Hint(
        sqlstates="42P0[67]|42710|42723",
        message="",
        advice=(
            "this database has no ledger yet, but it is not empty. If it has what these files make, "
            "`sqlmig stamp V` records everything up to V as applied, and runs nothing"
        ),
        in_first_file=True,
    ),
    _Hint(
        sqlstates="42501",
        message="for schema public",
        advice=(
            "since PostgreSQL 15 a role may not create in public unless it was allowed to: "
            "GRANT CREATE ON SCHEMA public TO it, or name a schema with --schema"
        ),
    ),
    _Hint(
        sqlstates="25006",
        message="",
        advice=(
            "this server is a standby, or default_transaction_read_only is on. Connect to the primary, "
            "for example with target_session_attrs=read-write in the URL"
        ),
    ),
    _Hint(
        sqlstates="57014",
        message="statement timeout",
        advice=(
            "the file, the role or the database sets statement_timeout. For this file alone, "
            "begin it with: SET LOCAL statement_timeout = 0;"
        ),
        in_transaction=True,
    ),
    _Hint(
        sqlstates="57014",
        message="statement timeout",
        advice=(
            "the file, the role or the database sets statement_timeout. For this file alone, "
            "begin it with: SET statement_timeout = 0;"
        ),
        in_transaction=False,
    ),
    _Hint(
        sqlstates="55006",
        message="pending trigger events",
        advice=(
            "deferred constraints are still to be checked: "
            "put SET CONSTRAINTS ALL IMMEDIATE; before this statement"
        ),
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
    *,
    in_first_file: bool = False,
) -> Explanation:
    """Say where and why the server stopped in a message.

    statements_done: how many of the message's statements it had done. file: the one to
    name where the piece that failed is of no file. in_first_file: the same transaction
    makes the ledger.
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
    lines += _hints(
        diagnostic.sqlstate,
        first,
        in_transaction=file is None or file.in_transaction,
        in_first_file=in_first_file,
    )
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


def _hints(
    sqlstate: str, first_line: str, *, in_transaction: bool, in_first_file: bool
) -> list[str]:
    for hint in _HINTS:
        if hint.in_transaction not in (None, in_transaction):
            continue
        if hint.in_first_file and not in_first_file:
            continue
        if not re.fullmatch(hint.sqlstates, sqlstate):
            continue
        if re.search(hint.message, first_line):
            return [f"HINT: {hint.advice}"]
    return []
