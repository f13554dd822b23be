"""Read the rows of a scratch database's tables, and compare them after applying and reverting a version."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlmig.check.scratch import STATEMENTS
from sqlmig.core.connection import fetch, rolled_back
from sqlmig.core.errors import ServerError, SqlmigError
from sqlmig.core.sql import literal, quoted
from sqlmig.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlmig.core.connection import Connection

Row = dict[str, str | None]
# At most this number of rows without a primary key are paired, each with the row that differs least.
_FEW = 100


class TableRows(NamedTuple):
    """A table's rows, with all values as text, and the columns of its primary key."""

    key: tuple[str, ...]
    rows: list[Row]


class Rows(NamedTuple):
    """The rows of each table by name, and the position of each sequence."""

    tables: dict[str, TableRows]
    sequences: dict[str, int]


class RowChange(NamedTuple):
    """A change of rows: they were lost, were left over, or have other values in some columns."""

    kind: Literal["left", "lost", "changed"]
    table: str
    columns: tuple[str, ...]
    rows: int

    def __str__(self) -> str:
        """Describe the change, without its kind."""
        if self.kind != "changed":
            return f"{counted(self.rows, 'row')} of {self.table}"
        return (
            f"{', '.join(self.columns)} of {self.table} ({counted(self.rows, 'row')})"
        )


def read_rows(connection: Connection, schema: str) -> Rows:
    """Return the rows of all tables that files created, as text, so that values of every type can be compared.

    schema: names in it are written without it. Raises SqlmigError if rows cannot be read.
    """
    here = literal(schema)
    try:
        found = fetch(connection, STATEMENTS["tables_with_rows"].format(schema=here))
        tables = {}
        for name, source, columns, key, hides_rows in found:
            quoted_columns = ", ".join(
                f"t.{quoted(column)}::text" for column in columns
            )
            query = f"SELECT ARRAY[{quoted_columns}]::text[] FROM {source} AS t"
            rows = []
            for (values,) in _fetch_all_rows(connection, query, source, hides_rows):
                rows.append(dict(zip(columns, values, strict=True)))
            tables[str(name)] = TableRows(tuple(key), rows)
        sequences = dict(fetch(connection, STATEMENTS["sequences"].format(schema=here)))
    except ServerError as problem:
        raise SqlmigError(
            f"the rows cannot be read: {problem.server_message}"
        ) from None
    return Rows(tables, sequences)


def _fetch_all_rows(
    connection: Connection,
    query: str,
    source: str,
    hides_rows: bool,  # noqa: FBT001
) -> list[Any]:
    """Return all rows of a table, even if its owner sees only some of them (FORCE ROW LEVEL SECURITY).

    FORCE is switched off in a transaction that is rolled back. Raises ServerError.
    """
    if not hides_rows:
        return fetch(connection, query)
    with rolled_back(connection):
        table = source.removeprefix("ONLY ")
        return fetch(
            connection, f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY; {query}"
        )


def compare_rows(before: Rows, after: Rows) -> list[RowChange]:
    """Return how the rows changed in the tables that existed before.

    A table that is gone is not reported here, because the catalog shows it. A sequence may
    have advanced, because nothing can take a value back. It must not have moved back: the
    next row would get a number that is already taken.
    """
    changes: list[RowChange] = []
    for table, was in before.tables.items():
        now = after.tables.get(table)
        if now is not None:
            changes += _compare_table(table, was, now)
    for sequence, value in before.sequences.items():
        if after.sequences.get(sequence, value) < value:
            changes.append(RowChange("changed", sequence, ("next value",), 1))
    return changes


def _compare_table(table: str, was: TableRows, now: TableRows) -> list[RowChange]:
    rows_now = now.rows
    if was.rows:  # ignore new columns: the catalog shows them
        known = was.rows[0].keys()
        rows_now = [_only(known, row) for row in now.rows]
    lost = _minus(was.rows, rows_now)
    left = _minus(rows_now, was.rows)
    pairs = _pairs(lost, left, was.key)
    changed: Counter[tuple[str, ...]] = Counter()
    for old, new in pairs:
        lost.remove(old)
        left.remove(new)
        changed[_differing(old, new)] += 1

    changes = []
    if not was.key and len(lost) == len(left) > _FEW:
        # Too many rows to pair: report the columns with different values.
        changes.append(
            RowChange("changed", table, _columns_that_differ(lost, left), len(lost))
        )
        lost = []
        left = []
    if lost:
        changes.append(RowChange("lost", table, (), len(lost)))
    if left:
        changes.append(RowChange("left", table, (), len(left)))
    for columns, count in sorted(changed.items()):
        changes.append(RowChange("changed", table, columns, count))
    return changes


def _only(columns: Iterable[str], row: Row) -> Row:
    return {name: row[name] for name in columns if name in row}


def _minus(rows: Iterable[Row], others: Iterable[Row]) -> list[Row]:
    """Return the rows that the others lack. Of n equal rows, return those that have no match."""
    rest = Counter(_text(row) for row in others)
    left_over = []
    for row in rows:
        text = _text(row)
        if rest[text]:
            rest[text] -= 1
        else:
            left_over.append(row)
    return left_over


def _text(row: Row) -> str:
    return json.dumps(row, sort_keys=True)


def _pairs(
    lost: Sequence[Row], left: Sequence[Row], key: Sequence[str]
) -> list[tuple[Row, Row]]:
    """Pair the rows that differ only in some values: by primary key, or else by the fewest differences."""
    if key:
        by_key = {_key_of(row, key): row for row in left}
        pairs = []
        for row in lost:
            other = by_key.get(_key_of(row, key))
            if other is not None:
                pairs.append((row, other))
        return pairs

    if len(lost) != len(left) or len(lost) > _FEW:
        return []
    rest = list(left)
    pairs = []
    for row in lost:
        nearest = _nearest(row, rest)
        rest.remove(nearest)
        pairs.append((row, nearest))
    return pairs


def _nearest(row: Row, others: Iterable[Row]) -> Row:
    return min(others, key=lambda other: len(_differing(row, other)))


def _columns_that_differ(lost: Sequence[Row], left: Sequence[Row]) -> tuple[str, ...]:
    columns = []
    for column in sorted(lost[0]):
        was = Counter(row.get(column) for row in lost)
        if was != Counter(row.get(column) for row in left):
            columns.append(column)
    return tuple(columns)


def _key_of(row: Row, key: Sequence[str]) -> str:
    return json.dumps([row.get(column) for column in key])


def _differing(
    old: Mapping[str, str | None], new: Mapping[str, str | None]
) -> tuple[str, ...]:
    """Return the columns in which two rows differ."""
    columns = []
    for column in sorted(old.keys() | new.keys()):
        if old.get(column) != new.get(column):
            columns.append(column)
    return tuple(columns)
