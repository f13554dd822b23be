"""The options of the commands. Those that every command knows may stand before it or behind it."""

import re
from collections.abc import Callable, Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any

import click

from sqlmig.session import Settings

Function = Callable[..., Any]


def epilog(examples: Sequence[str], fails: str) -> str:
    """Return what stands below a command's help."""
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
    """Write what was given into the settings."""
    if value not in (None, ()):
        setattr(context.ensure_object(Settings), str(parameter.name), value)


option = partial(click.option, show_default=True, show_envvar=True)
_kept = partial(option, expose_value=False, callback=_keep)
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


def added(*options: Function) -> Function:
    """Return what adds options to a function, in their order."""
    return lambda function: reduce(lambda made, option: option(made), reversed(options), function)


number = click.IntRange(0)
to = option("--to", type=number, metavar="V", help="The last version, V itself too.")
steps = option("--steps", type=number, metavar="N", help="At most this many migrations.")
dry_run = _kept("--dry-run", is_flag=True, help="Rehearse it in one transaction, and roll back.")
yes = _kept("--yes", is_flag=True, help="Do not ask; without a terminal it never asks.")
json = _kept("--json", "as_json", is_flag=True, help="Print a list of objects.")
# Every command knows the shared ones, the group with their help and their environment variables.
shared = [one() for one in _SHARED]
hidden = [one(hidden=True, envvar=None) for one in _SHARED]
locks = (
    _kept("--lock-timeout", metavar="TIME", type=_duration, show_default="5s",
        help="How long a statement may queue for a lock."),
    _kept("--jobs", type=click.IntRange(1), metavar="N", show_default="4",
        help="How many schemas at a time, where --schema names many."),
    _kept("--retries", type=number, show_default="10", help="How often to try again after a lock timeout or deadlock."),
)  # fmt: skip
