"""The report of a rehearsal: the effects of each migration, in sum over the schemas, and the losses."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, cast

import click

from sqlmig.cli import output
from sqlmig.cli.reporting import Reporter, on_each, report_failed
from sqlmig.core.errors import SqlmigError
from sqlmig.core.plan import Up
from sqlmig.core.text import counted
from sqlmig.rehearsal import rehearse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlmig.cli.opening import Opened
    from sqlmig.cli.options import CommandLine
    from sqlmig.core.plan import Request
    from sqlmig.core.session import Session
    from sqlmig.rehearsal import Loss, Rehearsed


class Rehearsal:
    """The rehearsed steps by schema, and the schemas in which the rehearsal failed."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.by_schema: dict[str, list[Rehearsed]] = {}
        self.failed: list[str] = []

    @property
    def shown(self) -> dict[str, set[int]]:
        """The versions that were shown, by schema."""
        versions: dict[str, set[int]] = defaultdict(set)
        for schema, rehearsed in self.by_schema.items():
            for one in rehearsed:
                versions[schema].add(one.step.version.version)
        return versions

    @property
    def may_lose_rows(self) -> bool:
        """Whether rows would be lost, or may be."""
        return any(one.may_lose_rows for one in self.all())

    def all(self) -> Iterator[Rehearsed]:
        """Yield all that was rehearsed."""
        for rehearsed in self.by_schema.values():
            yield from rehearsed


class _Keep(Reporter):
    """Keeps the rehearsed steps, by schema."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        """Keep it there."""
        self._rehearsal = rehearsal

    def result(self, session: Session, result: object) -> None:
        """Keep a step that was rehearsed."""
        steps = self._rehearsal.by_schema.setdefault(session.ledger.schema, [])
        steps.append(cast("Rehearsed", result))


def rehearse_all(
    command_line: CommandLine,
    opened: Opened,
    todo: Sequence[Session],
    request: Request,
) -> Rehearsal:
    """Rehearse a request in each schema."""
    rehearsal = Rehearsal()

    def work(session: Session) -> list[Rehearsed]:
        return rehearse(session, request, only_schema=opened.are_many)

    try:
        rehearsal.failed = on_each(command_line, opened, todo, work, _Keep(rehearsal))
    except SqlmigError:
        if command_line.as_json:  # also then there is a list on standard output
            output.print_json([])
        raise
    return rehearsal


def print_rehearsal(
    rehearsal: Rehearsal, request: Request, command_line: CommandLine, count: int
) -> int:
    """Print what each migration would do; return the exit code."""
    if command_line.as_json and command_line.is_dry_run:
        output.print_json(_objects(rehearsal, command_line))
        return report_failed(rehearsal.failed, count)

    verb = "apply" if isinstance(request, Up) else "revert"
    lines = list(_lines(rehearsal, verb, command_line))
    lines += _losses(rehearsal.all())
    if not lines and not rehearsal.failed:
        lines.append(f"nothing to do{command_line.in_schemas(count)}")
    for line in lines:
        # Standard output is for the JSON of the run then.
        click.echo(line, err=command_line.as_json)
    return report_failed(rehearsal.failed, count)


def message_for_losses(
    rehearsal: Rehearsal, command_line: CommandLine, place: str
) -> str:
    """Return the message for a revert that is refused because there is no terminal to ask on."""
    lines = [
        f"nothing was reverted in {place}, because rows would be lost, or may be, and there is no terminal to ask on:"
    ]
    lines += [f"  {line}" for line in _lines(rehearsal, "revert", command_line)]
    lines += [f"  {line}" for line in _losses(rehearsal.all())]
    for one in rehearsal.all():
        if one.step.version.has_another_name:
            lines.append(
                f"  {one.step.label} is not one of these files, but {one.step.version.label} is: "
                "is this the right database?"
            )
    lines.append("To revert it anyway, add --yes")
    return "\n".join(lines)


def _lines(rehearsal: Rehearsal, verb: str, command_line: CommandLine) -> Iterator[str]:
    """Yield the lines of each migration, in sum over the schemas."""
    groups: dict[tuple[str, str | None], list[Rehearsed]] = defaultdict(list)
    for one in rehearsal.all():
        groups[one.step.label, one.obstacle].append(one)

    for (label, obstacle), ones in groups.items():
        where = command_line.in_schemas(len(ones))
        if obstacle:
            yield f"not rehearsed {label}: {obstacle}{where}"
        else:
            took = output.duration(sum(one.seconds for one in ones))
            if ones[0].step.file.repeats:
                took += ", its first run; it repeats until a run changes no row"
            if _was_stamped(ones[0]):
                took += "; it was stamped, sqlmig has not run it"
            yield f"would {verb} {label}{where} ({took})"
        for effect in _effects(ones):
            yield f"  {effect}"


def _was_stamped(one: Rehearsed) -> bool:
    row = one.step.version.ledger_row
    return row is not None and row.was_stamped


def _objects(
    rehearsal: Rehearsal, command_line: CommandLine
) -> Iterator[dict[str, object]]:
    for schema, rehearsed in rehearsal.by_schema.items():
        for one in rehearsed:
            fields: dict[str, object] = (
                {"schema": schema} if command_line.has_many_schemas else {}
            )
            fields |= {
                "version": one.step.version.version,
                "name": one.step.version.name,
                "seconds": one.seconds,
                "obstacle": one.obstacle,
                "locks": one.locks,
                "rewrites": one.rewrites,
                "reads": one.reads,
                "losses": {loss.what: loss.rows for loss in one.losses},
                "not_counted": one.hidden,
            }
            yield fields


def _effects(ones: Sequence[Rehearsed]) -> Iterator[str]:
    """Yield a line for each table that a file would do something to, in sum."""
    tables: set[str] = set()
    for one in ones:
        tables.update(one.locks, one.rewrites, one.reads)

    for table in sorted(tables):
        does = [_blocking(table, ones), _rewriting(table, ones)]
        yield f"{table}: {', '.join(word for word in does if word)}"


def _blocking(table: str, ones: Sequence[Rehearsed]) -> str:
    """Return which access to a table is blocked, and the longest time."""
    locking = [one for one in ones if table in one.locks]
    if not locking:
        return ""
    blocked = max(
        (one.locks[table] for one in locking), key=len
    )  # reads too, if any does
    longest = max(one.seconds for one in locking)
    return f"blocks {blocked} for up to {output.duration(longest)}"


def _rewriting(table: str, ones: Sequence[Rehearsed]) -> str:
    """Return how much of a table is rewritten, or that it is read."""
    rewritten = sum(one.rewrites.get(table, 0) for one in ones)
    if rewritten:
        return f"rewrites {output.size(rewritten)}"
    if any(table in one.reads for one in ones):
        return "reads it whole"
    return ""


def _losses(rehearsed: Iterable[Rehearsed]) -> Iterator[str]:
    """Yield a line for each loss, in sum. For a lost table, its columns and rows are not listed."""
    rehearsed = list(rehearsed)
    yield from _not_counted(rehearsed)
    sums: dict[Loss, int] = defaultdict(int)
    for one in rehearsed:
        for loss in one.losses:
            sums[loss._replace(rows=0)] += loss.rows
    lost_tables = {loss.table for loss in sums if loss.kind == "table"}
    for loss, rows in sums.items():
        if loss.kind == "table" or loss.table not in lost_tables:
            yield f"would lose {loss.what} ({counted(rows, 'row')})"


def _not_counted(rehearsed: Iterable[Rehearsed]) -> Iterator[str]:
    """Yield a line for each table whose rows could not be counted."""
    tables: set[str] = set()
    for one in rehearsed:
        tables.update(one.hidden)
    for table in sorted(tables):
        yield (
            f"may lose rows of {table}: row level security hides some from this role, or counting them would run code "
            "of another role, so they were not counted"
        )
