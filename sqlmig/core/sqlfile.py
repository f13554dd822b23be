"""An SQL file: its directives, its own BEGIN and COMMIT, and the statements that are refused. Pure."""

from __future__ import annotations

import re
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core.errors import ScanError, SqlmigError
from sqlmig.core.lexer import (
    BLANK_KINDS,
    Token,
    first_token,
    read_statement,
    statements,
    tokens,
)
from sqlmig.core.migrations import REPLACES, checksum, find_replaces, read
from sqlmig.core.text import excerpt, find_place, place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DIRECTIVE = re.compile(rb"--[ \t]*sqlmig:[ \t]*([^\r\n]*)")
# Every pg_dump since August 2025 writes these lines before and after its SQL, for psql only.
_RESTRICT = re.compile(rb"(?<![^\r\n])\\(?:un)?restrict[ \t]+\w+[ \t]*(?=[\r\n]|\Z)")
# In the files of other tools the down half comes after one of these marks.
_DOWN_MARKS = (b"migrate:down", b"+goose", b"+migrate", b"---- create above")
_DOWN_MARK = re.compile(
    rb"--[ \t]*(?:migrate:down|\+goose[ \t]+down|\+migrate[ \t]+down)\b"
    rb"|---- create above / drop below ----",
    re.IGNORECASE,
)
_WORD = re.compile(rb"[A-Za-z_]+")
# The directives after "-- sqlmig:", in the form of the messages and the manual.
# For the message about an unknown directive. _refuse_wrong_directive decides.
DIRECTIVES = (
    "no-transaction",
    "repeat",
    "irreversible: REASON",
    "accepts rewrites, reads, losses, restarts, breaks: REASON",
    "replaces FIRST to LAST: CHECKSUM",
)
_ACCEPTABLE = frozenset(("rewrites", "reads", "losses", "restarts", "breaks"))
_ONLY_READS = frozenset(
    (b"select", b"values", b"table", b"show", b"explain", b"set", b"reset")
)
_COPY_TO_STDOUT = re.compile(rb"copy\b.* to (?:stdout|stdin)\b")
_COPY_FROM_STDIN = re.compile(rb"copy\b.* from (?:stdin|stdout)\b")
_SAYS_STDIN = re.compile(rb"\bstd(?:in|out)\b", re.IGNORECASE)
# The line that ends the data of COPY … FROM stdin, and the rest of the line of the statement.
_END_OF_DATA = re.compile(rb"^\\\.[ \t]*(?:\r?\n|\r|\Z)", re.MULTILINE)
_REST_OF_LINE = re.compile(rb"[ \t]*([^\r\n]*)(?:\r\n|\n|\r|\Z)")
_SAYS_CONCURRENTLY = re.compile(rb"\bconcurrently\b", re.IGNORECASE)
# Statements that PostgreSQL refuses to run in a transaction when they say CONCURRENTLY.
_CONCURRENT = re.compile(
    rb"(?:create (?:unique )?index|drop index) concurrently\b|reindex\b|repack\b"
)
_BEGIN = re.compile(rb"(?:begin|start transaction)(?: work| transaction)?\b")
# Statements that open a transaction. They must come before any query, including ours.
_OPENING = re.compile(
    _BEGIN.pattern
    + rb"|set (?:local |session )?transaction(?:_(?:isolation|read_only|deferrable))?\b"
)
_COMMIT = re.compile(rb"(?:commit|end)(?: work| transaction)?(?: and no chain)?")
# The first words of the statements that begin or end a transaction, or mark a place in it.
CONTROL_WORDS = frozenset(
    (
        b"begin",
        b"start",
        b"commit",
        b"end",
        b"rollback",
        b"abort",
        b"savepoint",
        b"release",
        b"prepare",
    )
)


class CopyData(NamedTuple):
    r"""The data of a COPY … FROM stdin.

    statement_end and text_end: in the text of the file, the end of the statement, and the
    end of the data with the line ``\.``, of which only the ends of the lines are there.
    begin and end: of the data, in the text as it was written.
    """

    statement_end: int
    text_end: int
    begin: int
    end: int


class SqlFile(NamedTuple):
    """The text of a file, its statements, and how it wants to be run.

    Places are byte offsets. The text is UTF-8 without a byte order mark, and without the
    lines of a pg_dump that only psql understands.
    """

    path: Path
    text: bytes
    statement_starts: array[int]  # a statement ends at the start of the next one
    opening_end: int = (
        0  # after the statements that open its transaction: BEGIN, SET TRANSACTION
    )
    commit_start: int = 0  # of its own COMMIT; 0 if it has none
    has_own_mode: bool = (
        False  # its opening asks for more than BEGIN: an isolation level, say
    )
    in_transaction: bool = True  # False: it runs statement by statement
    irreversible: str | None = (
        None  # a down file's reason why it cannot undo its up file
    )
    accepts: frozenset[str] = frozenset()  # what `check --fail-on` lets pass
    accepts_reason: str = ""
    repeats: bool = False  # it runs again and again, until a run changes no row
    replaces: bool = False  # it replaces older versions
    as_written: bytes | None = (
        None  # the complete text, if lines or data were removed from the other
    )
    copies: tuple[CopyData, ...] = ()  # the data of COPY … FROM stdin, in order

    def first_words(self) -> list[bytes]:
        """Return the first keyword of each statement, in lower case; empty if a sign comes first."""
        words = []
        for start in self.statement_starts:
            match = _WORD.match(self.text, start)
            words.append(match[0].lower() if match else b"")
        return words

    def statement_texts(self) -> list[bytes]:
        """Return the text of each statement, up to the start of the next."""
        texts = []
        for number, start in enumerate(self.statement_starts, start=1):
            end = len(self.text)
            if number < len(self.statement_starts):
                end = self.statement_starts[number]
            texts.append(self.text[start:end])
        return texts

    @property
    def checksum(self) -> str:
        """The checksum of the file as it was when it was read."""
        return checksum(self.text if self.as_written is None else self.as_written)


class _Control(NamedTuple):
    """A statement that begins or ends a transaction: its first byte, and its keywords."""

    start: int
    words: bytes


def load(path: Path, text: bytes | None = None) -> SqlFile:
    """Scan a file, which is read unless its text is given. Raises SqlmigError for what must not be sent."""
    if text is None:
        text = read(path)
    try:
        file = scan(text, path)
        if file.irreversible is not None and path.name.endswith(".up.sql"):
            raise ScanError("“irreversible” belongs in the down file", 0)
        replaces = find_replaces(text)
        if file.replaces and replaces is None:
            raise ScanError(
                "“replaces” must come before any comment that does not begin with --", 0
            )
        if replaces and int(path.name.partition("_")[0]) != replaces.last:
            raise ScanError(
                f"“replaces” ends with version {replaces.last}, so the file must have this number",
                0,
            )
        return file
    except ScanError as error:
        where = place(path, text, error.offset)
        line, column = find_place(text, error.offset)
        raise SqlmigError(
            f"{where}: {error.problem}\n{excerpt(text, error.offset)}",
            path=path,
            line=line,
            column=column,
        ) from None


def scan(text: bytes, path: Path = Path(), *, has_data: bool = True) -> SqlFile:
    """Find the statements of a text. Raises ScanError for what must not be sent.

    has_data: the data of a COPY … FROM stdin come after it.
    """
    if has_data and _SAYS_STDIN.search(text):
        try:
            without_data, copies = _without_copy_data(text)
        except ScanError:
            _refuse_two_halves(text)
            raise
        if copies:
            file = _scan_restricted(without_data, path)
            return file._replace(as_written=text, copies=copies)
    return _scan_restricted(text, path)


def _scan_restricted(text: bytes, path: Path) -> SqlFile:
    if not _RESTRICT.search(text):
        return _scan(text, path)
    return _scan(without_restrictions(text), path)._replace(as_written=text)


def _without_copy_data(text: bytes) -> tuple[bytes, tuple[CopyData, ...]]:
    r"""Return a text without the data of COPY … FROM stdin, except the ends of their lines, and the places of the data.

    So line numbers stay right, and a file with much data costs no memory twice. Source: psql
    reads such data from the line after the statement up to a line with ``\.``
    (https://www.postgresql.org/docs/current/sql-copy.html).
    """
    parts: list[bytes] = []
    copies: list[CopyData] = []
    length = 0
    done = 0
    begin = 0
    while (start := _next_copy(text, begin)) is not None:
        statement_end, data_begin, data_end, begin = _places_of_data(text, start)
        length += data_begin - done
        statement_end += length - data_begin
        parts.append(text[done:data_begin])
        lines = b"\n" * _count_lines(text, data_begin, begin)
        parts.append(lines)
        length += len(lines)
        copies.append(CopyData(statement_end, length, data_begin, data_end))
        done = begin
    parts.append(text[done:])
    return b"".join(parts), tuple(copies)


def _count_lines(text: bytes, begin: int, end: int) -> int:
    """Count the ends of lines between two bytes. Lines may end as on any system."""
    count = text.count(b"\n", begin, end)
    if text.find(b"\r", begin, end) >= 0:
        count += text.count(b"\r", begin, end) - text.count(b"\r\n", begin, end)
    return count


def _next_copy(text: bytes, begin: int) -> int | None:
    """Return the first byte of the next COPY … FROM stdin after a byte. Raises ScanError."""
    while True:
        try:
            for start, words in statements(text, begin):
                if words and _COPY_FROM_STDIN.match(b" ".join(words)):
                    return start
            return None
        except ScanError as error:
            restriction = _RESTRICT.match(text, error.offset)
            if not restriction:
                raise
            begin = restriction.end()


def _places_of_data(text: bytes, start: int) -> tuple[int, int, int, int]:
    """Return the end of a COPY … FROM stdin, the first byte and the end of its data, and the end of their last line.

    Raises ScanError if the data have no end.
    """
    _, end = read_statement(text, start)
    rest = _REST_OF_LINE.match(text, end + 1)
    if rest and rest[1].strip():
        raise ScanError(
            "COPY … FROM stdin ends its line: the data begin on the next one",
            rest.start(1),
        )
    begin = rest.end() if rest else len(text)
    last = _END_OF_DATA.search(text, begin)
    if last is None:
        raise ScanError(
            "COPY … FROM stdin has no data: write the lines below it, and after them a line with \\.",
            start,
        )
    return end + 1, begin, last.start(), last.end()


def without_restrictions(text: bytes) -> bytes:
    """Return a text with blanks instead of the lines that pg_dump writes for psql, so all places stay right.

    Such a line in a string is kept. The scan stops at each line, and continues from the
    statement before it.
    """
    restricted = bytearray(text)
    begin = 0
    while True:
        try:
            for start, _ in statements(restricted, begin):
                begin = start
            return bytes(restricted)
        except ScanError as error:
            restriction = _RESTRICT.match(text, error.offset)
            if not restriction:
                return bytes(restricted)  # to be refused for what it is
            blanks = b" " * len(restriction[0])
            restricted[restriction.start() : restriction.end()] = blanks


def _scan(text: bytes, path: Path) -> SqlFile:
    _refuse_two_halves(text)
    directives = _read_directives(text)
    _refuse_misplaced_directive(text, directives)
    starts = array("q")
    opening: list[bytes] = []
    control: list[_Control] = []
    for start, words in statements(text, first_token(text)):
        if words:
            joined = b" ".join(words)
            _refuse_copy(joined, start)
            if _is_transaction_control(words):
                control.append(_Control(start, joined))
            if len(opening) == len(starts) and _OPENING.match(joined):
                opening.append(joined)
        starts.append(start)

    accepts, accepts_reason = _read_accepts(_words(directives, b"accepts"))
    file = SqlFile(
        path,
        text,
        starts,
        irreversible=_words(directives, b"irreversible"),
        accepts=accepts,
        accepts_reason=accepts_reason,
        repeats=b"repeat" in directives,
        replaces=b"replaces" in directives,
    )
    if b"no-transaction" in directives or _is_one_concurrent_statement(text, starts):
        file = file._replace(in_transaction=False)
    else:
        file = file._replace(
            opening_end=_opening_end(text, starts, len(opening)),
            commit_start=_own_commit(starts, control),
            has_own_mode=any(_BEGIN.sub(b"", words) for words in opening),
        )
    if file.repeats:
        _refuse_wrong_repeat(file, directives[b"repeat"].start)
    return file


def _refuse_wrong_repeat(file: SqlFile, start: int) -> None:
    if not file.in_transaction:
        raise ScanError(
            "“repeat” is for files that run in a transaction; this file does not", start
        )
    if not set(file.first_words()) - _ONLY_READS:
        raise ScanError(
            "“repeat” runs a file until a run changes no row, but this file never changes one; "
            "write INSERT, UPDATE, DELETE or MERGE, or DO around a function that does",
            start,
        )


class _Directive(NamedTuple):
    """The first byte of a directive, and the text after its name."""

    start: int
    words: str


def _read_directives(text: bytes) -> dict[bytes, _Directive]:
    """Return the directives before the first statement, by name."""
    found: dict[bytes, _Directive] = {}
    for kind, start, end in tokens(text):
        if kind not in BLANK_KINDS:
            break
        match = _DIRECTIVE.match(text, start, end)
        if kind != "line" or match is None or not _is_alone_on_its_line(text, start):
            continue

        directive = match[1].rstrip()
        # Blanks, a comma or a colon separate the name from the text.
        name, _, words = (
            re.sub(rb"[\s,:]+", b" ", directive, count=1).rstrip().partition(b" ")
        )
        _refuse_wrong_directive(name, words.strip(), start)
        if name in found:
            raise ScanError(f"“{name.decode()}” is there twice; write it once", start)
        found[name] = _Directive(start, words.decode().strip())
    return found


def _refuse_misplaced_directive(
    text: bytes, directives: Mapping[bytes, _Directive]
) -> None:
    """Refuse a directive that is not read: after the first statement, or not alone on its line."""
    if len(_DIRECTIVE.findall(text)) == len(directives):
        return
    read = {directive.start for directive in directives.values()}
    for kind, start, end in tokens(text):
        if kind == "line" and start not in read and _DIRECTIVE.match(text, start, end):
            raise ScanError(
                "a directive must be alone on a line, before the first statement; move it there",
                start,
            )


def _words(directives: Mapping[bytes, _Directive], name: bytes) -> str | None:
    directive = directives.get(name)
    return directive.words if directive else None


def _refuse_wrong_directive(name: bytes, words: bytes, start: int) -> None:
    problem = ""
    if name == b"irreversible":
        if not words:
            problem = "“irreversible” needs a reason: “-- sqlmig: irreversible: REASON”"
    elif name == b"accepts":
        problem = _problem_of_accepts(words)
    elif name == b"replaces":
        if not REPLACES.fullmatch(words):
            problem = (
                "“replaces” needs two versions and the checksum of the last one's old up file, as "
                "`sqlmig squash` writes it: “-- sqlmig: replaces 1 to 40: CHECKSUM”"
            )
    elif name not in (b"no-transaction", b"repeat") or words:
        directive = b" ".join([name, words]).strip().decode()
        known = ", ".join(f"“-- sqlmig: {known}”" for known in DIRECTIVES)
        problem = f"unknown directive “{directive}”; there are {known}"
    if problem:
        raise ScanError(problem, start)


def _problem_of_accepts(words: bytes) -> str:
    """Return why a directive ``accepts`` is wrong; "" if it is right."""
    accepted, reason = _read_accepts(words.decode())
    if reason and accepted and not accepted - _ACCEPTABLE:
        return ""
    return (
        "“accepts” needs one or more of rewrites, reads, losses, restarts and breaks, and a reason: "
        "“-- sqlmig: accepts rewrites, reads: the table is small”"
    )


def _read_accepts(words: str | None) -> tuple[frozenset[str], str]:
    """Return what a file accepts, and why: of ``rewrites, reads: REASON``."""
    kinds, _, reason = (words or "").partition(":")
    return frozenset(re.findall(r"[^\s,]+", kinds)), reason.strip()


def _is_alone_on_its_line(text: bytes, start: int) -> bool:
    line_start = max(text.rfind(b"\n", 0, start), text.rfind(b"\r", 0, start)) + 1
    return not text[line_start:start].strip()


def _refuse_two_halves(text: bytes) -> None:
    """Refuse a file of another tool with an up half and a down half: both would run."""
    if not any(mark in text for mark in _DOWN_MARKS) or not _DOWN_MARK.search(text):
        return
    for kind, start, end in tokens(text):
        mark = _DOWN_MARK.match(text, start, end)
        if kind == "line" and mark and _is_alone_on_its_line(text, start):
            raise ScanError(
                f"“{mark[0].decode()}” begins the down half for another tool, but here both halves would run; "
                "`sqlmig import DIR` makes pairs of such files",
                start,
            )


def _refuse_copy(words: bytes, start: int) -> None:
    if _COPY_TO_STDOUT.match(words):
        raise ScanError(
            "COPY TO STDOUT needs a client that reads the data; use psql for it", start
        )


def _is_transaction_control(words: Sequence[bytes]) -> bool:
    if (
        words[0] == b"prepare"
    ):  # PREPARE makes a statement, PREPARE TRANSACTION ends a transaction
        return words[1:] == [b"transaction"]
    return words[0] in CONTROL_WORDS


def _is_one_concurrent_statement(text: bytes, starts: Sequence[int]) -> bool:
    """Check whether the only statement of a text cannot run in a transaction, because it says CONCURRENTLY."""
    if len(starts) != 1 or not _SAYS_CONCURRENTLY.search(text, starts[0]):
        return False
    if not any(_is_concurrently(text, token) for token in tokens(text, starts[0])):
        return False
    words, _ = read_statement(text, starts[0])
    if words[:2] == [b"alter", b"table"]:
        return b"detach" in words and words[-1] == b"concurrently"
    return bool(_CONCURRENT.match(b" ".join(words)))


def _is_concurrently(text: bytes, token: Token) -> bool:
    return (
        token.kind == "word"
        and text[token.start : token.end].lower() == b"concurrently"
    )


def _opening_end(text: bytes, starts: Sequence[int], opening_statements: int) -> int:
    """Return the byte after the statements that open the transaction; 0 if there are none."""
    if opening_statements == 0:
        return 0
    if opening_statements == len(starts):
        return len(text)
    return starts[opening_statements]


def _own_commit(starts: Sequence[int], control: Sequence[_Control]) -> int:
    """Return the first byte of the COMMIT, if one BEGIN … COMMIT surrounds everything; 0 otherwise.

    Raises ScanError for any other transaction control.
    """
    if not control:
        return 0
    first = control[0]
    if first.start != starts[0] or not _BEGIN.match(first.words):
        raise _stray(control[0], starts)

    # It begins with BEGIN. No other transaction control may come before the COMMIT at the end.
    *between, last = control[1:] or control
    if last is first or last.start != starts[-1] or not _COMMIT.fullmatch(last.words):
        raise _stray(control[min(1, len(control) - 1)], starts)
    if between:
        raise _stray(between[0], starts)
    return last.start


def _stray(control: _Control, starts: Sequence[int]) -> ScanError:
    """Return the error for a statement that must not begin or end a transaction at its place."""
    name = control.words.decode().upper()
    problem = "would end or split the transaction that the file runs in"
    if control.start == starts[0] and name.startswith(("BEGIN", "START")):
        problem = "has no COMMIT as the last statement"
    return ScanError(
        f"{name} {problem}; remove it, or put “-- sqlmig: no-transaction” "
        "on a line before the first statement",
        control.start,
    )
