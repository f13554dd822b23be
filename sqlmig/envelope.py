"""One script as messages to the server: what stands around it, and where in its file an error is. No connection."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sqlmig.errors import excerpt, place, said
from sqlmig.scan import Script, statements

# What undoes a script's settings, and what undoes its prepared statements.
RESET, _DEALLOCATE = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").split("-- %%\n")
_BETWEEN = b"\n;"  # a file need not end with a semicolon, and may end with a comment

Part = Literal["file", "begin", "lock", "guard", "ledger", "settings", "settle", "reset", "record", "commit", "other"]
_WHEN: dict[Part, str] = {
    "ledger": "cannot create the ledger: ",
    "settle": "at its end, when deferred constraints are checked: ",
    "record": "when it was to be recorded: ",
    "commit": "at COMMIT: ",
}
_ALONE = "put “-- sqlmig: no-transaction” on a line before the first statement"
# What the server does not know: in or out of a transaction, by the SQLSTATE and its words, what to do.
_HINTS = (
    ("in 25001", "", f"give it a file of its own without a BEGIN (for CONCURRENTLY that will do), or {_ALONE}"),
    ("in 2D000", "", f"a DO block or procedure may not end the file's transaction: take that out, or {_ALONE}"),
    ("in 42704", 'role "(anon|authenticated|service_role)"', "it is Supabase's: make it here, or ask pg_roles first"),
    ("in (0A000|58P01)", "extension ", "use a server that has the extension, with --database-url"),
    ("out 25001", "", "take BEGIN and COMMIT out: this file runs statement by statement"),
    ("out (42P0[67]|42710|42701|42723)", "", "where an interrupted run made it, see that it is whole, or drop it"),
)  # fmt: skip


class Piece(NamedTuple):
    """Statements that are sent together, and the part they play."""

    part: Part
    text: bytes | memoryview
    script: Script | None = None  # the one they are of
    begin: int = 0  # the byte of its text where they begin


class Envelope(NamedTuple):
    """A script in a transaction: what opens it, the script, what then undoes its settings, and COMMIT."""

    opening: list[Piece]
    body: Piece
    reset: list[Piece]
    closing: Piece


def ours(part: Part, sql: str) -> Piece:
    """Return statements of our own, and the part they play."""
    return Piece(part, sql.encode())


def piece(script: Script, begin: int, end: int) -> Piece:
    """Return the statements of a script that stand between two of its bytes."""
    return Piece("file", memoryview(script.text)[begin:end], script, begin)


def envelope(script: Script) -> Envelope:
    """Return a script in its own BEGIN and COMMIT where it has them, else in ours."""
    end, closes = len(script.text), script.closes
    opening = [] if closes else [ours("begin", "BEGIN")]
    if script.opens:
        opening.append(piece(script, 0, script.opens))
    prepares = re.search(rb"prepare", script.text, re.IGNORECASE)
    reset = [ours("settle", "SET CONSTRAINTS ALL IMMEDIATE"), ours("reset", RESET + _DEALLOCATE if prepares else RESET)]
    closing = piece(script, closes, end) if closes else ours("commit", "COMMIT")
    return Envelope(opening, piece(script, script.opens, closes or end), reset, closing)


def cut(whole: Piece, largest: int) -> Iterator[Piece]:
    """Cut a piece between its statements, where it is longer than so many bytes; 0 means a statement a piece."""
    part, text, script, begin = whole
    if len(text) <= largest:
        yield whole
        return
    starts = (script.starts if script else [start for start, _ in statements(bytes(text))]) or [0]
    at, end = begin, begin + len(text)
    while at < end:
        n = max(bisect_right(starts, max(at, starts[0])), bisect_right(starts, at + largest) - 1)
        to = end if end - at <= largest or n == len(starts) else min(starts[n], end)
        yield Piece(part, text[at - begin : to - begin], script, at)
        at = to


def messages(pieces: Iterable[Piece], largest: int) -> Iterator[list[Piece]]:
    """Join pieces to messages of at most so many bytes, and cut those that are longer."""
    message, size = list[Piece](), 0
    for one in chain.from_iterable(cut(whole, largest) for whole in pieces):
        if message and size + len(one.text) > largest:
            yield message
            message, size = [], 0
        message.append(one)
        size += len(one.text)
    yield message


def joined(message: Iterable[Piece]) -> bytes:
    """Return the text of a message."""
    return _BETWEEN.join([one.text for one in message])


def explained(diag: Any, done: int, message: Sequence[Piece], file: Script | None) -> tuple[Part, str]:
    """Return the part of a message at which the server stopped, when so many were done, and words with the place."""
    # The place is the server's own, else where the statement begins; a rule that adds results to one shows a later one.
    text, position = joined(message), diag.statement_position
    if position:
        at = len(text.decode()[: int(position) - 1].encode())
    else:
        starts = [start for start, _ in statements(text)]
        at = starts[min(done, len(starts) - 1)]
    for one in message:
        file, length = one.script or file, len(one.text) + len(_BETWEEN)
        if at < length:
            break
        at -= length
    first, *more = said(diag).splitlines()
    path, text = (file.path, file.text) if file else (None, b"")
    if one.script is None:
        lines = [f"{path}: {_WHEN.get(one.part, '')}{first}" if path else first]
    else:
        offset = min(one.begin + at, len(text.rstrip()))  # a statement that has no end is refused behind it
        lines = [f"{place(path, text, offset)}: {first}", excerpt(text, offset)]
    if diag.internal_query and diag.internal_position:
        inside = len(diag.internal_query[: int(diag.internal_position) - 1].encode())
        lines += ["in the query that it ran:", excerpt(diag.internal_query.encode(), inside)]
    lines += more
    state = f"{'in' if file.in_transaction else 'out'} {diag.sqlstate}" if file else ""
    hints = [hint for known, words, hint in _HINTS if re.fullmatch(known, state) and re.search(words, first)]
    return one.part, "\n".join([*lines, *(f"HINT: {hint}" for hint in hints)])
