"""How results and messages look: their colours, times, JSON, and the line while something is at work."""

import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta

import click

from sqlmig.errors import SqlmigError, counted, width
from sqlmig.plan import Row
from sqlmig.session import Session

_GREEN, _YELLOW = ("applied", "ok"), ("pending", "no-down", "irreversible", "note")
_FEW = 5  # so many are named
_LOG = (10, 60)  # seconds after which a log is told that something is still at work, and then each time again


def say(message: str) -> None:
    """Tell the user something that is no result, in place of the line of progress where there is one."""
    click.echo(("\r\x1b[K" if on_terminal() else "") + message, err=True)


def on_terminal() -> bool:
    """Say whether somebody watches standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def print_json(things: Iterable[object], *fields: str) -> None:
    """Print a list of objects, with these fields where some are named."""
    import json

    picked = [{field: getattr(thing, field) for field in fields} if fields else thing for thing in things]
    click.echo(json.dumps(picked, indent=2))


def print_rows(rows: Sequence[Row]) -> None:
    """Print a line for each version and its state."""
    label, state = (max(len(getattr(row, field)) for row in rows) for field in ("label", "state"))
    for row in rows:
        padding = " " * (state - len(row.state))
        kept = row.applied and row.applied.has_copy and row.state == "missing"
        more = f"{row.applied_at or ''}{'  (the ledger has its down file)' if kept else ''}"
        click.echo(f"{row.label:{label}}  {coloured(row.state)}{padding}  {more}".rstrip())


def print_answers(every: Iterable[Sequence[Row]]) -> None:
    """Print a line for each different answer of many schemas, with how many give it, most first; few are named."""
    answers = defaultdict[str, list[str]](list)
    for rows in every:
        states = defaultdict[str, list[str]](list)
        for row in rows:
            states[row.state].append(row.label)
        words = [
            f"{len(labels):,} {coloured(state)}"
            + ("" if state == "applied" or len(labels) > _FEW else f" ({', '.join(labels)})")
            for state, labels in states.items()
        ]
        answers[", ".join(words)].append(rows[0].schema)
    for answer, schemas in sorted(answers.items(), key=lambda item: -len(item[1])):
        which = f" ({', '.join(schemas)})" if len(schemas) <= _FEW else ""
        click.echo(f"{counted(len(schemas), 'schema')}{which}: {answer}")


def coloured(word: str) -> str:
    """Give a state its colour, which click takes out again where no terminal shows it."""
    colour = "green" if word in _GREEN else "yellow" if word in _YELLOW else "red"
    return word if os.environ.get("NO_COLOR") else click.style(word, fg=colour)


def size(size: float) -> str:
    """Return a number of bytes in words."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 10_240 and units[1:]:
        size, units = size / 1024, units[1:]
    return f"{size:.0f} {units[0]}"


def duration(seconds: float) -> str:
    """Return a time in words."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


@contextmanager
def watch(session: Session, label: str) -> Iterator[None]:
    """Say how long something is at work, on a terminal also how far an index is; nothing waits for that."""
    from psycopg import Error  # it is loaded by now

    begun = told = time.monotonic()
    index, other = "", None

    def tick() -> None:
        nonlocal told, index, other
        now = time.monotonic()
        if now < told + (1 if on_terminal() else _LOG[told > begun]):
            return
        told, line = now, f"{label} at work for {timedelta(seconds=int(now - begun))}"
        if not on_terminal():
            session.say(line)
            return
        with suppress(SqlmigError, Error):
            other = other or stack.enter_context(session.connect("sqlmig: progress")).pgconn
            other.consume_input()
            if not other.is_busy():
                while result := other.get_result():
                    index = f": {(result.get_value(0, 0) or b'').decode()}" if result.ntuples else ""
                other.send_query(session.ledger.sql("progress", pid=session.connection.info.backend_pid).encode())
        _draw(line + index)

    with ExitStack() as stack:
        if not (session.settings.many and on_terminal()):  # there is a bar for all of them
            session.connection.tick = tick
        try:
            yield
        finally:
            session.connection.tick = None
            if other:
                other.finish()  # whatever it was asked
            if on_terminal():
                _draw("")


def _draw(line: str) -> None:
    with suppress(OSError):  # the terminal may be gone, and the migration goes on
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # some do not know theirs
        shown = "".join(char if char.isprintable() else "?" for char in line)
        while shown and sum(map(width, shown)) >= columns:
            shown = shown[:-1]
        print(f"\r\x1b[K{shown}", end="", file=sys.stderr, flush=True)
