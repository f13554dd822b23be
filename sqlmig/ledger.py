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
WORKER = "sqlmig: no-transaction"

# The types of the four columns as read: bigint, and text three times.
_QUERY = """\
BEGIN READ ONLY; SET LOCAL row_security = off; SET LOCAL lock_timeout = '10s';
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
        cursor.set_result(3)
        if [column.type_code for column in cursor.description or ()] != _TYPES:
            raise psycopg.errors.UndefinedColumn
        return [Applied(*cast("tuple[int, str, str, str]", row)) for row in cursor]
    except psycopg.Error as error:
        if not connection.closed:
            connection.execute("ROLLBACK")
        if isinstance(error, psycopg.errors.UndefinedTable):
            return None
        if isinstance(error, (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction)):
            raise SqlmigError(_stranger(connection, ledger.table, ledger.schema)) from None
        problem = error.diag.message_primary or str(error).strip()
        raise SqlmigError(f"cannot read the ledger {ledger.schema}.{TABLE}: {problem}") from None


def _stranger(connection: Connection, table: sql.Identifier, schema: str) -> str:
    """Say whose a table of the ledger's name is, and how to take over from that tool. It is left untouched."""
    name = table.as_string()
    query = "SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
    ((columns,),) = connection.execute(query, [name]).fetchall()
    known = {
        "golang-migrate": ["version", "dirty"],
        "dbmate or Rails": ["version"],
        "sqlx": ["version", "description", "installed_on", "success", "checksum", "execution_time"],
    }
    tool = next((tool for tool, theirs in known.items() if theirs == columns), None)
    if tool is None:
        return f"{schema}.{TABLE} is not sqlmig's ledger; give another schema with --schema. It was left untouched"
    ((newest,),) = connection.execute(sql.SQL("SELECT max(version) FROM {}").format(table)).fetchall()
    return (
        f"{schema}.{TABLE} is the ledger of {tool}, and was left untouched. To take over:\n"
        f"  ALTER TABLE {name} RENAME TO schema_migrations_before_sqlmig;\n  sqlmig stamp {newest or 0}"
    )


def holders(connection: Connection, table: sql.Identifier) -> list[str]:
    """Return the processes that keep a runner from the ledger, or still run a statement for one that is gone."""
    query = sql.SQL("""
        SELECT pid, coalesce(nullif(application_name, ''), backend_type), to_char(xact_start, 'HH24:MI:SS')
        FROM (
            SELECT pid FROM pg_locks
            WHERE relation = {table}::regclass AND granted AND mode NOT IN ('AccessShareLock', 'RowShareLock')
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            UNION
            SELECT pid FROM pg_stat_activity
            WHERE application_name = {worker} AND state = 'active' AND datname = current_database()
        ) AS held LEFT JOIN pg_stat_activity USING (pid)
        WHERE pid IS DISTINCT FROM pg_backend_pid()
    """)
    # Without parameters: with them the portal would stay open, and its snapshot stall CREATE INDEX CONCURRENTLY.
    rows = connection.execute(query.format(worker=WORKER, table=table.as_string()))
    return [
        f"process {pid} ({name}, at work since {since or 'some time'})"
        if pid
        else "a prepared transaction (pg_prepared_xacts)"
        for pid, name, since in rows
    ]


def create(connection: Connection, ledger: Ledger, *, within: bool = False, taking_over: bool = False) -> None:
    """Create the ledger, closed to everyone but its owner; another runner may do so first.

    within: a transaction that is open. taking_over: from sqlx, whose ledger is an error otherwise.
    Raises SqlmigError when the role may not.
    """
    schema = sql.Identifier(ledger.schema)
    sqlx = sql.Identifier(ledger.schema, "_sqlx_migrations")
    query = "SELECT to_regnamespace(%s) IS NULL, to_regclass(%s) IS NOT NULL"
    ((missing, other),) = connection.execute(query, [schema.as_string(), sqlx.as_string()]).fetchall()
    if other and not taking_over:
        ((newest,),) = connection.execute(sql.SQL("SELECT max(version) FROM {}").format(sqlx)).fetchall()
        raise SqlmigError(
            f"this database is kept by sqlx ({sqlx.as_string()}); to take over: sqlmig stamp {newest or 0}"
        )
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    statements = sql.SQL(text).format(table=ledger.table, literal=sql.Literal(ledger.table.as_string()))
    if missing and ledger.named:
        statements = sql.SQL("CREATE SCHEMA {};").format(schema) + statements
    begin, commit = (b"", b"") if within else (b"BEGIN;", b"COMMIT")
    try:
        send(connection, begin + statements.as_bytes(connection) + commit)
    except Refused as refused:
        connection.execute("ROLLBACK")
        faster = refused.error.sqlstate in ("23505", "42P06", "42P07") and read(connection, ledger) is not None
        if not faster:  # it was no other runner
            problem = refused.error.diag.message_primary
            raise SqlmigError(f"cannot create the ledger {ledger.schema}.{TABLE}: {problem}") from None
