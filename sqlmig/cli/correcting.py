"""Correcting ledgers, for ``stamp``, ``unstamp`` and ``repair``: one path for one schema and for many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sqlmig.cli import output
from sqlmig.cli.reporting import Reporter, on_each, report_failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlmig.cli.opening import Opened
    from sqlmig.cli.options import CommandLine
    from sqlmig.core.session import Session
    from sqlmig.takeover import Correction

    CorrectionsOf = Callable[[Session], list[Correction]]


class _Lines(Reporter):
    """Prints each correction, with its schema if there are many."""

    def __init__(self, opened: Opened) -> None:
        """Keep whether there are many."""
        self._opened = opened

    def result(self, session: Session, result: object) -> None:
        """Print a line."""
        prefix = f"{session.ledger.schema}: " if self._opened.are_many else ""
        click.echo(f"{prefix}{result}")


def ask_and_correct(
    command_line: CommandLine,
    opened: Opened,
    corrections_of: CorrectionsOf,
    verb: str,
    is_sure: Callable[[CommandLine, Sequence[Session]], bool] = lambda *_: True,
) -> int:
    """Show the corrections, ask, and make them; return the exit code.

    verb: what to ask for, for example ``Repair``. is_sure asks a question before that.
    """
    todo = [session for session in opened.sessions if corrections_of(session)]
    if not todo and not opened.unreadable:
        click.echo("nothing to do")
        return 0
    if todo and not command_line.is_confirmed:
        for session in todo:
            for correction in corrections_of(session):
                session.say(f"would {correction.message}")
        if not _may_correct(command_line, todo, verb, is_sure):
            return 1
    return correct_all(command_line, opened, todo, corrections_of)


def _may_correct(
    command_line: CommandLine,
    sessions: Sequence[Session],
    verb: str,
    is_sure: Callable[[CommandLine, Sequence[Session]], bool],
) -> bool:
    """Ask whether to correct the ledgers. Without a terminal the answer is no."""
    database_name = sessions[0].connection.database_name
    if not command_line.asks:
        output.say_error(
            f"nothing was changed in {database_name}, because there is no terminal to ask on: "
            "if this is right, add --yes"
        )
        return False
    if is_sure(command_line, sessions) and click.confirm(
        f"{verb} the ledger of {database_name}?", err=True
    ):
        return True
    output.say("nothing was changed")
    return False


def correct_all(
    command_line: CommandLine,
    opened: Opened,
    todo: Sequence[Session],
    corrections_of: CorrectionsOf,
) -> int:
    """Correct the ledger of each schema, and print the corrections; return the exit code."""
    from sqlmig.takeover import correct  # here, because help needs no driver

    def work(session: Session) -> list[str]:
        return correct(session, corrections_of) or ["nothing to do"]

    failed = opened.report_unreadable()
    failed += on_each(command_line, opened, todo, work, _Lines(opened))
    return report_failed(failed, opened.count)
