"""The command line: what the user typed, and the options that fill it in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from sqlmig.core.errors import UsageError
from sqlmig.core.ledger import Ledger, ledger_in
from sqlmig.core.session import Options
from sqlmig.core.text import (
    checked_setting,
    checked_value,
    counted,
    parse_lock_timeout,
    parse_time,
)

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]

_LONGEST_NAME = 63  # bytes that PostgreSQL keeps of a name


@dataclass
class CommandLine:
    """What the user typed: the database, the files, the ledger's schema, and how to run."""

    url: str = ""
    directory: Path = Path("sql")
    schemas: list[str] = field(default_factory=list)  # also as patterns
    schemas_are_from_environment: bool = False
    ledger_schema: str | None = None
    wait: float = 0  # seconds, for a server that does not answer yet
    jobs: int = 4  # how many schemas at a time
    options: Options = field(default_factory=Options)
    makes_data_directory: bool = False  # if the directory of embedded:PATH is missing
    scratch: str = ""  # the URL of the server for scratch databases
    setup: Path | None = None  # SQL for a scratch database, before the first file
    is_dry_run: bool = False
    as_json: bool = False
    is_confirmed: bool = False  # by --yes: do not ask

    @property
    def asks(self) -> bool:
        """Whether to ask first, on a terminal."""
        return sys.stdin is not None and sys.stdin.isatty() and not self.is_confirmed

    @property
    def has_many_schemas(self) -> bool:
        """Whether more than one schema may be meant."""
        return len(self.schemas) > 1 or self.has_pattern

    @property
    def has_pattern(self) -> bool:
        """Whether a schema is given as a pattern."""
        return any("*" in schema or "?" in schema for schema in self.schemas)

    @property
    def ledger(self) -> Ledger:
        """The ledger that is meant. Raises UsageError if several may be meant."""
        if self.has_many_schemas:
            raise UsageError(
                "this command works on one schema: give --schema once, without * or ?"
            )
        schema = self.schemas[0] if self.schemas else None
        return ledger_in(schema, self.ledger_schema)

    def in_schemas(self, count: int) -> str:
        """Return the number of schemas as text, if several may be meant; otherwise nothing."""
        return f" in {counted(count, 'schema')}" if self.has_many_schemas else ""


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Keep an option's value in the settings."""
    if value is not None:
        setattr(context.ensure_object(CommandLine), str(parameter.name), value)


def _keep_option(
    context: click.Context, parameter: click.Parameter, value: object
) -> None:
    """Keep the value of an option about how files run."""
    if value is not None:
        command_line = context.ensure_object(CommandLine)
        changed = {str(parameter.name): value}
        command_line.options = replace(command_line.options, **changed)  # type: ignore[arg-type]


def _keep_schemas(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> None:
    """Keep schemas, from before and after the command's name. They replace the environment's."""
    if not value:
        return
    command_line = context.ensure_object(CommandLine)
    is_from_environment = (
        context.get_parameter_source(str(parameter.name)) == ParameterSource.ENVIRONMENT
    )
    if is_from_environment or command_line.schemas_are_from_environment:
        command_line.schemas = []
    command_line.schemas_are_from_environment = is_from_environment
    command_line.schemas += value


def _keep_settings(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> None:
    """Keep the values of --set. An error names the setting alone, because its value may be secret."""
    command_line = context.ensure_object(CommandLine)
    settings = dict(command_line.options.settings)
    for assignment in value:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise click.BadParameter(
                "give NAME=VALUE, such as app.region=eu", context, parameter
            )
        try:
            settings[checked_setting(name)] = checked_value(name, text)
        except UsageError as error:
            raise click.BadParameter(str(error), context, parameter) from None
    command_line.options = replace(
        command_line.options, settings=tuple(settings.items())
    )


def _schema_name(name: str) -> str:
    if not name or len(name.encode(errors="surrogateescape")) > _LONGEST_NAME:
        raise click.BadParameter(
            f"{name!a} is not a name of 1 to {_LONGEST_NAME} bytes"
        )
    if "," in name:
        raise click.BadParameter(
            f"{name!r} holds a comma; give --schema once for each (in SQLMIG_SCHEMA put spaces between the names)"
        )
    if not name.isprintable():
        raise click.BadParameter(
            f"{name!a} has bytes or characters that cannot be shown"
        )
    return name


def _lock_timeout(value: str) -> str:
    try:
        parse_lock_timeout(value)
    except UsageError as error:
        raise click.BadParameter(str(error)) from None
    return value.strip()


def _wait_time(value: str) -> float:
    try:
        return parse_time(value, units=("s", "min", "h"))
    except UsageError as error:
        raise click.BadParameter(str(error)) from None


class _Number(click.ParamType):  # type: ignore[type-arg]
    """A whole number, at least so large."""

    name = "integer"

    def __init__(self, at_least: int) -> None:
        self._at_least = at_least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number. A value that is none is a usage error."""
        try:
            number = int(value)
        except ValueError:
            number = -1
        if number < self._at_least:
            self.fail(
                f"{value!r} is not a whole number of at least {self._at_least}",
                param,
                ctx,
            )
        return number


option = click.option
_kept = partial(option, expose_value=False, callback=_keep)
NOT_NEGATIVE = _Number(0)


def all_of(*options: Decorator[Any]) -> Decorator[Any]:
    """Return what adds options to a command, in their order."""

    def decorate(function: Any) -> Any:
        for one in reversed(options):
            function = one(function)
        return function

    return decorate


SHARED_NAMES = frozenset(("url", "directory", "schemas", "ledger_schema", "wait"))


def shared_options(*, is_group: bool) -> Decorator[Any]:
    """Return the options that may come before or after a command's name. Only the group reads the environment."""

    def variable(name: str) -> str | None:
        return name if is_group else None

    return all_of(
        _kept(
            "-d",
            "--database-url",
            "url",
            envvar=variable("DATABASE_URL"),
            metavar="URL",
            help="The database (environment DATABASE_URL, else libpq's PG* variables). "
            "embedded:PATH is a private server on a directory, embedded: alone a throwaway one.",
        ),
        _kept(
            "--dir",
            "directory",
            envvar=variable("SQLMIG_DIR"),
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="The directory of the SQL files (environment SQLMIG_DIR, else sql).",
        ),
        _kept(
            "--schema",
            "schemas",
            envvar=variable("SQLMIG_SCHEMA"),
            metavar="NAME",
            type=_schema_name,
            multiple=True,
            callback=_keep_schemas,
            help="The ledger's schema (environment SQLMIG_SCHEMA, else public). It comes first in the search path; "
            "up makes it if it is missing. up, down, status, stamp, unstamp and repair take several: repeat the "
            "option. * and ? find schemas that have a ledger.",
        ),
        _kept(
            "--ledger-schema",
            "ledger_schema",
            envvar=variable("SQLMIG_LEDGER_SCHEMA"),
            metavar="NAME",
            type=_schema_name,
            help="The schema of the ledger alone (environment SQLMIG_LEDGER_SCHEMA, else that of --schema). "
            "The files keep their search path. up makes it if it is missing.",
        ),
        _kept(
            "--wait",
            metavar="TIME",
            type=_wait_time,
            help="How long to keep trying a server that does not answer yet, such as 30s. "
            "A refusal, such as a wrong password, fails at once.",
        ),
    )


TO = option(
    "--to", type=NOT_NEGATIVE, metavar="V", help="The newest version to include."
)
STEPS = option(
    "--steps", type=NOT_NEGATIVE, metavar="N", help="At most this many migrations."
)
DRY_RUN = _kept(
    "--dry-run",
    "is_dry_run",
    is_flag=True,
    default=None,
    help="Rehearse it in one transaction, and roll back.",
)
YES = _kept(
    "--yes",
    "is_confirmed",
    is_flag=True,
    default=None,
    help="Do not ask, and continue without a terminal.",
)
AS_JSON = _kept(
    "--json",
    "as_json",
    is_flag=True,
    default=None,
    help="Print JSON: a list of objects.",
)
SCRATCH = all_of(
    _kept(
        "--scratch",
        envvar="SQLMIG_SCRATCH_URL",
        metavar="URL",
        help="The server for the scratch database (environment SQLMIG_SCRATCH_URL, else the server of the database). "
        "embedded: is a throwaway server, on which files may also change roles and the like.",
    ),
    _kept(
        "--setup",
        envvar="SQLMIG_SETUP",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="SQL to run on the scratch database before the first file, for what your platform provides: roles, "
        "schemas, extensions (environment SQLMIG_SETUP). What it creates is not compared.",
    ),
)
SET = option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    expose_value=False,
    callback=_keep_settings,
    help="A custom setting such as app.region=eu for each file, which it reads with current_setting('app.region'). "
    "Repeat the option for several. The value is never printed.",
)
LOCKS = all_of(
    _kept(
        "--lock-timeout",
        metavar="TIME",
        type=_lock_timeout,
        callback=_keep_option,
        help="How long a statement may queue for a lock (5s).",
    ),
    _kept(
        "--jobs",
        type=_Number(1),
        metavar="N",
        help="How many schemas at a time, if --schema names many (4).",
    ),
    _kept(
        "--retries",
        type=NOT_NEGATIVE,
        metavar="N",
        callback=_keep_option,
        help="How often to try again after a lock timeout or deadlock (10).",
    ),
)


def refuse_together(**given: int | bool | None) -> None:
    """Raise UsageError for options that cannot be combined. Their names are the keywords."""
    names = []
    for name, value in given.items():
        if value is not None and value is not False:
            names.append(f"--{name}")
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} cannot be combined; give one")
