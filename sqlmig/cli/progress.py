"""The line while something is at work: for how long, and on a terminal how far an index is."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig.cli.output import CLEAR_LINE, is_on_terminal
from sqlmig.core.sql import read_statements
from sqlmig.core.text import counted, display_width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlmig.core.session import Rows, Session

_PROGRESS = read_statements(Path(__file__).with_name("progress.sql"))["progress"]
# Seconds until a log gets the first message that a file still runs, and between further messages.
_FIRST_WORD = 10
_NEXT_WORDS = 60


@contextmanager
def watch(session: Session, label: str, rows: Rows) -> Iterator[None]:
    """Show how long a file has been running. Nothing waits for the display."""
    line = _Line(session, label, rows)
    ticks = session.connection.ticks
    ticks.append(line.tick)
    try:
        yield
    finally:
        ticks.remove(line.tick)
        line.close()


@contextmanager
def watch_below_bar(session: Session, label: str, rows: Rows) -> Iterator[None]:
    """Do the same as watch, except on a terminal, which has one bar for all schemas."""
    if is_on_terminal():
        yield
        return
    with watch(session, label, rows):
        yield


class _Line:
    """The line about one thing at work."""

    def __init__(self, session: Session, label: str, rows: Rows) -> None:
        self._session = session
        self._label = label
        self._rows = rows
        from sqlmig.core.side_query import SideQuery  # here, as help needs no driver

        self._began = time.monotonic()
        self._told = self._began
        pid = session.connection.info.backend_pid
        query = session.ledger.fill(_PROGRESS, pid=pid)
        self._index = SideQuery(
            session, "sqlmig: progress", query
        )  # how far an index is

    def tick(self) -> None:
        """Say or draw the line, if it is time."""
        now = time.monotonic()
        if now < self._told + self._pause():
            return
        self._told = now
        line = f"{self._label}: running for {timedelta(seconds=int(now - self._began))}"
        rows = self._rows()
        if rows:
            line += f", {counted(rows, 'row')} so far"
        if not is_on_terminal():
            self._session.say(line)
            return
        self._index.send()
        for progress in self._index.result():
            line += f": {progress}"
        _draw(line)

    def close(self) -> None:
        """Take the line away."""
        self._index.close()
        if is_on_terminal():
            _draw("")

    def _pause(self) -> float:
        if is_on_terminal():
            return 1
        return _FIRST_WORD if self._told == self._began else _NEXT_WORDS


def _draw(line: str) -> None:
    """Draw a line that fits the terminal. If the terminal is gone, the migration continues."""
    with suppress(OSError):
        columns = (
            os.get_terminal_size(sys.stderr.fileno()).columns or 80
        )  # some do not know theirs
        shown = "".join(char if char.isprintable() else "?" for char in line)
        while shown and display_width(shown) >= columns:
            shown = shown[:-1]
        print(f"{CLEAR_LINE}{shown}", end="", file=sys.stderr, flush=True)
