"""Running ``up`` and ``down``: rehearse if needed, ask, run, and report. One path for one schema and for many."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sqlmig.cli import output
from sqlmig.cli.opening import open_sessions
from sqlmig.cli.reporting import Reporter, on_each, report_failed
from sqlmig.core.errors import SqlmigError, UsageError
from sqlmig.core.plan import Down, Up, message_for_ahead
from sqlmig.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlmig.cli.opening import Opened
    from sqlmig.cli.options import CommandLine
    from sqlmig.core.plan import Request
    from sqlmig.core.runner import Done
    from sqlmig.core.session import Session
    from sqlmig.schemas.jobs import Outcome

    RequestOf = Callable[[Session], Request]

_FEW = 5  # the number of schemas that are named


def run_request(command_line: CommandLine, request: Request) -> int:
    """Do what a request asks for, or rehearse it; return the exit code.

    The modules that run files are imported only if there is work.
    """
    with open_sessions(command_line) as opened:
        if isinstance(request, Up):
            _report_ahead(opened.sessions)
        todo = [one for one in opened.sessions if _has_work(opened, one, request)]
        if not todo and not opened.unreadable:
            return _nothing_to_do(command_line, opened.count)
        request = _ask_about_non_empty(command_line, todo, request)
        failed = opened.report_unreadable()
        if needs_rehearsal(command_line, request):
            return _rehearse_first(command_line, opened, todo, request, failed)
        return _run_all(command_line, opened, todo, lambda _: request, failed)


def needs_rehearsal(command_line: CommandLine, request: Request) -> bool:
    """Check whether a request is rehearsed: because the user asked for it, or to see what a revert would lose."""
    is_careful = isinstance(request, Down) and not command_line.is_confirmed
    return command_line.is_dry_run or is_careful


def _has_work(opened: Opened, session: Session, request: Request) -> bool:
    try:
        return session.has_work(request)
    except UsageError as error:
        if not opened.are_many:
            raise
        raise UsageError(f"{session.ledger.schema}: {error}") from None


def _report_ahead(sessions: Sequence[Session]) -> None:
    """Print once which versions a newer release has applied, unless ``up`` will be refused."""
    ahead = {}
    for session in sessions:
        if session.ahead() and not session.is_refused(Up()):
            ahead.update({one.version: one for one in session.ahead()})
    message = message_for_ahead(ahead.values())
    if message:
        output.say(message)


def _nothing_to_do(command_line: CommandLine, count: int) -> int:
    where = command_line.in_schemas(count)
    click.echo("[]" if command_line.as_json else f"nothing to do{where}")
    return 0


def _ask_about_non_empty(
    command_line: CommandLine, sessions: Sequence[Session], request: Request
) -> Request:
    """Ask on a terminal whether to apply files to schemas that have objects but no ledger.

    Returns the request as it is to be done. A rehearsal only warns. Without a terminal the run refuses them.
    """
    if not isinstance(request, Up) or request.allow_non_empty:
        return request
    if not command_line.asks and not command_line.is_dry_run:
        return request
    for session in sessions:
        if session.contents is None:
            _ask_about_schema(command_line, session)
    return request._replace(allow_non_empty=True)


def _ask_about_schema(command_line: CommandLine, session: Session) -> None:
    """Ask, or warn before a rehearsal, if a schema has objects. Raises SqlmigError if the answer is no."""
    from sqlmig.core.other_tools import find_neighbours
    from sqlmig.core.steps import message_for_non_empty

    objects = find_neighbours(session.connection, session.ledger).objects
    if not objects:
        return
    message = message_for_non_empty(session, objects)
    if command_line.is_dry_run:
        session.say(f"warning: {message}")
        return
    session.say(message)
    place = f"{session.ledger.schema} of {session.connection.database_name}"
    if not click.confirm(f"Apply them to {place} anyway?", err=True):
        raise SqlmigError("nothing was applied")


def _rehearse_first(
    command_line: CommandLine,
    opened: Opened,
    todo: Sequence[Session],
    request: Request,
    failed: list[str],
) -> int:
    """Rehearse a request. If it is a revert that may run, run it with the versions that were shown."""
    from sqlmig.cli.rehearsing import (
        message_for_losses,
        print_rehearsal,
        rehearse_all,
    )

    rehearsal = rehearse_all(command_line, opened, todo, request)
    rehearsal.failed += failed
    if command_line.is_dry_run or not rehearsal.by_schema:
        return print_rehearsal(rehearsal, request, command_line, opened.count)
    place = todo[0].connection.database_name
    if opened.are_many:
        place = f"{counted(len(rehearsal.by_schema), 'schema')} of {place}"
    if command_line.asks:
        print_rehearsal(rehearsal, request, command_line, opened.count)
        if not click.confirm(f"Revert this in {place}?", err=True):
            output.say("nothing was reverted")
            return _nothing_reverted(command_line)
    elif rehearsal.may_lose_rows:
        output.say_error(message_for_losses(rehearsal, command_line, place))
        return _nothing_reverted(command_line)

    chosen = [one for one in todo if one.ledger.schema in rehearsal.by_schema]
    request_of = _confirmed(request, rehearsal.shown)
    return _run_all(command_line, opened, chosen, request_of, rehearsal.failed)


def _nothing_reverted(command_line: CommandLine) -> int:
    if command_line.as_json:
        click.echo("[]")
    return 1


def _confirmed(request: Request, shown: Mapping[str, set[int]]) -> RequestOf:
    """Return a function that gives each schema its request: revert only the versions that were shown."""

    def request_of(session: Session) -> Request:
        versions = frozenset(shown.get(session.ledger.schema, ()))
        return Down(request.to, request.steps, versions)

    return request_of


def _run_all(
    command_line: CommandLine,
    opened: Opened,
    todo: Sequence[Session],
    request_of: RequestOf,
    failed: list[str],
) -> int:
    """Run the request in each schema, and report it; return the exit code.

    failed: schemas with a failure that is reported already.
    """
    from sqlmig.core.runner import run

    def work(session: Session) -> Iterator[Done]:
        return run(session, request_of(session))

    reporter = (
        _ManySchemas(command_line) if opened.are_many else _OneSchema(command_line)
    )
    try:
        failed += on_each(command_line, opened, todo, work, reporter)
    finally:
        if command_line.as_json:
            output.print_json(reporter.as_objects())

    _warn_of_empty_files(reporter.committed)
    if any(done.step.direction == "up" for _, done in reporter.committed):
        _warn_of_open_tables(todo[0])
    reporter.sum_up(opened, failed)
    return report_failed(failed, opened.count)


class _Committed(Reporter):
    """Collects the committed steps, and prints them."""

    def __init__(self, command_line: CommandLine) -> None:
        """Begin with nothing."""
        self._command_line = command_line
        self.committed: list[tuple[str, Done]] = []

    def result(self, session: Session, done: Done) -> None:
        """Report a step that is committed."""
        self.committed.append((session.ledger.schema, done))

    def sum_up(self, opened: Opened, failed: Sequence[str]) -> None:
        """Print the last line."""

    def as_objects(self) -> Iterator[dict[str, object]]:
        """Yield the committed steps, for JSON."""
        for schema, done in self.committed:
            fields: dict[str, object] = {}
            if self._command_line.has_many_schemas:
                fields["schema"] = schema
            fields["version"] = done.step.version.version
            fields["name"] = done.step.version.name
            fields["seconds"] = round(done.seconds, 6)
            yield fields


class _OneSchema(_Committed):
    """Prints a line for each migration."""

    def result(self, session: Session, done: Done) -> None:
        """Print the line of a migration."""
        super().result(session, done)
        if self._command_line.as_json:
            return
        took = output.duration(done.seconds)
        if done.step.file.repeats:
            took += f", {counted(done.rows, 'row')}"
        click.echo(f"{output.coloured(done.step.verb)} {done.step.label} ({took})")

    def sum_up(self, opened: Opened, failed: Sequence[str]) -> None:
        """Say that there was nothing to do, if another runner was faster."""
        if not self.committed and not failed:
            _ = opened
            if not self._command_line.as_json:
                click.echo("nothing to do")


class _ManySchemas(_Committed):
    """Prints a line for each schema, and the numbers at the end."""

    def __init__(self, command_line: CommandLine) -> None:
        """Begin with nothing."""
        super().__init__(command_line)
        self._verbs: set[str] = set()
        self._worked: set[str] = set()

    def end(self, outcome: Outcome[Done]) -> None:
        """Print the line of a schema."""
        if not outcome.results:
            return
        schema = outcome.session.ledger.schema
        verb = outcome.results[0].step.verb
        self._worked.add(schema)
        self._verbs.add(verb)
        if not self._command_line.as_json:
            took = output.duration(sum(done.seconds for done in outcome.results))
            count = len(outcome.results)
            click.echo(f"{schema}: {output.coloured(verb)} {count} ({took})")

    def sum_up(self, opened: Opened, failed: Sequence[str]) -> None:
        """Print how many schemas were changed, failed, or had nothing to do, and which were made."""
        created = sorted(opened.new & self._worked)
        if created:
            names = f": {', '.join(created)}" if len(created) <= _FEW else ""
            output.say(f"created {counted(len(created), 'schema')}{names}")
        if self._command_line.as_json:
            return
        finished = self._worked - set(failed)
        rest = opened.count - len(finished) - len(failed)
        if rest == opened.count:
            click.echo(f"nothing to do{self._command_line.in_schemas(opened.count)}")
            return
        verb = next(iter(self._verbs), "applied")
        numbers = {
            verb: len(finished),
            "failed": len(failed),
            "with nothing to do": rest,
        }
        parts = [f"{number:,} {what}" for what, number in numbers.items() if number]
        click.echo(f"{counted(opened.count, 'schema')}: {', '.join(parts)}")


def _warn_of_empty_files(committed: Iterable[tuple[str, Done]]) -> None:
    warnings = set()
    for _, done in committed:
        if not done.step.file.statement_starts:
            warnings.add(
                f"warning: {done.step.version.label} was {done.step.verb}, and its file has no statement"
            )
    for warning in sorted(warnings):
        output.say(warning)


def _warn_of_open_tables(session: Session) -> None:
    """Warn of tables that anyone can reach over Supabase's Data API.

    A new connection is used if the first one is closed: a run in many schemas closes it, and a server may.
    """
    from sqlmig.core.connection import fetch
    from sqlmig.core.sql import read_statements

    path = Path(__file__).with_name("open_tables.sql")
    query = session.ledger.fill(read_statements(path)["open_tables"])
    rows = []
    with suppress(SqlmigError):  # the work itself is done
        if session.connection.closed:
            with session.surroundings.connect("sqlmig") as connection:
                rows = fetch(connection, query)
        else:
            rows = fetch(session.connection, query)
    names = [str(name) for (name,) in rows]
    if names:
        output.say(
            f"warning: anyone can reach {', '.join(names)}, because the role anon may and row level security is off; "
            "ALTER TABLE … ENABLE ROW LEVEL SECURITY"
        )
