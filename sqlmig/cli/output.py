"""How results and messages look: colours, times, sizes, and JSON."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

_GREEN = frozenset(("applied", "ok"))
_YELLOW = frozenset(("pending", "ahead", "no-down", "irreversible", "note"))
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
# Removes the progress line from the terminal.
CLEAR_LINE = "\r\x1b[K"


def say(message: str) -> None:
    """Print a message that is not a result. It replaces the progress line."""
    clear = CLEAR_LINE if is_on_terminal() else ""
    with suppress(OSError):  # its reader is gone; the work continues
        click.echo(clear + message, err=True)


def say_error(message: object) -> None:
    """Print an error."""
    say(error_message(message))


def error_message(message: object) -> str:
    """Return a message as an error."""
    return f"{coloured('error')}: {message}"


def is_on_terminal() -> bool:
    """Check whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def print_json(objects: Iterable[dict[str, object]]) -> None:
    """Print a list of objects."""
    click.echo(json.dumps(list(objects), indent=2))


def coloured(word: str) -> str:
    """Give a state its colour. Without a terminal, click removes it."""
    if os.environ.get("NO_COLOR"):
        return word
    if word in _GREEN:
        return click.style(word, fg="green")
    if word in _YELLOW:
        return click.style(word, fg="yellow")
    return click.style(word, fg="red")


def size(count: float) -> str:
    """Return a number of bytes as text."""
    unit = 0
    while count >= 10_240 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Return a time as text."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s"
