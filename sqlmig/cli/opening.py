"""Opening the database for a command: a session for each ledger that is meant, be it one or many."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlmig.cli import output
from sqlmig.cli.progress import watch, watch_below_bar
from sqlmig.core import migrations
from sqlmig.core.database import database, is_throwaway
from sqlmig.core.errors import UsageError
from sqlmig.core.session import open_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sqlmig.check import ScratchServer
    from sqlmig.cli.options import CommandLine
    from sqlmig.core.errors import SqlmigError
    from sqlmig.core.session import Session


@dataclass
class Opened:
    """The ledgers that are meant: a session for each that can be read, and why the others cannot.

    are_many: the command line may mean several schemas, so output names the schema.
    new: the schemas that do not exist yet.
    """

    url: str
    sessions: list[Session]
    unreadable: dict[str, SqlmigError] = field(default_factory=dict)
    new: set[str] = field(default_factory=set)
    are_many: bool = False

    @property
    def count(self) -> int:
        """The number of ledgers that are meant."""
        return len(self.sessions) + len(self.unreadable)

    def report_unreadable(self) -> list[str]:
        """Print why ledgers cannot be read, and return their schemas."""
        for schema, problem in self.unreadable.items():
            output.say_error(problem, schema)
        return list(self.unreadable)


def scratch_server(
    command_line: CommandLine, url: str
) -> AbstractContextManager[ScratchServer]:
    """Return the server for scratch databases of a command line. url: the database."""
    from sqlmig.check import open_scratch_server

    return open_scratch_server(
        url,
        command_line.scratch,
        output.say,
        wait=command_line.wait,
        owns_database=is_throwaway(command_line.url),
    )


@contextmanager
def open_sessions(
    command_line: CommandLine, *, looks_for_unfinished: bool = False
) -> Iterator[Opened]:
    """Open the database, and yield a session for each ledger that is meant. Raises SqlmigError.

    looks_for_unfinished: also read what migrations have begun and not finished.
    """
    found = migrations.find(command_line.directory)
    make = command_line.makes_data_directory
    if command_line.has_many_schemas and command_line.ledger_schema:
        raise UsageError(
            "--ledger-schema is for one schema: with several, each has a ledger of its own"
        )
    with database(command_line.url, command_line.wait, make=make) as url:
        if not command_line.has_many_schemas:
            with open_session(
                url,
                command_line.ledger,
                found,
                output.say,
                options=command_line.options,
                watch=watch,
                looks_for_unfinished=looks_for_unfinished,
            ) as session:
                yield Opened(url, [session])
            return
        from sqlmig.schemas import open_schemas

        with open_schemas(
            url,
            command_line.schemas,
            found,
            output.say,
            options=command_line.options,
            watch=watch_below_bar,
            looks_for_unfinished=looks_for_unfinished,
        ) as schemas:
            yield Opened(
                url, schemas.sessions, schemas.unreadable, schemas.new, are_many=True
            )
