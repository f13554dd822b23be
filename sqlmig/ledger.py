"""The ledger: the table schema_migrations, which says what is applied."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import psycopg
from psycopg import sql

from sqlmig.database import Refused, send
from sqlmig.errors import SqlmigError
from sqlmig.plan import Applied

if TYPE_CHECKING:
    from sqlmig.database import Connection

TABLE = "schema_migrations"

# The types of the four columns as read: bigint, and text three times.
_QUERY = """\
BEGIN READ ONLY; SET LOCAL row_security = off;
SELECT version, name, checksum, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
FROM {table} ORDER BY version;
COMMIT"""
_TYPES = [20, 25, 25, 25]


@dataclass(frozen=True)
class Ledger:
    """The ledger's place, and whether its schema was named: then it is made when missing, and files run in it."""

    schema: str
    named: bool

    @property
    def table(self) -> sql.Identifier:
        """The table's name, quoted and with its schema."""
        return sql.Identifier(self.schema, TABLE)


def read(connection: Connection, ledger: Ledger) -> list[Applied] | None:
    """Return the ledger's rows by version, or None where there is no ledger yet. It writes nothing.

    Raises SqlmigError for a table of that name that is not this ledger, and for a role that may not read it.
    """
    cursor = connection.cursor()
    try:
        cursor.execute(sql.SQL(_QUERY).format(table=ledger.table))
        cursor.set_result(2)
        if [column.type_code for column in cursor.description or ()] != _TYPES:
            raise psycopg.errors.UndefinedColumn
        return [Applied(*cast("tuple[int, str, str, str]", row)) for row in cursor]
    except psycopg.Error as error:
        if not connection.closed:
            connection.execute("ROLLBACK")
        if isinstance(error, psycopg.errors.UndefinedTable):
            return None
        if isinstance(error, (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction)):
            problem = "it is not sqlmig's: its columns differ. It was left untouched"
        else:
            problem = error.diag.message_primary or str(error)
        raise SqlmigError(f"cannot read the ledger {ledger.schema}.{TABLE}: {problem}") from None


def create(connection: Connection, ledger: Ledger) -> None:
    """Create the ledger, closed to everyone but its owner. Raises SqlmigError when the role may not."""
    statements = sql.SQL(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")).format(
        table=ledger.table, literal=sql.Literal(ledger.table.as_string())
    )
    schema = sql.Identifier(ledger.schema)
    missing = connection.execute("SELECT to_regnamespace(%s) IS NULL", [schema.as_string()]).fetchone() == (True,)
    if missing and ledger.named:
        statements = sql.SQL("CREATE SCHEMA {};").format(schema) + statements
    try:
        send(connection, b"BEGIN;" + statements.as_bytes(connection) + b"COMMIT")
    except Refused as refused:
        raise SqlmigError(
            f"cannot create the ledger {ledger.schema}.{TABLE}: {refused.error.diag.message_primary}"
        ) from None
