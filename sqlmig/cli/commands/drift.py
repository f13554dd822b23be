"""The command ``drift``."""

from __future__ import annotations

import click

from sqlmig.cli import output
from sqlmig.cli.command import command
from sqlmig.cli.opening import open_sessions, scratch_server
from sqlmig.cli.options import AS_JSON, SCRATCH, SET, CommandLine, option


@command("sqlmig drift", "sqlmig drift --json", fails="something differs, or it failed")
@option(
    "--ignore",
    envvar="SQLMIG_IGNORE",
    metavar="PATTERN",
    multiple=True,
    help="Do not report objects with a name such as PATTERN, nor their parts. * and ? match other characters.",
)
@SCRATCH
@SET
@AS_JSON
def drift(command_line: CommandLine, *, ignore: tuple[str, ...]) -> int:
    """List the changes that were made by hand.

    It makes a scratch database on the server (the role needs CREATEDB) or on the server of --scratch, runs the applied
    files there, compares, and drops it. It lists extra, missing and changed objects in the schemas in which these files
    make something, or in the schema of --schema. It writes nothing in the database itself.
    """
    from sqlmig.check import find_drift

    _ = command_line.ledger  # one schema
    with (
        open_sessions(command_line) as opened,
        scratch_server(command_line, opened.url) as server,
    ):
        differences = find_drift(
            opened.sessions[0],
            opened.url,
            server,
            ignored=ignore,
            setup=command_line.setup,
        )

    lines = [("extra", " ".join(key)) for key in differences.left]
    lines += [("missing", " ".join(key)) for key in differences.lost]
    lines += [("changed", str(difference)) for difference in differences.changed]
    lines += [("note", note) for note in differences.notes]
    if command_line.as_json:
        output.print_json({"state": state, "object": line} for state, line in lines)
    else:
        for state, line in lines:
            click.echo(f"{output.coloured(state)}  {line}")
        if not differences:
            click.echo("nothing differs")
    return int(bool(differences))
