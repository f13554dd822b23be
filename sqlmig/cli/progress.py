"""The line while something is at work: for how long, and on a terminal how far an index is."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlmig.cli.output import CLEAR_LINE, is_on_terminal
from sqlmig.errors import SqlmigError
from sqlmig.wording import display_width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlmig.session import Session

# Seconds after which a log is told that something is still at work, the first time and each time again.
_FIRST_WORD = 10
_NEXT_WORDS = 60


@contextmanager
def watch(session: Session, label: str) -> Iterator[None]:
    """Say how long something is at work. Nothing waits for that."""
    line = _Line(session, label)
    session.connection.tick = line.tick
    try:
        yield
    finally:
        session.connection.tick = None
        line.close()


@contextmanager
def watch_below_bar(session: Session, label: str) -> Iterator[None]:
    """Do as watch does, but for a terminal, where one bar stands for all schemas."""
    if is_on_terminal():
        yield
        return
    with watch(session, label):
        yield


class _Line:
    """The line about one thing at work."""

    def __init__(self, session: Session, label: str) -> None:
        self._session = session
        self._label = label
        self._began = time.monotonic()
        self._told = self._began
        self._index = ""  # how far an index is
        self._stack = ExitStack()
        self._other: Any = None  # the connection that asks for that

    def tick(self) -> None:
        """Say or draw the line, if it is time."""
        now = time.monotonic()
        if now < self._told + self._pause():
            return
        self._told = now
        line = f"{self._label} at work for {timedelta(seconds=int(now - self._began))}"
        if is_on_terminal():
            self._ask_progress()
            _draw(line + self._index)
        else:
            self._session.say(line)

    def close(self) -> None:
        """Take the line away."""
        if self._other is not None:
            self._other.finish()  # whatever it was asked
        with suppress(SqlmigError):
            self._stack.close()
        if is_on_terminal():
            _draw("")

    def _pause(self) -> float:
        if is_on_terminal():
            return 1
        return _FIRST_WORD if self._told == self._began else _NEXT_WORDS

    def _ask_progress(self) -> None:
        """Take the answer to the last question, and ask again; both without waiting."""
        from psycopg import Error  # loaded by now

        with suppress(SqlmigError, Error):
            if self._other is None:
                connection = self._stack.enter_context(
                    self._session.connect("sqlmig: progress")
                )
                self._other = connection.pgconn
            self._other.consume_input()
            if self._other.is_busy():
                return
            while result := self._other.get_result():
                self._index = ""
                if result.ntuples:
                    self._index = f": {(result.get_value(0, 0) or b'').decode()}"
            pid = self._session.connection.info.backend_pid
            self._other.send_query(
                self._session.ledger.sql("progress", pid=pid).encode()
            )


def _draw(line: str) -> None:
    """Draw a line that fits the terminal. That may be gone, and the migration goes on."""
    with suppress(OSError):
        columns = (
            os.get_terminal_size(sys.stderr.fileno()).columns or 80
        )  # some do not know theirs
        shown = "".join(char if char.isprintable() else "?" for char in line)
        while shown and display_width(shown) >= columns:
            shown = shown[:-1]
        print(f"{CLEAR_LINE}{shown}", end="", file=sys.stderr, flush=True)
