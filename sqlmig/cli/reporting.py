"""Doing work in each schema, and reporting it as it comes."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sqlmig.cli import output
from sqlmig.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlmig.cli.opening import Opened
    from sqlmig.cli.options import CommandLine
    from sqlmig.core.session import Session
    from sqlmig.schemas.jobs import Outcome

Result = TypeVar("Result")


def report_failed(failed: Sequence[str], count: int) -> int:
    """Print which schemas failed, and return the exit code."""
    if failed and not output.errors_are_json():  # there is an object for each
        output.say_error(
            f"{len(failed):,} of {counted(count, 'schema')} failed: {', '.join(sorted(failed))}"
        )
    return int(bool(failed))


class Reporter:
    """Prints nothing. on_each calls it with each result, and at the end of each schema."""

    def result(self, session: Session, result: Any) -> None:
        """Report a result."""

    def end(self, outcome: Outcome[Any]) -> None:
        """Report that a schema is finished."""


def on_each(
    command_line: CommandLine,
    opened: Opened,
    sessions: Sequence[Session],
    work: Callable[[Session], Iterable[Result]],
    reporter: Reporter,
) -> list[str]:
    """Do work in each schema, report it, and return the schemas in which it failed.

    With one schema each result is reported as it comes, and a failure is raised. With many
    each schema is reported at its end.
    """
    failed: list[str] = []
    if not opened.are_many:
        for session in sessions:
            for result in work(session):
                reporter.result(session, result)
        return failed
    if not sessions:
        return failed
    from sqlmig.schemas.jobs import work_on_each

    outcomes = work_on_each(sessions, work, command_line.jobs)
    with _with_bar(outcomes, len(sessions)) as shown:
        for outcome in shown:
            if output.is_on_terminal():
                click.echo(output.CLEAR_LINE, nl=False, err=True)
            for result in outcome.results:
                reporter.result(outcome.session, result)
            reporter.end(outcome)
            if outcome.failure:
                failed.append(outcome.session.ledger.schema)
                output.say_error(outcome.failure, outcome.session.ledger.schema)
    return failed


@contextmanager
def _with_bar(outcomes: Iterator[Result], length: int) -> Iterator[Iterable[Result]]:
    """Yield the outcomes, with a bar on a terminal. If the caller leaves early, the work is cancelled."""
    bar = nullcontext(outcomes)
    if output.is_on_terminal():
        bar = click.progressbar(outcomes, length=length, show_pos=True, file=sys.stderr)  # type: ignore[assignment]
    try:
        with bar as shown:
            yield shown
    finally:
        outcomes.close()  # type: ignore[attr-defined]
