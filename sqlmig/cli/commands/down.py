"""The command ``down``."""

from __future__ import annotations

from sqlmig.cli.command import command
from sqlmig.cli.options import (
    AS_JSON,
    DRY_RUN,
    LOCKS,
    NOT_NEGATIVE,
    SET,
    STEPS,
    YES,
    CommandLine,
    all_of,
    option,
    refuse_together,
)
from sqlmig.cli.running import run_request
from sqlmig.core.plan import Down


@command(
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
@option("--all", "is_all", is_flag=True, help="Revert every applied version.")
@all_of(DRY_RUN, YES, AS_JSON, SET, LOCKS)
def down(
    command_line: CommandLine, to: int | None, steps: int | None, *, is_all: bool
) -> int:
    """Revert the newest applied migration. Options revert more, newest first."""
    refuse_together(to=to, steps=steps, all=is_all)
    if to is None and steps is None and not is_all:
        steps = 1
    return run_request(command_line, Down(to, steps))
