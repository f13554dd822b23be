"""Correcting ledgers, for ``stamp`` and ``repair``: one path for one schema and for many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sqlmig.cli.reporting import Reporter, on_each, report_failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlmig.cli.opening import Opened
    from sqlmig.cli.options import CommandLine
    from sqlmig.core.session import Session
    from sqlmig.takeover import Correction


class _Lines(Reporter):
    """Prints each correction, with its schema if there are many."""

    def __init__(self, opened: Opened) -> None:
        """Keep whether there are many."""
        self._opened = opened

    def result(self, session: Session, result: object) -> None:
        """Print a line."""
        prefix = f"{session.ledger.schema}: " if self._opened.are_many else ""
        click.echo(f"{prefix}{result}")


def correct_all(
    command_line: CommandLine,
    opened: Opened,
    todo: Sequence[Session],
    corrections_of: Callable[[Session], list[Correction]],
) -> int:
    """Correct the ledger of each schema, and print the corrections; return the exit code."""
    from sqlmig.takeover import correct  # here, because help needs no driver

    def work(session: Session) -> list[str]:
        return correct(session, corrections_of) or ["nothing to do"]

    failed = opened.report_unreadable()
    failed += on_each(command_line, opened, todo, work, _Lines(opened))
    return report_failed(failed, opened.count)
