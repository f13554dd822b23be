"""Count the rows of the catalogs: if the counts are equal and no row is new, nothing has changed.

This avoids reading the whole catalog for each version. Only catalogs that were written
since the last count are counted again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlmig.check.scratch import STATEMENTS
from sqlmig.core.connection import execute, fetch, fetch_each

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlmig.core.connection import Connection

Count = tuple[object, ...]
# A view has no rows of its own. The catalog that it reads shows whether it was written.
_BELOW = {"pg_user_mappings": "pg_user_mapping"}


class CatalogCounts:
    """Counts the rows of catalogs. Only this connection may write to them."""

    def __init__(
        self,
        connection: Connection,
        names: Sequence[str],
        *,
        counts_all_again: bool = False,
    ) -> None:
        """Choose the catalogs to count. Call prepare() before read().

        counts_all_again: count all of them each time, because a file may turn off
        track_counts here.
        """
        self._connection = connection
        self._counts_all_again = counts_all_again
        self._names = names
        self._known: dict[str, Count] = {}

    def prepare(self) -> None:
        """Prepare the statements in a session that does not have them, and forget all counts."""
        self.forget()
        watched = ", ".join(
            f"'pg_catalog.{_BELOW.get(name, name)}'" for name in self._names
        )
        statements = [
            f"PREPARE sqlmig_written AS {STATEMENTS['written'].format(names=watched)}"
        ]
        for name in self._names:
            title = "count_rows_of_view" if name in _BELOW else "count_rows"
            count = STATEMENTS[title].format(name=name)
            statements.append(f"PREPARE {_statement(name)} AS {count}")
        execute(self._connection, ";".join(statements))

    def read(self) -> dict[str, Count]:
        """Return the counts that the open transaction sees."""
        self.forget_written()
        unknown = [name for name in self._names if name not in self._known]
        self._known.update(self._count(unknown))
        return dict(self._known)

    def forget(self) -> None:
        """Forget all counts."""
        self._known = {}

    def forget_written(self) -> None:
        """Forget the counts of catalogs that the open transaction wrote. Call this before the commit."""
        if self._counts_all_again:
            self.forget()
            return
        rows = fetch(self._connection, "EXECUTE sqlmig_written")
        written = {name for (name,) in rows}
        for name in self._names:
            if _BELOW.get(name, name) in written:
                self._known.pop(name, None)

    def _count(self, names: Iterable[str]) -> dict[str, Count]:
        message = ";".join(f"EXECUTE {_statement(name)}" for name in names)
        if not message:
            return {}

        counts = {}
        for rows in fetch_each(self._connection, message):
            for name, *count in rows:
                counts[str(name)] = tuple(count)
        return counts


def _statement(name: str) -> str:
    """Return the name of the prepared statement that counts a catalog."""
    return f"sqlmig_count_{name}"
