"""The sessions that hold a lock that our statement waits for. They must be read while it waits."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig.core.errors import TryAgain
from sqlmig.core.side_query import SideQuery
from sqlmig.core.sql import read_statements
from sqlmig.core.text import parse_lock_timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlmig.core.session import Session

_QUERY = read_statements(Path(__file__).with_suffix(".sql"))["blockers"]
# Seconds before the first query, and between two. A file that takes less time needs no
# second connection.
_FIRST_PAUSE = 1.0
_NEXT_PAUSE = 0.3


class Blockers:
    """The sessions that hold a lock that we wait for, from a query on another connection."""

    def __init__(self, session: Session) -> None:
        """Send no query yet."""
        self._session = session
        query = session.ledger.fill(_QUERY)
        self._query = SideQuery(session, "sqlmig: blockers", query)
        # Well before a short lock timeout ends.
        timeout = parse_lock_timeout(session.options.lock_timeout)
        self._pause = min(_FIRST_PAUSE, timeout / 3)
        self._next = 0.0
        self._last_seen: list[str] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for blockers while a block runs. If the block raises TryAgain, the error gets their names."""
        self._next = time.monotonic() + self._pause
        self._last_seen = []
        ticks = self._session.connection.ticks
        ticks.append(self._tick)
        try:
            yield
        except TryAgain as failure:
            failure.blockers = self._query.result() or self._last_seen
            self._pause = 0  # the connection is open now
            raise
        finally:
            ticks.remove(self._tick)

    def close(self) -> None:
        """Close the connection of the query."""
        self._query.close()

    def _tick(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + min(_NEXT_PAUSE, self._pause or _NEXT_PAUSE)
        self._query.send()
        self._last_seen = self._query.result() or self._last_seen
