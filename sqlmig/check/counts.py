"""Find out whether a transaction left the catalogs as they were, without reading them.

The server counts the rows that a transaction inserts, updates and deletes in each catalog.
If it inserted as many as it deleted, and none of the rows that are left is its own, then it
deleted and updated only its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlmig.check.scratch import STATEMENTS
from sqlmig.core.connection import execute, fetch, fetch_each

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlmig.core.connection import Connection

# For each catalog, a reading of what the server counts, or of the rows themselves.
Counts = dict[str, tuple[object, ...]]
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

        may_lie: the rows are counted instead, because a file may turn off track_counts here.
        """
        self._connection = connection
        self._may_lie = may_lie
        self._names = names
        self._before: Counts = {}

    def prepare(self) -> None:
        """Prepare the statements in a session that does not have them."""
        watched = ", ".join(
            f"'pg_catalog.{_BELOW.get(name, name)}'" for name in self._names
        )
        statements = [
            f"PREPARE sqlmig_written AS {STATEMENTS['written'].format(names=watched)}"
        ]
        for name in self._names:
            title = "own_rows"
            if self._may_lie:
                title = "count_rows_of_view" if name in _BELOW else "count_rows"
            query = STATEMENTS[title].format(name=_BELOW.get(name, name), view=name)
            statements.append(f"PREPARE {_statement(name)} AS {query}")
        execute(self._connection, ";".join(statements))

    def begin(self) -> None:
        """Count at the begin of a transaction."""
        self._before = self._count()

    def is_unchanged(self) -> bool:
        """Check whether the open transaction left every catalog as it was at begin()."""
        now = self._count()
        if self._may_lie:
            return now == self._before
        written = []
        for name, (inserted, updated, deleted) in now.items():
            before = self._before[name]
            if (inserted, updated, deleted) == before:
                continue
            if inserted - before[0] != deleted - before[2] or name in _BELOW:  # type: ignore[operator]
                return False
            written.append(name)
        return not self._fetch_prepared(written)

    def _count(self) -> Counts:
        if self._may_lie:
            rows = self._fetch_prepared(self._names)
            return {str(name): tuple(count) for name, *count in rows}
        counts: Counts = {}
        rows = fetch(self._connection, "EXECUTE sqlmig_written")
        for name, (_, *numbers) in zip(self._names, rows, strict=True):
            counts[name] = tuple(numbers)
        return counts

    def _fetch_prepared(self, names: Iterable[str]) -> list[tuple[object, ...]]:
        """Return the rows of the prepared statements of some catalogs."""
        message = ";".join(f"EXECUTE {_statement(name)}" for name in names)
        if not message:
            return []
        found = []
        for rows in fetch_each(self._connection, message):
            found += rows
        return found


def _statement(name: str) -> str:
    """Return the name of the prepared statement about the rows of a catalog."""
    return f"sqlmig_rows_{name}"
