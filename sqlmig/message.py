"""One script as messages to the server, what stands around it, and where in the file an error is. No connection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.errors import excerpt, place, said

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from psycopg.errors import Diagnostic

    from sqlmig.scan import Script

# What stands before a script, what undoes its settings, and what undoes its prepared statements.
GUARD, AFTER, _DEALLOCATE = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").split("-- %%\n")
# A longer file is sent in several messages, still in one transaction: less memory here, and far less on the server.
LARGEST = 1 << 20
_SET_TRANSACTION = re.compile(rb"set\s+(?:local\s+)?transaction\b", re.IGNORECASE)


class Piece(NamedTuple):
    """A part of a message, and how many statements it holds.

    script, offset: where it stands in a file, where it is of one; else words: what the server is doing there.
    """

    text: bytes | memoryview
    statements: int
    script: Script | None = None
    offset: int = 0
    words: str = ""


def parts(script: Script) -> tuple[list[Piece], list[Piece], Piece]:
    """Return what opens a script's transaction; what it does, to its end, and what then undoes its settings; COMMIT."""
    text, starts, bracketed = script.text, script.scan.starts, script.scan.bracketed
    opening = int(bracketed)
    while opening < len(starts) and _SET_TRANSACTION.match(text, starts[opening]):
        opening += 1  # it must come before any query, ours too
    first = [*starts[: opening + 1], len(text)][opening] if opening else 0
    last = starts[-1] if bracketed else len(text)
    begin = [] if bracketed else [Piece(b"BEGIN;", 1)]
    deallocate = _DEALLOCATE if re.search(rb"prepare", text, re.IGNORECASE) else ""
    middle = [
        *_cut(script, opening, len(starts) - bracketed, first, last),
        Piece(b"\n;SET CONSTRAINTS ALL IMMEDIATE;", 1, words="at its end, when deferred constraints are checked: "),
        Piece((AFTER + deallocate).encode(), 8 + bool(deallocate)),
    ]
    closing = Piece(text[last:], 1, script, last) if bracketed else Piece(b"COMMIT", 1, words="at COMMIT: ")
    return [*begin, Piece(text[:first] + b"\n;", opening, script)], middle, closing


def _cut(script: Script, number: int, numbers: int, first: int, last: int) -> Iterator[Piece]:
    """Cut the statements from one number up to another into pieces that fit into a message, where they can be cut."""
    text = memoryview(script.text)
    for after in range(number + 1, numbers):
        end = script.scan.starts[after]
        if end - first >= LARGEST:
            yield Piece(text[first:end], after - number, script, first)
            number, first = after, end
    yield Piece(text[first:last], numbers - number, script, first)


def messages(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Join pieces to messages."""
    message: list[Piece] = []
    size = 0
    for piece in pieces:
        if message and size + len(piece.text) > LARGEST:
            yield message
            message, size = [], 0
        message.append(piece)
        size += len(piece.text)
    yield message


def explained(diag: Diagnostic, done: int, script: Script, message: Sequence[Piece]) -> str:
    """Say what the server said of a message of which so many statements had been done, and where in the file."""
    first, *more = said(diag).splitlines()
    script, offset, words = _place(diag, done, script, message)
    if offset is None:
        lines = [f"{script.path}: {words}{first}"]
    else:
        lines = [f"{place(script.path, script.text, offset)}: {first}", excerpt(script.text, offset)]
    if diag.internal_query and diag.internal_position:
        inside = len(diag.internal_query[: int(diag.internal_position) - 1].encode())
        lines += ["in the query that it ran:", excerpt(diag.internal_query.encode(), inside)]
    lines += more
    if diag.sqlstate == "25001" and script.scan.in_transaction:
        lines.append("HINT: put “-- sqlmig: no-transaction” on a line before the first statement")
    return "\n".join(lines)


def _place(diag: Diagnostic, done: int, script: Script, message: Sequence[Piece]) -> tuple[Script, int | None, str]:
    """Return an error's script and offset (the server's own, else that of the statement), or words for the place."""
    position = diag.statement_position
    at = 0
    if position:
        at = len(b"".join(piece.text for piece in message).decode()[: int(position) - 1].encode())
    for piece in message:
        script = piece.script or script
        if piece is message[-1] or ((at < len(piece.text)) if position else (done < piece.statements)):
            break
        at, done = at - len(piece.text), done - piece.statements
    if piece.script is None:
        # A statement that has no end is refused where ours begin.
        return (script, len(script.text.rstrip()), "") if position and piece.words else (script, None, piece.words)
    if position:
        return script, min(piece.offset + at, len(script.text.rstrip())), ""
    return script, _nth(script, piece.offset, done), ""


def _nth(script: Script, offset: int, number: int) -> int:
    """Return where a statement begins; a rule that adds results to one makes the count too high."""
    starts = [start for start in script.scan.starts if start >= offset]
    return starts[min(number, len(starts) - 1)]
