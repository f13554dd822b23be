"""The rows of a scratch database's tables, and what a version that was applied and reverted did to them."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlmig.check.scratch import STATEMENTS
from sqlmig.connection import fetch
from sqlmig.ledger import literal
from sqlmig.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlmig.connection import Connection

Row = dict[str, Any]


class TableRows(NamedTuple):
    """A table's rows, each as an object of JSON, and the columns of its primary key."""

    key: tuple[str, ...]
    rows: list[Row]


class Rows(NamedTuple):
    """The rows of each table by its name, and how far each sequence is."""

    tables: dict[str, TableRows]
    sequences: dict[str, int]


class RowChange(NamedTuple):
    """What happened to rows: they are lost, left behind, or have other values in some columns."""

    kind: Literal["left", "lost", "changed"]
    table: str
    columns: tuple[str, ...]
    rows: int

    def __str__(self) -> str:
        """Return it in words, without its kind."""
        if self.kind != "changed":
            return f"{counted(self.rows, 'row')} of {self.table}"
        return (
            f"{', '.join(self.columns)} of {self.table} ({counted(self.rows, 'row')})"
        )


def read_rows(connection: Connection, schema: str) -> Rows:
    """Return the rows of all tables that files made. to_jsonb makes every type comparable.

    schema: its names are written without it.
    """
    here = literal(schema)
    tables = {}
    selects = []
    names: list[str] = []
    for name, source, key in fetch(
        connection, STATEMENTS["tables_with_rows"].format(schema=here)
    ):
        tables[str(name)] = TableRows(tuple(key), [])
        selects.append(f"SELECT {len(names)}, to_jsonb(t)::text FROM {source} AS t")
        names.append(str(name))
    if selects:
        for number, row in fetch(connection, " UNION ALL ".join(selects)):
            tables[names[number]].rows.append(json.loads(row))
    sequences = dict(fetch(connection, STATEMENTS["sequences"].format(schema=here)))
    return Rows(tables, sequences)


def compare_rows(before: Rows, after: Rows) -> list[RowChange]:
    """Return what happened to the rows of the tables that were there before.

    A table that is gone is told by the catalog. A sequence may have gone on, as nothing
    takes a value back, but not back: the next row would get a number that is taken.
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
    if was.rows:  # a column that is new is told by the catalog
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
    """Return the rows that are not among the others, each as often as it is there more often."""
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
    """Return the rows that are the same but for some values: by the primary key, else by what differs least."""
    if key:
        by_key = {_key_of(row, key): row for row in left}
        pairs = []
        for row in lost:
            other = by_key.get(_key_of(row, key))
            if other is not None:
                pairs.append((row, other))
        return pairs

    if len(lost) != len(left):
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


def _key_of(row: Row, key: Sequence[str]) -> str:
    return json.dumps([row.get(column) for column in key])


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns in which two rows differ."""
    columns = []
    for column in sorted(old.keys() | new.keys()):
        if old.get(column) != new.get(column):
            columns.append(column)
    return tuple(columns)
