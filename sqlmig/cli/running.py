"""The words of ``up`` and ``down``: in one schema a line a migration, in many a line a schema."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from sqlmig.cli import output
from sqlmig.core.connection import fetch
from sqlmig.core.errors import SqlmigError
from sqlmig.core.plan import Down, Up
from sqlmig.core.runner import run
from sqlmig.core.sql import read_statements
from sqlmig.core.wording import counted
from sqlmig.schemas.jobs import work_on_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlmig.cli.options import Settings
    from sqlmig.core.connection import Connection
    from sqlmig.core.plan import Request
    from sqlmig.core.runner import Approve, Done
    from sqlmig.core.session import Session
    from sqlmig.schemas import Schemas
    from sqlmig.schemas.jobs import Outcome

Result = TypeVar("Result")
_OPEN_TABLES = read_statements(Path(__file__).with_name("open_tables.sql"))[
    "open_tables"
]
_FEW = 5  # so many schemas are named


def run_one(
    session: Session,
    request: Request,
    settings: Settings,
    approve: Approve | None = None,
) -> int:
    """Do what is asked for in one schema, a line a migration; return the exit code. approve: as run takes it."""
    verb = verb_of(request)
    committed: list[Done] = []
    try:
        for done in run(session, request, approve):
            committed.append(done)
            if not settings.as_json:
                label = done.step.label
                took = output.duration(done.seconds)
                if done.step.file.repeats:
                    took += f", {counted(done.rows, 'row')}"
                click.echo(f"{output.coloured(verb)} {label} ({took})")
    finally:
        if settings.as_json:
            output.print_json(_as_object(done) for done in committed)

    _warn_of_empty_files(committed, verb)
    if committed and isinstance(request, Up):
        _warn_of_open_tables(session.connection, session)
    if not committed and not settings.as_json:
        click.echo("nothing to do")
    return 0


def run_many(
    schemas: Schemas,
    todo: Sequence[Session],
    request_of: Callable[[Session], Request],
    verb: str,
    settings: Settings,
    failed: list[str],
) -> int:
    """Do what is asked for in many schemas, a line a schema; return the exit code.

    request_of: what is asked for in a schema. failed: schemas where that is told already.
    """
    committed: list[tuple[str, Done]] = []
    worked: set[str] = set()

    def work(session: Session) -> Iterator[Done]:
        return run(session, request_of(session))

    def tell(outcome: Outcome[Done]) -> None:
        schema = outcome.session.ledger.schema
        for done in outcome.results:
            committed.append((schema, done))
        if outcome.results:
            worked.add(schema)
            _say_worked(outcome, verb, settings)

    try:
        failed += on_each(todo, work, tell, settings)
    finally:
        if settings.as_json:
            output.print_json(_as_object(done, schema) for schema, done in committed)

    _warn_of_empty_files([done for _, done in committed], verb)
    if committed and verb == "applied":
        _warn_of_open_tables_of(todo[0])
    _say_created(sorted(schemas.new & worked))
    if not settings.as_json:
        _sum_up(schemas.count, worked, failed, verb, settings)
    return say_failed(failed, schemas.count)


def _say_created(schemas: Sequence[str]) -> None:
    if schemas:
        names = f": {', '.join(schemas)}" if len(schemas) <= _FEW else ""
        output.say(f"created {counted(len(schemas), 'schema')}{names}")


def _say_worked(outcome: Outcome[Done], verb: str, settings: Settings) -> None:
    """Print the line of a schema."""
    if settings.as_json:
        return
    took = output.duration(sum(done.seconds for done in outcome.results))
    schema = outcome.session.ledger.schema
    click.echo(f"{schema}: {output.coloured(verb)} {len(outcome.results)} ({took})")


def _warn_of_open_tables_of(session: Session) -> None:
    """Warn over a new connection: the server may have closed the first one while it was idle."""
    with suppress(SqlmigError), session.connect("sqlmig") as connection:
        _warn_of_open_tables(connection, session)


def _sum_up(
    count: int, worked: set[str], failed: Sequence[str], verb: str, settings: Settings
) -> None:
    rest = count - len(worked | set(failed))
    if rest == count:
        click.echo(f"nothing to do{settings.in_schemas(count)}")
        return
    numbers = {verb: len(worked), "failed": len(failed), "with nothing to do": rest}
    words = [f"{number:,} {what}" for what, number in numbers.items() if number]
    click.echo(f"{counted(count, 'schema')}: {', '.join(words)}")


def _as_object(done: Done, schema: str | None = None) -> dict[str, object]:
    row = done.step.row
    fields: dict[str, object] = {
        "version": row.version,
        "name": row.name,
        "seconds": round(done.seconds, 6),
    }
    return fields if schema is None else {"schema": schema, **fields}


def _warn_of_empty_files(committed: Iterable[Done], verb: str) -> None:
    labels = {
        done.step.row.label for done in committed if not done.step.file.statement_starts
    }
    for label in sorted(labels):
        output.say(f"warning: {label} was {verb}, and its file has no statement")


def _warn_of_open_tables(connection: Connection, session: Session) -> None:
    """Warn of tables that anybody can reach over Supabase's Data API."""
    try:
        rows = fetch(connection, session.ledger.fill(_OPEN_TABLES))
    except SqlmigError:  # what was asked for is done
        return
    names = [str(name) for (name,) in rows]
    if names:
        output.say(
            f"warning: anyone can reach {', '.join(names)}, as the role anon may and row level security is off; "
            "ALTER TABLE … ENABLE ROW LEVEL SECURITY"
        )


def verb_of(request: Request) -> str:
    """Return what is said of a migration that was applied or reverted."""
    return "applied" if isinstance(request, Up) else "reverted"


def confirmed(
    request: Request, shown: Mapping[str, set[int]]
) -> Callable[[Session], Request]:
    """Return a function that gives each schema its request: revert only what was shown there."""

    def request_of(session: Session) -> Request:
        versions = frozenset(shown.get(session.ledger.schema, ()))
        return Down(request.to, request.steps, versions)

    return request_of


def say_failed(failed: Sequence[str], count: int) -> int:
    """Say which of so many schemas failed, and return the exit code."""
    if not failed:
        return 0
    output.say_error(
        f"{len(failed):,} of {counted(count, 'schema')} failed: {', '.join(sorted(failed))}"
    )
    return 1


def on_each(
    sessions: Sequence[Session],
    work: Callable[[Session], Iterable[Result]],
    tell: Callable[[Outcome[Result]], None],
    settings: Settings,
) -> list[str]:
    """Do work in each schema, tell each outcome, and return the schemas where it failed."""
    failed: list[str] = []
    if not sessions:
        return failed

    with _with_bar(
        work_on_each(sessions, work, settings.jobs), len(sessions)
    ) as outcomes:
        for outcome in outcomes:
            if output.is_on_terminal():
                click.echo(output.CLEAR_LINE, nl=False, err=True)
            tell(outcome)
            if outcome.problem:
                failed.append(outcome.session.ledger.schema)
                outcome.session.say(output.error_words(outcome.problem))
    return failed


@contextmanager
def _with_bar(outcomes: Iterator[Result], length: int) -> Iterator[Iterable[Result]]:
    """Yield the outcomes, with a bar where somebody watches. What is at work is cancelled where they are left."""
    bar = nullcontext(outcomes)
    if output.is_on_terminal():
        bar = click.progressbar(outcomes, length=length, show_pos=True, file=sys.stderr)  # type: ignore[assignment]
    try:
        with bar as shown:
            yield shown
    finally:
        outcomes.close()  # type: ignore[attr-defined]
