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
_errors_are_json = False


def say(message: str) -> None:
    """Print a message that is not a result. It replaces the progress line."""
    clear = CLEAR_LINE if is_on_terminal() else ""
    with suppress(OSError):  # its reader is gone; the work continues
        click.echo(clear + message, err=True)


def report_errors_as_json(*, wanted: bool) -> None:
    """Choose how say_error prints errors from now on."""
    global _errors_are_json
    _errors_are_json = wanted


def errors_are_json() -> bool:
    """Check whether errors are printed as JSON."""
    return _errors_are_json


def say_error(error: object, schema: str = "") -> None:
    """Print an error. schema: the schema in which it happened, if there are many."""
    if _errors_are_json:
        say(json.dumps(error_as_object(error, schema)))
        return
    prefix = f"{schema}: " if schema else ""
    say(f"{prefix}{coloured('error')}: {error}")


def say_interruption(message: str) -> None:
    """Print that the user has interrupted the command."""
    if _errors_are_json:
        say_error(message)
    else:
        say(message)


def error_as_object(error: object, schema: str = "") -> dict[str, object]:
    """Return an error for JSON."""
    fields: dict[str, object] = {"schema": schema} if schema else {}
    fields["message"] = str(error)
    for name in ("path", "line", "column", "sqlstate", "hint"):
        fields[name] = getattr(error, name, None)
    if fields["path"] is not None:
        fields["path"] = str(fields["path"])
    fields["applied"] = [applied._asdict() for applied in getattr(error, "applied", ())]
    return fields


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
