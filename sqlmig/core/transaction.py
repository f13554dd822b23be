"""A file in its transaction: the pieces around it, their order, and the batches they are sent in. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from sqlmig.core.lexer import statements
from sqlmig.core.sql import OWN_SETTINGS, literal, read_statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlmig.core.session import FileSettings
    from sqlmig.core.sqlfile import CopyData, SqlFile

_RESET = read_statements(Path(__file__).with_name("reset.sql"))
# A file need not end with a semicolon, and may end with a comment.
_BETWEEN = b"\n;"

# If a machine vanishes, the server ends its session within a minute, and frees its locks.
KEEPALIVES = (
    "SET LOCAL tcp_keepalives_idle = 30; SET LOCAL tcp_keepalives_interval = 10; "
    "SET LOCAL tcp_keepalives_count = 3;"
)

Role = Literal[
    "file",  # statements of the file itself
    "begin",
    "own settings",  # the settings of our own statements
    "lock",  # the runner lock
    "guard",  # the ledger must be as it was when the run was planned
    "empty guard",  # the same, for a ledger that has no row
    "ledger",  # creates the ledger
    "settings",  # the settings of the file
    "constraints",  # deferred constraints are checked here, not at COMMIT
    "reset",  # the file's settings must not reach the next file
    "own guard",  # the file must not have changed the ledger
    "record",  # the ledger row
    "commit",
    "other",
]


class Piece(NamedTuple):
    """Statements that are sent together, the role they play, and the file that an error is about.

    If the role is "file", begin is their first byte in the file. Pieces of our own have no
    place, so their begin means nothing. copy: the place of the data that the last statement,
    a COPY … FROM stdin, needs.
    """

    role: Role
    text: bytes | memoryview
    file: SqlFile | None = None
    begin: int = 0
    copy: CopyData | None = None


@dataclass(frozen=True)
class FileTransaction:
    """A file in its transaction, as pieces in four parts. They are sent in this order."""

    begin: list[Piece]
    body: list[Piece]
    end: list[Piece]
    commit: list[Piece]

    def pieces(self) -> list[Piece]:
        """Return the pieces of all parts."""
        return [*self.begin, *self.body, *self.end, *self.commit]


def file_transaction(
    file: SqlFile,
    settings: FileSettings,
    *,
    before: Iterable[Piece] = (),
    after: Iterable[Piece] = (),
    before_commit: Iterable[Piece] = (),
) -> FileTransaction:
    """Put a file into its transaction. Everything that runs a file in a transaction calls this.

    A script builds its own text from body_piece and reset_sql. A file that runs outside a
    transaction is sent by outside_transaction.py.

    settings: the search path of the file, and its values.
    before: our own pieces after BEGIN.
    after: our own pieces after the file, which still has its settings and its role.
    before_commit: our own pieces when the file's settings are undone.
    The file's own BEGIN and COMMIT are used if it has them.
    """
    body = [
        own_piece("settings", _settings_sql(settings), file),
        body_piece(file),
        own_piece("constraints", CHECK_CONSTRAINTS, file),
    ]
    reset = reset_sql(file, f"{_RESET['settings']}{OWN_SETTINGS};")
    commit = own_piece("commit", "COMMIT", file)
    if file.commit_start:
        commit = file_piece(file, file.commit_start, len(file.text))
    return FileTransaction(
        begin=[*opening_pieces(file), *before],
        body=body,
        end=[*after, own_piece("reset", reset, file), *before_commit],
        commit=[commit],
    )


# Deferred constraints are checked here and not at COMMIT, so that an error names its place.
CHECK_CONSTRAINTS = "SET CONSTRAINTS ALL IMMEDIATE"


def own_piece(role: Role, sql: str, file: SqlFile | None = None) -> Piece:
    """Return statements of our own. file: the file that an error in them is about."""
    return Piece(role, sql.encode(), file)


def file_piece(file: SqlFile, begin: int, end: int) -> Piece:
    """Return the statements of a file between two of its bytes."""
    return Piece("file", memoryview(file.text)[begin:end], file, begin)


def opening_pieces(file: SqlFile) -> list[Piece]:
    """Return BEGIN, or the file's own statements that open its transaction."""
    opening = []
    if not file.commit_start:
        opening.append(own_piece("begin", "BEGIN", file))
    if file.opening_end:
        opening.append(file_piece(file, 0, file.opening_end))
    return opening


def body_piece(file: SqlFile) -> Piece:
    """Return the file without its own BEGIN and COMMIT."""
    return file_piece(file, file.opening_end, file.commit_start or len(file.text))


def own_settings_piece(
    lock_timeout: str, file: SqlFile | None = None, *, stays_open: bool = False
) -> Piece:
    """Return the settings of our own statements, and the lock timeout, which holds for the file too.

    stays_open: the transaction is open between its batches.
    """
    settings = f"{OWN_SETTINGS}; SET LOCAL lock_timeout = {literal(lock_timeout)};"
    if stays_open:
        settings += KEEPALIVES
    return own_piece("own settings", settings, file)


def _settings_sql(settings: FileSettings) -> str:
    calls = []
    for name, value in [("search_path", settings.search_path), *settings.values]:
        calls.append(f"pg_catalog.set_config({literal(name)}, {literal(value)}, true)")
    return f"SET LOCAL row_security TO DEFAULT; SELECT {', '.join(calls)}"


def reset_sql(file: SqlFile, reset_settings: str) -> str:
    """Return the statements that remove what a file left in the session.

    reset_settings: the statements that undo its settings.
    """
    reset = reset_settings + _RESET["session"]
    if b"prepare" in file.text.lower():
        reset += _RESET["prepared"]
    return reset


def batches(pieces: Sequence[Piece], largest: int) -> Iterator[list[Piece]]:
    """Join pieces to batches of at most this many bytes, and cut longer pieces.

    A batch ends after a COPY … FROM stdin, because its data follow.

    largest: 0 for one statement in each batch, as Citus needs it.
    """
    batch: list[Piece] = []
    size = 0
    for whole in pieces:
        for piece in cut(whole, largest):
            if batch and size + len(piece.text) > largest:
                yield batch
                batch = []
                size = 0
            batch.append(piece)
            size += len(piece.text)
            if piece.copy:
                yield batch
                batch = []
                size = 0
    if batch or not pieces:
        yield batch


def cut(whole: Piece, largest: int) -> Iterator[Piece]:
    """Cut a piece between its statements if it is longer than this many bytes, and around the data of COPY."""
    if whole.role == "file" and whole.file and whole.file.copies and not whole.copy:
        yield from _cut_around_data(whole, whole.file.copies, largest)
        return
    yield from _cut_by_length(whole, largest)


def _cut_around_data(
    whole: Piece, copies: Iterable[CopyData], largest: int
) -> Iterator[Piece]:
    begin = whole.begin
    end = whole.begin + len(whole.text)
    for copy in copies:
        if not begin < copy.statement_end <= end:
            continue
        *before, last = _cut_by_length(_part(whole, begin, copy.statement_end), largest)
        yield from before
        yield last._replace(copy=copy)
        begin = _next_statement(whole, copy.text_end, end)
    if begin < end:
        yield from _cut_by_length(_part(whole, begin, end), largest)


def _next_statement(whole: Piece, begin: int, end: int) -> int:
    """Return the first byte of the next statement of a piece of a file, or the end."""
    starts = _statement_starts(whole)
    number = bisect_left(starts, begin)
    return min(starts[number], end) if number < len(starts) else end


def _part(whole: Piece, begin: int, end: int) -> Piece:
    text = whole.text[begin - whole.begin : end - whole.begin]
    return Piece(whole.role, text, whole.file, begin)


def _cut_by_length(whole: Piece, largest: int) -> Iterator[Piece]:
    if len(whole.text) <= largest:
        yield whole
        return
    end = whole.begin + len(whole.text)
    starts = _statement_starts(whole)
    begin = whole.begin
    while begin < end:
        next_begin = _next_cut(starts, begin, end, largest)
        text = whole.text[begin - whole.begin : next_begin - whole.begin]
        yield Piece(whole.role, text, whole.file, begin)
        begin = next_begin


def _statement_starts(piece: Piece) -> Sequence[int]:
    """Return the first bytes of the statements of a piece: in the file, or in our own text."""
    if piece.role == "file" and piece.file:
        return piece.file.statement_starts or [0]
    return [start for start, _ in statements(bytes(piece.text))] or [0]


def _next_cut(starts: Sequence[int], begin: int, end: int, largest: int) -> int:
    """Return the end of the part that begins at a byte: before a statement, and within the limit if possible."""
    if end - begin <= largest:
        return end
    # At least one statement, and as many more as fit.
    one_more = bisect_right(starts, max(begin, starts[0]))
    last_that_fits = bisect_right(starts, begin + largest) - 1
    number = max(one_more, last_that_fits)
    if number == len(starts):
        return end
    return min(starts[number], end)


def joined(batch: Iterable[Piece]) -> bytes:
    """Return the text of a batch."""
    return _BETWEEN.join([piece.text for piece in batch])


def piece_at(batch: Sequence[Piece], offset: int) -> tuple[Piece, int]:
    """Return the piece that holds a byte of a batch, and the byte's offset within the piece."""
    piece = batch[0]
    for piece in batch:
        length = len(piece.text) + len(_BETWEEN)
        if offset < length:
            break
        offset -= length
    return piece, offset
