"""The command line: words in, words out. A command imports what it needs, and no more."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import sqlmig
from sqlmig import files, options, output, plan
from sqlmig.errors import SqlmigError, UsageError
from sqlmig.ledger import Ledger
from sqlmig.options import Settings, epilog

if TYPE_CHECKING:
    from sqlmig.plan import Verb
    from sqlmig.session import Session


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog(
        ('sqlmig new "add invoices"', "sqlmig -d postgresql://localhost/app up", "sqlmig status"), "it failed"
    ),
)
@click.version_option(sqlmig.__version__, message="sqlmig %(version)s")
@options.url
@options.directory
@options.schema
@click.pass_context
def group(context: click.Context, url: str | None, directory: Path, schema: str | None) -> None:
    """Run plain up/down SQL files against PostgreSQL, and leave no mess."""
    context.obj = Settings(url or None, directory, Ledger(schema or "public", named=bool(schema)))


def _command(*examples: str, fails: str = "it failed") -> Callable[[Callable[..., Any]], click.Command]:
    """Add a command to the group, with the examples and the reason of exit code 1 below its help."""
    return group.command(epilog=epilog(examples, fails))


def _exclusive(**options: int | bool | None) -> None:
    given = [f"--{name}" for name, value in options.items() if value is not None and value is not False]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other; give one")


@_command("sqlmig up", "sqlmig up --to 7", "sqlmig up --dry-run", fails="it failed or refused")
@options.to
@options.steps
@options.option("--allow-out-of-order", is_flag=True, help="Apply also what is older than the newest applied.")
@options.dry_run
@options.lock_timeout
@options.retries
@click.pass_obj
def up(
    settings: Settings,
    to: int | None,
    steps: int | None,
    *,
    allow_out_of_order: bool,
    dry_run: bool,
    lock_timeout: str,
    retries: int,
) -> None:
    """Apply what is pending, oldest first, one transaction per file."""
    _exclusive(to=to, steps=steps)
    with settings.session() as session:

        def wanted(done: int) -> list[int]:
            return plan.up(session.rows(), to, steps, done=done, out_of_order=allow_out_of_order)

        if dry_run:
            _rehearse(session, "applied", wanted, lock_timeout)
        else:
            _run(session, "applied", wanted, lock_timeout, retries)


@_command("sqlmig down", "sqlmig down --to 7", "sqlmig down --all --dry-run", fails="it failed or refused")
@options.option("--to", type=options.number, metavar="V", help="Revert what is newer than V; 0 reverts all.")
@options.steps
@options.option("--all", "all_", is_flag=True, help="Revert all.")
@options.dry_run
@options.option("--yes", is_flag=True, help="Do not ask; without a terminal it never asks.")
@options.lock_timeout
@options.retries
@click.pass_obj
def down(
    settings: Settings,
    to: int | None,
    steps: int | None,
    *,
    all_: bool,
    dry_run: bool,
    yes: bool,
    lock_timeout: str,
    retries: int,
) -> int:
    """Revert the newest applied migration, or more, newest first."""
    _exclusive(to=to, steps=steps, all=all_)
    count = 1 if to is None and steps is None and not all_ else steps
    with settings.session() as session:

        def wanted(done: int) -> list[int]:
            return plan.down(session.rows(checked=False), to, count, done=done)

        def confirmed(done: int) -> list[int]:
            if others := set(versions := wanted(done)) - set(shown):
                said = f"the ledger has changed since you were asked: {max(others)} is applied"
                raise SqlmigError(f"{said}; run it again")
            return versions

        asks = sys.stdin is not None and sys.stdin.isatty() and not yes
        shown = _rehearse(session, "reverted", wanted, lock_timeout) if dry_run or asks else []
        if dry_run or (asks and not shown):
            return 0
        if asks and not click.confirm("Revert?", err=True):
            output.say("nothing was reverted")
            return 1
        _run(session, "reverted", confirmed if asks else wanted, lock_timeout, retries)
    return 0


def _run(session: Session, verb: Verb, wanted: Callable[[int], list[int]], lock_timeout: str, retries: int) -> None:
    """Run what is wanted, and print a line for each migration as it is done."""
    nothing = True
    if versions := wanted(0):
        from sqlmig.run import run

        for step, took in run(session, verb, versions, wanted, lock_timeout, retries):
            click.echo(f"{output.coloured(verb)} {step.migration.label} ({output.duration(took)})")
            nothing = False
    if nothing:
        click.echo("nothing to do")


def _rehearse(session: Session, verb: Verb, wanted: Callable[[int], list[int]], lock_timeout: str) -> list[int]:
    """Rehearse what is wanted, print a line for each migration, and return their versions."""
    if not wanted(0):
        click.echo("nothing to do")
        return []
    from sqlmig.rehearse import rehearse

    rehearsed, lost = session.alone(lambda: rehearse(session, verb, wanted(0), lock_timeout))
    for one in rehearsed:
        label, infinitive = one.step.migration.label, "apply" if verb == "applied" else "revert"
        would = f"would {infinitive} {label} ({output.duration(one.seconds)})"
        click.echo(f"not rehearsed {label}: {one.obstacle}" if one.obstacle else would)
    for what in lost:
        click.echo(f"would lose {what}")
    return [one.step.migration.version for one in rehearsed]


@_command(
    "sqlmig status",
    "sqlmig status --json",
    'sqlmig status --exit-code >/dev/null || echo "not up to date"',
    fails="it failed, or --exit-code and not every migration is applied",
)
@options.json
@options.option("--exit-code", is_flag=True, help="Exit 1 unless every migration is applied.")
@click.pass_obj
def status(settings: Settings, *, as_json: bool, exit_code: bool) -> int:
    """Show each version and its state. It writes nothing.

    States: applied, pending, changed (edited since), missing (its file is gone), out-of-order (older than the newest).
    """
    with settings.session() as session:
        rows = session.rows()
    if as_json:
        output.print_json(rows, "version", "name", "state", "applied_at")
    label, state = (max(len(getattr(row, field)) for row in rows) for field in ("label", "state"))
    for row in [] if as_json else rows:
        padding = " " * (state - len(row.state))
        click.echo(f"{row.label:{label}}  {output.coloured(row.state)}{padding}  {row.applied_at or ''}".rstrip())
    return int(exit_code and any(row.state != "applied" for row in rows))


@_command('sqlmig new "add invoices"')
@click.argument("name")
@click.pass_obj
def new(settings: Settings, name: str) -> None:
    """Write the next pair of files."""
    for path in files.create(settings.directory, name):
        click.echo(path)


@_command(
    "sqlmig check", "sqlmig -d embedded:./data check --json", fails="one is broken, failed or without a down file"
)
@options.json
@click.pass_obj
def check(settings: Settings, *, as_json: bool) -> int:
    """Prove that each down file undoes its up file.

    On a scratch database of the server, which it makes and drops: the role needs CREATEDB.
    """
    from sqlmig.check import check, scratch
    from sqlmig.session import located

    migrations = files.find(settings.directory)
    with located(settings.url) as url, scratch(url, settings.ledger, output.say) as connection:
        trials = check(connection, migrations)
        bar = click.progressbar(trials, length=len(migrations), label="checking", file=sys.stderr)
        with bar if output.on_terminal() else nullcontext(trials) as each:
            findings = list(each)
    if as_json:
        output.print_json(findings, "version", "result", "left", "lost", "changed", "notes")
    for finding in [] if as_json else findings:
        click.echo(f"{output.coloured(finding.result)}{'':{12 - len(finding.result)}}  {finding.label}")
        for field in ("left", "lost", "changed", "notes"):
            for line in filter(None, getattr(finding, field)):
                click.echo(f"              {field.removesuffix('s')}: {line}".replace("\n", "\n              "))
    return int(any(finding.result not in ("ok", "irreversible") for finding in findings))


@_command(
    "sqlmig script > all.sql",
    "sqlmig script --from 8 --to 9",
    "sqlmig script --from 9 --down",
    fails="a file cannot be in a script",
)
@options.option("--from", "start", type=options.number, metavar="V", help="Begin at this version.")
@options.to
@options.option("--down", "backward", is_flag=True, help="Revert instead, all from --to back to --from.")
@click.pass_obj
def script(settings: Settings, start: int | None, to: int | None, *, backward: bool) -> None:
    """Print one SQL script that applies the files.

    It is for the Supabase SQL editor or psql, and leaves out what the ledger there has: one can paste it twice.
    """
    from sqlmig.script import script

    migrations = files.find(settings.directory)
    for version in (start, to):
        if version is not None and version not in {m.version for m in migrations}:
            raise UsageError(f"there is no version {version} in {settings.directory}")
    chosen = [m for m in migrations if (start is None or m.version >= start) and (to is None or m.version <= to)]
    if not chosen:
        raise UsageError("--from is beyond --to")
    click.echo(script(settings.ledger, migrations, chosen, output.say, down=backward), nl=False)


@_command("sqlmig stamp 7")
@click.argument("version", type=options.number, metavar="V")
@click.pass_obj
def stamp(settings: Settings, version: int) -> None:
    """Record everything up to V as applied without running it."""
    with settings.session() as session:
        from sqlmig.run import stamp

        for line in session.alone(lambda: stamp(session, version)) or ["nothing to do"]:
            click.echo(line)


@_command("sqlmig docs > schema.md")
@options.option(
    "--schema",
    metavar="NAME",
    callback=options.schema_name,
    show_default="the first on the search path",
    help="The schema.",
)
@click.pass_obj
def docs(settings: Settings, schema: str | None) -> None:
    """Print the schema as a Markdown page.

    Its tables, views and functions, with a Mermaid diagram, which GitHub draws, from the catalog and its comments.
    """
    from sqlmig.database import connected
    from sqlmig.docs import page
    from sqlmig.session import located

    named = settings.ledger.schema if settings.ledger.named else None
    with located(settings.url) as url, connected(url, output.say) as connection:
        click.echo(page(connection, schema or named), nl=False)


def command(arguments: list[str] | None = None) -> int:
    """Run a command line, turn what goes wrong into words, and return the exit code."""
    try:
        return int(group.main(arguments, prog_name="sqlmig", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort as abort:  # which click makes of KeyboardInterrupt
        output.say(str(abort.__cause__ or "") or "interrupted")
        return 128 + (signal.SIGTERM if isinstance(abort.__cause__, Terminated) else signal.SIGINT)
    except OSError as error:  # a full disk behind standard output, say
        output.say(f"{output.coloured('error')}: {error.strerror}")
        return 1
    except SqlmigError as error:
        output.say(f"{output.coloured('error')}: {error}")
        return error.exit_code


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: what is under way is cancelled on the server, and told."""


def _terminate(_: int, __: object) -> None:
    raise Terminated


def main() -> None:
    """Be the console script. It leaves without the interpreter's teardown, which takes longer than most commands."""
    signal.signal(signal.SIGTERM, _terminate)
    code = command()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by who started it
            stream.flush()
    os._exit(code)
