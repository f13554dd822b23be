"""Trace what a file would do to the application, on the scratch database. Its tables may be empty there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.check.scratch import STATEMENTS
from sqlmig.core.connection import fetch
from sqlmig.core.sql import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from sqlmig.core.connection import Connection

KINDS = ("rewrites", "reads", "losses")
_LOCKS = ("", "writes", "reads and writes")


@dataclass
class Effects:
    """What a file does to tables that existed before it.

    locks: the operations on a table that others must wait for. rewrites and reads: the
    tables that are rewritten, and that are read in full. losses: a description of each
    object that is dropped or emptied.
    """

    locks: dict[str, str] = field(default_factory=dict)
    rewrites: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    def while_others_wait(self, kind: str) -> list[str]:
        """Return the effects of a kind that happen while others wait for the table. Losses always count."""
        if kind == "losses":
            return self.losses
        tables = self.rewrites if kind == "rewrites" else self.reads
        return [table for table in tables if table in self.locks]

    def words(self) -> Iterator[str]:
        """Yield a line for each group of tables with the same effect, and for each loss."""
        groups: dict[str, list[str]] = {}
        for table in sorted({*self.locks, *self.rewrites, *self.reads}):
            does = []
            if table in self.locks:
                does.append(f"blocks {self.locks[table]}")
            if table in self.rewrites:
                does.append("rewrites it")
            elif table in self.reads:
                does.append("reads it whole")
            groups.setdefault(", ".join(does), []).append(table)
        for does_what, tables in sorted(groups.items()):
            yield f"{does_what}: {', '.join(tables)}"
        for loss in self.losses:
            yield f"would lose {loss}"


class _Touched(NamedTuple):
    """A relation that the open transaction has touched: a row of the query in scratch.sql."""

    oid: int
    kind: str | None  # None if it was dropped
    lock: int
    has_new_file: bool
    scans: int
    indexes: int
    has_rows: bool
    deleted: int


class _Table(NamedTuple):
    """A table, its root and its columns, identified by their numbers in the catalog."""

    oid: int
    root: int
    name: str
    columns: dict[str, str]


class EffectWatcher:
    """Watches what transactions do to the tables that existed before.

    It identifies tables and columns by their numbers in the catalog, because a dropped
    object no longer has a name.
    """

    def __init__(self, connection: Connection, schema: str) -> None:
        """Begin with the tables that exist now. schema: names in it are written without it."""
        self._connection = connection
        self._schema_name = literal(quoted(schema))
        self._newest = 0
        self._tables: dict[int, _Table] = {}
        self._touched: set[int] = set()
        self.begin()

    def begin(self) -> None:
        """Read the tables as they are now, between two transactions."""
        self._learn(self._touched)
        self._touched = set()
        # Flush the statistics, so that scans are counted from here on.
        ((newest, _),) = fetch(
            self._connection,
            f"SELECT ({STATEMENTS['newest'].strip().rstrip(';')}), pg_stat_force_next_flush()::text",
        )
        self._newest = int(newest)

    def forget(self) -> None:
        """Forget all tables, because a file ran that was not observed."""
        self._newest = 0
        self._tables = {}
        self._touched = set()

    def observe(self) -> Effects:
        """Return the effects of the open transaction."""
        effects = Effects()
        locks: dict[str, int] = {}
        changed = []
        dropped = []
        query = STATEMENTS["touched"].format(newest=self._newest)
        for row in fetch(self._connection, query):
            touched = _Touched(*row)
            if touched.oid not in self._tables:
                continue
            if touched.kind is None:
                dropped.append(touched.oid)
                continue
            root = self._tables[touched.oid].root
            name = self._tables[root].name
            locks[name] = max(touched.lock, locks.get(name, 0))
            _note_reads_and_writes(effects, touched, name)
            if touched.lock == len(_LOCKS) - 1:
                changed.append(touched.oid)

        for table, lock in sorted(locks.items()):
            if lock:
                effects.locks[table] = _LOCKS[lock]
        self._note_drops(dropped, effects)
        self._touched.update(changed)
        self._note_columns(changed, effects)
        for names in (effects.rewrites, effects.reads, effects.losses):
            names[:] = sorted(set(names))
        return effects

    def _note_drops(self, oids: Collection[int], effects: Effects) -> None:
        """Note the tables that were dropped. A partition is noted only if its root still exists."""
        for oid in oids:
            table = self._tables.get(oid)
            if table is None or (table.root != oid and table.root in oids):
                continue
            effects.losses.append(f"table {table.name}")
            effects.locks[table.name] = _LOCKS[-1]

    def _note_columns(self, oids: Iterable[int], effects: Effects) -> None:
        """Note the columns that were dropped from tables that still exist."""
        before = {oid: self._tables[oid] for oid in oids if oid in self._tables}
        if not before:
            return
        for table in self._read_tables(before):
            if table.oid not in before:
                continue
            gone = before[table.oid].columns.keys() - table.columns.keys()
            columns = before[table.oid].columns
            names = sorted(map(columns.__getitem__, gone))
            if names:
                effects.losses.append(f"{', '.join(names)} of {table.name}")

    def _learn(self, oids: Iterable[int]) -> None:
        for table in self._read_tables(oids):
            self._tables[table.oid] = table

    def _read_tables(self, oids: Iterable[int]) -> list[_Table]:
        """Return these tables, and all tables that were created since begin()."""
        query = STATEMENTS["columns"].format(
            newest=self._newest,
            touched=",".join(str(oid) for oid in oids),
            schema_name=self._schema_name,
        )
        tables = []
        for oid, root, name, columns in fetch(self._connection, query):
            tables.append(_Table(oid, root, name, columns or {}))
        return tables


def _note_reads_and_writes(effects: Effects, touched: _Touched, table: str) -> None:
    """Note the effects that show in a table's file, its scans, and its deleted rows."""
    # TRUNCATE reads the empty table once for each index that it rebuilds.
    is_emptied = (
        touched.has_new_file
        and touched.kind != "m"
        and touched.scans <= touched.indexes
        and not touched.has_rows
    )
    if is_emptied:
        effects.losses.append(f"all rows of {table}")
    elif touched.has_new_file:
        effects.rewrites.append(table)
    if touched.scans and not is_emptied:
        effects.reads.append(table)
    if touched.deleted:
        effects.losses.append(f"rows of {table}")
