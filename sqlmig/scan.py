"""Where a script's statements begin, and what in it must not reach the server.

The rules are those of PostgreSQL's own lexer (src/backend/parser/scan.l, src/fe_utils/psqlscan.l). Plain text is
skipped by one regular expression that cannot backtrack, so that the time is linear in any input.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlmig.errors import SqlmigError, excerpt, place
from sqlmig.files import read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SPACE = re.compile(rb"\s*(?:--[^\r\n]*\s*){0,1000}")
# What needs no thought: anything but quotes, dollars, semicolons, comments and backslashes; and whole "…" and '…' that
# no E precedes. The count is bounded because each round costs the regular expression engine memory.
_PLAIN_TEXT = rb"""[^'"$;/\\-]*(?:(?:(?<![eE])'[^']*'|"[^"]*"|-(?!-)|/(?!\*))[^'"$;/\\-]*){0,1000}"""
_PLAIN = re.compile(_PLAIN_TEXT)
# A statement of a harmless kind that is plain to its semicolon: most are, and they cost one match. A comment
# before it ends with its line, so that no other way to match can begin within it.
_SIMPLE = re.compile(
    rb"\s*(?:--[^\r\n]*[\r\n]\s*){0,1000}(insert|update|delete|select|alter)(?=\s)" + _PLAIN_TEXT + b";", re.IGNORECASE
)
_WORD = re.compile(rb"[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*")
_NOT_WORD = re.compile(rb"""[^A-Za-z_\x80-\xff'"$;/\\().,-]+""")
_REST_OF_WORD = re.compile(rb"[A-Za-z0-9_$\x80-\xff]*")
_DOLLAR = re.compile(rb"\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$")
_ESCAPES = re.compile(rb"(?:[^'\\]+|\\.|''){0,1000}", re.DOTALL)
# A string goes on behind white space that holds a new line, in the manner in which it began.
_CONTINUED = re.compile(rb"[ \t\f\v]*(?:--[^\r\n]*)?[\r\n](?:\s|--[^\r\n]*[\r\n])*'")
_COMMENT = re.compile(rb"/\*|\*/")
_WORD_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789" + bytes(range(0x80, 0x100)))
_DIRECTIVE = re.compile(rb"(?:^|(?<=[\r\n]))[ \t]*--[ \t]*sqlmig:[ \t]*([^\r\n]*)")
_COPY = re.compile(rb"^copy\b.* ((?:from|to) (?:stdin|stdout))\b")
_CONCURRENTLY = re.compile(rb"\bconcurrently\b", re.IGNORECASE)
_CONCURRENT = re.compile(
    rb"(?:create (?:unique )?index|drop index) concurrently\b|reindex\b|alter table .*\bdetach\b.* concurrently\b"
)
# What may hold semicolons outside quotes: CREATE RULE, and a routine's BEGIN ATOMIC body.
_HOLDS = re.compile(rb"\b(?:rule|atomic)\b", re.IGNORECASE)
_ROUTINE = re.compile(rb"create (?:or replace )?(?:function|procedure)\b")

_CONTROL = {b"begin", b"start", b"commit", b"end", b"rollback", b"abort", b"savepoint", b"release", b"prepare"}


class ScanError(Exception):
    """Something that must not be sent: what it is, and the byte offset where it stands."""


@dataclass(frozen=True)
class Scan:
    """A script's statements and how it wants to be run.

    starts: the byte offset of each statement; each goes on to the next one's start.
    in_transaction: whether it runs in one transaction (else statement by statement).
    bracketed: whether its first and last statement are a BEGIN and a COMMIT of its own.
    irreversible: why a down file cannot undo its up file, where it says so.
    """

    starts: array[int]
    in_transaction: bool
    bracketed: bool
    irreversible: str | None = None


@dataclass(frozen=True)
class Script:
    """A file's text (UTF-8, without a byte order mark) and what the scan found in it."""

    path: Path
    text: bytes
    scan: Scan


def load(path: Path) -> Script:
    """Read and scan a file. Raises SqlmigError for everything that must not be sent."""
    text = read(path)
    try:
        return Script(path, text, scan(text))
    except ScanError as error:
        problem, offset = error.args
        raise SqlmigError(f"{place(path, text, offset)}: {problem}\n{excerpt(text, offset)}") from None


def scan(text: bytes) -> Scan:
    """Find the statements of a script.

    text: UTF-8, read with standard_conforming_strings on.
    Raises ScanError for what ends nowhere, psql's meta-commands, COPY from or to the client, unknown directives, and
    transaction control that would break the script's own transaction.
    """
    starts: array[int] = array("q")
    control: list[tuple[int, bytes]] = []
    at = _blank(text, 0)
    directives = _directives(text, at)
    while at < len(text):
        if simple := _SIMPLE.match(text, at):
            starts.append(simple.start(1))
            at = simple.end()
            continue
        at = _blank(text, at)
        if at < len(text) and text[at] != ord(";"):
            starts.append(at)
            word = _WORD.match(text, at)
            head = word[0].lower() if word else b""
            end = _end(text, at)
            if head in _CONTROL:
                words = words_of(text, at)[0]
                if head != b"prepare" or words[1:2] == [b"transaction"]:
                    control.append((len(starts) - 1, b" ".join(words)))
            elif head == b"copy":
                if copy := _COPY.search(b" ".join(words_of(text, at)[0])):
                    problem = f"COPY {copy[1].decode().upper()} needs a client to read or send the data"
                    raise ScanError(f"{problem}; write INSERT statements instead", at)
            elif head == b"create" and _HOLDS.search(text, at, end):
                end = words_of(text, at)[1]
            at = end
        at += 1
    if b"no-transaction" in directives or (len(starts) == 1 and _is_concurrent(text, starts[0])):
        return Scan(starts, in_transaction=False, bracketed=False, irreversible=directives.get(b"irreversible"))
    bracketed = _bracketed(starts, control)
    return Scan(starts, in_transaction=True, bracketed=bracketed, irreversible=directives.get(b"irreversible"))


def _is_concurrent(text: bytes, at: int) -> bool:
    return bool(_CONCURRENTLY.search(text, at)) and bool(_CONCURRENT.match(b" ".join(words_of(text, at)[0])))


def _directives(text: bytes, end: int) -> dict[bytes, str]:
    """Return the directives before the first statement, each with the words that follow it."""
    found = {}
    for directive in _DIRECTIVE.finditer(text, 0, end):
        name, _, words = re.sub(rb"[\s,:]+", b" ", directive[1], count=1).rstrip().partition(b" ")
        if name not in (b"no-transaction", b"irreversible") or (name == b"no-transaction" and words.strip()):
            there_are = "“-- sqlmig: no-transaction” and “-- sqlmig: irreversible, and why”"
            raise ScanError(
                f"unknown directive “{directive[1].decode().rstrip()}”; there are {there_are}", directive.start()
            )
        found[name] = words.decode().strip()
    return found


def _bracketed(starts: array[int], control: list[tuple[int, bytes]]) -> bool:
    """Say whether the transaction control is one BEGIN … COMMIT around everything; raise ScanError for any other."""
    if not control:
        return False
    last = len(starts) - 1
    if control[0][0] == 0 and re.match(rb"begin\b|start transaction\b", control[0][1]):
        ends = re.fullmatch(rb"(?:commit|end)(?: work| transaction)?(?: and no chain)?", control[-1][1])
        if len(control) == 2 and control[1][0] == last and ends:
            return True
        strays = [(n, words) for n, words in control[1:] if n != last or not ends] or control[:1]
    else:
        strays = control
    number, words = strays[0]
    name = words.decode().upper()
    if number == 0 and name.startswith(("BEGIN", "START")):
        problem = f"{name} has no COMMIT as the last statement"
    else:
        problem = f"{name} would end or split the transaction that the file runs in"
    message = f"{problem}; take it out, or put “-- sqlmig: no-transaction” on a line before the first statement"
    raise ScanError(message, starts[number])


def _blank(text: bytes, at: int) -> int:
    """Skip white space and comments."""
    while True:
        space = _SPACE.match(text, at)
        end = space.end() if space else at
        if text.startswith(b"/*", end):
            end = _skip(text, end)
        if end == at:
            return at
        at = end


def _end(text: bytes, at: int) -> int:
    """Find the semicolon, or the end of the text, that ends the statement at ``at``."""
    while True:
        plain = _PLAIN.match(text, at)
        at = plain.end() if plain else at
        if at >= len(text) or text[at] == ord(";"):
            return at
        at = _skip(text, at)


def words_of(text: bytes, at: int) -> tuple[list[bytes], int]:
    """Return a statement's words outside parentheses, quotes and comments, in lower case, and where it ends.

    Semicolons between parentheses (CREATE RULE) and in a BEGIN ATOMIC body do not end it.
    """
    words: list[bytes] = []
    parentheses, body, opened = 0, False, at
    previous, before = b"", at
    for token, where in _tokens(text, at):
        if token == b";" and not parentheses and not body:
            return words, where
        if token in (b"(", b")"):
            parentheses = max(0, parentheses + (1 if token == b"(" else -1))
        elif body:
            # A CASE ends within a statement; the body's own END follows a semicolon, or the ATOMIC that opens it.
            body = not (token == b"end" and (previous == b";" or before == opened))
        elif token == b"atomic" and previous == b"begin" and not parentheses:
            body, opened = bool(_ROUTINE.match(b" ".join(words[:4]))), where
        if not parentheses and not body and token.isalnum():
            words.append(token)
        previous, before = token, where
    if body:
        raise ScanError("BEGIN ATOMIC has no END", opened)
    return words, len(text)


def _tokens(text: bytes, at: int) -> Iterator[tuple[bytes, int]]:
    while at < len(text):
        if word := _WORD.match(text, at):
            yield word[0].lower(), at
            at = word.end()
        elif text[at] in b"();.,":
            yield text[at : at + 1], at
            at += 1
        elif rest := _NOT_WORD.match(text, at):
            if rest[0].strip():
                yield b"#", at  # a number, an operator
            at = rest.end()
        else:
            if not text.startswith((b"--", b"/*"), at):
                yield b"#", at
            at = _skip(text, at)


def _skip(text: bytes, at: int) -> int:
    """Return the offset behind the quoted text, comment or odd character that begins at ``at``."""
    char = text[at : at + 1]
    if char == b"'":
        if text[at - 1 : at] in (b"e", b"E") and (at < 2 or text[at - 2] not in _WORD_BYTES | {ord("$")}):
            return _skip_escapes(text, at)
        return _behind(text, b"'", at + 1, at, "string")
    if char == b'"':
        return _behind(text, b'"', at + 1, at, "quoted identifier")
    if char == b"$":
        return _skip_dollar(text, at)
    if text.startswith(b"--", at):
        return _blank(text, at)
    if text.startswith(b"/*", at):
        depth = 0
        for mark in _COMMENT.finditer(text, at):
            depth += 1 if mark[0] == b"/*" else -1
            if not depth:
                return mark.end()
        raise ScanError("a comment that begins here has no end", at)
    if char == b"\\":
        raise ScanError("a psql meta-command (a backslash) is no SQL; write it as SQL, or run the file with psql", at)
    return at + 1


def _behind(text: bytes, mark: bytes, at: int, opened: int, what: str) -> int:
    end = text.find(mark, at)
    if end < 0:
        raise ScanError(f"a {what} that begins here has no end", opened)
    return end + len(mark)


def _skip_escapes(text: bytes, opened: int) -> int:
    at = opened + 1
    while True:
        run = _ESCAPES.match(text, at)
        end = run.end() if run else at
        if end == at:
            at = _behind(text, b"'", at, opened, "string")
            continued = _CONTINUED.match(text, at)
            if not continued:
                return at
            end = continued.end()
        at = end


def _skip_dollar(text: bytes, at: int) -> int:
    begin = at
    while begin and text[begin - 1] in _WORD_BYTES:
        begin -= 1
    word = _WORD.match(text, begin)
    if word and word.end() > at:  # a dollar within a name
        rest = _REST_OF_WORD.match(text, at)
        return rest.end() if rest else at + 1
    tag = _DOLLAR.match(text, at)
    if not tag:
        return at + 1
    end = _behind(text, tag[0], tag.end(), at, "dollar-quoted string")
    return _skip_escapes(text, end + 1) if text[end : end + 2] in (b"E'", b"e'") else end  # its E is no part of a name
