"""The commands: words in, words out. A command imports what it needs, and no more."""

from __future__ import annotations

import sys
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import sqlmig
from sqlmig.api import database, has_database, is_throwaway
from sqlmig.cli import github, output
from sqlmig.cli.options import (
    AS_JSON,
    DRY_RUN,
    LOCKS,
    NOT_NEGATIVE,
    SHARED_NAMES,
    STEPS,
    TO,
    YES,
    Settings,
    all_of,
    option,
    refuse_together,
    shared_options,
)
from sqlmig.cli.progress import watch, watch_below_bar
from sqlmig.core import migrations, plan
from sqlmig.core.errors import SqlmigError, UsageError
from sqlmig.core.plan import Down, Up
from sqlmig.core.session import open_session
from sqlmig.core.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlmig.check import Finding
    from sqlmig.core.plan import Request, Row
    from sqlmig.core.session import Session
    from sqlmig.schemas import Schemas
    from sqlmig.takeover import Correction
    from sqlmig.takeover.foreign_files import ForeignFiles
    from sqlmig.takeover.importing import Pair

_FEW = 5  # so many names are printed


def _epilog(examples: Sequence[str], fails: str) -> str:
    lines = "".join(f"  {example}\n" for example in examples)
    return f"\b\nExamples:\n{lines}\nExit codes: 0 done, 1 {fails}, 2 the command line was wrong."


# What other tools call a command, and what it is here.
_OTHER_NAMES = {
    "migrate": "up",
    "apply": "up",
    "upgrade": "up",
    "deploy": "up",
    "rollback": "down",
    "revert": "down",
    "downgrade": "down",
    "undo": "down",
    "redo": "down",
    "init": "new",
    "create": "new",
    "generate": "new",
    "add": "new",
    "info": "status",
    "history": "status",
    "current": "status",
    "version": "status",
    "list": "status",
    "validate": "check",
    "verify": "check",
    "test": "check",
    "baseline": "stamp",
    "force": "stamp",
    "diff": "drift",
    "dump": "docs",
    "convert": "import",
}


class _Command(click.Command):
    """A command whose help shows its own options first, and then those that every command takes."""

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        own = []
        shared = []
        for parameter in self.get_params(ctx):
            record = None
            if isinstance(parameter, click.Option):
                record = parameter.get_help_record(ctx)
            if record and parameter.name in SHARED_NAMES:
                shared.append(record)
            elif record:
                own.append(record)
        for title, records in (
            ("Options", own),
            ("Options of every command, before or after its name", shared),
        ):
            with formatter.section(title):
                formatter.write_dl(records)


class _Group(click.Group):
    """The group of commands. It knows what other tools call them."""

    command_class = _Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        typed = args[0]
        if self.get_command(ctx, typed) is None and not typed.startswith("-"):
            meant = _OTHER_NAMES.get(typed) or _alike(typed, self.list_commands(ctx))
            if meant:
                ctx.fail(
                    f"there is no command {typed!r}; did you mean `sqlmig {meant}`?"
                )
        return super().resolve_command(ctx, args)


def _alike(typed: str, names: Sequence[str]) -> str | None:
    from difflib import get_close_matches

    found = get_close_matches(typed, names, 1)
    return found[0] if found else None


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_epilog(
        [
            'sqlmig new "add invoices"',
            "sqlmig -d postgresql://localhost/app up",
            "sqlmig status",
        ],
        "it failed",
    ),
)
@click.version_option(sqlmig.__version__, message="sqlmig %(version)s")
@shared_options(is_group=True)
@click.pass_context
def group(context: click.Context) -> None:
    """Run plain up/down SQL files against PostgreSQL, and leave no mess."""
    context.ensure_object(Settings)


def _command(*examples: str, fails: str = "it failed") -> Callable[..., Any]:
    """Add a command to the group, with the examples and the reason of exit code 1 below its help."""

    def decorate(function: Callable[..., Any]) -> Any:
        name = function.__name__.rstrip("_")  # a keyword of Python has one at its end
        add = all_of(
            group.command(name, epilog=_epilog(examples, fails)),
            shared_options(is_group=False),
        )
        return add(click.pass_obj(function))

    return decorate


@contextmanager
def _open_one(settings: Settings) -> Iterator[Session]:
    """Open the database, and yield a session for the one ledger that is meant."""
    ledger = settings.ledger
    found = migrations.find(settings.directory)
    with (
        database(
            settings.url, settings.wait, make=settings.makes_data_directory
        ) as url,
        open_session(
            url, ledger, found, output.say, options=settings.options, watch=watch
        ) as session,
    ):
        yield session


@contextmanager
def _open_many(settings: Settings) -> Iterator[Schemas]:
    """Open the database, and yield a session for each ledger that is meant."""
    from sqlmig.schemas import open_schemas

    found = migrations.find(settings.directory)
    with (
        database(
            settings.url, settings.wait, make=settings.makes_data_directory
        ) as url,
        open_schemas(
            url,
            settings.schemas,
            found,
            output.say,
            options=settings.options,
            watch=watch_below_bar,
        ) as schemas,
    ):
        yield schemas


def _run(settings: Settings, request: Request) -> int:
    """Do what is asked for, or rehearse it. The modules that run files are imported only when there is work."""
    if settings.has_many_schemas:
        with _open_many(settings) as schemas:
            return _run_many(settings, schemas, request)
    with _open_one(settings) as session:
        return _run_one(settings, session, request)


def _run_one(settings: Settings, session: Session, request: Request) -> int:
    if isinstance(request, Up):
        _say_ahead(session)
    if not session.has_work(request):
        return _nothing_to_do(settings, 1)
    request = _ask_about_non_empty(settings, [session], request)
    from sqlmig.cli.running import confirmed, run_one

    if not _is_rehearsed(settings, request):
        return run_one(session, request, settings)
    from sqlmig.cli.rehearsing import (
        print_rehearsal,
        refuse_to_lose_rows,
        rehearse_one,
    )

    if not settings.is_dry_run and not settings.asks:
        return run_one(session, request, settings, refuse_to_lose_rows)

    rehearsal = rehearse_one(session, request)
    if settings.is_dry_run or not rehearsal.by_schema:
        return print_rehearsal(rehearsal, request, settings, 1)
    print_rehearsal(rehearsal, request, settings, 1)
    if not _is_confirmed(settings, session.connection.database_name):
        return 1
    return run_one(session, confirmed(request, rehearsal.shown)(session), settings)


def _run_many(settings: Settings, schemas: Schemas, request: Request) -> int:
    if isinstance(request, Up):
        _say_ahead(*schemas.sessions)
    todo = [session for session in schemas.sessions if _has_work(session, request)]
    if not todo and not schemas.unreadable:
        return _nothing_to_do(settings, schemas.count)
    request = _ask_about_non_empty(settings, todo, request)
    from sqlmig.cli.running import run_many, verb_of

    failed = say_unreadable(schemas)
    if _is_rehearsed(settings, request):
        return _rehearse_many(settings, schemas, todo, request, failed)
    return run_many(
        schemas, todo, lambda _: request, verb_of(request), settings, failed
    )


def _ask_about_non_empty(
    settings: Settings, sessions: Sequence[Session], request: Request
) -> Request:
    """Ask on a terminal whether to apply files to schemas that have objects but no ledger.

    Returns the request as it is to be done. A rehearsal only warns. Elsewhere the run refuses them.
    """
    new = [session for session in sessions if not session.ledger_exists]
    if not isinstance(request, Up) or request.allow_non_empty or not new:
        return request
    if not settings.asks and not settings.is_dry_run:
        return request
    from sqlmig.core.other_tools import find_neighbours
    from sqlmig.core.runner import message_for_non_empty

    allowed = request._replace(allow_non_empty=True)
    for session in new:
        objects = find_neighbours(session.connection, session.ledger).objects
        if not objects:
            continue
        message = message_for_non_empty(session, objects)
        if settings.is_dry_run:
            session.say(f"warning: {message}")
            continue
        session.say(message)
        place = f"{session.ledger.schema} of {session.connection.database_name}"
        if not click.confirm(f"Apply them to {place} all the same?", err=True):
            raise SqlmigError("nothing was applied")
    return allowed


def _say_ahead(*sessions: Session) -> None:
    """Say once what a newer release has applied, unless ``up`` is to be refused."""
    ahead = {}
    for session in sessions:
        if session.ahead() and not session.is_refused(Up()):
            ahead.update({row.version: row for row in session.ahead()})
    words = plan.words_for_ahead(ahead.values())
    if words:
        output.say(words)


def _has_work(session: Session, request: Request) -> bool:
    try:
        return session.has_work(request)
    except UsageError as error:
        raise UsageError(f"{session.ledger.schema}: {error}") from None


def _rehearse_many(
    settings: Settings,
    schemas: Schemas,
    todo: Sequence[Session],
    request: Request,
    failed: list[str],
) -> int:
    """Rehearse in many schemas and, where that is to be confirmed, ask and do it."""
    from sqlmig.cli.rehearsing import (
        print_rehearsal,
        rehearse_many,
        words_for_losses,
    )
    from sqlmig.cli.running import confirmed, run_many, say_failed, verb_of

    rehearsal = rehearse_many(todo, request, settings)
    rehearsal.failed += failed
    if settings.is_dry_run or not rehearsal.by_schema:
        return print_rehearsal(rehearsal, request, settings, schemas.count)
    place = f"{counted(len(rehearsal.by_schema), 'schema')} of {todo[0].connection.database_name}"
    if settings.asks:
        print_rehearsal(rehearsal, request, settings, schemas.count)
        if not _is_confirmed(settings, place):
            return 1
    elif rehearsal.may_lose_rows:
        output.say_error(words_for_losses(rehearsal, settings, place))
        return _nothing_reverted(settings)

    chosen = [
        session for session in todo if session.ledger.schema in rehearsal.by_schema
    ]
    request_of = confirmed(request, rehearsal.shown)
    reverted = run_many(schemas, chosen, request_of, verb_of(request), settings, [])
    return max(say_failed(rehearsal.failed, schemas.count), reverted)


def _is_rehearsed(settings: Settings, request: Request) -> bool:
    """Say whether a request is rehearsed: as that was asked for, or to see what a revert would lose."""
    return settings.is_dry_run or (
        isinstance(request, Down) and not settings.is_confirmed
    )


def _is_confirmed(settings: Settings, place: str) -> bool:
    if click.confirm(f"Revert this in {place}?", err=True):
        return True
    output.say("nothing was reverted")
    _nothing_reverted(settings)
    return False


def _nothing_reverted(settings: Settings) -> int:
    if settings.as_json:
        click.echo("[]")
    return 1


def say_unreadable(schemas: Schemas) -> list[str]:
    """Say why ledgers cannot be read, and return their schemas."""
    for schema, problem in schemas.unreadable.items():
        output.say(f"{schema}: {output.error_words(problem)}")
    return list(schemas.unreadable)


def _nothing_to_do(settings: Settings, count: int) -> int:
    click.echo(
        "[]" if settings.as_json else f"nothing to do{settings.in_schemas(count)}"
    )
    return 0


@_command(
    "sqlmig up", "sqlmig up --to 7", "sqlmig up --dry-run", fails="it failed or refused"
)
@all_of(TO, STEPS)
@option(
    "--allow-out-of-order",
    is_flag=True,
    help="Apply also what is older than the newest applied.",
)
@option(
    "--allow-non-empty",
    is_flag=True,
    help="Apply also to a schema that has tables, views or functions, but no ledger.",
)
@all_of(DRY_RUN, AS_JSON, LOCKS)
def up(
    settings: Settings,
    to: int | None,
    steps: int | None,
    *,
    allow_out_of_order: bool,
    allow_non_empty: bool,
) -> int:
    """Apply what is pending, oldest first, one transaction per file."""
    refuse_together(to=to, steps=steps)
    settings.makes_data_directory = True
    return _run(settings, Up(to, steps, allow_out_of_order, allow_non_empty))


@_command(
    "sqlmig down",
    "sqlmig down --to 7",
    "sqlmig down --all --dry-run",
    fails="it failed or refused",
)
@option(
    "--to",
    type=NOT_NEGATIVE,
    metavar="V",
    help="Revert every version above V; V itself stays.",
)
@STEPS
@option("--all", "is_all", is_flag=True, help="Revert all.")
@all_of(DRY_RUN, YES, AS_JSON, LOCKS)
def down(settings: Settings, to: int | None, steps: int | None, *, is_all: bool) -> int:
    """Revert the newest applied migration. Options revert more, newest first."""
    refuse_together(to=to, steps=steps, all=is_all)
    if to is None and steps is None and not is_all:
        steps = 1
    return _run(settings, Down(to, steps))


@_command(
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
def status(settings: Settings, *, exit_code: bool) -> int:
    """Show each version and its state. It writes nothing.

    States: applied, pending, changed (edited since), missing (its file is gone), out-of-order (older than the newest
    applied), ahead (its file is not here, and it is newer than every file).
    """
    if settings.has_many_schemas:
        return _status_of_many(settings, exit_code=exit_code)
    with _open_one(settings) as session:
        rows = session.rows()
        database_name = session.connection.database_name
    _head_with(database_name)
    if settings.as_json:
        output.print_json(_as_object(row) for row in rows)
    else:
        _print_rows(rows)
    return int(exit_code and _is_behind(rows))


def _status_of_many(settings: Settings, *, exit_code: bool) -> int:
    with _open_many(settings) as schemas:
        rows_by_schema = {
            session.ledger.schema: session.rows() for session in schemas.sessions
        }
        if schemas.sessions:
            _head_with(schemas.sessions[0].connection.database_name)
    say_unreadable(schemas)
    if settings.as_json:
        objects = []
        for schema, rows in rows_by_schema.items():
            objects += [{"schema": schema, **_as_object(row)} for row in rows]
        output.print_json(objects)
    else:
        _print_answers(rows_by_schema)
    is_behind = False
    for rows in rows_by_schema.values():
        is_behind = is_behind or _is_behind(rows)
    return int(bool(schemas.unreadable) or (exit_code and is_behind))


def _head_with(database_name: str) -> None:
    """Say on a terminal of which database the answer is: a wrong URL is the commonest mistake."""
    if output.is_on_terminal():
        click.echo(f"{database_name}:", err=True)


def _is_behind(rows: Iterable[Row]) -> bool:
    return any(row.state not in ("applied", "ahead") for row in rows)


def _as_object(row: Row) -> dict[str, object]:
    return {
        "version": row.version,
        "name": row.name,
        "state": row.state,
        "applied_at": row.applied_at,
    }


def _print_rows(rows: Sequence[Row]) -> None:
    """Print a line for each version and its state."""
    label_width = max(len(row.label) for row in rows)
    state_width = max(len(row.state) for row in rows)
    for row in rows:
        padding = " " * (state_width - len(row.state))
        more = row.applied_at or ""
        if (
            row.state in ("missing", "ahead")
            and row.recorded
            and row.recorded.has_down_copy
        ):
            more += "  (the ledger has its down file)"
        if row.has_another_name:
            more += f"  (applied as {row.recorded_name})"
        click.echo(
            f"{row.label:{label_width}}  {output.coloured(row.state)}{padding}  {more}".rstrip()
        )


def _print_answers(rows_by_schema: dict[str, list[Row]]) -> None:
    """Print a line for each different answer of many schemas, with how many give it, most first."""
    answers: dict[str, list[str]] = defaultdict(list)
    for schema, rows in rows_by_schema.items():
        answers[_answer(rows)].append(schema)
    for answer, schemas in sorted(answers.items(), key=lambda item: -len(item[1])):
        which = f" ({', '.join(schemas)})" if len(schemas) <= _FEW else ""
        each = ", each" if len(schemas) > 1 else ""
        click.echo(f"{counted(len(schemas), 'schema')}{which}{each}: {answer}")


def _answer(rows: Sequence[Row]) -> str:
    """Return how many versions are in each state; few are named."""
    labels: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        labels[row.state].append(row.label)
    words = []
    for state, named in labels.items():
        word = f"{len(named):,} {output.coloured(state)}"
        if state != "applied" and len(named) <= _FEW:
            word += f" ({', '.join(named)})"
        words.append(word)
    return ", ".join(words)


@_command('sqlmig new "add invoices"')
@click.argument("name")
def new(settings: Settings, name: str) -> None:
    """Write the next pair of files."""
    was_there = settings.directory.exists()
    for path in migrations.create(settings.directory, name):
        click.echo(path)
    if not was_there:
        output.say(f"made the directory {settings.directory}")


@_command(
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
    help="Fail if a file rewrites a table or reads it whole while others wait for it, or if it loses data. "
    "LIST is one or more of rewrites,reads,losses. A file passes if its directive accepts them.",
)
@option(
    "--base",
    metavar="REF",
    help="Compare with a git revision, such as origin/main. Fail if an up file there was edited or removed here. "
    "Fail if the number of a new version exists there, or is below the newest there.",
)
@AS_JSON
def check(
    settings: Settings, start: int | None, fail_on: str | None, base: str | None
) -> int:
    """Prove that each down file undoes its up file.

    It makes a scratch database on the server (the role needs CREATEDB), and drops it at the end. There it runs each
    version up, down and up again, and compares the schema before and after. It also compares rows, if there are files
    VERSION_NAME.rows.sql. With --schema the files run in a schema of that name.
    """
    from sqlmig.check import compare_with_base, prove, scratch_database
    from sqlmig.cli import checking

    kinds = _effect_kinds(fail_on or "")
    if base is not None and not base.strip():
        raise UsageError("--base needs a git revision, such as origin/main")
    found = migrations.find(settings.directory)
    plan.check_version(found, start)
    problems = compare_with_base(settings.directory, found, base) if base else []
    for problem in problems:
        checking.say_base_problem(problem)

    with (
        database(settings.url, settings.wait, make=True) as url,
        scratch_database(
            url, settings.ledger, output.say, owns_server=is_throwaway(settings.url)
        ) as scratch,
    ):
        trials = prove(scratch, found, start or 0, kinds)
        findings = _with_bar(trials, len(found))
    checking.tell(findings, as_json=settings.as_json)
    return int(bool(problems) or any(finding.has_failed for finding in findings))


def _with_bar(trials: Iterator[Finding], length: int) -> list[Finding]:
    """Return the findings, with a bar while they are made where somebody watches."""
    bar = nullcontext(trials)
    if output.is_on_terminal():
        bar = click.progressbar(
            trials, length=length, label="checking", file=sys.stderr
        )  # type: ignore[assignment]
    with bar as shown:
        return list(shown)


def _effect_kinds(words: str) -> list[str]:
    """Return the kinds of effects in a list such as ``rewrites,reads``."""
    from sqlmig.check import EFFECT_KINDS

    kinds = words.replace(",", " ").split()
    for kind in kinds:
        if kind not in EFFECT_KINDS:
            raise UsageError(
                f"--fail-on takes {', '.join(EFFECT_KINDS)}, separated by commas, and not {kind!r}"
            )
    return kinds


@_command(
    "sqlmig drift", "sqlmig drift --json", fails="something differs, or it failed"
)
@option(
    "--ignore",
    envvar="SQLMIG_IGNORE",
    metavar="PATTERN",
    multiple=True,
    help="Do not report what has a name such as PATTERN, nor what belongs to it. * and ? stand for other characters.",
)
@AS_JSON
def drift(settings: Settings, *, ignore: tuple[str, ...]) -> int:
    """Name what somebody changed by hand.

    It makes a scratch database on the server (the role needs CREATEDB), runs the applied files there, compares, and
    drops it. It says what is extra, missing or changed in the schemas in which these files make something, or in the
    one that --schema names. It writes nothing in the database itself.
    """
    from sqlmig.check import find_drift

    ledger = settings.ledger
    found = migrations.find(settings.directory)
    with (
        database(settings.url, settings.wait) as url,
        open_session(
            url, ledger, found, output.say, options=settings.options, watch=watch
        ) as session,
    ):
        differences = find_drift(session, url, ignore)

    lines = [("extra", " ".join(key)) for key in differences.left]
    lines += [("missing", " ".join(key)) for key in differences.lost]
    lines += [("changed", str(difference)) for difference in differences.changed]
    lines += [("note", note) for note in differences.notes]
    if settings.as_json:
        output.print_json({"state": state, "object": line} for state, line in lines)
    else:
        for state, line in lines:
            click.echo(f"{output.coloured(state)}  {line}")
        if not differences:
            click.echo("nothing differs")
    return int(bool(differences))


@_command(
    "sqlmig script > all.sql",
    "sqlmig script --from 8 --to 9",
    "sqlmig script --from 9 --down",
    fails="a file cannot be in a script",
)
@option(
    "--from",
    "start",
    type=NOT_NEGATIVE,
    metavar="V",
    help="The oldest version to include.",
)
@TO
@option(
    "--down",
    "backward",
    is_flag=True,
    help="Print a script that reverts these versions, newest first.",
)
def script(
    settings: Settings, start: int | None, to: int | None, *, backward: bool
) -> None:
    """Print one SQL script that applies the files.

    It is for the Supabase SQL editor or psql, not for Citus. It skips what the ledger there has, so you can paste it
    twice. With --schema the files run in that schema, which the script makes.
    """
    from sqlmig.script import make_script

    found = migrations.find(settings.directory)
    plan.check_version(found, start)
    plan.check_version(found, to)
    chosen = []
    for migration in found:
        is_in_range = start is None or migration.version >= start
        if is_in_range and (to is None or migration.version <= to):
            chosen.append(migration)
    if not chosen:
        raise UsageError("--from is beyond --to")
    click.echo(
        make_script(settings.ledger, found, chosen, output.say, down=backward), nl=False
    )


@_command("sqlmig stamp 7")
@click.argument("version", type=NOT_NEGATIVE, metavar="V")
def stamp(settings: Settings, version: int) -> int:
    """Record everything up to V as applied without running it."""
    from sqlmig.takeover import check_versions, to_stamp

    if settings.has_pattern:
        raise UsageError("stamp works on named schemas: give --schema without * or ?")
    corrections_of = partial(to_stamp, version=version)
    if settings.has_many_schemas:
        with _open_many(settings) as schemas:
            check_versions(schemas.sessions, [version])
            failed = say_unreadable(schemas)
            return _correct_many(
                settings, schemas, schemas.sessions, corrections_of, failed
            )
    with _open_one(settings) as session:
        return _correct_one(session, corrections_of)


@_command(
    "sqlmig import db/migrations",
    "sqlmig --dir sql import supabase/migrations",
    fails="it failed or refused",
)
@click.argument("source", metavar="DIR", type=click.Path(path_type=Path))
def import_(settings: Settings, source: Path) -> int:
    """Turn another tool's files into pairs, in --dir.

    It reads the files of dbmate, goose, sql-migrate, tern, Flyway and the Supabase CLI. It overwrites nothing, and says
    what it could not take over. With a database it reads that tool's ledger, and prints the `sqlmig stamp` to run next.
    """
    from sqlmig.takeover.foreign_files import read_foreign
    from sqlmig.takeover.importing import pairs_of, write

    if source.resolve() == settings.directory.resolve():
        raise UsageError(
            f"{source}: the pairs would stand between the other tool's files; name another directory with --dir"
        )
    foreign = read_foreign(source)
    pairs = pairs_of(foreign, settings.directory)
    next_step = _step_after_import(settings, foreign, pairs)
    problems = write(pairs, settings.directory)
    click.echo(
        f"{settings.directory}: {counted(len(pairs), 'migration')} of {foreign.tool} written"
    )

    for line in foreign.left_out:
        output.say(f"not taken over: {line}")
    without = [pair.version for pair in pairs if len(pair.files) == 1]
    if without:
        output.say(
            f"no down file, as there is nothing in their down half: {', '.join(without)}"
        )
    for problem in problems:
        output.say(f"must be fixed before it can run: {problem}")
    click.echo(next_step)
    return 0


def _step_after_import(
    settings: Settings, foreign: ForeignFiles, pairs: Sequence[Pair]
) -> str:
    """Return what is to be done next, as the other tool's ledger says where there is a database."""
    from sqlmig.takeover.importing import is_ledger_in_the_way, read_their_ledger

    if not has_database(settings.url):
        newest = int(pairs[-1].version) if pairs else 0
        return (
            "Next, on each database that has them: `sqlmig stamp V`, V the newest version that is applied there. "
            f"The newest here is {newest}"
        )
    from sqlmig.core.connection import connect

    with (
        database(settings.url, settings.wait) as url,
        connect(url, output.say) as connection,
    ):
        theirs = read_their_ledger(connection, foreign.tool, pairs)
        is_in_the_way = foreign.tool == "dbmate" and is_ledger_in_the_way(connection)
        name = connection.database_name
    if theirs is None or theirs.newest is None:
        return f"{foreign.tool} has applied none of them to {name}. Next: `sqlmig up`"

    lines = []
    if theirs.not_applied:
        missing = ", ".join(pair.version for pair in theirs.not_applied)
        lines.append(
            f"{foreign.tool} has not applied {missing}, but newer ones. Let it apply them before you stamp"
        )
    lines.append(
        f"{foreign.tool} has applied them to {name} up to {theirs.newest.version}. Next:"
    )
    if is_in_the_way:
        lines.append(
            '  psql "$DATABASE_URL" -c '
            "'ALTER TABLE schema_migrations RENAME TO schema_migrations_before_sqlmig'"
        )
    lines.append(f"  sqlmig stamp {int(theirs.newest.version)}")
    return "\n".join(lines)


@_command("sqlmig repair", "sqlmig repair 7 12")
@click.argument("versions", nargs=-1, type=NOT_NEGATIVE, metavar="[V…]")
@YES
def repair(settings: Settings, versions: tuple[int, ...]) -> int:
    """Accept files that were edited, renumbered or removed on purpose.

        It records each changed version again, and removes the row of each missing one from the ledger. It does this for
    the versions that you name, or for all if you name none. It changes nothing else. What a missing version made stays.

    """
    from sqlmig.takeover import check_versions, to_repair

    corrections_of = partial(to_repair, versions=versions)
    if settings.has_many_schemas:
        with _open_many(settings) as schemas:
            check_versions(schemas.sessions, versions)
            return _repair_many(settings, schemas, corrections_of)
    with _open_one(settings) as session:
        check_versions([session], versions)
        corrections = corrections_of(session)
        if not corrections:
            click.echo("nothing to do")
            return 0
        if not settings.is_confirmed:
            for correction in corrections:
                output.say(f"would {correction.words}")
            if not _may_repair(settings, [session]):
                return 1
        return _correct_one(session, corrections_of)


def _repair_many(
    settings: Settings,
    schemas: Schemas,
    corrections_of: Callable[[Session], list[Correction]],
) -> int:
    todo = [session for session in schemas.sessions if corrections_of(session)]
    failed = say_unreadable(schemas)
    if not todo and not failed:
        click.echo("nothing to do")
        return 0

    if todo and not settings.is_confirmed:
        for session in todo:
            for correction in corrections_of(session):
                session.say(f"would {correction.words}")
        if not _may_repair(settings, todo):
            return 1
    return _correct_many(settings, schemas, todo, corrections_of, failed)


def _may_repair(settings: Settings, sessions: Sequence[Session]) -> bool:
    """Ask whether the ledgers may be corrected. Where nobody is there to ask, they may not."""
    database_name = sessions[0].connection.database_name
    if not settings.asks:
        output.say_error(
            f"nothing was changed in {database_name}, as nobody is here to ask: if this is right, add --yes"
        )
        return False
    if _is_right_database(settings, sessions) and click.confirm(
        f"Repair the ledger of {database_name}?", err=True
    ):
        return True
    output.say("nothing was changed")
    return False


def _is_right_database(settings: Settings, sessions: Sequence[Session]) -> bool:
    """Ask first where a version has another name in the ledger: it may be another application's."""
    for session in sessions:
        for row in session.rows():
            if row.state == "changed" and row.has_another_name:
                return click.confirm(
                    f"{session.connection.database_name} has version {row.version} as {row.recorded_name}, "
                    f"and {settings.directory} has it as {row.name}. "
                    "Are these the right database and the right directory?",
                    err=True,
                )
    return True


def _correct_one(
    session: Session, corrections_of: Callable[[Session], list[Correction]]
) -> int:
    from sqlmig.takeover import correct

    for line in correct(session, corrections_of) or ["nothing to do"]:
        click.echo(line)
    return 0


def _correct_many(
    settings: Settings,
    schemas: Schemas,
    todo: Sequence[Session],
    corrections_of: Callable[[Session], list[Correction]],
    failed: list[str],
) -> int:
    """Make the corrections in each schema. failed: schemas where that is told already."""
    from sqlmig.cli.running import on_each, say_failed
    from sqlmig.schemas.jobs import Outcome
    from sqlmig.takeover import correct

    def work(session: Session) -> list[str]:
        return correct(session, corrections_of) or ["nothing to do"]

    def tell(outcome: Outcome[str]) -> None:
        for line in outcome.results:
            click.echo(f"{outcome.session.ledger.schema}: {line}")

    failed += on_each(todo, work, tell, settings)
    return say_failed(failed, schemas.count)


@_command(
    "sqlmig docs > schema.md",
    "sqlmig docs --check schema.md",
    fails="it failed, or with --check the file is not the page",
)
@option(
    "--check",
    "checked",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Print nothing, and fail if FILE is not the page.",
)
def docs(settings: Settings, checked: Path | None) -> int:
    """Print the schema as a Markdown page.

    It has the tables, views and functions with their comments, and a Mermaid diagram, which GitHub draws. The schema is
    --schema's, or the first on the search path.
    """
    from sqlmig.core.connection import connect
    from sqlmig.docs import page

    ledger = settings.ledger
    shown = ""
    if checked and not checked.exists():
        raise SqlmigError(
            f"{checked}: there is no such file; write it with: sqlmig docs > {checked}"
        )
    if checked:
        shown = migrations.read(checked).decode()
    with (
        database(settings.url, settings.wait) as url,
        connect(url, output.say) as connection,
    ):
        name = connection.database_name
        text = page(connection, ledger.schema if ledger.is_named else "")
    if checked is None:
        click.echo(text, nl=False)
        return 0
    return _compare_page(checked, shown, text, name)


def _compare_page(path: Path, shown: str, page: str, database_name: str) -> int:
    """Say where a file is not the page of the database; return the exit code."""
    lines = shown.splitlines()
    expected = page.splitlines()
    if lines == expected:
        return 0
    number = 0
    while lines[number : number + 1] == expected[number : number + 1]:
        number += 1
    output.say_error(
        f"{path}:{number + 1}: it is not the page of {database_name}; write it anew: sqlmig docs > {path}"
    )
    if github.is_wanted():
        github.annotate(
            path, number + 1, "stale page", "sqlmig docs writes another page"
        )
    return 1
