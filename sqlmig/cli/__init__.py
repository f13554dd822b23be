"""The command line: it runs a command, prints errors as messages, and returns the exit code."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

import click

from sqlmig.cli import output
from sqlmig.cli.group import group
from sqlmig.core.errors import SqlmigError


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command like Ctrl-C: it cancels the work on the server, and prints a message."""


def command(arguments: list[str] | None = None) -> int:
    """Run a command line, and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    output.report_errors_as_json(wanted="--json" in given)
    try:
        return int(
            group.main(arguments, prog_name="sqlmig", standalone_mode=False) or 0
        )
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except click.Abort as abort:  # which click makes of KeyboardInterrupt
        cause = abort.__cause__
        output.say_interruption(str(cause or "") or "interrupted")
        number = signal.SIGTERM if isinstance(cause, Terminated) else signal.SIGINT
        return 128 + number
    except SqlmigError as error:
        output.say_error(error)
        return error.exit_code
    except OSError as error:  # a full disk, for example
        output.say_error(_with_its_file(error))
        return 1


def _with_its_file(error: OSError) -> str:
    """Return the message of an error of the operating system, after the file that it is about."""
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}"


def _show(error: click.ClickException) -> None:
    """Print an error of click's."""
    if output.errors_are_json():
        output.say_error(error.format_message())
    else:
        error.show()


def main() -> NoReturn:
    """Be the console script. It leaves without the interpreter's teardown, which takes longer than most commands."""
    signal.signal(signal.SIGTERM, _terminate)
    code = command()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # its reader is gone
            if stream is not None:  # it may have been closed by who started us
                stream.flush()
    os._exit(code)


def _terminate(_number: int, _frame: object) -> None:
    raise Terminated
