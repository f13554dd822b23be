"""Where a script's statements begin, and what in it must not reach the server."""
# The rules are those of PostgreSQL's own lexer (src/backend/parser/scan.l, src/fe_utils/psqlscan.l). No regular
# expression here can backtrack, so that the time is linear in any input.

import re
from array import array
from collections.abc import Iterator
from itertools import pairwise, takewhile
from pathlib import Path
from typing import NamedTuple

from sqlmig.errors import SqlmigError, excerpt, place
from sqlmig.files import read

# A token by its kind. Of a block comment, an escape string and a dollar-quoted one this is the beginning.
_TOKEN = re.compile(
    rb"""(?P<space>\s+)|(?P<line>--[^\r\n]*)|(?P<block>/\*)|(?P<escape>[eE]')|(?P<string>'[^']*')|(?P<name>"[^"]*")"""
    rb"""|(?P<word>[A-Za-z_\x80-\xff][\w$\x80-\xff]*)|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$)"""
    rb"""|(?P<sign>[;()\\'"])|(?P<other>[0-9.,=<>*+]+|[^\s])"""
)
_BLANK = ("space", "line", "block")
# Most statements are plain: words that say nothing to us, and no quotes, dollars, comments or backslashes but whole "…"
# and '…' that no E precedes. They need no tokens, and cost a match; a longer one is matched in parts, since each round
# costs the regular expression engine memory. A comment before one ends with its line, so that no other way to match can
# begin within it.
_PLAIN = re.compile(
    rb"(?:\s*(?:--[^\r\n]*[\r\n]\s*){0,1000}"
    rb"(insert|update|delete|select|alter|drop|comment|grant|create\s+(?:table|unique|index|view|policy|trigger))(?=\s))?"
    rb"""[^'"$;/\\-]*(?:(?:(?<![eE])'[^']*'|"[^"]*"|-(?!-)|/(?!\*))[^'"$;/\\-]*){0,1000}(;|\Z)?""",
    re.IGNORECASE,
)
# What an escape string goes on behind, also white space with a new line between two quotes; and the quote that ends it.
_ESCAPED = re.compile(rb"\\.|''|'[ \t\f\v]*(?:--[^\r\n]*)?[\r\n](?:\s|--[^\r\n]*[\r\n])*'|'", re.DOTALL)
_COMMENT = re.compile(rb"/\*|\*/")
_DIRECTIVE = re.compile(rb"--[ \t]*sqlmig:[ \t]*([^\r\n]*)")
_COPY = re.compile(rb"copy\b.* ((?:from|to) (?:stdin|stdout))\b")
_CONCURRENTLY = re.compile(rb"\bconcurrently\b", re.IGNORECASE)
_CONCURRENT = re.compile(rb"(?:create (?:unique )?index|drop index) concurrently\b|reindex\b")
_ROUTINE = re.compile(rb"create (?:or replace )?(?:function|procedure)\b")
# What opens a transaction, and must come before any query, ours too.
_BEGIN = re.compile(rb"(?:begin|start transaction)(?: work| transaction)?\b")
_OPENS = re.compile(_BEGIN.pattern + rb"|set (?:local |session )?transaction(?:_(?:isolation|read_only|deferrable))?\b")
_COMMIT = re.compile(rb"(?:commit|end)(?: work| transaction)?(?: and no chain)?")
_CONTROL = {b"begin", b"start", b"commit", b"end", b"rollback", b"abort", b"savepoint", b"release", b"prepare"}


class ScanError(Exception):
    """Something that must not be sent: what it is, and the byte offset where it stands."""


class Script(NamedTuple):
    """A text, its statements, and how it wants to be run."""

    path: Path
    text: bytes  # UTF-8, without a byte order mark
    starts: "array[int]"  # the byte offset of each statement, which goes on to the next one's
    opens: int = 0  # the byte behind what opens its transaction: its BEGIN, and SET TRANSACTION
    closes: int = 0  # the byte where its own COMMIT begins; 0 without one
    own_kind: bool = False  # whether what opens it asks for more (an isolation level, say) than BEGIN alone gives
    in_transaction: bool = True  # else it runs statement by statement
    irreversible: str | None = None  # why a down file cannot undo its up file, where it says so


def load(path: Path, text: bytes | None = None) -> Script:
    """Scan a file, read unless its text is given. Raises SqlmigError for everything that must not be sent."""
    text = read(path) if text is None else text
    try:
        return scan(text, path)
    except ScanError as error:
        problem, offset = error.args
        raise SqlmigError(f"{place(path, text, offset)}: {problem}\n{excerpt(text, offset)}") from None


def scan(text: bytes, path: Path = Path()) -> Script:
    """Find the statements of a text; raise ScanError for what must not be sent, and for stray transaction control."""
    starts, opening, control = array("q"), list[bytes](), list[tuple[int, bytes]]()
    at, directives = _head(text)
    for start, words in statements(text, at):
        if words:
            said = b" ".join(words)
            if copy := _COPY.match(said):
                problem = f"COPY {copy[1].decode().upper()} needs a client to read or send the data"
                raise ScanError(f"{problem}; write INSERT statements instead", start)
            if words[0] in _CONTROL and (words[0] != b"prepare" or words[1:] == [b"transaction"]):
                control.append((start, said))
            if len(opening) == len(starts) and _OPENS.match(said):
                opening.append(said)
        starts.append(start)
    why, alone = directives.get(b"irreversible"), len(starts) == 1 and _is_concurrent(text, starts[0])
    if alone or b"no-transaction" in directives:
        return Script(path, text, starts, in_transaction=False, irreversible=why)
    opens = [0, *starts[1:], len(text)][len(opening)]
    own_kind = any(_BEGIN.sub(b"", said) for said in opening)
    return Script(path, text, starts, opens, _closes(starts, control), own_kind, irreversible=why)


def statements(text: bytes, at: int = 0) -> Iterator[tuple[int, list[bytes]]]:
    """Yield where each statement begins, and its words as ``statement`` says, none where they do not matter."""
    while at < len(text):
        begins = -1
        for part in _PLAIN.finditer(text, at):
            begins = part.start(1) if begins < 0 else begins
            if begins < 0 or not part[0]:  # it has no such word, or is not plain from here
                break
            if part[2] is not None:
                yield begins, []
                at, begins = part.end(), -1
        at = next((start for kind, start, _ in _tokens(text, at) if kind not in _BLANK), len(text))
        if at < len(text) and text[at] != ord(";"):
            words, end = statement(text, at)
            yield at, words
            at = end
        at += 1


def statement(text: bytes, at: int) -> tuple[list[bytes], int]:
    """Return a statement's words outside parentheses, quotes, comments and bodies, in lower case, and where it ends."""
    words, last = list[bytes](), b""
    depth, body, opened, before = 0, False, at, at
    for kind, start, at in _tokens(text, at):  # noqa: B020
        if kind in _BLANK:
            continue
        token = text[start:at].lower() if kind in ("word", "sign") else b""
        if token == b";" and not depth and not body:
            return words, start
        if token in (b"(", b")"):
            depth = max(0, depth + (1 if token == b"(" else -1))
        elif body:
            # A CASE ends within a statement; the body's own END follows a semicolon, or the ATOMIC that opens it.
            body = not (token == b"end" and (last == b";" or before == opened))
        elif token == b"atomic" and last == b"begin" and not depth:
            body, opened = bool(_ROUTINE.match(b" ".join(words))), start
        if kind == "word" and not depth and not body:
            words.append(token)
        last, before = token, start
    if body:
        raise ScanError("BEGIN ATOMIC has no END", opened)
    return words, len(text)


def select_into(text: bytes, at: int) -> bool:
    """Say whether the statement that begins at an offset is a SELECT … INTO, also one in parentheses or behind WITH."""
    tokens = takewhile(lambda token: text[token[1] : token[2]] != b";", _tokens(text, at))
    words = [text[start:end].lower() if kind == "word" else b"" for kind, start, end in tokens if kind not in _BLANK]
    into = any(two == b"into" and one not in (b"insert", b"merge", b"as") for one, two in pairwise(words))
    return into and words[0] in (b"", b"select", b"with")


def _head(text: bytes) -> tuple[int, dict[bytes, str]]:
    """Return where the first statement begins, and the directives before it, each with the words that follow it."""
    found: dict[bytes, str] = {}
    for kind, start, end in _tokens(text, 0):
        if kind not in _BLANK:
            return start, found
        if kind == "line" and (directive := _DIRECTIVE.match(text, start, end)):
            if text[max(text.rfind(b"\n", 0, start), text.rfind(b"\r", 0, start)) + 1 : start].strip():
                continue  # it is not alone on its line
            name, _, words = re.sub(rb"[\s,:]+", b" ", directive[1], count=1).rstrip().partition(b" ")
            if name not in (b"no-transaction", b"irreversible") or (name == b"no-transaction" and words.strip()):
                there_are = "“-- sqlmig: no-transaction” and “-- sqlmig: irreversible, and why”"
                raise ScanError(f"unknown directive “{directive[1].decode().rstrip()}”; there are {there_are}", start)
            found[name] = words.decode().strip()
    return len(text), found


def _is_concurrent(text: bytes, at: int) -> bool:
    words = statement(text, at)[0] if _CONCURRENTLY.search(text, at) else []
    detaches = words[:2] == [b"alter", b"table"] and b"detach" in words and words[-1] == b"concurrently"
    return detaches or bool(_CONCURRENT.match(b" ".join(words)))


def _closes(starts: "array[int]", control: list[tuple[int, bytes]]) -> int:
    """Return where the COMMIT of a BEGIN … COMMIT around everything begins, else 0; raise ScanError for any other."""
    if not control:
        return 0
    (begin, first), *others = control
    if begin == starts[0] and _BEGIN.match(first):
        closes = [start for start, words in others if start == starts[-1] and _COMMIT.fullmatch(words)]
        others = [stray for stray in others if stray[0] not in closes]
        if closes and not others:
            return closes[0]
        control = others or control
    start, name = control[0][0], control[0][1].decode().upper()
    does = "would end or split the transaction that the file runs in"
    if start == starts[0] and name.startswith(("BEGIN", "START")):
        does = "has no COMMIT as the last statement"
    remedy = "take it out, or put “-- sqlmig: no-transaction” on a line before the first statement"
    raise ScanError(f"{name} {does}; {remedy}", start)


def _tokens(text: bytes, at: int) -> Iterator[tuple[str, int, int]]:
    """Yield each token's kind, and where it begins and ends. Raises ScanError for one that must not be sent."""
    while match := _TOKEN.match(text, at):
        kind, start, at = str(match.lastgroup), at, match.end()
        if kind == "block":
            depth = 0
            for mark in _COMMENT.finditer(text, start):
                depth, at = depth + (1 if mark[0] == b"/*" else -1), mark.end()
                if not depth:
                    break
            else:
                raise ScanError("a comment that begins here has no end", start)
        elif kind == "escape":
            if not (at := next((mark.end() for mark in _ESCAPED.finditer(text, at) if mark[0] == b"'"), 0)):
                raise ScanError("a string that begins here has no end", start + 1)
        elif kind == "dollar":
            if (end := text.find(match[0], at)) < 0:
                raise ScanError("a dollar-quoted string that begins here has no end", start)
            at = end + len(match[0])
        elif match[0] in (b"'", b'"'):
            what = "string" if match[0] == b"'" else "quoted identifier"
            raise ScanError(f"a {what} that begins here has no end", start)
        elif match[0] == b"\\":
            raise ScanError("a psql meta-command (a backslash) is no SQL; write it as SQL, or use psql", start)
        yield kind, start, at
