"""Indexes that CONCURRENTLY leaves INVALID when it fails, and which of them come from a file."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core.connection import fetch
from sqlmig.core.lexer import plain_text
from sqlmig.core.sql import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlmig.core.connection import Connection
    from sqlmig.core.sqlfile import SqlFile

_QUERY = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
_ONE_NAME = r'(?:"(?:[^"]|"")*"|[^\s"(),;.]+)'
_NAME = rf"{_ONE_NAME}(?: ?\. ?{_ONE_NAME})*"
_CREATE = re.compile(
    r"create (?:unique )?index (?:concurrently )?(?:if not exists )?"
    rf"(?:(?P<index>{_ONE_NAME}) ?)?\bon (?:only )?(?P<table>{_NAME})",
    re.IGNORECASE,
)
_DROP = re.compile(
    rf"drop index (?:concurrently )?(?:if exists )?(?P<indexes>{_NAME}(?: ?, ?{_NAME})*)",
    re.IGNORECASE,
)
_REINDEX = re.compile(
    r"reindex ?(?:\([^)]*\) ?)?(?P<kind>index|table|schema|database|system)\b ?(?:concurrently\b ?)?"
    rf"(?P<name>{_NAME})?",
    re.IGNORECASE,
)


class Named(NamedTuple):
    """The tables and indexes that a file's statements about indexes name, as SQL writes them."""

    tables: frozenset[str]
    indexes: frozenset[str]  # by a name that may have a schema
    created: frozenset[tuple[str, str]]  # the table, and the name of its new index
    everything: bool  # a whole schema or database is reindexed


class Invalid(NamedTuple):
    """An INVALID index: its number in the catalog, its name, and whether the file names it or its table."""

    oid: int
    name: str
    is_named: bool
    is_on_named_table: bool


def named_in(file: SqlFile) -> Named:
    """Return the names in a file's statements about indexes."""
    tables = set()
    indexes = set()
    created = set()
    everything = False
    for start, end in pairwise([*file.statement_starts, len(file.text)]):
        statement = plain_text(file.text[start:end])
        if create := _CREATE.match(statement):
            tables.add(create["table"])
            if create["index"]:
                created.add((create["table"], create["index"]))
        elif drop := _DROP.match(statement):
            indexes.update(re.findall(_NAME, drop["indexes"]))
        elif reindex := _REINDEX.match(statement):
            kind = reindex["kind"].lower()
            if kind == "table" and reindex["name"]:
                tables.add(reindex["name"])
            elif kind == "index" and reindex["name"]:
                indexes.add(reindex["name"])
            else:
                everything = True

    return Named(frozenset(tables), frozenset(indexes), frozenset(created), everything)


def invalid_indexes(connection: Connection, named: Named) -> list[Invalid]:
    """Return the INVALID indexes that no session is building. Names are looked up on the search path."""
    oids = connection.resolve_tables(
        {*named.tables, *named.indexes, *(table for table, _ in named.created)}
    )
    created = []
    for table, index in sorted(named.created):
        if table in oids:
            created.append(f"({oids[table]}, (parse_ident({literal(index)}))[1])")
    query = _QUERY.format(
        tables=_listed(named.tables, oids),
        indexes=_listed(named.indexes, oids),
        created=", ".join(created) or "(0, '')",
    )
    return [Invalid(*row) for row in fetch(connection, query)]


def _listed(names: Iterable[str], oids: Mapping[str, int]) -> str:
    return ", ".join(str(oids[name]) for name in sorted(names) if name in oids)


def left_invalid(
    before: Iterable[Invalid], after: Iterable[Invalid], named: Named
) -> list[str]:
    """Return a line for each index that a file has left INVALID, with the remedy.

    That is an index that a statement names, even if it was INVALID before, and a new index
    on a table that a statement names, because an index needs no name.
    """
    old = {index.oid for index in before}
    lines = []
    for index in after:
        is_new = index.oid not in old
        is_ours = index.is_named or (
            is_new and (index.is_on_named_table or named.everything)
        )
        if is_ours:
            lines.append(
                f"the index {index.name} is INVALID; remove it before you try again: "
                f"DROP INDEX CONCURRENTLY {index.name};"
            )
    return lines
