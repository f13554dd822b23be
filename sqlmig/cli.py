"""The command line: words in, words out."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import sqlmig
from sqlmig import check, files, plan, run, script
from sqlmig.database import connected, located
from sqlmig.errors import SqlmigError, UsageError
from sqlmig.ledger import WORKER, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlmig.files import Migration


_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")


@dataclass(frozen=True)
class Settings:
    """The options of the group."""

    url: str | None
    directory: Path
    ledger: Ledger

    def migrations(self) -> list[Migration]:
        """Return what the directory holds. Raises SqlmigError where it holds none."""
        found = files.find(self.directory)
        if not found:
            raise SqlmigError(
                f"{self.directory}: no migrations there; write the first with `sqlmig new NAME`, or give --dir"
            )
        return found

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the database's URL, and a server where it is embedded. Raises UsageError where none is named."""
        if self.url is None and not any(os.environ.get(name) for name in _LIBPQ):
            raise UsageError(
                "no database: give --database-url URL, set DATABASE_URL, or use embedded:PATH for a private server"
            )
        with located(self.url or "") as url:
            yield url

    @contextmanager
    def runner(self, lock_timeout: str = "5s", retries: int = 0) -> Iterator[run.Runner]:
        """Yield a connection to the database, with all that running over it needs."""
        with self.database() as url, connected(url, say) as connection:
            yield run.Runner(connection, lambda: connected(url, say, WORKER), self.ledger, lock_timeout, retries, say)


def say(message: str) -> None:
    """Tell the user something that is no result."""
    click.echo(message, err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sqlmig.__version__, message="sqlmig %(version)s")
@click.option(
    "-d", "--database-url", "url", metavar="URL", envvar="DATABASE_URL", help="The database (else libpq's PG*)."
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default="sql",
    envvar="SQLMIG_DIR",
    show_default=True,
    help="Where the SQL files are.",
)
@click.option(
    "--schema",
    metavar="NAME",
    envvar="SQLMIG_SCHEMA",
    help="The ledger's schema, first on the search path. [default: public]",
)
@click.pass_context
def group(context: click.Context, url: str | None, directory: Path, schema: str | None) -> None:
    """Run plain up/down SQL files against PostgreSQL, and leave no mess."""
    if schema and not schema.isprintable():
        raise UsageError(f"{schema!a}: a schema name with bytes or characters that cannot be shown")
    context.obj = Settings(url or None, directory, Ledger(schema or "public", named=bool(schema)))


def _exclusive(**options: object) -> None:
    given = [f"--{name}" for name, value in options.items() if value not in (None, False)]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other; give one")


_to = click.option("--to", type=click.IntRange(0), metavar="V", help="Stop at this version.")
_steps = click.option("--steps", type=click.IntRange(0), metavar="N", help="At most this many migrations.")
_dry_run = click.option("--dry-run", is_flag=True, help="Rehearse it in one transaction and roll back.")


def _duration_setting(_: click.Context, __: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"\s*\d+(\.\d+)?\s*(us|ms|s|min|h|d)?\s*", value):
        raise click.BadParameter("a number with us, ms, s, min, h or d, as PostgreSQL writes it; 0 waits for ever")
    return value


def _locks(command: Callable[..., object]) -> Callable[..., object]:
    """Add the options about locks."""
    timeout = click.option(
        "--lock-timeout",
        default="5s",
        show_default=True,
        metavar="TIME",
        callback=_duration_setting,
        help="How long a statement may queue for a lock.",
    )
    retries = click.option(
        "--retries",
        type=click.IntRange(0),
        default=10,
        show_default=True,
        help="Tries after a lock timeout or deadlock.",
    )
    return timeout(retries(command))


@group.command()
@_to
@_steps
@click.option("--allow-out-of-order", is_flag=True, help="Apply also what is older than the newest applied.")
@_dry_run
@_locks
@click.pass_obj
def up(
    settings: Settings, /, to: int | None, steps: int | None, *, allow_out_of_order: bool, dry_run: bool, **locks: Any
) -> None:
    """Apply what is pending, oldest first, one transaction a file."""
    _exclusive(to=to, steps=steps)
    migrations = settings.migrations()
    with settings.runner(**locks) as runner:
        rows = run.rows_of(runner, migrations)
        todo = run.steps_up(migrations, plan.up(rows, to, steps, allow_out_of_order=allow_out_of_order))
        _rehearse(runner, todo) if dry_run else _run(runner, todo, rows)


@group.command()
@_to
@_steps
@click.option("--all", "everything", is_flag=True, help="Revert all.")
@_dry_run
@click.option("--yes", is_flag=True, help="Do not ask.")
@_locks
@click.pass_obj
def down(
    settings: Settings,
    /,
    to: int | None,
    steps: int | None,
    *,
    everything: bool,
    dry_run: bool,
    yes: bool,
    **locks: Any,
) -> None:
    """Revert the newest applied migration, or more."""
    _exclusive(to=to, steps=steps, all=everything)
    if to is None and steps is None and not everything:
        steps = 1
    migrations = settings.migrations()
    with settings.runner(**locks) as runner:
        rows = run.rows_of(runner, migrations)
        todo = run.steps_down(migrations, rows, plan.down(rows, to, steps))
        asks = todo and sys.stdin.isatty() and not yes
        if dry_run or asks:
            _rehearse(runner, todo)
        if not dry_run:
            if asks:
                click.confirm("Revert?", abort=True, err=True)
            _run(runner, todo, rows)


def _run(runner: run.Runner, steps: list[run.Step], rows: list[plan.Row]) -> None:
    """Run the steps and print a line for each as it is done."""
    nothing = True
    for step, seconds in run.run(runner, steps, {row.version for row in rows if row.applied_at}):
        click.echo(f"{step.verb} {step.migration.label} ({_duration(seconds)})")
        nothing = False
    if nothing:
        click.echo("nothing to do")


def _rehearse(runner: run.Runner, steps: list[run.Step]) -> None:
    """Rehearse the steps and print a line for each."""
    if not steps:
        click.echo("nothing to do")
    took, lost = run.rehearse(runner, steps)
    for step, seconds in took:
        if seconds is None:
            click.echo(f"not rehearsed {step.migration.label}: it runs outside a transaction")
        else:
            verb = {"applied": "apply", "reverted": "revert"}[step.verb]
            click.echo(f"would {verb} {step.migration.label} ({_duration(seconds)})")
    for what in lost:
        click.echo(f"would lose {what}")


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


@group.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
@click.option("--exit-code", is_flag=True, help="Exit 1 unless every migration is applied.")
@click.pass_obj
def status(settings: Settings, *, as_json: bool, exit_code: bool) -> int:
    """Show each version and its state. Never writes."""
    migrations = settings.migrations()
    with settings.runner() as runner:
        rows = run.rows_of(runner, migrations)
    if as_json:
        fields = ("version", "name", "state", "applied_at")
        click.echo(json.dumps([{field: getattr(row, field) for field in fields} for row in rows], indent=2))
    else:
        label, state = (max(len(getattr(row, field)) for row in rows) for field in ("label", "state"))
        for row in rows:
            click.echo(f"{row.label:{label}}  {row.state:{state}}  {row.applied_at or ''}".rstrip())
    return int(exit_code and any(row.state != "applied" for row in rows))


@group.command()
@click.argument("name")
@click.pass_obj
def new(settings: Settings, name: str) -> None:
    """Write the next pair of files."""
    for path in files.create(settings.directory, name):
        click.echo(path)


@group.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
@click.pass_obj
def check_command(settings: Settings, *, as_json: bool) -> int:
    """Prove that each down file undoes its up file, on a scratch database."""
    migrations = settings.migrations()
    with settings.database() as url, check.scratch(url, settings.ledger, say) as connection:
        trials = check.check(connection, migrations)
        bar = click.progressbar(trials, length=len(migrations), label="checking", file=sys.stderr)
        with bar if sys.stderr.isatty() else nullcontext(trials) as each:
            findings = list(each)
    if as_json:
        fields = ("version", "result", "left", "lost", "changed", "notes")
        click.echo(json.dumps([{field: getattr(finding, field) for field in fields} for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding.result:12}  {finding.label}")
            for field in ("left", "lost", "changed", "notes"):
                for line in getattr(finding, field):
                    click.echo(f"              {field.removesuffix('s')}: {line}")
    return int(any(finding.result not in ("ok", "irreversible") for finding in findings))


@group.command("script")
@click.option("--from", "start", type=click.IntRange(0), metavar="V", help="Begin at this version.")
@_to
@click.option("--down", "backward", is_flag=True, help="Revert instead.")
@click.pass_obj
def script_command(settings: Settings, start: int | None, to: int | None, *, backward: bool) -> None:
    """Print one SQL script that applies the files, to be pasted any number of times."""
    migrations = settings.migrations()
    for version in (start, to):
        if version is not None and version not in {m.version for m in migrations}:
            raise UsageError(f"there is no version {version} in {settings.directory}")
    chosen = [m for m in migrations if (start is None or m.version >= start) and (to is None or m.version <= to)]
    if not chosen:
        raise UsageError("--from is beyond --to")
    click.echo(script.script(settings.ledger, migrations, chosen, say, down=backward), nl=False)


@group.command()
@click.argument("version", type=click.IntRange(0), metavar="V")
@click.pass_obj
def stamp(settings: Settings, version: int) -> None:
    """Record everything up to V as applied without running it."""
    migrations = settings.migrations()
    with settings.runner() as runner:
        recorded = run.stamp(runner, migrations, run.rows_of(runner, migrations), version)
    for label in recorded:
        click.echo(f"recorded {label}")
    if not recorded:
        click.echo("nothing to do")


def command(arguments: list[str] | None = None) -> int:
    """Run a command line, turn what goes wrong into words, and return the exit code."""
    try:
        return int(group.main(arguments, prog_name="sqlmig", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort as abort:  # which click makes of KeyboardInterrupt
        click.echo(str(abort.__cause__ or "") or "interrupted", err=True)
        return 128 + (signal.SIGTERM if isinstance(abort.__cause__, Terminated) else signal.SIGINT)
    except OSError as error:  # a full disk behind standard output, say
        click.echo(f"error: {error.strerror}", err=True)
        return 1
    except SqlmigError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: what is under way is cancelled on the server, and told."""


def _terminate(_: int, __: object) -> None:
    raise Terminated


def main() -> None:
    """Be the console script."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(command())
