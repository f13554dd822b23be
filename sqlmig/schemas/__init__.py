"""Work with many ledgers: find the schemas that names and patterns match, and open a session for each."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlmig.core.connection import connect, fetch
from sqlmig.core.errors import SqlmigError
from sqlmig.core.ledger import ledger_in
from sqlmig.core.reading import read_several
from sqlmig.core.session import Session, Surroundings, connector
from sqlmig.core.sql import literal
from sqlmig.core.text import counted, regex_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlmig.core.connection import Connection
    from sqlmig.core.ledger import Ledger
    from sqlmig.core.migrations import Migration
    from sqlmig.core.reading import Contents
    from sqlmig.core.session import Options, Say, Watch
    from sqlmig.core.sqlfile import SqlFile

# Ledgers per query. One query for all of them is slower, and takes more locks than a server has room for.
_BATCH = 250


@dataclass
class Schemas:
    """The chosen schemas: a session for each ledger that can be read, and the error for each other ledger.

    new: the schemas that do not exist yet.
    """

    sessions: list[Session]
    unreadable: dict[str, SqlmigError]
    new: set[str]

    @property
    def count(self) -> int:
        """The number of chosen schemas."""
        return len(self.sessions) + len(self.unreadable)


def is_pattern(name: str) -> bool:
    """Return whether a name is a pattern that may match several schemas."""
    return "*" in name or "?" in name


@contextmanager
def open_schemas(
    url: str,
    names: Sequence[str],
    migrations: Sequence[Migration],
    say: Say,
    *,
    options: Options,
    watch: Watch,
    looks_for_unfinished: bool = False,
) -> Iterator[Schemas]:
    """Connect, read the ledgers, and yield a session for each, all on one connection. Writes nothing."""
    with connect(url, say) as connection:
        ledgers, new = find_ledgers(connection, names, say)
        files: dict[Path, SqlFile] = {}  # each file is scanned once for all schemas
        schemas = Schemas([], {}, new)
        for ledger, found in read_ledgers(
            connection, ledgers, looks_for_unfinished=looks_for_unfinished
        ):
            if isinstance(found, SqlmigError):
                schemas.unreadable[ledger.schema] = found
                continue

            prefixed = _with_prefix(ledger.schema, say)
            connect_as = connector(url, prefixed, connection)
            session = Session(
                connection=connection,
                surroundings=Surroundings(connect_as, prefixed, watch),
                ledger=ledger,
                migrations=migrations,
                contents=found,
                options=options,
                files=files,
            )
            schemas.sessions.append(session)

        yield schemas


def _with_prefix(schema: str, say: Say) -> Say:
    def say_of_schema(message: str) -> None:
        say(f"{schema}: {message}")

    return say_of_schema


def find_ledgers(
    connection: Connection, names: Sequence[str], say: Say
) -> tuple[list[Ledger], set[str]]:
    """Return the ledgers of the named schemas, and of the schemas that match a pattern and have a ledger.

    Return also the names of schemas that do not exist yet.
    """
    fitting = fetch(
        connection,
        ledger_in(None).sql("schemas", pattern=literal(_pattern(names))),
    )
    named = [name for name in names if not is_pattern(name)]
    chosen: dict[str, None] = {}
    without = 0
    for schema, has_ledger in fitting:
        if has_ledger:
            chosen[schema] = None
        elif schema not in named:
            without += 1
    if without:
        say(f"{counted(without, 'schema')} without a ledger, left alone")

    chosen.update(dict.fromkeys(named))
    if not chosen:
        raise SqlmigError(
            "no schema that matches has a ledger; for the first run give the names without * or ?"
        )
    ledgers = [replace(ledger_in(schema), announces_schema=False) for schema in chosen]
    return ledgers, set(named) - {schema for schema, _ in fitting}


def _pattern(names: Sequence[str]) -> str:
    """Return a regular expression that matches the names and patterns."""
    return f"^({'|'.join(map(regex_of, names))})$"


def read_ledgers(
    connection: Connection,
    ledgers: Sequence[Ledger],
    *,
    looks_for_unfinished: bool = False,
) -> Iterator[tuple[Ledger, Contents | SqlmigError | None]]:
    """Yield each ledger with its rows, with None if it does not exist, or with the error from reading it."""
    for start in range(0, len(ledgers), _BATCH):
        some = ledgers[start : start + _BATCH]
        # Constraints and indexes of the whole database are read once.
        looks = looks_for_unfinished and start == 0
        yield from _read_batch(connection, some, looks_for_unfinished=looks)


def _read_batch(
    connection: Connection, ledgers: Sequence[Ledger], *, looks_for_unfinished: bool
) -> Iterator[tuple[Ledger, Contents | SqlmigError | None]]:
    problem = None
    try:
        found = read_several(
            connection, ledgers, looks_for_unfinished=looks_for_unfinished
        )
    except SqlmigError as error:
        found = None
        problem = error
    if found is not None:
        yield from zip(ledgers, found, strict=True)
    elif len(ledgers) == 1:
        yield ledgers[0], problem
    else:  # at least one of them cannot be read: find out which
        for number, ledger in enumerate(ledgers):
            looks = looks_for_unfinished and number == 0
            yield from _read_batch(connection, [ledger], looks_for_unfinished=looks)
