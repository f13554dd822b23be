"""The command ``docs``."""

from __future__ import annotations

from pathlib import Path

import click

from sqlmig.cli import github, output
from sqlmig.cli.command import command
from sqlmig.cli.options import CommandLine, option
from sqlmig.core import migrations
from sqlmig.core.database import database
from sqlmig.core.errors import SqlmigError


@command(
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
def docs(command_line: CommandLine, checked: Path | None) -> int:
    """Print the schema as a Markdown page.

    It has the tables, views and functions with their comments, and a Mermaid diagram, which GitHub draws. The schema is
    --schema's, or the first on the search path.
    """
    from sqlmig.core.connection import connect
    from sqlmig.docs import page

    shown = ""
    if checked and not checked.exists():
        raise SqlmigError(
            f"{checked}: there is no such file; write it with: sqlmig docs > {checked}"
        )
    if checked:
        shown = migrations.read(checked).decode()
    with (
        database(command_line.url, command_line.wait) as url,
        connect(url, output.say) as connection,
    ):
        name = connection.database_name
        text = page(connection, command_line.ledger.files_schema)
    if checked is None:
        click.echo(text, nl=False)
        return 0
    return _compare_page(checked, shown, text, name)


def _compare_page(path: Path, shown: str, page: str, database_name: str) -> int:
    """Print the first line in which a file differs from the page; return the exit code."""
    lines = shown.splitlines()
    expected = page.splitlines()
    if lines == expected:
        return 0
    number = 0
    while lines[number : number + 1] == expected[number : number + 1]:
        number += 1
    output.say_error(
        f"{path}:{number + 1}: it is not the page of {database_name}; write it again: sqlmig docs > {path}"
    )
    if github.is_wanted():
        github.annotate(
            path, number + 1, "stale page", "sqlmig docs writes another page"
        )
    return 1
