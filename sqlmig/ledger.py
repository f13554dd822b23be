"""The ledger, the table schema_migrations: its place, its lock, its SQL (in ledger.sql), and reading it."""

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig.errors import SqlmigError
from sqlmig.files import Migration
from sqlmig.plan import Applied

if TYPE_CHECKING:
    from sqlmig.database import Connection

TABLE = "schema_migrations"
_TYPES = [23, 20, 25, 25, 1114, 16]  # as a ledger is read, behind its number: bigint, text, text, timestamp, boolean
_TEXT = "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("ledger.sql", "script.sql"))
_SQL: dict[str, str] = dict(re.findall(r"^-- %% (\w+)\n(?:-- .*\n)*((?:(?!-- %%).*\n)+)", _TEXT, re.MULTILINE))


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
    def _fields(self) -> dict[str, object]:
        schema, table, name = quoted(self.schema), self.table, literal(self.schema)
        literals = {"schema_literal": literal(schema), "literal": literal(table), "schema_name": name}
        option = literal(f" --schema {shlex.quote(self.schema)}" if self.named else "")
        words = {"key": self.key, "worker": self.worker, "named": self.named, "option": option}
        quote = dollar("sqlmig", table)
        return {"schema": schema, "table": table, "quote": quote, "is_ours": _SQL["is_ours"], **literals, **words}

    def sql(self, title: str, /, **fields: object) -> str:
        """Return the statements under a title of ledger.sql or script.sql, filled in for this ledger."""
        return _SQL[title].rstrip("\n").format(**self._fields | fields)

    def definition(self) -> str:
        """Return the statements that make the ledger where it is missing."""
        return (self.sql("schema") if self.named else "") + self.sql("definition")

    def write(self, migration: Migration, checksum: str, how: str = "insert") -> str:
        """Return the statement, without its end, that records a migration, or (update) records it anew."""
        fields = {"version": migration.version, "name": literal(migration.name), "checksum": literal(checksum)}
        return self.sql(how, **fields, down="NULL" if migration.undo is None else literal(migration.undo.decode()))


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL string, with standard_conforming_strings on."""
    return "'" + text.replace("'", "''") + "'"


def dollar(word: str, text: str) -> str:
    """Return a dollar quote, made of a word, that a text does not contain."""
    return next(quote for n in count() if (quote := f"${word}{n or ''}$") not in text)


def read(connection: "Connection", ledgers: Sequence[Ledger]) -> list[list[Applied]] | None:
    """Return each ledger's rows, or None where one is missing; raise SqlmigError for what is no ledger of ours."""
    from psycopg import OperationalError  # here, as `script` needs no driver

    from sqlmig.database import Refused, send

    one = ledgers[0]
    selects = [_SQL["rows"].format(number=n, table=ledger.table) for n, ledger in enumerate(ledgers)]
    message = one.sql("read", rows=" UNION ALL ".join(selects))
    try:
        # The first statement asks for Citus, which takes a statement a message.
        parts = [message] if connection.largest else message.split(";\n")
        results = [result for part in parts for result in send(connection, part.encode())]
        table = results[-2]  # the last is COMMIT's
        types = [table.ftype(column) for column in range(table.nfields)]
    except (Refused, OperationalError) as problem:
        error, results = (problem.error, problem.before) if isinstance(problem, Refused) else (problem, [])
        if results and results[0].get_value(0, 0):
            connection.largest = 0
            return read(connection, ledgers)
        if error.sqlstate == "42P01":  # there is no such table
            return None
        if error.sqlstate not in ("42703", "42883"):  # no such column, or of a type that knows no time zone
            said = error.diag.message_primary or str(error).strip()
            raise SqlmigError(f"cannot read the ledger {one.schema}.{TABLE}: {said}") from None
        types = []
    if types != _TYPES:
        raise SqlmigError(str(connection.execute(one.sql("strange").encode()).fetchall()[0][0]))
    connection.largest = 0 if results[0].get_value(0, 0) else connection.largest
    found: list[list[Applied]] = [[] for _ in ledgers]
    for row in range(table.ntuples):
        cells = [(table.get_value(row, column) or b"").decode() for column in range(table.nfields)]
        number, version, name, checksum, at, has_copy = cells
        found[int(number)].append(Applied(int(version), name, checksum, f"{at[:10]}T{at[11:19]}Z", has_copy == "t"))
    return found
