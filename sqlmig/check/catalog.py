"""Everything that a migration can make, read from the catalog, and how two readings differ."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlmig.check.privileges import difference_in_words
from sqlmig.core.connection import fetch
from sqlmig.core.sql import literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlmig.core.connection import Connection


_FILES = Path(__file__).parent / "catalog"
_CATALOG_NAME = re.compile(r"\b(?:FROM|JOIN) (pg_\w+)")
# The properties that are lists, of which the order is told here, and what they list.
_ORDERS = {"columns": "columns", "order of parents": "parents"}
# What obj_description, col_description and shobj_description read.
_READ_BY_FUNCTIONS = ("pg_description", "pg_shdescription")
# A file that needs a function of the server has the function's name in its own.
_NEEDED_FUNCTION = re.compile(r"\.if_(\w+)\.sql$")


def _query(connection: Connection) -> str:
    """Return the query for a server: 0_with.sql, then the other files joined by UNION ALL.

    The server is asked which functions it has: a version number does not tell what a release kept.
    """
    needed = []
    for path in _FILES.glob("*.if_*.sql"):
        needed += _NEEDED_FUNCTION.findall(path.name)
    names = ", ".join(literal(name) for name in sorted(needed))
    rows = fetch(
        connection,
        f"SELECT name FROM unnest(ARRAY[{names}]) AS name WHERE to_regproc('pg_catalog.' || name) IS NOT NULL",
    )
    return _query_with(frozenset(str(name) for (name,) in rows))


@cache
def _query_with(functions: frozenset[str]) -> str:
    """Return the query for a server that has these of the functions that some files need."""
    selects = []
    for path in sorted(_FILES.glob("[1-9]*.sql")):
        needed = _NEEDED_FUNCTION.search(path.name)
        if needed is None or needed[1] in functions:
            selects.append(path.read_text(encoding="utf-8"))
    head = (_FILES / "0_with.sql").read_text(encoding="utf-8")
    return head + "UNION ALL\n".join(selects)


def catalogs(connection: Connection) -> list[str]:
    """Return the names of the catalogs that are read."""
    names = _CATALOG_NAME.findall(_query(connection))
    return sorted({*_READ_BY_FUNCTIONS, *names})


class Key(NamedTuple):
    """What an object is called: ``table``, ``public.patients``."""

    kind: str
    name: str


class Entry(NamedTuple):
    """An object's properties, and its schema where it is in one."""

    properties: Mapping[str, Any]
    schema: str | None


Catalog = dict[Key, Entry]


class Difference(NamedTuple):
    """A property that is not as it was."""

    key: Key
    property: str
    was: Any
    now: Any

    def __str__(self) -> str:
        """Return it in words."""
        if self.property.endswith("grants"):
            words = difference_in_words(self.was, self.now)
            if words:
                whose = " ".join(self.key)
                part = self.property.removesuffix("grants").strip()
                return ": ".join(filter(None, (whose, part, words)))

        was = json.dumps(self.was, ensure_ascii=False)
        now = json.dumps(self.now, ensure_ascii=False)
        return f"{self.key.kind} {self.key.name}: {self.property} was {was}, is {now}"


@dataclass
class Differences:
    """How one reading of the catalog differs from another; notes are what no SQL can prevent, or no fault."""

    left: list[Key] = field(default_factory=list)  # only in the second
    lost: list[Key] = field(default_factory=list)  # only in the first
    changed: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is a difference that counts."""
        return bool(self.left or self.lost or self.changed)


def read_catalog(connection: Connection, schemas: set[str] | None = None) -> Catalog:
    """Return every object by kind and name: of some schemas alone where they are given ("" for none)."""
    query = (
        f"SELECT kind, name, properties, schema FROM ({_query(connection)}) AS object"
    )
    if schemas is not None:
        wanted = ", ".join(literal(schema) for schema in sorted(schemas))
        query += f" WHERE coalesce(schema, '') IN ({wanted})"

    catalog = {}
    for kind, name, properties, schema in fetch(connection, query):
        catalog[Key(kind, name)] = Entry(properties, schema)
    return catalog


def add_sequence_values(connection: Connection, catalog: Catalog) -> None:
    """Give each sequence its value as a property: the catalogs do not tell it."""
    keys = [key for key in catalog if key.kind == "sequence"]
    selects = [
        f"SELECT {literal(key.name)}, last_value, is_called FROM {key.name}"
        for key in keys
    ]
    if not selects:
        return

    for name, value, is_used in fetch(connection, " UNION ALL ".join(selects)):
        key = Key("sequence", name)
        words = str(value) if is_used else f"{value}, not yet used"
        properties = {**catalog[key].properties, "value": words}
        catalog[key] = catalog[key]._replace(properties=properties)


def compare(before: Catalog, after: Catalog) -> Differences:
    """Return how two readings differ."""
    found = Differences()
    found.left = [key for key in after if key not in before]
    found.lost = [key for key in before if key not in after]
    for key in sorted(before.keys() & after.keys()):
        was = before[key].properties
        now = after[key].properties
        for difference in _changed_properties(key, was, now):
            _add_difference(difference, found)
    return found


def _add_difference(difference: Difference, found: Differences) -> None:
    """Put a property that is not as it was where it belongs: among the changes or the notes."""
    key, name, was, now = difference
    if name in _ORDERS:
        # Which columns and parents there are is told for themselves; here only their order counts.
        if sorted(was or ()) == sorted(now or ()):
            found.notes.append(
                f"{key.kind} {key.name}: its {_ORDERS[name]} stand in another order, which no SQL can prevent"
            )
    elif name == "local":
        found.notes.append(f"{difference}, which counts only when a parent drops it")
    elif isinstance(was, dict) and isinstance(now, dict):
        found.changed += _changed_properties(key, was, now)
    elif name != "not-null constraint":  # whether there is one tells "not null"
        found.changed.append(difference)


def _changed_properties(
    key: Key, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Difference]:
    for name in sorted(before.keys() | after.keys()):
        was = before.get(name)
        now = after.get(name)
        if was != now:
            yield Difference(key, name, was, now)
