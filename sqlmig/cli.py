"""The command line: words in, words out. A command imports what it needs, and no more."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import sqlmig
from sqlmig.errors import SqlmigError, UsageError
from sqlmig.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlmig.run import Step
    from sqlmig.session import Session

_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")
_GREEN, _YELLOW = ("applied", "ok"), ("pending", "no-down", "irreversible")


@dataclass(frozen=True)
class Settings:
    """The options of the group; the URL may name an embedded server."""

    given_url: str | None
    directory: Path
    ledger: Ledger

    @property
    def url(self) -> str:
        """The database's URL, empty where libpq's variables name it. Raises UsageError where nothing does."""
        if self.given_url is None and not any(os.environ.get(name) for name in _LIBPQ):
            raise UsageError(
                "no database: give --database-url URL, set DATABASE_URL, or use embedded:PATH for a private server"
            )
        return self.given_url or ""

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield a connection to the database, and what the directory and the ledger hold."""
        from sqlmig.session import opened

        with opened(self.url, self.directory, self.ledger, say) as session:
            yield session


def say(message: str) -> None:
    """Tell the user something that is no result, in place of the line of progress where there is one."""
    click.echo(("\r\x1b[K" if _on_terminal() else "") + message, err=True)


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _coloured(word: str) -> str:
    """Give a state its colour, which click takes out again where no terminal shows it."""
    colour = "green" if word in _GREEN else "yellow" if word in _YELLOW else "red"
    return word if os.environ.get("NO_COLOR") else click.style(word, fg=colour)


def _epilog(examples: Sequence[str], fails: str) -> str:
    lines = "".join(f"  {example}\n" for example in examples)
    return f"\b\nExamples:\n{lines}\nExit codes: 0 done, 1 {fails}, 2 the command line was wrong."


def _schema_name(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    if name and not name.isprintable():
        raise click.BadParameter(f"{name!a} has bytes or characters that cannot be shown")
    return name


_option = partial(click.option, show_default=True, show_envvar=True)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_epilog(
        ('sqlmig new "add invoices"', "sqlmig -d postgresql://localhost/app up", "sqlmig status"), "it failed"
    ),
)
@click.version_option(sqlmig.__version__, message="sqlmig %(version)s")
@_option(
    "-d",
    "--database-url",
    "url",
    metavar="URL",
    envvar="DATABASE_URL",
    show_default="libpq's PG* variables",
    help="The database; embedded:PATH is a private server on a directory.",
)
@_option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default="sql",
    envvar="SQLMIG_DIR",
    help="Where the SQL files are.",
)
@_option(
    "--schema",
    metavar="NAME",
    envvar="SQLMIG_SCHEMA",
    callback=_schema_name,
    show_default="public",
    help="The ledger's schema; where given, it is made when missing and comes first in the search path.",
)
@click.pass_context
def group(context: click.Context, url: str | None, directory: Path, schema: str | None) -> None:
    """Run plain up/down SQL files against PostgreSQL, and leave no mess."""
    context.obj = Settings(url or None, directory, Ledger(schema or "public", named=bool(schema)))


def _command(*examples: str, fails: str = "it failed") -> Callable[[Callable[..., Any]], click.Command]:
    """Add a command to the group, with the examples and the reason of exit code 1 below its help."""
    return group.command(epilog=_epilog(examples, fails))


def _exclusive(**options: object) -> None:
    given = [f"--{name}" for name, value in options.items() if value not in (None, False)]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other; give one")


_to = _option("--to", type=click.IntRange(0), metavar="V", help="The last version, V itself too.")
_steps = _option("--steps", type=click.IntRange(0), metavar="N", help="At most this many migrations.")
_dry_run = _option("--dry-run", is_flag=True, help="Rehearse it in one transaction, and roll back.")
_json = _option("--json", "as_json", is_flag=True, help="Print a list of objects.")


def _duration_setting(_: click.Context, __: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"\s*\d+(\.\d+)?\s*(us|ms|s|min|h|d)?\s*", value):
        raise click.BadParameter("a number with us, ms, s, min, h or d, as PostgreSQL writes it; 0 waits for ever")
    return value


_lock_timeout = _option(
    "--lock-timeout",
    default="5s",
    metavar="TIME",
    callback=_duration_setting,
    help="How long a statement may queue for a lock.",
)
_retries = _option(
    "--retries", type=click.IntRange(0), default=10, help="How often to try again after a lock timeout or deadlock."
)


@_command("sqlmig up", "sqlmig up --to 7", "sqlmig up --dry-run", fails="it failed or refused")
@_to
@_steps
@_option("--allow-out-of-order", is_flag=True, help="Apply also what is older than the newest applied.")
@_dry_run
@_lock_timeout
@_retries
@click.pass_obj
def up(
    settings: Settings, /, to: int | None, steps: int | None, *, allow_out_of_order: bool, dry_run: bool, **locks: Any
) -> None:
    """Apply what is pending, oldest first, one transaction per file."""
    from sqlmig import plan

    _exclusive(to=to, steps=steps)
    with settings.session() as session:
        versions = plan.up(session.rows(), to, steps, allow_out_of_order=allow_out_of_order)
        if not versions:
            click.echo("nothing to do")
            return
        from sqlmig.run import steps_up

        todo = steps_up(session, versions)
        _rehearse(session, todo, locks["lock_timeout"]) if dry_run else _run(session, todo, **locks)


@_command("sqlmig down", "sqlmig down --to 7", "sqlmig down --all --dry-run", fails="it failed or refused")
@_option("--to", type=click.IntRange(0), metavar="V", help="Revert what is newer than V; 0 reverts all.")
@_steps
@_option("--all", "all_", is_flag=True, help="Revert all.")
@_dry_run
@_option("--yes", is_flag=True, help="Do not ask; without a terminal it never asks.")
@_lock_timeout
@_retries
@click.pass_obj
def down(
    settings: Settings, /, to: int | None, steps: int | None, *, all_: bool, dry_run: bool, yes: bool, **locks: Any
) -> int:
    """Revert the newest applied migration, or more, newest first."""
    from sqlmig import plan

    _exclusive(to=to, steps=steps, all=all_)
    with settings.session() as session:
        one = to is None and steps is None and not all_
        rows = plan.states(session.migrations, session.applied or (), {})
        versions = plan.down(rows, to, 1 if one else steps)
        if not versions:
            click.echo("nothing to do")
            return 0
        from sqlmig.run import steps_down

        todo = steps_down(session, rows, versions)
        asks = sys.stdin is not None and sys.stdin.isatty() and not yes
        if dry_run or asks:
            _rehearse(session, todo, locks["lock_timeout"])
        if dry_run:
            return 0
        if asks and not click.confirm("Revert?", err=True):
            say("nothing was reverted")
            return 1
        _run(session, todo, **locks)
    return 0


def _run(session: Session, steps: list[Step], **locks: Any) -> None:
    """Run the steps and print a line for each as it is done."""
    from sqlmig.run import run

    nothing = True
    for step, seconds in run(session, steps, _watch(session), **locks):
        click.echo(f"{_coloured(step.verb)} {step.migration.label} ({_duration(seconds)})")
        nothing = False
    if nothing:
        click.echo("nothing to do")


def _watch(session: Session) -> Callable[[str], AbstractContextManager[None]]:
    """Return what shows, on a terminal, how long a migration has been at work."""
    from sqlmig.progress import watched

    return partial(watched, session) if _on_terminal() else lambda _: nullcontext()


def _rehearse(session: Session, steps: list[Step], lock_timeout: str) -> None:
    """Rehearse the steps and print a line for each."""
    from sqlmig.run import rehearse

    took, lost = rehearse(session, steps, _watch(session), lock_timeout)
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


def _print_json(things: Sequence[object], *fields: str) -> None:
    import json

    click.echo(json.dumps([{field: getattr(thing, field) for field in fields} for thing in things], indent=2))


@_command(
    "sqlmig status",
    "sqlmig status --json",
    'sqlmig status --exit-code >/dev/null || echo "not up to date"',
    fails="it failed, or --exit-code and not every migration is applied",
)
@_json
@_option("--exit-code", is_flag=True, help="Exit 1 unless every migration is applied.")
@click.pass_obj
def status(settings: Settings, *, as_json: bool, exit_code: bool) -> int:
    """Show each version and its state. It writes nothing.

    States: applied, pending, changed (edited since), missing (its file is gone), out-of-order (older than the newest).
    """
    with settings.session() as session:
        rows = session.rows()
    if as_json:
        _print_json(rows, "version", "name", "state", "applied_at")
    else:
        label, state = (max(len(getattr(row, field)) for row in rows) for field in ("label", "state"))
        for row in rows:
            padding = " " * (state - len(row.state))
            click.echo(f"{row.label:{label}}  {_coloured(row.state)}{padding}  {row.applied_at or ''}".rstrip())
    return int(exit_code and any(row.state != "applied" for row in rows))


@_command('sqlmig new "add invoices"')
@click.argument("name")
@click.pass_obj
def new(settings: Settings, name: str) -> None:
    """Write the next pair of files."""
    from sqlmig import files

    for path in files.create(settings.directory, name):
        click.echo(path)


@_command(
    "sqlmig check", "sqlmig -d embedded:./data check --json", fails="one is broken, failed or without a down file"
)
@_json
@click.pass_obj
def check(settings: Settings, *, as_json: bool) -> int:
    """Prove that each down file undoes its up file.

    On a scratch database of the server, which it makes and drops: the role needs CREATEDB.
    """
    from sqlmig import files
    from sqlmig.check import check, scratch
    from sqlmig.database import located

    migrations = files.find(settings.directory)
    with located(settings.url) as url, scratch(url, settings.ledger, say) as connection:
        trials = check(connection, migrations)
        bar = click.progressbar(trials, length=len(migrations), label="checking", file=sys.stderr)
        with bar if _on_terminal() else nullcontext(trials) as each:
            findings = list(each)
    if as_json:
        _print_json(findings, "version", "result", "left", "lost", "changed", "notes")
    for finding in [] if as_json else findings:
        click.echo(f"{_coloured(finding.result)}{'':{12 - len(finding.result)}}  {finding.label}")
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
@_option("--from", "start", type=click.IntRange(0), metavar="V", help="Begin at this version.")
@_to
@_option("--down", "backward", is_flag=True, help="Revert instead, all from --to back to --from.")
@click.pass_obj
def script(settings: Settings, start: int | None, to: int | None, *, backward: bool) -> None:
    """Print one SQL script that applies the files.

    It is for the Supabase SQL editor or psql, and leaves out what the ledger there has: one can paste it twice.
    """
    from sqlmig import files
    from sqlmig.script import script

    migrations = files.find(settings.directory)
    for version in (start, to):
        if version is not None and version not in {m.version for m in migrations}:
            raise UsageError(f"there is no version {version} in {settings.directory}")
    chosen = [m for m in migrations if (start is None or m.version >= start) and (to is None or m.version <= to)]
    if not chosen:
        raise UsageError("--from is beyond --to")
    click.echo(script(settings.ledger, migrations, chosen, say, down=backward), nl=False)


@_command("sqlmig stamp 7")
@click.argument("version", type=click.IntRange(0), metavar="V")
@click.pass_obj
def stamp(settings: Settings, version: int) -> None:
    """Record everything up to V as applied without running it."""
    from sqlmig.run import stamp

    with settings.session() as session:
        recorded = stamp(session, version)
    for label in recorded:
        click.echo(f"recorded {label}")
    if not recorded:
        click.echo("nothing to do")


@_command("sqlmig docs > schema.md")
@_option(
    "--schema", metavar="NAME", callback=_schema_name, show_default="the first on the search path", help="The schema."
)
@click.pass_obj
def docs(settings: Settings, schema: str | None) -> None:
    """Print the schema as a Markdown page.

    Its tables, views and functions, with a Mermaid diagram, which GitHub draws, from the catalog and its comments.
    """
    from sqlmig.database import connected, located
    from sqlmig.docs import page

    named = settings.ledger.schema if settings.ledger.named else None
    with located(settings.url) as url, connected(url, say) as connection:
        click.echo(page(connection, schema or named), nl=False)


def command(arguments: list[str] | None = None) -> int:
    """Run a command line, turn what goes wrong into words, and return the exit code."""
    try:
        return int(group.main(arguments, prog_name="sqlmig", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort as abort:  # which click makes of KeyboardInterrupt
        say(str(abort.__cause__ or "") or "interrupted")
        return 128 + (signal.SIGTERM if isinstance(abort.__cause__, Terminated) else signal.SIGINT)
    except OSError as error:  # a full disk behind standard output, say
        say(f"{_coloured('error')}: {error.strerror}")
        return 1
    except SqlmigError as error:
        say(f"{_coloured('error')}: {error}")
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
