"""Find out whether a transaction left the catalogs as they were, without reading them.

The server counts the rows that a transaction inserts, updates and deletes in each catalog.
If it inserted as many as it deleted, and none of the rows that are left is its own, then it
deleted and updated only its own. The server also counts what an aborted subtransaction did.
So if a file may abort one, all rows are counted instead.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

from sqlmig.check.scratch import STATEMENTS
from sqlmig.core.connection import execute, fetch, fetch_each

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlmig.core.connection import Connection
    from sqlmig.core.sqlfile import SqlFile

# Begins the names of the prepared statements. Files do not know it, so they cannot replace them.
_PREPARED = f"sqlmig_{secrets.token_hex(8)}"
# For each catalog, a reading of what the server counts, or of the rows themselves.
Counts = dict[str, tuple[Any, ...]]
_MAY_ABORT_HERE = "functions that may abort a subtransaction"
# What may abort a subtransaction: an EXCEPTION block, text that is put together, other languages.
_MAY_ABORT = re.compile(
    rb"\b(?:exception|language|execute(?!\s+(?:function|procedure)\b))\b", re.IGNORECASE
)
_HARMLESS = re.compile(rb"\blanguage\s+'?(?:sql|plpgsql|internal)\b", re.IGNORECASE)
# A view has no rows of its own. The catalog that it reads shows whether it was written.
_BELOW = {"pg_user_mappings": "pg_user_mapping"}


class CatalogCounts:
    """The counts of a transaction that is open on a connection. Only this connection may write to the catalogs."""

    def __init__(
        self,
        connection: Connection,
        names: Sequence[str],
        *,
        may_lie: bool = False,
    ) -> None:
        """Choose the catalogs to count. Call prepare() before begin().

        may_lie: the rows are counted always, because a file may turn off track_counts here.
        """
        self._connection = connection
        self._may_lie = may_lie
        self._counts_rows = may_lie
        self._names = names
        self._before: Counts = {}

    def prepare(self) -> None:
        """Prepare the statements in a session that does not have them."""
        watched = ", ".join(
            f"'pg_catalog.{_BELOW.get(name, name)}'" for name in self._names
        )
        statements = [
            f"PREPARE {_PREPARED}_written AS {STATEMENTS['written'].format(names=watched)}"
        ]
        for name in self._names:
            title = "count_rows_of_view" if name in _BELOW else "count_rows"
            for statement, query in (
                (_own_rows(name), STATEMENTS["own_rows"]),
                (_count_rows(name), STATEMENTS[title]),
            ):
                filled = query.format(name=_BELOW.get(name, name), view=name)
                statements.append(f"PREPARE {statement} AS {filled}")
        execute(self._connection, ";".join(statements))

    def begin(self, *files: SqlFile) -> None:
        """Count at the begin of a transaction, in which these files will run."""
        before = self._changes()
        self._counts_rows = (
            self._may_lie
            or bool(before[_MAY_ABORT_HERE])
            or any(_may_abort(file.text) for file in files)
        )
        self._before = self._rows() if self._counts_rows else before

    def is_unchanged(self) -> bool:
        """Check whether the open transaction left every catalog as it was at begin()."""
        if self._counts_rows:
            return self._rows() == self._before
        written = []
        for name, now in self._changes().items():
            before = self._before[name]
            if now == before:
                continue
            inserted, _, deleted = (a - b for a, b in zip(now, before, strict=True))
            if inserted != deleted or name in _BELOW:
                return False
            written.append(_own_rows(name))
        return not self._fetch_prepared(written)

    def _changes(self) -> Counts:
        """Return how many rows of each catalog the transaction has inserted, updated and deleted."""
        counts: Counts = {}
        rows = fetch(self._connection, f"EXECUTE {_PREPARED}_written")
        for name, (_, *numbers) in zip(
            [_MAY_ABORT_HERE, *self._names], rows, strict=True
        ):
            counts[name] = tuple(numbers)
        if counts[_MAY_ABORT_HERE] == (0, 0, 0):
            counts[_MAY_ABORT_HERE] = ()
        return counts

    def _rows(self) -> Counts:
        """Return how many rows each catalog has, and how many of them are the transaction's own."""
        rows = self._fetch_prepared(_count_rows(name) for name in self._names)
        return {str(name): tuple(count) for name, *count in rows}

    def _fetch_prepared(self, names: Iterable[str]) -> list[Any]:
        """Return the rows of some prepared statements."""
        message = ";".join(f"EXECUTE {name}" for name in names)
        if not message:
            return []
        found = []
        for rows in fetch_each(self._connection, message):
            found += rows
        return found


def _may_abort(text: bytes) -> bool:
    return bool(_MAY_ABORT.search(_HARMLESS.sub(b"", text)))


def _own_rows(name: str) -> str:
    """Return the name of the prepared statement that looks for rows of the transaction in a catalog."""
    return f"{_PREPARED}_own_{name}"


def _count_rows(name: str) -> str:
    """Return the name of the prepared statement that counts the rows of a catalog."""
    return f"{_PREPARED}_count_{name}"
