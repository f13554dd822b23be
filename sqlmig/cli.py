"""The command line: words in, words out. A command imports what it needs, and no more."""

import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial, reduce
from itertools import chain
from pathlib import Path
from typing import Any

import click

import sqlmig
from sqlmig import files, output, plan
from sqlmig.errors import SqlmigError, UsageError
from sqlmig.plan import Wish
from sqlmig.session import Settings, located, opened

_FIRST = ('sqlmig new "add invoices"', "sqlmig -d postgresql://localhost/app up", "sqlmig status")
_TOLD = 'sqlmig status --exit-code >/dev/null || echo "not up to date"'
_PARTS = ("sqlmig script > all.sql", "sqlmig script --from 8 --to 9", "sqlmig script --from 9 --down")


def _epilog(examples: Sequence[str], fails: str) -> str:
    lines = "".join(f"  {example}\n" for example in examples)
    return f"\b\nExamples:\n{lines}\nExit codes: 0 done, 1 {fails}, 2 the command line was wrong."


def _schema(name: str) -> str:
    if not name or len(name.encode(errors="surrogateescape")) > 63:
        raise click.BadParameter(f"{name!a} is no name of 1 to 63 bytes")
    if "," in name:
        raise click.BadParameter(f"{name!r} is no list; give --schema once for each (SQLMIG_SCHEMA: with blanks)")
    if not name.isprintable():
        raise click.BadParameter(f"{name!a} has bytes or characters that cannot be shown")
    return name


def _duration(value: str) -> str:
    if not re.fullmatch(r"\s*\d+(\.\d+)?\s*(us|ms|s|min|h|d)?\s*", value):
        raise click.BadParameter("a number with us, ms, s, min, h or d, as PostgreSQL writes it; 0 waits for ever")
    return value


def _seconds(value: str) -> float:
    if not (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h)\s*", value)):
        raise click.BadParameter("a number with s, min or h")
    return float(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2]]


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value not in (None, ()):
        setattr(context.ensure_object(Settings), str(parameter.name), value)


_option = partial(click.option, show_default=True, show_envvar=True)
_kept = partial(_option, expose_value=False, callback=_keep)
_NUMBER = click.IntRange(0)
_TO = _option("--to", type=_NUMBER, metavar="V", help="The last version, V itself too.")
_STEPS = _option("--steps", type=_NUMBER, metavar="N", help="At most this many migrations.")
_DRY_RUN = _kept("--dry-run", is_flag=True, help="Rehearse it in one transaction, and roll back.")
_YES = _kept("--yes", is_flag=True, help="Do not ask; without a terminal it never asks.")
_JSON = _kept("--json", "as_json", is_flag=True, help="Print a list of objects.")
_LOCKS = (
    _kept("--lock-timeout", metavar="TIME", type=_duration, show_default="5s",
        help="How long a statement may queue for a lock."),
    _kept("--jobs", type=click.IntRange(1), metavar="N", show_default="4",
        help="How many schemas at a time, where --schema names many."),
    _kept("--retries", type=_NUMBER, show_default="10",
        help="How often to try again after a lock timeout or deadlock."),
)  # fmt: skip
# Every command takes these too, behind its name; the group alone tells of them and asks the environment.
_SHARED = (
    partial(_kept, "-d", "--database-url", "url", envvar="DATABASE_URL", metavar="URL",
        show_default="libpq's PG* variables", help="The database; embedded:PATH is a private server on a directory."),
    partial(_kept, "--dir", "directory", envvar="SQLMIG_DIR", type=click.Path(path_type=Path), show_default="sql",
        help="Where the SQL files are."),
    partial(_kept, "--schema", "schemas", envvar="SQLMIG_SCHEMA", metavar="NAME", type=_schema, multiple=True,
        show_default="public",
        help="The ledger's schema; where given, it is made when missing and comes first in the search path. "
        "Several, or a pattern with * and ? for all that have a ledger: each for itself."),
    partial(_kept, "--wait", metavar="TIME", type=_seconds, show_default="0s",
        help="How long to keep trying a server that does not answer yet; one that says no is not asked again."),
)  # fmt: skip


def _added(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Return what adds options to a function, in their order."""
    return lambda function: reduce(lambda made, option: option(made), reversed(options), function)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=_epilog(_FIRST, "it failed"))
@click.version_option(sqlmig.__version__, message="sqlmig %(version)s")
@_added(*(one() for one in _SHARED))
@click.pass_context
def group(context: click.Context) -> None:
    """Run plain up/down SQL files against PostgreSQL, and leave no mess."""
    context.ensure_object(Settings)


def _command(*examples: str, fails: str = "it failed") -> Callable[..., Any]:
    """Add a command to the group, with the examples and the reason of exit code 1 below its help."""
    add = _added(group.command(epilog=_epilog(examples, fails)), *(one(hidden=True, envvar=None) for one in _SHARED))
    return lambda function: add(click.pass_obj(function))


def _exclusive(**options: int | bool | None) -> None:
    given = [f"--{name}" for name, value in options.items() if value is not None and value is not False]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other; give one")


def _do(settings: Settings, wish: Wish) -> int:
    """Do what is wished, or rehearse it; what can do it is loaded where there is something to do."""
    with opened(settings, output.say, output.watch) as sessions:
        if todo := [session for session in sessions if session.wants(wish)]:
            from sqlmig.work import do

            return do(todo, wish, len(sessions))
        click.echo("[]" if settings.as_json else f"nothing to do{settings.within(len(sessions))}")
        return 0


@_command("sqlmig up", "sqlmig up --to 7", "sqlmig up --dry-run", fails="it failed or refused")
@_added(_TO, _STEPS)
@_option("--allow-out-of-order", is_flag=True, help="Apply also what is older than the newest applied.")
@_added(_DRY_RUN, _JSON, *_LOCKS)
def up(settings: Settings, to: int | None, steps: int | None, *, allow_out_of_order: bool) -> int:
    """Apply what is pending, oldest first, one transaction per file."""
    _exclusive(to=to, steps=steps)
    settings.makes = True
    return _do(settings, Wish("applied", partial(plan.up, to=to, steps=steps, out_of_order=allow_out_of_order)))


@_command("sqlmig down", "sqlmig down --to 7", "sqlmig down --all --dry-run", fails="it failed or refused")
@_option("--to", type=_NUMBER, metavar="V", help="Revert what is newer than V; 0 reverts all.")
@_STEPS
@_option("--all", "all_", is_flag=True, help="Revert all.")
@_added(_DRY_RUN, _YES, _JSON, *_LOCKS)
def down(settings: Settings, to: int | None, steps: int | None, *, all_: bool) -> int:
    """Revert the newest applied migration, or more, newest first."""
    _exclusive(to=to, steps=steps, all=all_)
    steps = 1 if to is None and steps is None and not all_ else steps
    return _do(settings, Wish("reverted", partial(plan.down, to=to, steps=steps)))


@_command("sqlmig status", "sqlmig status --json", _TOLD, fails="it failed, or --exit-code and not all is applied")
@_JSON
@_option("--exit-code", is_flag=True, help="Exit 1 unless every migration is applied.")
def status(settings: Settings, *, exit_code: bool) -> int:
    """Show each version and its state. It writes nothing.

    States: applied, pending, changed (edited since), missing (its file is gone), out-of-order (older than the newest).
    """
    with opened(settings, output.say, output.watch) as sessions:
        rows = [session.rows() for session in sessions if not session.problem]
        failed = [session for session in sessions if session.problem]
    for session in failed:
        session.say(f"{output.coloured('error')}: {session.problem}")
    if settings.as_json:
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
    there = settings.directory.exists()
    for path in files.create(settings.directory, name):
        click.echo(path)
    if not there:
        output.say(f"made the directory {settings.directory}")


@_command("sqlmig check", "sqlmig check --from 12 --json", fails="one is broken, failed or has no down file")
@_option("--from", "start", type=_NUMBER, metavar="V", help="Only run what is before this version.")
@_JSON
def check(settings: Settings, start: int | None) -> int:
    """Prove that each down file undoes its up file.

    On a scratch database of the server, which it makes and drops: the role needs CREATEDB. With --schema, the files run
    in a schema of that name there.
    """
    from sqlmig.check import check, scratch

    settings.makes, migrations = True, files.find(settings.directory)
    plan.check_version(migrations, start)
    with located(settings) as url, scratch(url, settings.ledger, output.say) as connection:
        trials = check(connection, migrations, start or 0)
        bar = click.progressbar(trials, length=len(migrations), label="checking", file=sys.stderr)
        with bar if output.on_terminal() else nullcontext(trials) as each:
            findings = list(each)
    if settings.as_json:
        output.print_json(findings, "version", "result", "left", "lost", "changed", "notes")
    for finding in [] if settings.as_json else findings:
        click.echo(f"{output.coloured(finding.result)}{'':{12 - len(finding.result)}}  {finding.label}")
        for field in ("left", "lost", "changed", "notes"):
            for line in filter(None, getattr(finding, field)):
                click.echo(f"              {field.removesuffix('s')}: {line}".replace("\n", "\n              "))
    return int(any(finding.result not in ("ok", "irreversible") for finding in findings))


@_command("sqlmig drift", "sqlmig drift --json", fails="something differs, or it failed")
@_JSON
def drift(settings: Settings) -> int:
    """Name what somebody changed by hand: what is extra, missing or changed.

    Compares the database with what its applied files make on a scratch database of the server, which it makes and drops
    (the role needs CREATEDB), in the schemas that they make something in; with --schema, in that one. It writes nothing
    in the database itself.
    """
    from sqlmig.check import drift

    _ = settings.ledger  # which is one alone
    with opened(settings, output.say, output.watch) as (session,), located(settings) as url:
        found = drift(session, url)
    states = {"extra": found.left, "missing": found.lost, "changed": found.changed, "note": found.notes}
    if settings.as_json:
        output.print_json({"state": state, "object": line} for state, lines in states.items() for line in lines)
    else:
        shown = [f"{output.coloured(state)}  {line}" for state, lines in states.items() for line in lines]
        click.echo("\n".join(shown if found.differs else [*shown, "nothing differs"]))
    return int(found.differs)


@_command(*_PARTS, fails="a file cannot be in a script")
@_option("--from", "start", type=_NUMBER, metavar="V", help="Begin at this version.")
@_TO
@_option("--down", "backward", is_flag=True, help="Revert instead, all from --to back to --from.")
def script(settings: Settings, start: int | None, to: int | None, *, backward: bool) -> None:
    """Print one SQL script that applies the files.

    It is for the Supabase SQL editor or psql, not for Citus, and leaves out what the ledger there has: one can paste it
    twice. With --schema the files run in that schema, which the script makes.
    """
    from sqlmig.script import script

    migrations = files.find(settings.directory)
    plan.check_version(migrations, start, to)
    chosen = [m for m in migrations if (start is None or m.version >= start) and (to is None or m.version <= to)]
    if not chosen:
        raise UsageError("--from is beyond --to")
    click.echo(script(settings.ledger, migrations, chosen, output.say, down=backward), nl=False)


@_command("sqlmig stamp 7")
@click.argument("version", type=_NUMBER, metavar="V")
def stamp(settings: Settings, version: int) -> int:
    """Record everything up to V as applied without running it."""
    from sqlmig.run import to_stamp
    from sqlmig.work import write_records

    if set("*?") & set("".join(settings.schemas)):
        raise UsageError("stamp works on named schemas: give --schema without * or ?")
    with opened(settings, output.say, output.watch) as sessions:
        return write_records(sessions, partial(to_stamp, version=version), len(sessions))


@_command("sqlmig repair", "sqlmig repair 7 12")
@click.argument("versions", nargs=-1, type=_NUMBER, metavar="[V]...")
@_YES
def repair(settings: Settings, versions: tuple[int, ...]) -> int:
    """Bring the ledger in line with files edited, renumbered or removed on purpose.

    A changed version is recorded anew, a missing one's row is taken out: those named, or all. Nothing of the schema is
    touched; what a missing version made stays.
    """
    from sqlmig.run import to_repair
    from sqlmig.work import listed, write_records

    wanted = partial(to_repair, versions=versions)
    with opened(settings, output.say, output.watch) as sessions:
        todo = [session for session in sessions if session.problem or wanted(session)]
        for session in todo if settings.asks else ():
            would = [] if session.problem else [f"would {line}" for line in wanted(session)]
            listed(session, would or [str(session.problem)])
        if todo and settings.asks and not click.confirm("Repair?", err=True):
            output.say("nothing was changed")
            return 1
        if not todo:
            click.echo("nothing to do")
            return 0
        return write_records(todo, wanted, len(sessions))


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
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None was closed by who started it
        stream.flush()
    os._exit(code)
