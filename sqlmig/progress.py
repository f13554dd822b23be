"""A line on the terminal while a migration is at work: how long it has been, and how far an index is."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import psycopg

from sqlmig.database import Connection
from sqlmig.errors import SqlmigError, width
from sqlmig.session import Session

_INDEX = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


@contextmanager
def watched(session: Session, label: str) -> Iterator[None]:
    """Rewrite a line of standard error each second, from the second second on."""
    done, writing = threading.Event(), threading.Lock()

    def write(line: str) -> None:
        with writing, suppress(OSError):  # the terminal may be gone, and the migration goes on
            if not done.is_set():
                columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # some do not know theirs
                print(f"\r\x1b[K{_fitting(line, columns - 1)}", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=_watch, args=(session, label, done, write), daemon=True)
    thread.start()
    try:
        yield
    finally:
        write("")
        done.set()
        thread.join(1)


def _fitting(line: str, columns: int) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in line)
    while shown and sum(map(width, shown)) > columns:
        shown = shown[:-1]
    return shown


def _watch(session: Session, label: str, done: threading.Event, write: Callable[[str], None]) -> None:
    begun, ids = time.monotonic(), [session.connection.info.backend_pid, session.ledger.worker]
    with ExitStack() as stack:
        connection: Connection | None = None
        while not done.wait(1):
            line = f"{label} at work for {timedelta(seconds=int(time.monotonic() - begun))}"
            write(line)
            with suppress(SqlmigError, psycopg.Error):  # where no second connection can be had
                connection = connection or stack.enter_context(session.connect("sqlmig: progress"))
                for (index,) in connection.execute(_INDEX, ids):
                    write(f"{line}: {index}")
