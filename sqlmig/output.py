"""How results and messages look: their colours, times, JSON, and the line while something is at work."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sqlmig.session import Session

_GREEN, _YELLOW = ("applied", "ok"), ("pending", "no-down", "irreversible")


def say(message: str) -> None:
    """Tell the user something that is no result, in place of the line of progress where there is one."""
    click.echo(("\r\x1b[K" if on_terminal() else "") + message, err=True)


def on_terminal() -> bool:
    """Say whether somebody watches standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def watch(session: Session, label: str) -> AbstractContextManager[None]:
    """Return what shows, on a terminal, how long a migration has been at work."""
    if not on_terminal():
        return nullcontext()
    from sqlmig.progress import watched

    return watched(session, label)


def print_json(things: Sequence[object], *fields: str) -> None:
    """Print a list of objects with these fields."""
    import json

    click.echo(json.dumps([{field: getattr(thing, field) for field in fields} for thing in things], indent=2))


def coloured(word: str) -> str:
    """Give a state its colour, which click takes out again where no terminal shows it."""
    colour = "green" if word in _GREEN else "yellow" if word in _YELLOW else "red"
    return word if os.environ.get("NO_COLOR") else click.style(word, fg=colour)


def duration(seconds: float) -> str:
    """Return a time in words."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
