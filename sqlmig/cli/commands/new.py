"""The command ``new``."""

from __future__ import annotations

import click

from sqlmig.cli import output
from sqlmig.cli.command import command
from sqlmig.cli.options import CommandLine
from sqlmig.core.numbering import create


@command('sqlmig new "add invoices"')
@click.argument("name")
def new(command_line: CommandLine, name: str) -> None:
    """Write the next pair of files."""
    existed = command_line.directory.exists()
    for path in create(command_line.directory, name):
        click.echo(path)
    if not existed:
        output.say(f"made the directory {command_line.directory}")
