"""What stands around a file in its transaction, and how it is cut into messages to the server. Pure."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from sqlmig.core.lexer import statements
from sqlmig.core.sql import OWN_SETTINGS, literal, read_statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlmig.core.sqlfile import SqlFile

_RESET = read_statements(Path(__file__).with_name("reset.sql"))
# A file need not end with a semicolon, and may end with a comment.
_BETWEEN = b"\n;"

# A machine that vanishes ends its session within a minute, and with it the locks.
KEEPALIVES = (
    "SET LOCAL tcp_keepalives_idle = 30; SET LOCAL tcp_keepalives_interval = 10; "
    "SET LOCAL tcp_keepalives_count = 3;"
)

Role = Literal[
    "file",  # statements of the file itself
    "begin",
    "lock",  # the runners' own lock
    "own settings",  # what our own statements run under
    "settings",  # what the file runs under
    "guard",  # the ledger must be as it was when the run was planned
    "ledger",  # what makes the ledger
    "constraints",  # deferred constraints are checked here, not at COMMIT
    "reset",  # what the file set must not reach the next one
    "own guard",  # the ledger must not be changed by the file itself
    "record",  # the row of the ledger
    "commit",
    "other",
]


class Piece(NamedTuple):
    """Statements that are sent together, and the role that they play."""

    role: Role
    text: bytes | memoryview
    file: SqlFile | None = None  # the file whose statements they are
    begin: int = 0  # the byte of that file where they begin


class FilePieces(NamedTuple):
    """A file cut into pieces, with the BEGIN and COMMIT that it lacks."""

    opening: list[Piece]
    settings: Piece
    body: Piece
    constraints: Piece
    reset: Piece
    commit: Piece


@dataclass(frozen=True)
class Transaction:
    """A file in its transaction, together with its row in the ledger, in the order in which it is sent."""

    opening: Sequence[Piece]
    own_settings: Piece
    lock: Piece
    guard: Sequence[Piece]
    settings: Piece
    body: Piece
    constraints: Piece
    hidden_rows: Sequence[Piece]
    reset: Piece
    own_guard: Sequence[Piece]
    record: Piece
    identity: Sequence[Piece]  # of the ledger, if this transaction makes it
    commit: Piece

    def pieces(self) -> list[Piece]:
        """Return the pieces in their order."""
        return [
            *self.opening,
            self.own_settings,
            self.lock,
            *self.guard,
            self.settings,
            self.body,
            self.constraints,
            *self.hidden_rows,
            self.reset,
            *self.own_guard,
            self.record,
            *self.identity,
            self.commit,
        ]


def own_piece(role: Role, sql: str) -> Piece:
    """Return statements of our own, and the role that they play."""
    return Piece(role, sql.encode())


def file_piece(file: SqlFile, begin: int, end: int) -> Piece:
    """Return the statements of a file that stand between two of its bytes."""
    return Piece("file", memoryview(file.text)[begin:end], file, begin)


def file_pieces(file: SqlFile, search_path: str) -> FilePieces:
    """Cut a file into pieces: its own BEGIN and COMMIT if it has them, else ours.

    search_path: what the file runs on; our own statements before it have their own.
    """
    opening = []
    if not file.commit_start:
        opening.append(own_piece("begin", "BEGIN"))
    if file.opening_end:
        opening.append(file_piece(file, 0, file.opening_end))

    body_end = file.commit_start or len(file.text)
    commit = own_piece("commit", "COMMIT")
    if file.commit_start:
        commit = file_piece(file, file.commit_start, len(file.text))

    path = literal(search_path)
    settings = (
        "SET LOCAL row_security TO DEFAULT; "
        f"SELECT pg_catalog.set_config('search_path', {path}, true)"
    )
    return FilePieces(
        opening,
        settings=own_piece("settings", settings),
        body=file_piece(file, file.opening_end, body_end),
        constraints=own_piece("constraints", "SET CONSTRAINTS ALL IMMEDIATE"),
        reset=own_piece(
            "reset", reset_sql(file, f"{_RESET['settings']}{OWN_SETTINGS};")
        ),
        commit=commit,
    )


def reset_sql(file: SqlFile, reset_settings: str) -> str:
    """Return the statements that let nothing of a file stay in the session, with those that reset its settings."""
    reset = reset_settings + _RESET["session"]
    if b"prepare" in file.text.lower():
        reset += _RESET["prepared"]
    return reset


def messages(pieces: Iterable[Piece], largest: int) -> Iterator[list[Piece]]:
    """Join pieces to messages of at most so many bytes, and cut those that are longer.

    largest: 0 for a message a statement, as Citus wants it.
    """
    message: list[Piece] = []
    size = 0
    for whole in pieces:
        for piece in cut(whole, largest):
            if message and size + len(piece.text) > largest:
                yield message
                message = []
                size = 0
            message.append(piece)
            size += len(piece.text)
    yield message


def cut(whole: Piece, largest: int) -> Iterator[Piece]:
    """Cut a piece between its statements where it is longer than so many bytes."""
    if len(whole.text) <= largest:
        yield whole
        return
    starts = _statement_starts(whole)
    end = whole.begin + len(whole.text)
    begin = whole.begin
    while begin < end:
        next_begin = _next_cut(starts, begin, end, largest)
        text = whole.text[begin - whole.begin : next_begin - whole.begin]
        yield Piece(whole.role, text, whole.file, begin)
        begin = next_begin


def _statement_starts(piece: Piece) -> Sequence[int]:
    """Return where the statements of a piece begin, in bytes of its file."""
    if piece.file:
        return piece.file.statement_starts or [0]
    return [start for start, _ in statements(bytes(piece.text))] or [0]


def _next_cut(starts: Sequence[int], begin: int, end: int, largest: int) -> int:
    """Return where the part that begins at a byte ends: before a statement, and not too far away if that can be."""
    if end - begin <= largest:
        return end
    # At least one statement, and as many more as there is room for.
    one_more = bisect_right(starts, max(begin, starts[0]))
    last_that_fits = bisect_right(starts, begin + largest) - 1
    number = max(one_more, last_that_fits)
    if number == len(starts):
        return end
    return min(starts[number], end)


def joined(message: Iterable[Piece]) -> bytes:
    """Return the text of a message."""
    return _BETWEEN.join([piece.text for piece in message])


def piece_at(message: Sequence[Piece], offset: int) -> tuple[Piece, int]:
    """Return the piece that holds a byte of a message, and the byte's offset within the piece."""
    piece = message[0]
    for piece in message:
        length = len(piece.text) + len(_BETWEEN)
        if offset < length:
            break
        offset -= length
    return piece, offset
