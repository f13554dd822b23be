"""The command ``up``."""

from __future__ import annotations

from sqlmig.cli.command import command
from sqlmig.cli.options import (
    AS_JSON,
    DRY_RUN,
    LOCKS,
    SET,
    STEPS,
    TO,
    CommandLine,
    all_of,
    option,
    refuse_together,
)
from sqlmig.cli.running import run_request
from sqlmig.core.plan import Up


@command(
    "sqlmig up", "sqlmig up --to 7", "sqlmig up --dry-run", fails="it failed or refused"
)
@all_of(TO, STEPS)
@option(
    "--allow-out-of-order",
    is_flag=True,
    help="Also apply pending versions that are older than the newest applied version.",
)
@option(
    "--allow-non-empty",
    is_flag=True,
    help="Apply to a schema that has tables, views or functions, but no ledger.",
)
@all_of(DRY_RUN, AS_JSON, SET, LOCKS)
def up(
    command_line: CommandLine,
    to: int | None,
    steps: int | None,
    *,
    allow_out_of_order: bool,
    allow_non_empty: bool,
) -> int:
    """Apply what is pending, oldest first, one transaction per file."""
    refuse_together(to=to, steps=steps)
    command_line.makes_data_directory = True
    return run_request(command_line, Up(to, steps, allow_out_of_order, allow_non_empty))
