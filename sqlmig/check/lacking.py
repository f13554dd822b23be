"""Find what the original has and a scratch database lacks, to explain why a file failed there."""

from __future__ import annotations

import re
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlmig.check.original import STATEMENTS
from sqlmig.core.connection import connect, fetch, fetch_on_callers_path
from sqlmig.core.errors import SqlmigError
from sqlmig.core.sql import literal
from sqlmig.core.text import counted

if TYPE_CHECKING:
    from sqlmig.core.connection import Connection
    from sqlmig.core.errors import MigrationFailed
    from sqlmig.core.sqlfile import SqlFile

# An undefined table, function, object or schema, and an extension that cannot be created.
_MAY_LACK = ("42P01", "42883", "42704", "3F000", "42501", "0A000", "58P01")
_NAME = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')
_CREATED = re.compile(
    r"\bcreate\s+(?:or\s+replace\s+)?(?:\w+\s+)?(?:table|view|sequence|function|procedure|aggregate|type|domain)\s+"
    r"(?:if\s+not\s+exists\s+)?(?:[\w\"]+\.)?\"?(\w+)",
    re.IGNORECASE,
)
_PATH = "SELECT pg_catalog.current_schemas(false)::pg_catalog.text[]"
_SHOWN = 5
_UNDEFINED_OBJECT = "42704"
# The name says it all: what is in a schema, or comes with an extension, is not listed as well.
_ORDER = ("extension", "schema", "role", "relation", "type", "function")


def find_lacking(
    url: str, scratch: Connection, file: SqlFile, error: MigrationFailed
) -> str:
    """Return a hint that names what the original has and the scratch database lacks; "" if there is nothing.

    url: the original. Only names in the failing statement are looked up.
    """
    if error.sqlstate not in _MAY_LACK:
        return ""
    statement = _failing_statement(file, error.line).decode(errors="replace")
    if error.sqlstate == _UNDEFINED_OBJECT and "current_setting" in statement:
        return "HINT: if the file needs a value, give it with --set NAME=VALUE"
    names = _names_in(statement)
    lacking: set[tuple[str, str]] = set()
    with suppress(SqlmigError), connect(url, lambda _: None) as original:
        ((path,),) = fetch_on_callers_path(original, _PATH)
        query = STATEMENTS["known"].format(names=_array(names), path=_array(path))
        lacking = _rows(original, query) - _rows(scratch, query)
    created = {name.lower() for name in _CREATED.findall(statement)}
    lacking = {each for each in lacking if not _is_one_of(each, created)}
    if not lacking:
        return ""
    in_order = sorted(lacking, key=lambda each: (_ORDER.index(each[0]), each[1]))
    shown = [" ".join(each) for each in in_order[:_SHOWN]]
    if len(in_order) > _SHOWN:
        shown.append(f"{counted(len(in_order) - _SHOWN, 'more object')}")
    return (
        f"HINT: the database has {', '.join(shown)}, and the scratch database does not. "
        "If no file creates this, let --setup FILE create it"
    )


def _failing_statement(file: SqlFile, line: int | None) -> bytes:
    """Return the statement at a line; the whole file if the line is not known."""
    if line is None:
        return file.text
    lines = file.text.split(b"\n")
    end_of_line = sum(len(each) + 1 for each in lines[:line])
    starts = [*file.statement_starts]
    number = bisect_right(starts, end_of_line)
    if not number:
        return file.text
    end = starts[number] if number < len(starts) else len(file.text)
    return file.text[starts[number - 1] : end]


def _is_one_of(each: tuple[str, str], created: set[str]) -> bool:
    """Check whether the statement itself creates the object."""
    kind, name = each
    return kind not in ("extension", "schema") and name.rpartition(".")[2] in created


def _names_in(statement: str) -> list[str]:
    names = set()
    for is_quoted, plain in _NAME.findall(statement):
        names.add(is_quoted.replace('""', '"') or plain.lower())
    return sorted(names)


def _rows(connection: Connection, query: str) -> set[tuple[str, str]]:
    return {(str(kind), str(name)) for kind, name in fetch(connection, query)}


def _array(names: list[str]) -> str:
    return f"ARRAY[{', '.join(map(literal, names))}]::text[]"
