"""Who holds the lock that a statement of ours waits for. It is asked while the statement waits: later nobody knows."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlmig.core.aside import Aside
from sqlmig.core.sending import TryAgain
from sqlmig.core.times import parse_lock_timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlmig.core.session import Session

# Seconds before it is asked, for the first time and again. A file that takes no longer
# needs no second connection.
_FIRST_PAUSE = 1.0
_NEXT_PAUSE = 0.3


class LockHolders:
    """What is known of those who hold a lock that we wait for."""

    def __init__(self, session: Session) -> None:
        """Ask nobody yet."""
        self._session = session
        query = session.ledger.sql("blockers")
        self._aside = Aside(session, "sqlmig: lock holders", query)
        # Well before the lock timeout, where that is short.
        timeout = parse_lock_timeout(session.options.lock_timeout)
        self._pause = min(_FIRST_PAUSE, timeout / 3)
        self._next = 0.0
        self._last_seen: list[str] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Look on while a file runs. A TryAgain that it raises says then who held the lock."""
        self._next = time.monotonic() + self._pause
        self._last_seen = []
        ticks = self._session.connection.ticks
        ticks.append(self._tick)
        try:
            yield
        except TryAgain as failure:
            failure.lock_holders = self._aside.answer() or self._last_seen
            self._pause = 0  # now that there is a connection
            raise
        finally:
            ticks.remove(self._tick)

    def close(self) -> None:
        """Close the connection that asks."""
        self._aside.close()

    def _tick(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + min(_NEXT_PAUSE, self._pause or _NEXT_PAUSE)
        self._aside.ask()
        self._last_seen = self._aside.answer() or self._last_seen
