"""The command ``status``."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import click

from sqlmig.cli import output
from sqlmig.cli.command import command
from sqlmig.cli.opening import open_sessions
from sqlmig.cli.options import AS_JSON, CommandLine, option
from sqlmig.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlmig.cli.opening import Opened
    from sqlmig.core.plan import VersionInfo

_FEW = 5  # the number of names that are printed


@command(
    "sqlmig status",
    "sqlmig status --json",
    'sqlmig status --exit-code >/dev/null || echo "not up to date"',
    fails="it failed, or with --exit-code not all is applied",
)
@AS_JSON
@option(
    "--exit-code",
    is_flag=True,
    help="Exit 1 unless every migration is applied (or ahead).",
)
@option("--pending", is_flag=True, help="Show only what `up` would apply.")
def status(command_line: CommandLine, *, exit_code: bool, pending: bool) -> int:
    """Show each version and its state. It writes nothing.

    The last line counts them. States: applied, pending, changed (edited since), missing (its file is gone),
    out-of-order (older than the newest applied), ahead (its file is not here, and it is newer than every file).
    On standard error it names unfinished work: constraints that are NOT VALID or NOT ENFORCED, INVALID indexes, and a
    file that repeats and has begun.
    """
    with open_sessions(command_line, looks_for_unfinished=True) as opened:
        by_schema = {
            session.ledger.schema: session.versions() for session in opened.sessions
        }
        if opened.sessions and output.is_on_terminal():
            # A wrong URL is the most common mistake.
            click.echo(f"{opened.sessions[0].connection.database_name}:", err=True)
    opened.report_unreadable()
    _print_all(command_line, opened, by_schema, only_pending=pending)
    _print_unfinished(opened, by_schema)
    is_behind = any(_is_behind(versions) for versions in by_schema.values())
    return int(bool(opened.unreadable) or (exit_code and is_behind))


def _print_all(
    command_line: CommandLine,
    opened: Opened,
    by_schema: dict[str, list[VersionInfo]],
    *,
    only_pending: bool,
) -> None:
    """Print the versions of each schema: as JSON, in groups, or a line for each and a line that counts them."""
    shown = by_schema
    if only_pending:
        shown = {schema: _pending(versions) for schema, versions in by_schema.items()}
    if command_line.as_json:
        output.print_json(_objects(shown, command_line))
    elif opened.are_many:
        _print_groups(shown)
    else:
        for schema, versions in shown.items():
            _print_versions(versions)
            if len(by_schema[schema]) > 1:
                click.echo(_counts(by_schema[schema]))


def _print_unfinished(opened: Opened, by_schema: dict[str, list[VersionInfo]]) -> None:
    """Print what migrations have begun and not finished, on standard error."""
    for session in opened.sessions:
        if session.contents is None:
            continue
        for words in session.contents.unfinished:
            output.say(f"unfinished: {words}")
        for one in _pending(by_schema[session.ledger.schema]):
            if one.version == session.contents.begun:
                where = f" in {session.ledger.schema}" if opened.are_many else ""
                output.say(
                    f"unfinished: {one.label}{where} has begun, and repeats until a run changes no row; "
                    "`sqlmig up` continues it"
                )


def _pending(versions: Iterable[VersionInfo]) -> list[VersionInfo]:
    return [one for one in versions if one.state in ("pending", "out-of-order")]


def _is_behind(versions: Iterable[VersionInfo]) -> bool:
    return any(one.state not in ("applied", "ahead") for one in versions)


def _objects(
    by_schema: dict[str, list[VersionInfo]], command_line: CommandLine
) -> list[dict[str, object]]:
    objects = []
    for schema, versions in by_schema.items():
        for one in versions:
            fields: dict[str, object] = {}
            if command_line.has_many_schemas:
                fields["schema"] = schema
            fields |= {
                "version": one.version,
                "name": one.name,
                "state": one.state,
                "applied_at": one.applied_at,
                "applied_by": one.applied_by,
                "seconds": one.seconds,
            }
            objects.append(fields)
    return objects


def _print_versions(versions: Sequence[VersionInfo]) -> None:
    """Print a line for each version and its state."""
    label_width = max((len(one.label) for one in versions), default=0)
    state_width = max((len(one.state) for one in versions), default=0)
    for one in versions:
        padding = " " * (state_width - len(one.state))
        more = one.applied_at or ""
        has_copy = one.ledger_row is not None and one.ledger_row.has_down_copy
        if one.state in ("missing", "ahead") and has_copy:
            more += "  (the ledger has its down file)"
        if one.has_another_name:
            more += f"  (applied as {one.recorded_name})"
        click.echo(
            f"{one.label:{label_width}}  {output.coloured(one.state)}{padding}  {more}".rstrip()
        )


def _print_groups(by_schema: dict[str, list[VersionInfo]]) -> None:
    """Print a line for all schemas in the same state, the largest group first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for schema, versions in by_schema.items():
        groups[_summary(versions)].append(schema)
    for summary, schemas in sorted(groups.items(), key=lambda item: -len(item[1])):
        which = f" ({', '.join(schemas)})" if len(schemas) <= _FEW else ""
        each = ", each" if len(schemas) > 1 else ""
        click.echo(f"{counted(len(schemas), 'schema')}{which}{each}: {summary}")


def _counts(versions: Sequence[VersionInfo]) -> str:
    """Return how many versions are in each state."""
    counts = Counter(one.state for one in versions)
    return ", ".join(f"{count:,} {state}" for state, count in counts.items())


def _summary(versions: Sequence[VersionInfo]) -> str:
    """Return how many versions are in each state, with the names if they are few."""
    labels: dict[str, list[str]] = defaultdict(list)
    for one in versions:
        labels[one.state].append(one.label)
    parts = []
    for state, named in labels.items():
        part = f"{len(named):,} {output.coloured(state)}"
        if state != "applied" and len(named) <= _FEW:
            part += f" ({', '.join(named)})"
        parts.append(part)
    return ", ".join(parts)
