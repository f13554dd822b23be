"""The ledger, the table schema_migrations: its lock, its statements (ledger.sql), and how it is read."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig.errors import SqlmigError
from sqlmig.plan import LedgerRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg.pq.abc import PGresult

    from sqlmig.connection import Connection, ServerError
    from sqlmig.migrations import Migration

TABLE = "schema_migrations"
# The types of the columns as ledger.sql reads them, by their numbers in pg_type:
# integer, bigint, text, text, timestamp, boolean.
_TYPES_AS_READ = [23, 20, 25, 25, 1114, 16]
_UNDEFINED_TABLE = "42P01"
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

    @cached_property
    def _fields(self) -> dict[str, object]:
        """What the statements are filled in with."""
        schema_option = f" --schema {shlex.quote(self.schema)}" if self.is_named else ""
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
            "option": literal(schema_option),
            "is_ours": _STATEMENTS["is_ours"],
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


def read(connection: Connection, ledger: Ledger) -> list[LedgerRow] | None:
    """Return the rows of a ledger by version; None where there is no such table. Raises as read_several does."""
    found = read_several(connection, [ledger])
    return None if found is None else found[0]


def read_several(
    connection: Connection, ledgers: Sequence[Ledger]
) -> list[list[LedgerRow]] | None:
    """Return the rows of each ledger in one question; None where one of the tables is missing.

    Raises SqlmigError for a table that is not ours, and for one that cannot be read.
    Notes on the connection whether the server is Citus, which the question's first
    statement asks: so it needs no question of its own.
    """
    from psycopg import OperationalError  # here, as `script` needs no driver

    from sqlmig.connection import ServerError

    try:
        results = _ask(connection, ledgers)
    except ServerError as problem:
        if _is_citus(problem.results_before) and not connection.one_statement_a_message:
            connection.one_statement_a_message = True
            return read_several(connection, ledgers)
        if problem.error.sqlstate == _UNDEFINED_TABLE:
            return None
        if problem.error.sqlstate in _UNDEFINED_COLUMN_OR_FUNCTION:
            raise SqlmigError(_whose_table(connection, ledgers[0])) from None
        raise SqlmigError(_why_unreadable(connection, ledgers[0], problem)) from None
    except OperationalError as problem:
        raise SqlmigError(_unreadable(ledgers[0], str(problem).strip())) from None

    connection.one_statement_a_message = _is_citus(results)
    table = results[-2]  # the last is COMMIT's
    types = [table.ftype(column) for column in range(table.nfields)]
    if types != _TYPES_AS_READ:
        raise SqlmigError(_whose_table(connection, ledgers[0]))
    return _rows_by_ledger(table, len(ledgers))


def _ask(connection: Connection, ledgers: Iterable[Ledger]) -> list[PGresult]:
    """Return a result for each statement of the question."""
    from sqlmig.connection import send

    selects = []
    for number, ledger in enumerate(ledgers):
        selects.append(ledger.sql("rows", number=number))
    question = _STATEMENTS["read"].rstrip("\n").format(rows=" UNION ALL ".join(selects))
    if not connection.one_statement_a_message:
        return send(connection, question.encode())
    results = []
    for statement in question.split(";\n"):
        results += send(connection, statement.encode())
    return results


def _is_citus(results: Sequence[PGresult]) -> bool:
    return bool(results) and bool(results[0].get_value(0, 0))


def _rows_by_ledger(table: PGresult, ledgers: int) -> list[list[LedgerRow]]:
    found: list[list[LedgerRow]] = [[] for _ in range(ledgers)]
    for row in range(table.ntuples):
        cells = []
        for column in range(table.nfields):
            cells.append((table.get_value(row, column) or b"").decode())
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
    """Return words for why the server refuses to show a ledger; with its owner, where that is of use."""
    words = _unreadable(ledger, problem.error.diag.message_primary)
    if problem.error.sqlstate == _INSUFFICIENT_PRIVILEGE:
        owner = ledger_owner(connection)
        if owner:
            words += f"; {owner}"
    return words


def _unreadable(ledger: Ledger, why: str | None) -> str:
    return f"cannot read the ledger {ledger.schema}.{TABLE}: {why}"


def ledger_owner(connection: Connection) -> str:
    """Return words for whose the ledgers are that the role may not write; empty where there is none."""
    from sqlmig.connection import fetch

    ((owners,),) = fetch(connection, _STATEMENTS["owners"])
    if not owners:
        return ""
    return f"the ledger belongs to {owners}: connect as that role, or as a member of it"


def _whose_table(connection: Connection, ledger: Ledger) -> str:
    """Return words for a table of the ledger's name that is not ours, and how to take over."""
    from sqlmig.connection import fetch

    ((words,),) = fetch(connection, ledger.sql("strange"))
    return str(words)
