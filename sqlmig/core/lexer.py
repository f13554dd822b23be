"""The tokens of an SQL text, and the first bytes of its statements. Pure."""
# The rules come from PostgreSQL's own lexer (src/backend/parser/scan.l and
# src/fe_utils/psqlscan.l). No regular expression here can backtrack, so that the time
# is linear in any input.

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core.errors import ScanError

if TYPE_CHECKING:
    from collections.abc import Iterator

# A token and its kind. For a block comment, an escape string and a dollar-quoted string
# it matches only the beginning. A quote among the signs has no end.
_TOKEN = re.compile(
    rb"""
    (?P<space>\s+)
    |(?P<line>--[^\r\n]*)
    |(?P<block>/\*)
    |(?P<escape>[eE]')
    |(?P<string>'[^']*')
    |(?P<name>"[^"]*")
    |(?P<word>[A-Za-z_\x80-\xff][\w$\x80-\xff]*)
    |(?P<dollar>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$)
    |(?P<sign>[;()\\'"])
    |(?P<other>[0-9.,=<>*+]+|[^\s])
    """,
    re.VERBOSE,
)
BLANK_KINDS = frozenset(("space", "line", "block"))

# Most statements are plain. They begin with one of these keywords (the first group; the
# second is the end). They have no dollar, no backslash and no comment, and only complete
# '…' and "…" without an E before them. A plain statement costs one match instead of a
# match for each token. A long statement is matched in parts, because each round of a
# repetition costs the engine memory. A comment before the statement ends with its line,
# so no other match can begin inside it.
_PLAIN = re.compile(
    rb"""
    (?:
        \s*(?:--[^\r\n]*[\r\n]\s*){0,1000}
        (
            insert|update|delete|select|alter|drop|comment|grant
            |create\s+(?:table|unique|index|view|policy|trigger)
        )(?=\s)
    )?
    [^'"$;/\\-]*
    (?:
        (?:(?<![eE])'[^']*'|"[^"]*"|-(?!-)|/(?!\*))
        [^'"$;/\\-]*
    ){0,1000}
    (;|\Z)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_COMMENT_MARK = re.compile(rb"/\*|\*/")
# An escape string continues after these: an escaped character, a doubled quote, and a
# quote that white space with a line break separates from the next quote. Last, its end.
_ESCAPE_PART = re.compile(
    rb"\\.|''|'[ \t\f\v]*(?:--[^\r\n]*)?[\r\n](?:\s|--[^\r\n]*[\r\n])*'|'", re.DOTALL
)
_ROUTINE = re.compile(rb"create (?:or replace )?(?:function|procedure)\b")


class Token(NamedTuple):
    """The kind of a token, and the bytes between which it is."""

    kind: str
    start: int
    end: int


def tokens(text: bytes | bytearray, start: int = 0) -> Iterator[Token]:
    """Yield each token after a byte, including blanks and comments. Raises ScanError for a token without an end."""
    while match := _TOKEN.match(text, start):
        kind = str(match.lastgroup)
        end = match.end()
        if kind == "block":
            end = _end_of_comment(text, start)
        elif kind == "escape":
            end = _end_of_escape_string(text, start, end)
        elif kind == "dollar":
            end = _end_of_dollar_quote(text, start, end)
        elif kind == "sign":
            _refuse_sign(match[0], start)
        yield Token(kind, start, end)
        start = end


def _end_of_comment(text: bytes | bytearray, start: int) -> int:
    """Return the end of a block comment, which may contain others."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, start):
        depth += 1 if mark[0] == b"/*" else -1
        if depth == 0:
            return mark.end()
    raise ScanError("a comment that begins here is not closed", start)


def _end_of_escape_string(text: bytes | bytearray, start: int, inside: int) -> int:
    for part in _ESCAPE_PART.finditer(text, inside):
        if part[0] == b"'":
            return part.end()
    raise ScanError("a string that begins here is not closed", start + 1)


def _end_of_dollar_quote(text: bytes | bytearray, start: int, inside: int) -> int:
    quote = text[start:inside]
    end = text.find(quote, inside)
    if end < 0:
        raise ScanError("a dollar-quoted string that begins here is not closed", start)
    return end + len(quote)


def _refuse_sign(sign: bytes, start: int) -> None:
    if sign == b"'":
        raise ScanError("a string that begins here is not closed", start)
    if sign == b'"':
        raise ScanError("a quoted identifier that begins here is not closed", start)
    if sign == b"\\":
        raise ScanError(
            "a psql meta-command (a backslash) is not SQL; write it as SQL, or use psql",
            start,
        )


def first_token(text: bytes | bytearray, start: int = 0) -> int:
    """Return the first byte of the first token that is not blank or a comment, or the end of the text."""
    for kind, begin, _ in tokens(text, start):
        if kind not in BLANK_KINDS:
            return begin
    return len(text)


def plain_text(statement: bytes) -> str:
    """Return a statement without comments, and with single blanks instead of white space."""
    parts = []
    for kind, start, end in tokens(statement):
        parts.append(b" " if kind in BLANK_KINDS else statement[start:end])
    return re.sub(" +", " ", b"".join(parts).decode(errors="replace")).strip()


def statements(
    text: bytes | bytearray, start: int = 0
) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the first byte of each statement, and its keywords as read_statement returns them.

    A plain statement has no keywords, because they do not matter. Most statements are plain.
    """
    while start < len(text):
        # First the plain statements: one match for each, or more for a long statement.
        begin = -1
        for part in _PLAIN.finditer(text, start):
            if begin < 0:
                begin = part.start(1)
            if begin < 0 or not part[0]:
                break
            if part[2] is not None:
                yield begin, []
                start = part.end()
                begin = -1

        start = first_token(text, start)
        if start < len(text) and text[start] != ord(";"):
            words, end = read_statement(text, start)
            yield start, words
            start = end
        start += 1


def read_statement(text: bytes | bytearray, start: int) -> tuple[list[bytes], int]:
    """Return the keywords of the statement that begins at a byte, and its end.

    They are in lower case, without the text in parentheses, quotes, comments and bodies.
    """
    words: list[bytes] = []
    depth = 0  # of parentheses
    body: int | None = None  # the first byte of the BEGIN ATOMIC body around us
    last = Word(b"", start)
    for word in _words_and_signs(text, start):
        if body is not None:
            if _ends_body(word, last, body):
                body = None
                words.append(word.text)
        elif depth == 0:
            if word.text == b";":
                return words, word.start
            if _begins_body(word, last, words):
                body = word.start
            elif word.is_word:
                words.append(word.text)
        depth = _depth_behind(word, depth)
        last = word
    if body is not None:
        raise ScanError("BEGIN ATOMIC has no END", body)
    return words, len(text)


class Word(NamedTuple):
    """A keyword or a sign in lower case, or an empty text for any other token; and its first byte."""

    text: bytes
    start: int
    is_word: bool = False


def _words_and_signs(text: bytes | bytearray, start: int) -> Iterator[Word]:
    for kind, begin, end in tokens(text, start):
        if kind == "word":
            yield Word(bytes(text[begin:end]).lower(), begin, is_word=True)
        elif kind == "sign":
            yield Word(bytes(text[begin:end]), begin)
        elif kind not in BLANK_KINDS:
            yield Word(b"", begin)


def _begins_body(word: Word, last: Word, words: list[bytes]) -> bool:
    """Check for the ATOMIC that begins the body of a function or procedure."""
    if word.text != b"atomic" or last.text != b"begin":
        return False
    return bool(_ROUTINE.match(b" ".join(words)))


def _ends_body(word: Word, last: Word, body: int) -> bool:
    """Check for the END of a body: it comes after a semicolon or after ATOMIC. The END of a CASE does not."""
    return word.text == b"end" and (last.text == b";" or last.start == body)


def _depth_behind(word: Word, depth: int) -> int:
    if word.text == b"(":
        return depth + 1
    if word.text == b")":
        return max(0, depth - 1)
    return depth
