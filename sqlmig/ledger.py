"""The ledger, the table schema_migrations: its place, its lock, its SQL (in ledger.sql), and reading it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig.errors import SqlmigError
from sqlmig.plan import Applied

if TYPE_CHECKING:
    from sqlmig.database import Connection

TABLE = "schema_migrations"
# What other tools call the columns of a table of that name.
_TOOLS = {("version", "dirty"): "golang-migrate", ("version",): "dbmate or Rails", ("version", "inserted_at"): "Ecto"}
_TYPES = [20, 25, 25, 1114]  # as the ledger is read: bigint, text, text, timestamp
_SQL: dict[str, str] = dict(
    re.findall(
        r"^-- %% (\w+)\n(?:-- .*\n)*((?:(?!-- %%).*\n)+)",
        Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
)


@dataclass(frozen=True)
class Ledger:
    """The ledger's place, and whether its schema was named: then it is made when missing, and files run in it."""

    schema: str
    named: bool

    @property
    def table(self) -> str:
        """The table's name, quoted and with its schema."""
        return f"{quoted(self.schema)}.{quoted(TABLE)}"

    @property
    def key(self) -> int:
        """The number of the advisory lock that whoever writes holds: 64 bits of a hash of the schema's name."""
        return int.from_bytes(hashlib.sha256(f"sqlmig {self.schema}".encode()).digest()[:8], "big", signed=True)

    @property
    def worker(self) -> str:
        """The name of a connection that runs a no-transaction file."""
        return f"sqlmig: no-transaction #{self.key}"

    @cached_property
    def _fields(self) -> dict[str, str]:
        schema, table = quoted(self.schema), self.table
        fields = {"schema": schema, "table": table, "schema_literal": literal(schema), "literal": literal(table)}
        return fields | {"key": str(self.key), "worker": self.worker, "quote": dollar("sqlmig", table)}

    def sql(self, title: str, /, **fields: object) -> str:
        """Return the statements of ledger.sql under a title, filled in for this ledger."""
        return _SQL[title].rstrip("\n").format(**self._fields, **fields)

    def definition(self) -> str:
        """Return the statements that make the ledger where it is missing."""
        return (self.sql("schema") if self.named else "") + self.sql("definition")

    def guard(self, newest: int | None, version: int | None) -> str:
        """Return the statement that fails unless the newest version is this one, and another is not recorded."""
        # The newest version tells whether this one is recorded, unless this one is older.
        older = newest is not None and version is not None and version < newest
        newest_is = self.sql("newest_is", newest="NULL" if newest is None else newest)
        return newest_is + (self.sql("lacks", version=version) if older else "")

    def insert(self, version: int, name: str, checksum: str) -> str:
        """Return the statement, without its end, that records a migration."""
        return self.sql("insert", version=version, name=literal(name), checksum=literal(checksum))


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL string, with standard_conforming_strings on."""
    return "'" + text.replace("'", "''") + "'"


def dollar(word: str, text: str) -> str:
    """Return a dollar quote, made of a word, that a text does not contain."""
    return next(quote for n in count() if (quote := f"${word}{n or ''}$") not in text)


def read(connection: Connection, ledger: Ledger) -> list[Applied] | None:
    """Return the ledger's rows by version, or None where there is no ledger yet. It writes nothing.

    Raises SqlmigError for a table of that name that is not this ledger, and for a role that may not read it.
    """
    from psycopg import OperationalError  # here, as `script` needs no driver

    from sqlmig.database import Refused, rows_of, send

    try:
        types, rows = rows_of(send(connection, ledger.sql("read").encode()))
    except (Refused, OperationalError) as error:
        state = error.error.sqlstate if isinstance(error, Refused) else None
        if state == "42P01":  # there is no such table
            return None
        if state not in ("42703", "42883"):  # no such column, or of a type that knows no time zone
            said = error.error.diag.message_primary if isinstance(error, Refused) else str(error).strip()
            raise SqlmigError(f"cannot read the ledger {ledger.schema}.{TABLE}: {said}") from None
        types, rows = [], []
    if types != _TYPES:
        raise SqlmigError(_strange(connection, ledger))
    return [Applied(int(row[0]), row[1], row[2], f"{row[3][:10]}T{row[3][11:19]}Z") for row in rows]


def _strange(connection: Connection, ledger: Ledger) -> str:
    """Say whose a table of the ledger's name is, and how to take over from that tool. It is left untouched."""
    columns = tuple(str(name) for (name,) in connection.execute(ledger.sql("columns").encode()))
    tool = _TOOLS.get(columns)
    what = f"{ledger.schema}.{TABLE} is " + (f"the ledger of {tool}" if tool else "not sqlmig's ledger")
    where = "give another schema with --schema"
    if "version" not in columns:
        return f"{what}, and was left untouched; {where}"
    newest = newest_of(connection, ledger, ledger.table)
    if "dirty" in columns and connection.execute(ledger.sql("is_dirty").encode()).fetchall():
        mend = "which may be half applied: mend it, and take the mark off, first"
        return f"{what}, and was left untouched. Version {newest} is dirty, {mend}"
    rename = f"ALTER TABLE {ledger.table} RENAME TO schema_migrations_before_sqlmig;"
    return f"{what}, and was left untouched. To take over:\n  {rename}\n  sqlmig stamp {newest}\nOr {where}"


def newest_of(connection: Connection, ledger: Ledger, table: str) -> object:
    """Return the newest version in another tool's ledger, 0 where it is empty."""
    return connection.execute(ledger.sql("newest_of_another_tool", other=table).encode()).fetchall()[0][0]


def holders(connection: Connection, ledger: Ledger) -> set[str]:
    """Return, in words, the processes that hold the lock, and those that work on for a runner that is gone."""
    return {str(words) for (words,) in connection.execute(ledger.sql("holders").encode())}
