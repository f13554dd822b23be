"""The ledger, the table schema_migrations: its lock, its statements (ledger.sql), and how it is read."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.errors import SqlmigError
from sqlmig.plan import LedgerRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg.pq.abc import PGresult

    from sqlmig.connection import Connection, ServerError
    from sqlmig.migrations import Migration

TABLE = "schema_migrations"
# What our own statements run under. On the caller's search path another role's function or
# operator could match a call better than PostgreSQL's own, and would run with our rights.
# Row level security would hide rows: with it off, the server refuses the query instead.
OWN_SETTINGS = (
    "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL row_security = off"
)
# The types of the columns as ledger.sql reads them, by their numbers in pg_type:
# integer, bigint, text, text, timestamp, boolean.
_TYPES_AS_READ = [23, 20, 25, 25, 1114, 16]
_UNDEFINED_TABLE_OR_SCHEMA = ("42P01", "3F000")
# A text that is no integer: so the checks of ledger.sql say no.
_NOT_OURS = "22P02"
_INSUFFICIENT_PRIVILEGE = "42501"
_UNDEFINED_COLUMN_OR_FUNCTION = ("42703", "42883")


def read_statements(path: Path) -> dict[str, str]:
    """Return the statements of an SQL file under their titles, which stand on lines ``-- %% title``.

    Comments right below a title are for the reader of the file, and left out.
    """
    text = path.read_text(encoding="utf-8")
    return dict(
        re.findall(
            r"^-- %% (\w+)\n(?:-- .*\n)*((?:(?!-- %%).*\n)+)", text, re.MULTILINE
        )
    )


_STATEMENTS = read_statements(Path(__file__).with_suffix(".sql"))
_IDENTITY = _STATEMENTS["identity"].strip()
_CONDITIONS = {
    "has_our_columns": _STATEMENTS["has_our_columns"].strip(),
    "has_trusted_owner": _STATEMENTS["has_trusted_owner"].strip(),
}
_CONDITIONS["is_plain"] = _STATEMENTS["is_plain"].strip().format(**_CONDITIONS)
_CONDITIONS["is_ours"] = _STATEMENTS["is_ours"].strip().format(**_CONDITIONS)


@dataclass(frozen=True)
class Ledger:
    """Where the ledger is.

    is_named: whether its schema was named. Then the schema is made when it is missing,
    and the files run in it. announces_schema: the server says so then.
    """

    schema: str
    is_named: bool
    announces_schema: bool = True

    @property
    def table(self) -> str:
        """The table's name, quoted and with its schema."""
        return f"{quoted(self.schema)}.{quoted(TABLE)}"

    @property
    def lock_key(self) -> int:
        """The number of the advisory lock of whoever writes: 64 bits of a hash of the schema's name."""
        digest = hashlib.sha256(f"sqlmig {self.schema}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    @property
    def worker_name(self) -> str:
        """The application_name of a connection that runs a no-transaction file."""
        return f"sqlmig: no-transaction #{self.lock_key}"

    @property
    def schema_option(self) -> str:
        """The option that names the schema, after a blank, as a user types it; empty for the default."""
        return f" --schema {shlex.quote(self.schema)}" if self.is_named else ""

    @cached_property
    def _fields(self) -> dict[str, object]:
        """What the statements are filled in with."""
        return {
            "schema": quoted(self.schema),
            "schema_literal": literal(quoted(self.schema)),
            "schema_name": literal(self.schema),
            "table": self.table,
            "literal": literal(self.table),
            "quote": dollar_quote("sqlmig", self.table),
            "key": self.lock_key,
            "worker": self.worker_name,
            "level": "NOTICE" if self.announces_schema else "DEBUG",
            "named": self.is_named,
            "identity": _IDENTITY,
            **_CONDITIONS,
        }

    def sql(self, title: str, /, **fields: object) -> str:
        """Return the statements under a title of ledger.sql, filled in for this ledger."""
        return self.fill(_STATEMENTS[title], **fields)

    def fill(self, template: str, /, **fields: object) -> str:
        """Return a template filled in for this ledger."""
        return template.rstrip("\n").format(**self._fields | fields)

    def definition(self) -> str:
        """Return the statements that make the ledger where it is missing."""
        schema = self.sql("schema") if self.is_named else ""
        return schema + self.sql("definition")

    def insert(self, migration: Migration, checksum: str) -> str:
        """Return the statement, without its semicolon, that records a migration."""
        return self._write("insert", migration, checksum)

    def update(self, migration: Migration) -> str:
        """Return the statement that records a migration anew, as its files are now."""
        return self._write("update", migration, migration.checksum)

    def delete(self, version: int) -> str:
        """Return the statement that takes a version out."""
        return self.sql("delete", version=version)

    def _write(self, title: str, migration: Migration, checksum: str) -> str:
        down = "NULL"
        if migration.down_text is not None:
            down = literal(migration.down_text)
        return self.sql(
            title,
            version=migration.version,
            name=literal(migration.name),
            checksum=literal(checksum),
            down=down,
        )


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL string, for standard_conforming_strings on."""
    return "'" + text.replace("'", "''") + "'"


def dollar_quote(word: str, text: str) -> str:
    """Return a dollar quote, made of a word, that a text does not contain."""
    for number in count():
        quote = f"${word}{number or ''}$"
        if quote not in text:
            return quote
    raise AssertionError("count() has no end")


class Contents(NamedTuple):
    """What a ledger held when it was read. identity changes when the table itself does.

    has_trusted_owner: whether its owner may decide what this role runs.
    """

    rows: list[LedgerRow]
    identity: str
    has_trusted_owner: bool


def read(connection: Connection, ledger: Ledger) -> Contents | None:
    """Return the rows of a ledger by version; None if there is no such table. Raises as read_several does."""
    found = read_several(connection, [ledger])
    return None if found is None else found[0]


def read_several(
    connection: Connection, ledgers: Sequence[Ledger]
) -> list[Contents] | None:
    """Return the rows of each ledger in one message; None if one of the tables is missing.

    Raises SqlmigError for a table that is not ours, before it is read, and for one that cannot be read.
    Notes on the connection its search path, and whether the server is Citus. The message's
    first statement asks for both, so they cost no message of their own.
    """
    from sqlmig.connection import ConnectionLost, ServerError

    try:
        results = _ask(connection, ledgers)
    except ServerError as problem:
        if _is_citus(problem.results_before) and not connection.one_statement_a_message:
            connection.one_statement_a_message = True
            return read_several(connection, ledgers)
        if problem.sqlstate in _UNDEFINED_TABLE_OR_SCHEMA:
            return None
        if problem.sqlstate in (_NOT_OURS, *_UNDEFINED_COLUMN_OR_FUNCTION):
            raise _not_ours(connection, ledgers[0]) from None
        raise SqlmigError(_why_unreadable(connection, ledgers[0], problem)) from None
    except ConnectionLost as problem:
        raise SqlmigError(_unreadable(ledgers[0], str(problem))) from None

    connection.one_statement_a_message = _is_citus(results)
    connection.known_search_path = _cell(results[0], 0, 1)
    *_, identities, table, _commit = results
    types = [table.ftype(column) for column in range(table.nfields)]
    if types != _TYPES_AS_READ:
        raise _not_ours(connection, ledgers[0])
    rows = _rows_by_ledger(table, len(ledgers))
    contents = []
    for number, of_ledger in enumerate(rows):
        is_trusted = _cell(identities, number, 1) == "t"
        contents.append(Contents(of_ledger, _cell(identities, number, 0), is_trusted))
    return contents


def read_identity(connection: Connection, ledger: Ledger) -> str:
    """Return the identity of a ledger that this run has made."""
    from sqlmig.connection import fetch

    ((identity,),) = fetch(connection, ledger.sql("current_identity"))
    return str(identity)


def _ask(connection: Connection, ledgers: Iterable[Ledger]) -> list[PGresult]:
    """Return a result for each statement of the message."""
    from sqlmig.connection import send

    selects = []
    for number, ledger in enumerate(ledgers):
        selects.append(ledger.sql("rows", number=number))
    message = (
        _STATEMENTS["read"]
        .rstrip("\n")
        .format(
            tables=", ".join(ledger.table for ledger in ledgers),
            literals=", ".join(literal(ledger.table) for ledger in ledgers),
            identity=_IDENTITY,
            **_CONDITIONS,
            rows=" UNION ALL ".join(selects),
        )
    )
    if not connection.one_statement_a_message:
        return send(connection, message.encode())
    results = []
    for statement in message.split(";\n"):
        results += send(connection, statement.encode())
    return results


def _is_citus(results: Sequence[PGresult]) -> bool:
    return bool(results) and bool(results[0].get_value(0, 0))


def _cell(table: PGresult, row: int, column: int) -> str:
    return (table.get_value(row, column) or b"").decode()


def _rows_by_ledger(table: PGresult, ledgers: int) -> list[list[LedgerRow]]:
    found: list[list[LedgerRow]] = [[] for _ in range(ledgers)]
    for row in range(table.ntuples):
        cells = [_cell(table, row, column) for column in range(table.nfields)]
        number, version, name, checksum, applied_at, has_down_copy = cells
        iso_time = ""
        if applied_at:
            iso_time = f"{applied_at[:10]}T{applied_at[11:19]}Z"
        entry = LedgerRow(int(version), name, checksum, iso_time, has_down_copy == "t")
        found[int(number)].append(entry)
    return found


def _why_unreadable(
    connection: Connection, ledger: Ledger, problem: ServerError
) -> str:
    """Return a message for a ledger that the server does not let us read; with its owner, if that helps."""
    message = _unreadable(ledger, problem.error.diag.message_primary)
    if problem.sqlstate == _INSUFFICIENT_PRIVILEGE:
        owner = ledger_owner(connection)
        if owner:
            message += f"; {owner}"
    return message


def _unreadable(ledger: Ledger, why: str | None) -> str:
    return f"cannot read the ledger {ledger.schema}.{TABLE}: {why}"


def ledger_owner(connection: Connection) -> str:
    """Return a message about who owns the ledgers that the role may not write; empty if there is none."""
    from sqlmig.connection import fetch

    ((owners,),) = fetch(connection, _STATEMENTS["owners"])
    if not owners:
        return ""
    return f"the ledger belongs to {owners}: connect as that role, or as a member of it"


def _not_ours(connection: Connection, ledger: Ledger) -> SqlmigError:
    from sqlmig.other_tools import why_not_ours

    return SqlmigError(why_not_ours(connection, ledger))
