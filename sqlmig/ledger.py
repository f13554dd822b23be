"""The ledger, the table schema_migrations: its place, and the SQL that makes it and writes its rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TABLE = "schema_migrations"


@dataclass(frozen=True)
class Ledger:
    """The ledger's place, and whether its schema was named: then it is made when missing, and files run in it."""

    schema: str
    named: bool

    @property
    def table(self) -> str:
        """The table's name, quoted and with its schema."""
        return f"{quoted(self.schema)}.{quoted(TABLE)}"

    def definition(self) -> str:
        """Return the statements that make the table where it is missing, closed to everyone but its owner."""
        text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").partition("\n\n")[2]
        return text.format(table=self.table, literal=literal(self.table))

    def insert(self, version: int, name: str, checksum: str) -> str:
        """Return the statement, without its end, that records a migration."""
        row = f"({version}, {literal(name)}, {literal(checksum)})"
        return f"INSERT INTO {self.table} (version, name, checksum) VALUES {row}"

    def delete(self, version: int) -> str:
        """Return the statement, without its end, that takes a migration's row out."""
        return f"DELETE FROM {self.table} WHERE version = {version}"


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL string, with standard_conforming_strings on."""
    return "'" + text.replace("'", "''") + "'"
