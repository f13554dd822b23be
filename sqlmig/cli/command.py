"""A command of the command line: its help, and the options that every command takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sqlmig.cli.options import SHARED_NAMES, all_of, shared_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def epilog(
    examples: Sequence[str], fails: str, more_codes: Mapping[int, str] | None = None
) -> str:
    """Return the text below a command's help: examples, and the exit codes.

    fails: when the exit code is 1. more_codes: other exit codes of the command, and when.
    """
    lines = "".join(f"  {example}\n" for example in examples)
    codes = {0: "done", 1: fails, 2: "the command line was wrong", **(more_codes or {})}
    listed = ", ".join(f"{code} {when}" for code, when in sorted(codes.items()))
    return f"\b\nExamples:\n{lines}\nExit codes: {listed}."


class Command(click.Command):
    """A command whose help shows its own options first, and then those that every command takes."""

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write both groups of options."""
        own = []
        shared = []
        for parameter in self.get_params(ctx):
            record = None
            if isinstance(parameter, click.Option):
                record = parameter.get_help_record(ctx)
            if record and parameter.name in SHARED_NAMES:
                shared.append(record)
            elif record:
                own.append(record)
        for title, records in (
            ("Options", own),
            ("Options of every command, before or after its name", shared),
        ):
            with formatter.section(title):
                formatter.write_dl(records)


def command(
    *examples: str,
    fails: str = "it failed",
    more_codes: Mapping[int, str] | None = None,
) -> Callable[..., Any]:
    """Make a function a command. Its first parameter is the CommandLine, its docstring the help.

    examples: command lines for the help. fails: when the exit code is 1. more_codes: other
    exit codes, and when.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        name = function.__name__.rstrip("_")  # a keyword of Python has one at its end
        add = all_of(
            click.command(
                name, cls=Command, epilog=epilog(examples, fails, more_codes)
            ),
            shared_options(is_group=False),
        )
        return add(click.pass_obj(function))

    return decorate
