"""How results and messages look: their colours, times, JSON, and the line or bar while something is at work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sqlmig.check import Finding
    from sqlmig.plan import Row
    from sqlmig.rehearse import Rehearsed
    from sqlmig.session import Session

_GREEN, _YELLOW = ("applied", "ok"), ("pending", "no-down", "irreversible")


def say(message: str) -> None:
    """Tell the user something that is no result, in place of the line of progress where there is one."""
    click.echo(("\r\x1b[K" if on_terminal() else "") + message, err=True)


def on_terminal() -> bool:
    """Say whether somebody watches standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def watch(session: Session) -> Callable[[str], AbstractContextManager[None]]:
    """Return what shows, on a terminal, how long a migration has been at work."""
    from sqlmig.progress import watched

    return partial(watched, session) if on_terminal() else lambda _: nullcontext()


def print_rehearsal(rehearsed: Sequence[Rehearsed], lost: Sequence[str]) -> None:
    """Print what would be done, and what would be lost."""
    for one in rehearsed:
        label, verb = one.step.migration.label, {"applied": "apply", "reverted": "revert"}[one.step.verb]
        would = f"would {verb} {label} ({duration(one.seconds)})"
        click.echo(f"not rehearsed {label}: {one.obstacle}" if one.obstacle else would)
    for what in lost:
        click.echo(f"would lose {what}")


def print_states(rows: Sequence[Row]) -> None:
    """Print a line a version."""
    label, state = (max(len(getattr(row, field)) for row in rows) for field in ("label", "state"))
    for row in rows:
        padding = " " * (state - len(row.state))
        click.echo(f"{row.label:{label}}  {coloured(row.state)}{padding}  {row.applied_at or ''}".rstrip())


def print_findings(findings: Sequence[Finding]) -> None:
    """Print what the check found of each version."""
    for finding in findings:
        click.echo(f"{coloured(finding.result)}{'':{12 - len(finding.result)}}  {finding.label}")
        for field in ("left", "lost", "changed", "notes"):
            for line in filter(None, getattr(finding, field)):
                click.echo(f"              {field.removesuffix('s')}: {line}".replace("\n", "\n              "))


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
