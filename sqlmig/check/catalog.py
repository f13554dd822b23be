"""Read everything that a migration can create from the catalog, and compare two readings."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlmig.check.privileges import difference_in_words
from sqlmig.core.connection import execute, fetch
from sqlmig.core.sql import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlmig.core.connection import Connection


_FILES = Path(__file__).parent / "catalog"
# The prepared statement that reads the catalog. Files do not know its name.
_PREPARED = f"sqlmig_catalog_{secrets.token_hex(8)}"
_CATALOG_NAME = re.compile(r"\b(?:FROM|JOIN) (pg_\w+)")
# Properties that are lists, and a name for their items. Only a change of their order is reported.
_ORDERS = {"columns": "columns", "order of parents": "parents"}
# The catalogs that obj_description, col_description and shobj_description read.
_READ_BY_FUNCTIONS = ("pg_description", "pg_shdescription")
# A file that needs a function of the server has the function's name in its file name.
_NEEDED_FUNCTION = re.compile(r"\.if_(\w+)\.sql$")


def _query(connection: Connection) -> str:
    """Return the query for a server: 0_with.sql, then the other files joined by UNION ALL.

    This asks the server which functions it has, because a version number does not show
    which features were kept until the release.
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
    """Return the query for a server, given the functions that it has and that some files need."""
    selects = []
    for path in sorted(_FILES.glob("[1-9]*.sql")):
        needed = _NEEDED_FUNCTION.search(path.name)
        if needed is None or needed[1] in functions:
            selects.append(path.read_text(encoding="utf-8"))
    head = (_FILES / "0_with.sql").read_text(encoding="utf-8")
    return head + "UNION ALL\n".join(selects)


def catalogs(connection: Connection) -> list[str]:
    """Return the names of the catalogs that the query reads."""
    names = _CATALOG_NAME.findall(_query(connection))
    return sorted({*_READ_BY_FUNCTIONS, *names})


class Key(NamedTuple):
    """The kind and name of an object: ``table``, ``public.patients``."""

    kind: str
    name: str


class Entry(NamedTuple):
    """An object's properties, and its schema if it has one."""

    properties: Mapping[str, Any]
    schema: str | None


Catalog = dict[Key, Entry]


class Difference(NamedTuple):
    """A property that changed."""

    key: Key
    property: str
    was: Any
    now: Any

    def __str__(self) -> str:
        """Describe the difference in one line."""
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
    """The differences between two readings of the catalog.

    notes: differences that are harmless, or that no SQL can prevent.
    """

    left: list[Key] = field(default_factory=list)  # only in the second
    lost: list[Key] = field(default_factory=list)  # only in the first
    changed: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is a difference that counts."""
        return bool(self.left or self.lost or self.changed)


def read_catalog(connection: Connection, schemas: set[str] | None = None) -> Catalog:
    """Return every object by kind and name. schemas: read only these; "" means objects without a schema."""
    query = _query(connection)
    if schemas is not None:
        wanted = ", ".join(literal(schema) for schema in sorted(schemas))
        query = f"SELECT * FROM ({query}) AS object WHERE coalesce(schema, '') IN ({wanted})"
    return _catalog(fetch(connection, query))


def read_catalog_again(connection: Connection) -> Catalog:
    """Return every object, as read_catalog does, in half the time if the session has read it before.

    The query stays in the session as a prepared statement, so this does not work through a
    pooler in transaction mode.
    """
    prepared = f"SELECT 1 FROM pg_prepared_statements WHERE name = '{_PREPARED}'"
    if not fetch(connection, prepared):
        execute(connection, f"PREPARE {_PREPARED} AS {_query(connection)}")
    return _catalog(fetch(connection, f"EXECUTE {_PREPARED}"))


def _catalog(rows: Iterable[Sequence[Any]]) -> Catalog:
    catalog = {}
    for kind, name, properties, schema in rows:
        catalog[Key(kind, name)] = Entry(properties, schema)
    return catalog


def add_sequence_values(connection: Connection, catalog: Catalog) -> None:
    """Add each sequence's value to its properties, because the catalogs do not contain it."""
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
    """Compare two readings of the catalog."""
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
    """Add a property that changed to the changes or to the notes."""
    key, name, was, now = difference
    if name in _ORDERS:
        # Added and removed columns and parents are reported on their own. Only the order counts here.
        if sorted(was or ()) == sorted(now or ()):
            found.notes.append(
                f"{key.kind} {key.name}: its {_ORDERS[name]} are in another order, which no SQL can prevent"
            )
    elif name == "local":
        found.notes.append(f"{difference}, which counts only when a parent drops it")
    elif isinstance(was, dict) and isinstance(now, dict):
        found.changed += _changed_properties(key, was, now)
    elif (
        name != "not-null constraint"
    ):  # the property "not null" shows whether there is one
        found.changed.append(difference)


def _changed_properties(
    key: Key, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Difference]:
    for name in sorted(before.keys() | after.keys()):
        was = before.get(name)
        now = after.get(name)
        if was != now:
            yield Difference(key, name, was, now)
