"""A line on the terminal while a migration is at work: how long it has been, and how far an index is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg.pq.abc import PGconn

from sqlmig.errors import SqlmigError, width
from sqlmig.session import Session

_INDEX = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


@contextmanager
def watched(session: Session, label: str) -> Iterator[None]:
    """Rewrite a line of standard error each second, from the second second on."""
    query = _INDEX.format(pid=session.connection.info.backend_pid, worker=session.ledger.worker).encode()
    begun = told = time.monotonic()
    index, other = "", list[PGconn]()

    def tick() -> None:
        nonlocal told, index
        with suppress(SqlmigError, psycopg.Error):  # where no second connection can be had
            if (now := time.monotonic()) >= told + 1:
                told = now
                _draw(f"{label} at work for {timedelta(seconds=int(now - begun))}{index}")
                if not other:
                    other.append(stack.enter_context(session.connect("sqlmig: progress")).pgconn)
                if not other[0].is_busy():
                    other[0].send_query(query)
            elif other:
                other[0].consume_input()
                while not other[0].is_busy() and (result := other[0].get_result()):  # it is never waited for
                    index = f": {(result.get_value(0, 0) or b'').decode()}" if result.ntuples else ""

    with ExitStack() as stack:
        session.connection.tick = tick
        try:
            yield
        finally:
            session.connection.tick = None
            _draw("")


def _draw(line: str) -> None:
    with suppress(OSError):  # the terminal may be gone, and the migration goes on
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # some do not know theirs
        shown = "".join(char if char.isprintable() else "?" for char in line)
        while shown and sum(map(width, shown)) >= columns:
            shown = shown[:-1]
        print(f"\r\x1b[K{shown}", end="", file=sys.stderr, flush=True)
