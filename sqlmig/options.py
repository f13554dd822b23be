"""The options of the commands, and what those of the group say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sqlmig import output
from sqlmig.ledger import Ledger

if TYPE_CHECKING:
    from sqlmig.session import Session


@dataclass(frozen=True)
class Settings:
    """The options of the group: the URL (None where none was given), the directory of the files, the ledger's place."""

    url: str | None
    directory: Path
    ledger: Ledger

    def session(self) -> AbstractContextManager[Session]:
        """Return, to be entered, a connection to the database, and what the directory and the ledger hold."""
        from sqlmig.session import opened

        return opened(self.url, self.directory, self.ledger, output.say, output.watch)


def epilog(examples: Sequence[str], fails: str) -> str:
    """Return what stands below a command's help."""
    lines = "".join(f"  {example}\n" for example in examples)
    return f"\b\nExamples:\n{lines}\nExit codes: 0 done, 1 {fails}, 2 the command line was wrong."


def schema_name(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    """Return a schema's name. Raises click.BadParameter for what cannot be shown."""
    if name and not name.isprintable():
        raise click.BadParameter(f"{name!a} has bytes or characters that cannot be shown")
    return name


def duration(_: click.Context, __: click.Parameter, value: str) -> str:
    """Return a length of time in PostgreSQL's format. Raises click.BadParameter for what is none."""
    if not re.fullmatch(r"\s*\d+(\.\d+)?\s*(us|ms|s|min|h|d)?\s*", value):
        raise click.BadParameter("a number with us, ms, s, min, h or d, as PostgreSQL writes it; 0 waits for ever")
    return value


option = partial(click.option, show_default=True, show_envvar=True)
url = option(
    *("-d", "--database-url", "url"), metavar="URL", envvar="DATABASE_URL", show_default="libpq's PG* variables",
    help="The database; embedded:PATH is a private server on a directory.",
)  # fmt: skip
directory = option(
    *("--dir", "directory"), type=click.Path(path_type=Path), default="sql", envvar="SQLMIG_DIR",
    help="Where the SQL files are.",
)  # fmt: skip
schema = option(
    "--schema", metavar="NAME", envvar="SQLMIG_SCHEMA", callback=schema_name, show_default="public",
    help="The ledger's schema; where given, it is made when missing and comes first in the search path.",
)  # fmt: skip
number = click.IntRange(0)
to = option("--to", type=number, metavar="V", help="The last version, V itself too.")
steps = option("--steps", type=number, metavar="N", help="At most this many migrations.")
dry_run = option("--dry-run", is_flag=True, help="Rehearse it in one transaction, and roll back.")
json = option("--json", "as_json", is_flag=True, help="Print a list of objects.")
lock_timeout = option(
    "--lock-timeout", default="5s", metavar="TIME", callback=duration, help="How long a statement may queue for a lock."
)
retries = option("--retries", type=number, default=10, help="How often to try again after a lock timeout or deadlock.")
