"""The group of commands. Each command is a file in the folder commands, which is loaded when it is needed."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

import click

import sqlmig
from sqlmig.cli.command import epilog
from sqlmig.cli.options import CommandLine, shared_options

_FOLDER = Path(__file__).parent / "commands"
# The names of commands in other tools, and ours.
_OTHER_NAMES = {
    "migrate": "up",
    "apply": "up",
    "upgrade": "up",
    "deploy": "up",
    "rollback": "down",
    "revert": "down",
    "downgrade": "down",
    "undo": "down",
    "redo": "down",
    "init": "new",
    "create": "new",
    "generate": "new",
    "add": "new",
    "info": "status",
    "history": "status",
    "current": "status",
    "version": "status",
    "list": "status",
    "validate": "check",
    "verify": "check",
    "test": "check",
    "baseline": "stamp",
    "force": "stamp",
    "diff": "drift",
    "dump": "docs",
    "convert": "import",
}


def command_names() -> list[str]:
    """Return the names of the commands: of the files in the folder, without an underscore at the end."""
    return sorted(path.stem.rstrip("_") for path in _FOLDER.glob("[a-z]*.py"))


class Group(click.Group):
    """The commands. A name that another tool uses leads to ours."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of the commands."""
        return command_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load a command; None if there is none of this name."""
        if cmd_name not in command_names():
            return None
        for name in (cmd_name, f"{cmd_name}_"):
            if (_FOLDER / f"{name}.py").exists():
                module = import_module(f"sqlmig.cli.commands.{name}")
                found: click.Command | None = getattr(module, name, None)
                assert found, f"{module.__file__} needs a function called {name}"
                return found
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was typed. For an unknown name, suggest a command."""
        typed = args[0]
        if typed not in command_names() and not typed.startswith("-"):
            similar = get_close_matches(typed, command_names(), 1)
            meant = _OTHER_NAMES.get(typed) or (similar[0] if similar else None)
            if meant:
                ctx.fail(
                    f"there is no command {typed!r}; did you mean `sqlmig {meant}`?"
                )
        return super().resolve_command(ctx, args)


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog(
        [
            'sqlmig new "add invoices"',
            "sqlmig -d postgresql://localhost/app up",
            "sqlmig status",
        ],
        "it failed",
    ),
)
@click.version_option(sqlmig.__version__, message="sqlmig %(version)s")
@shared_options(is_group=True)
@click.pass_context
def group(context: click.Context) -> None:
    """Run plain up/down SQL files against PostgreSQL, and leave no mess."""
    context.ensure_object(CommandLine)
