"""The command line: words in, words out. A command imports what it needs, and no more."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from itertools import chain

import click

import sqlmig
from sqlmig import files, options, output, plan
from sqlmig.errors import SqlmigError, UsageError
from sqlmig.options import epilog
from sqlmig.plan import Wish
from sqlmig.session import Session, Settings, located, opened

_FIRST = ('sqlmig new "add invoices"', "sqlmig -d postgresql://localhost/app up", "sqlmig status")


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=epilog(_FIRST, "it failed"))
@click.version_option(sqlmig.__version__, message="sqlmig %(version)s")
@options.shared
@click.pass_context
def group(context: click.Context) -> None:
    """Run plain up/down SQL files against PostgreSQL, and leave no mess."""
    context.ensure_object(Settings)


def _command(*examples: str, fails: str = "it failed") -> Callable[[options.Function], click.Command]:
    """Add a command to the group, with the examples and the reason of exit code 1 below its help."""
    return lambda function: group.command(epilog=epilog(examples, fails))(
        options.shared(click.pass_obj(function), hidden=True)
    )


def _exclusive(**options: int | bool | None) -> None:
    given = [f"--{name}" for name, value in options.items() if value is not None and value is not False]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other; give one")


@_command("sqlmig up", "sqlmig up --to 7", "sqlmig up --dry-run", fails="it failed or refused")
@options.to
@options.steps
@options.option("--allow-out-of-order", is_flag=True, help="Apply also what is older than the newest applied.")
@options.dry_run
@options.json
@options.locks
def up(
    settings: Settings, to: int | None, steps: int | None, *, allow_out_of_order: bool, dry_run: bool, as_json: bool
) -> int:
    """Apply what is pending, oldest first, one transaction per file."""
    _exclusive(to=to, steps=steps)
    wish = Wish("applied", lambda rows, done: plan.up(rows, to, steps, done=done, out_of_order=allow_out_of_order))
    from sqlmig.work import do

    return do(settings, wish, dry_run=dry_run, as_json=as_json)


@_command("sqlmig down", "sqlmig down --to 7", "sqlmig down --all --dry-run", fails="it failed or refused")
@options.option("--to", type=options.number, metavar="V", help="Revert what is newer than V; 0 reverts all.")
@options.steps
@options.option("--all", "all_", is_flag=True, help="Revert all.")
@options.dry_run
@options.yes
@options.json
@options.locks
def down(
    settings: Settings, to: int | None, steps: int | None, *, all_: bool, dry_run: bool, yes: bool, as_json: bool
) -> int:
    """Revert the newest applied migration, or more, newest first."""
    _exclusive(to=to, steps=steps, all=all_)
    count = 1 if to is None and steps is None and not all_ else steps
    wish = Wish("reverted", lambda rows, done: plan.down(rows, to, count, done=done))
    asks = sys.stdin is not None and sys.stdin.isatty() and not yes
    from sqlmig.work import do

    return do(settings, wish, dry_run=dry_run, as_json=as_json, asks=asks)


_TOLD = 'sqlmig status --exit-code >/dev/null || echo "not up to date"'


@_command("sqlmig status", "sqlmig status --json", _TOLD, fails="it failed, or --exit-code and not all is applied")
@options.json
@options.option("--exit-code", is_flag=True, help="Exit 1 unless every migration is applied.")
def status(settings: Settings, *, as_json: bool, exit_code: bool) -> int:
    """Show each version and its state. It writes nothing.

    States: applied, pending, changed (edited since), missing (its file is gone), out-of-order (older than the newest).
    """
    with opened(settings, output.say, output.watch) as sessions:
        rows = [session.rows() for session in sessions if not session.problem]
        failed = [session for session in sessions if session.problem]
    for session in failed:
        session.say(f"{output.coloured('error')}: {session.problem}")
    if as_json:
        schema = ["schema"] if settings.many else []
        output.print_json(chain(*rows), *schema, "version", "name", "state", "applied_at")
    elif settings.many:
        output.print_answers(rows)
    else:
        output.print_rows(rows[0])
    return int(bool(failed) or (exit_code and any(row.state != "applied" for row in chain(*rows))))


@_command('sqlmig new "add invoices"')
@click.argument("name")
def new(settings: Settings, name: str) -> None:
    """Write the next pair of files."""
    for path in files.create(settings.directory, name):
        click.echo(path)


@_command("sqlmig check", "sqlmig -d embedded:./data check --json", fails="one is broken, failed or has no down file")
@options.json
def check(settings: Settings, *, as_json: bool) -> int:
    """Prove that each down file undoes its up file.

    On a scratch database of the server, which it makes and drops: the role needs CREATEDB.
    """
    from sqlmig.check import check, scratch

    migrations = files.find(settings.directory)
    with located(settings) as url, scratch(url, settings.ledger, output.say) as connection:
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


_PARTS = ("sqlmig script > all.sql", "sqlmig script --from 8 --to 9", "sqlmig script --from 9 --down")


@_command(*_PARTS, fails="a file cannot be in a script")
@options.option("--from", "start", type=options.number, metavar="V", help="Begin at this version.")
@options.to
@options.option("--down", "backward", is_flag=True, help="Revert instead, all from --to back to --from.")
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
def stamp(settings: Settings, version: int) -> int:
    """Record everything up to V as applied without running it."""
    from sqlmig.run import stamp
    from sqlmig.work import each, told

    if set("*?") & set("".join(settings.schemas)):
        raise UsageError("stamp works on named schemas: give --schema without * or ?")

    def tell(session: Session, lines: list[str]) -> None:
        for line in lines:
            click.echo(f"{session.ledger.schema}: {line}" if settings.many else line)

    with opened(settings, output.say, output.watch) as sessions:
        failed = each(sessions, lambda one: one.alone(lambda: stamp(one, version)) or ["nothing to do"], tell)
        return told(failed, sessions)


@_command("sqlmig repair", "sqlmig repair 7 12")
@click.argument("versions", nargs=-1, type=options.number, metavar="[V]...")
@options.yes
def repair(settings: Settings, versions: tuple[int, ...], *, yes: bool) -> int:
    """Bring the ledger in line with files edited, renumbered or removed on purpose.

    A changed version is recorded anew, a missing one's row is taken out: those named, or all. Nothing of the schema is
    touched; what a missing version made stays.
    """
    from sqlmig.run import repair
    from sqlmig.work import each, told

    def tell(session: Session, lines: list[str], before: str = "") -> None:
        for line in lines:
            click.echo(f"{session.ledger.schema}: {before}{line}" if settings.many else before + line)

    with opened(settings, output.say, output.watch) as sessions:
        todo = {session.ledger.schema: repair(session, versions, dry_run=True) for session in sessions}
        mended = [session for session in sessions if todo[session.ledger.schema]]
        if not mended:
            click.echo("nothing to do")
            return 0
        if sys.stdin is not None and sys.stdin.isatty() and not yes:
            for session in mended:
                tell(session, todo[session.ledger.schema], "would ")
            if not click.confirm("Repair?", err=True):
                output.say("nothing was changed")
                return 1
        return told(each(mended, lambda one: one.alone(lambda: repair(one, versions)), tell), sessions)


@_command("sqlmig docs > schema.md")
def docs(settings: Settings) -> None:
    """Print the schema as a Markdown page: --schema's, or the first on the search path.

    Its tables, views and functions, with a Mermaid diagram, which GitHub draws, from the catalog and its comments.
    """
    from sqlmig.database import connected
    from sqlmig.docs import page

    with located(settings) as url, connected(url, output.say) as connection:
        click.echo(page(connection, settings.ledger.schema if settings.ledger.named else ""), nl=False)


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
    except (OSError, SqlmigError) as error:  # a full disk behind standard output, say
        output.say(f"{output.coloured('error')}: {error.strerror if isinstance(error, OSError) else error}")
        return error.exit_code if isinstance(error, SqlmigError) else 1


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
