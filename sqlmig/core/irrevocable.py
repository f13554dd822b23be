"""Statements that a rollback does not undo: they act at once, on another database, or on files of the server."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlmig.core.lexer import BLANK_KINDS, read_statement, tokens
from sqlmig.core.sql import literal, read_statements
from sqlmig.core.text import place

if TYPE_CHECKING:
    from sqlmig.core.connection import Connection
    from sqlmig.core.sqlfile import SqlFile

_STATEMENTS = read_statements(Path(__file__).with_suffix(".sql"))
# Functions that act on this server at once. A server that was made for the run may be changed.
_ON_SERVER = (
    "pg_(?:create|copy)_(?:physical|logical)_replication_slot|pg_drop_replication_slot|pg_replication_slot_advance"
    "|pg_logical_slot_get_(?:binary_)?changes|pg_sync_replication_slots|pg_reload_conf|pg_terminate_backend"
    "|pg_cancel_backend|pg_rotate_logfile|pg_switch_wal|pg_promote|pg_create_restore_point|pg_backup_(?:start|stop)"
    "|pg_wal_replay_(?:pause|resume)|pg_stat_reset\\w*|pg_stat_statements_reset|pg_logical_emit_message"
)
# Functions that act elsewhere: on another database, on another service, or on files.
_ELSEWHERE = (
    "dblink(?:_exec|_send_query|_open|_fetch)?|http_(?:post|put|patch|delete)"
    "|lo_export|pg_file_(?:write|rename|unlink|sync)"
)
_COPY_TO_FILE = r"\bcopy\b(?:'[^']*'|[^;'])*?\bto\s*(?:program\b|[eE]?'|\$\w*\$)"
_CALL = re.compile(rf'\b({_ON_SERVER}|{_ELSEWHERE})"?\s*\('.encode(), re.IGNORECASE)
_NAME = re.compile(rf"\b(?:{_ON_SERVER}|{_ELSEWHERE})\b".encode(), re.IGNORECASE)
_CALL_ELSEWHERE = re.compile(rf"(?:{_ELSEWHERE})", re.IGNORECASE)
_COPY = re.compile(_COPY_TO_FILE.encode(), re.IGNORECASE | re.DOTALL)
# The same as a regular expression of PostgreSQL's, for the sources of functions.
_IN_SOURCE = rf"\b(?:{_ON_SERVER}|{_ELSEWHERE})\s*\(|{_COPY_TO_FILE}".replace(
    r"\b", r"\y"
)
_SETVAL = re.compile(rb'\bsetval"?\s*\(', re.IGNORECASE)
_SETVAL_OF_A_NAME = re.compile(
    rb"\bsetval\"?\s*\(\s*'((?:[^'])+)'\s*(?:::\s*regclass)?\s*,", re.IGNORECASE
)
_WORD = re.compile(rb'"?([A-Za-z_][\w$]*)"?\s*(\()?')
_WRITES = re.compile(
    rb"\b(?:insert|update|delete|merge|truncate|copy)\b", re.IGNORECASE
)
_NAMED = rb'(?:"?[\w$]+"?\s*\.\s*)?"?([\w$]+)"?'
_DEFINES_FUNCTION = re.compile(
    rb"\s*create\s+(?:or\s+replace\s+)?(?:function|procedure)\s+" + _NAMED,
    re.IGNORECASE,
)
_DEFINES_TRIGGER = re.compile(
    rb"\s*create\s+(?:or\s+replace\s+)?(?:constraint\s+)?trigger\b.*?\son\s+"
    + _NAMED
    + rb"\b.*?\bexecute\s+(?:function|procedure)\s+"
    + _NAMED,
    re.IGNORECASE | re.DOTALL,
)
# Statements that name a function or hold its body, and do not call it.
_ONLY_DEFINES = re.compile(
    rb"(?:create|alter|drop)(?: or replace)?"
    rb" (?:function|procedure|routine|aggregate|view|rule|policy|trigger|event trigger|operator|cast|publication)\b"
    rb"|(?:grant|revoke|comment|security label|set|reset)\b"
)


class Reach(NamedTuple):
    """The names of objects that act beyond the database when they are called or written to.

    functions: their source has such a call, or calls one of these functions. tables: they
    have such a function as a trigger, or are foreign tables of a wrapper that may not take
    part in our transaction. sequences: the names of all sequences.
    """

    functions: frozenset[bytes] = frozenset()
    tables: frozenset[bytes] = frozenset()
    sequences: frozenset[str] = frozenset()


class Irrevocable(NamedTuple):
    """A statement that a rollback does not undo: its place, and its effect.

    is_elsewhere: it acts on another database or on files; else on this server.
    """

    where: str
    what: str
    is_elsewhere: bool

    def __str__(self) -> str:
        """Return it as a message."""
        return f"{self.where}: {self.what}, which a rollback does not undo"


def read_reach(connection: Connection, *, with_setval: bool = False) -> Reach:
    """Read which objects of the database act beyond it. Raises ServerError and ConnectionLost.

    with_setval: functions that set a sequence count as well.
    """
    # Here, because `script` needs no driver.
    from sqlmig.core.connection import fetch, fetch_each

    pattern = _IN_SOURCE
    if with_setval:
        pattern += r"|\ysetval\s*\("
    selects = []
    for title in ("functions", "tables", "sequences"):
        selects.append(_STATEMENTS[title].strip().format(pattern=literal(pattern)))
    functions, tables, sequences = fetch_each(connection, ";".join(selects))
    names = _with_callers(connection, _column(functions))
    triggers: list[Any] = []
    if names:
        listed = ", ".join(literal(name) for name in sorted(names))
        triggers = fetch(connection, _STATEMENTS["triggers"].format(names=listed))
    return Reach(
        functions=frozenset(name.encode() for name in names),
        tables=frozenset(name.encode() for name in _column([*tables, *triggers])),
        sequences=frozenset(_column(sequences)),
    )


def _column(rows: list[Any]) -> set[str]:
    return {str(value) for (value,) in rows}


def _with_callers(connection: Connection, names: set[str]) -> set[str]:
    """Return functions, the functions that call them, and so on."""
    from sqlmig.core.connection import fetch

    new = names
    while new:
        query = _STATEMENTS["callers"].format(names=_calls_of(names))
        new = _column(fetch(connection, query)) - names
        names = names | new
    return names


def _calls_of(names: set[str]) -> str:
    """Return a regular expression of PostgreSQL's for a call of one of these functions."""
    return literal(rf"\y({'|'.join(map(re.escape, sorted(names)))})\s*\(")


def may_define_reach(file: SqlFile) -> bool:
    """Check whether a file may make an object that acts beyond the database."""
    return bool(_NAME.search(file.text) or _COPY.search(file.text))


def find_irrevocable(file: SqlFile, reach: Reach) -> Irrevocable | None:
    """Return the first statement of a file that a rollback does not undo; None if there is none.

    Names are looked for in its statements and in the bodies of DO blocks, but not in comments.
    SQL that a function puts together from parts is not seen.
    """
    if not _may_reach(file.text, reach):
        return None
    reach = with_definitions(file, reach)
    for start, end in pairwise([*file.statement_starts, len(file.text)]):
        words, _ = read_statement(file.text, start)
        if _ONLY_DEFINES.match(b" ".join(words)):
            continue
        found = _in_statement(file, start, end, reach)
        if found:
            return found
    return None


def _may_reach(text: bytes, reach: Reach) -> bool:
    """Check quickly, because most files do not."""
    if _NAME.search(text) or _COPY.search(text):
        return True
    return any(name in text for name in (*reach.functions, *reach.tables))


def _in_statement(
    file: SqlFile, start: int, end: int, reach: Reach
) -> Irrevocable | None:
    text = _without_comments(file.text, start, end)
    call = _CALL.search(text)
    if call:
        name = call[1].decode()
        is_elsewhere = _CALL_ELSEWHERE.fullmatch(name) is not None
        what = f"{name.lower()}() acts at once"
        return _irrevocable(file, start + call.start(), what, is_elsewhere=is_elsewhere)
    copy = _COPY.search(text)
    if copy:
        return _irrevocable(
            file, start + copy.start(), "COPY writes to a file or a program"
        )

    writes = _WRITES.search(text)
    for word in _WORD.finditer(text):
        is_call = word[2] and word[1] in reach.functions
        if is_call or (writes and word[1] in reach.tables):
            name = word[1].decode() + ("()" if is_call else "")
            what = f"{name} acts beyond this database"
            return _irrevocable(file, start + word.start(), what)
    return None


def _irrevocable(
    file: SqlFile, offset: int, what: str, *, is_elsewhere: bool = True
) -> Irrevocable:
    return Irrevocable(place(file.path, file.text, offset), what, is_elsewhere)


def _without_comments(text: bytes, start: int, end: int) -> bytes:
    """Return a statement with blanks instead of its comments, so all offsets stay right."""
    parts = []
    for kind, begin, stop in tokens(text, start):
        if begin >= end:
            break
        part = text[begin:stop]
        parts.append(
            b" " * len(part) if kind in BLANK_KINDS and kind != "space" else part
        )
    return b"".join(parts)


def with_definitions(file: SqlFile, reach: Reach) -> Reach:
    """Return the reach with the functions that a file defines, and the tables that it gives triggers."""
    functions = set(reach.functions)
    tables = set(reach.tables)
    for start, end in pairwise([*file.statement_starts, len(file.text)]):
        text = file.text[start:end]
        if _CALL.search(text) or _COPY.search(text) or _calls(text, functions):
            defined = _DEFINES_FUNCTION.match(text)
            if defined:
                functions.add(defined[1])
        trigger = _DEFINES_TRIGGER.match(text)
        if trigger and trigger[2] in functions:
            tables.add(trigger[1])
    return reach._replace(functions=frozenset(functions), tables=frozenset(tables))


def _calls(text: bytes, functions: set[bytes]) -> bool:
    return any(word[2] and word[1] in functions for word in _WORD.finditer(text))


def find_setval(file: SqlFile, reach: Reach) -> str | None:
    """Return a message for a setval of a sequence that may exist already: a rollback does not set it back."""
    match = _SETVAL.search(file.text)
    if not reach.sequences or not match:
        return None
    names = [found[1].decode() for found in _SETVAL_OF_A_NAME.finditer(file.text)]
    last_parts = {name.rpartition(".")[2].strip('"') for name in names}
    are_all_named = len(names) == len(_SETVAL.findall(file.text))
    if are_all_named and not reach.sequences.intersection(last_parts):
        return None
    where = place(file.path, file.text, match.start())
    return f"{where}: setval() sets a sequence that exists already, which a rollback does not undo"
