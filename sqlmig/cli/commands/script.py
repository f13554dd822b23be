"""The command ``script``."""

from __future__ import annotations

import click

from sqlmig.cli import output
from sqlmig.cli.command import command
from sqlmig.cli.options import NOT_NEGATIVE, TO, CommandLine, option
from sqlmig.core import migrations, plan
from sqlmig.core.errors import UsageError


@command(
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
    command_line: CommandLine, start: int | None, to: int | None, *, backward: bool
) -> None:
    """Print one SQL script that applies the files.

    It is for the Supabase SQL editor or psql, not for Citus. It skips what the ledger there has, so you can paste it
    twice. With --schema the files run in that schema, which the script makes.
    """
    from sqlmig.script import make_script

    found = migrations.find(command_line.directory)
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
        make_script(command_line.ledger, found, chosen, output.say, down=backward),
        nl=False,
    )
