"""The command ``check``: a line for each version, and below it the findings."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sqlmig.cli import github, output
from sqlmig.cli.command import command
from sqlmig.cli.opening import scratch_server
from sqlmig.cli.options import (
    AS_JSON,
    NOT_NEGATIVE,
    SCRATCH,
    SET,
    CommandLine,
    option,
)
from sqlmig.core import migrations, plan
from sqlmig.core.database import database, has_database
from sqlmig.core.errors import SqlmigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlmig.check import BaseProblem, Break, Finding, Scratch
    from sqlmig.core.migrations import Migration

_INDENT = " " * 14


@command(
    "sqlmig check",
    "sqlmig check --from 12 --json",
    "sqlmig check --fail-on rewrites,reads --base origin/main",
    fails="a version is broken, failed, refused or has no down file",
)
@option(
    "--from",
    "start",
    type=NOT_NEGATIVE,
    metavar="V",
    help="Do not test versions before V; just run them.",
)
@option(
    "--fail-on",
    metavar="LIST",
    help="Fail if a file rewrites a table or reads it whole while others wait for it, if it loses data, if it cannot "
    "restart after an interruption, or if it breaks a query or a function. LIST is one or more of "
    "rewrites,reads,losses,restarts,breaks. A file passes if its directive accepts them. With --base only new versions "
    "are judged.",
)
@option(
    "--queries",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The statements that the released application sends, with parameters as $1. Show which version breaks one. "
    "SET is executed, anything else is prepared and not run.",
)
@option(
    "--base",
    metavar="REF",
    help="Compare with a git revision, such as origin/main. Fail if an up file there was edited or removed here. "
    "Fail if the number of a new version exists there, or is below the newest there.",
)
@SCRATCH
@SET
@AS_JSON
def check(
    command_line: CommandLine,
    start: int | None,
    fail_on: str | None,
    queries: Path | None,
    base: str | None,
) -> int:
    """Prove that each down file undoes its up file.

    It makes a scratch database on the server (the role needs CREATEDB) or on the server of --scratch, and drops it at
    the end. There it runs each version up, down and up again, and compares the schema before and after. It also
    compares rows, if there are files VERSION_NAME.rows.sql. With --schema the files run in a schema of that name.
    """
    from sqlmig.check import Gate, compare_with_base, prove, read_queries

    kinds = _kinds(fail_on or "")
    if base is not None and not base.strip():
        raise UsageError("--base needs a git revision, such as origin/main")
    found = migrations.find(command_line.directory)
    plan.check_version(found, start)
    gate = Gate(kinds)
    of_application = read_queries(queries) if queries else []
    problems: list[BaseProblem] = []
    if base:
        problems, new = compare_with_base(command_line.directory, found, base)
        gate = Gate(kinds, new)
    for problem in problems:
        report_base_problem(problem)

    never: list[Break] = []
    with _open_scratch(command_line, found) as scratch:
        trials = prove(scratch, found, start or 0, gate, of_application, never.extend)
        findings = _with_bar(trials, len(found))
        # Dropping the scratch database may take some seconds, or fail.
        report(findings, as_json=command_line.as_json)
    _warn_of_never_prepared(never)
    return int(bool(problems) or any(finding.has_failed for finding in findings))


def _warn_of_never_prepared(breaks: Sequence[Break]) -> None:
    for one in breaks:
        output.say(
            f"warning: {one.what} could be prepared after no version: {one.error}"
        )


@contextmanager
def _open_scratch(
    command_line: CommandLine, found: Sequence[Migration]
) -> Iterator[Scratch]:
    """Yield the scratch database. Without a database to be like, --scratch is enough."""
    from sqlmig.check import scratch_database, setup_from

    set_up = setup_from(command_line.setup)
    if not has_database(command_line.url):
        command_line.url, command_line.scratch = command_line.scratch, ""
    with (
        database(command_line.url, command_line.wait, make=True) as url,
        scratch_server(command_line, url) as server,
        scratch_database(
            url,
            command_line.ledger,
            output.say,
            server=server,
            files=_files(found),
            file_settings=command_line.options.settings,
            set_up=set_up,
        ) as scratch,
    ):
        yield scratch


def _files(found: Sequence[Migration]) -> list[Path]:
    files = []
    for migration in found:
        files.append(migration.up_file)
        if migration.down_file:
            files.append(migration.down_file)
    return files


def _with_bar(trials: Iterator[Finding], length: int) -> list[Finding]:
    """Return the findings, with a progress bar on a terminal."""
    bar = nullcontext(trials)
    if output.is_on_terminal():
        bar = click.progressbar(
            trials, length=length, label="checking", file=sys.stderr
        )  # type: ignore[assignment]
    with bar as shown:
        return list(shown)


def _kinds(words: str) -> list[str]:
    """Return the kinds in a list such as ``rewrites,reads``."""
    from sqlmig.check import KINDS

    kinds = words.replace(",", " ").split()
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(
                f"--fail-on takes {', '.join(KINDS)}, separated by commas, and not {kind!r}"
            )
    return kinds


def report(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print the findings. On GitHub, also annotate the files that fail."""
    if as_json:
        output.print_json(map(_as_object, findings))
    else:
        for finding in findings:
            _print_finding(finding)
    if github.is_wanted():
        for finding in findings:
            if finding.has_failed:
                _annotate(finding)


def _print_finding(finding: Finding) -> None:
    """Print the finding of a version."""
    word: str = finding.result
    if finding.refused and word in ("ok", "irreversible"):
        word = "refused"
    padding = " " * (12 - len(word))
    click.echo(f"{output.coloured(word)}{padding}  {finding.label}")
    restarts = finding.restarts.lines() if finding.restarts else []
    breaks = [f"breaks {broken}" for broken in finding.breaks]
    for line in [*finding.effects.words(), *restarts, *breaks, *_faults(finding)]:
        click.echo(f"{_INDENT}{line}")
    for note in finding.notes:
        click.echo(f"{_INDENT}note: {note}".replace("\n", f"\n{_INDENT}"))


def _faults(finding: Finding) -> Iterator[str]:
    """Yield a line for each difference and each effect that the gate refuses."""
    found = _as_object(finding)
    for name in ("left", "lost", "changed", "refused"):
        for words in found[name]:  # type: ignore[attr-defined]
            yield f"{name}: {words}"


def _as_object(finding: Finding) -> dict[str, object]:
    """Return the finding of a version, for JSON."""
    differences = finding.differences
    left = [" ".join(key) for key in differences.left]
    lost = [" ".join(key) for key in differences.lost]
    changed = [str(difference) for difference in differences.changed]
    by_kind = {"left": left, "lost": lost, "changed": changed}
    for change in finding.row_changes:
        by_kind[change.kind].append(str(change))

    effects = finding.effects
    return {
        "version": finding.version,
        "result": finding.result,
        **by_kind,
        "refused": finding.refused,
        "notes": finding.notes,
        "locks": effects.locks,
        "rewrites": effects.rewrites,
        "reads": effects.reads,
        "losses": effects.losses,
        "restarts": _restarts_as_object(finding),
        "breaks": [str(broken) for broken in finding.breaks],
    }


def _restarts_as_object(finding: Finding) -> dict[str, object] | None:
    """Return the places of a file that does not run in one transaction; None for another."""
    if finding.restarts is None:
        return None
    failures = [failure.message for failure in finding.restarts.failures]
    return {"places": finding.restarts.places, "failures": failures}


def _annotate(finding: Finding) -> None:
    """Annotate the reasons of a failure on GitHub."""
    words = list(_faults(finding))
    if finding.restarts:
        words += [failure.message for failure in finding.restarts.failures]
    words += [f"breaks {broken}" for broken in finding.breaks]
    if finding.result != "broken":
        words += finding.notes
    title = f"{finding.label} {finding.result}"
    if finding.refused:
        title = f"{finding.label} refused"
    github.annotate(
        finding.path, finding.line, title, "\n".join(words) or finding.result
    )
    for broken in finding.breaks:
        if broken.path:
            message = f"{finding.label} breaks it: {broken.error}"
            github.annotate(broken.path, broken.line, title, message)


def report_base_problem(problem: BaseProblem) -> None:
    """Print a problem of a file compared with the base."""
    error = SqlmigError(f"{problem.path}: {problem.message}", path=problem.path)
    output.say_error(error)
    if github.is_wanted():
        github.annotate(
            problem.path, None, "migration compared with the base", problem.message
        )
