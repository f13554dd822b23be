"""What a command works with: a connection, and what the directory and the ledger hold."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import psycopg

from sqlmig import files, plan
from sqlmig.database import Refused, connected, located, send
from sqlmig.errors import SqlmigError
from sqlmig.ledger import TABLE, literal, quoted
from sqlmig.plan import Applied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlmig.database import Connection
    from sqlmig.files import Migration
    from sqlmig.ledger import Ledger

WORKER = "sqlmig: no-transaction"

# The types of the four columns as read: bigint, and text three times.
_QUERY = """\
BEGIN READ ONLY; SET LOCAL row_security = off; SET LOCAL lock_timeout = '10s';
SELECT version, name, checksum, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
FROM {} ORDER BY version;
COMMIT"""
_TYPES = [20, 25, 25, 25]


@dataclass(frozen=True)
class Session:
    """A connection, and what the directory and the ledger held when it was opened.

    connect: opens another connection, under a name. say: tells the user something.
    applied: None where there is no ledger yet.
    """

    connection: Connection
    connect: Callable[[str], AbstractContextManager[Connection]]
    say: Callable[[str], None]
    ledger: Ledger
    migrations: list[Migration]
    applied: list[Applied] | None

    def rows(self) -> list[plan.Row]:
        """Return a row for each version; for this the up files of those that are applied are read."""
        versions = {row.version for row in self.applied or ()}
        checksums = {m.version: files.checksum(files.read(m.up)) for m in self.migrations if m.version in versions}
        return plan.states(self.migrations, self.applied or (), checksums)


@contextmanager
def opened(url: str, directory: Path, ledger: Ledger, say: Callable[[str], None]) -> Iterator[Session]:
    """Yield a session. Nothing is written."""
    migrations = files.find(directory)
    with located(url) as real, connected(real, say) as connection:
        applied = read(connection, ledger)
        yield Session(connection, lambda name: connected(real, say, name), say, ledger, migrations, applied)


def read(connection: Connection, ledger: Ledger) -> list[Applied] | None:
    """Return the ledger's rows by version, or None where there is no ledger yet. It writes nothing.

    Raises SqlmigError for a table of that name that is not this ledger, and for a role that may not read it.
    """
    cursor = connection.cursor()
    try:
        cursor.execute(_QUERY.format(ledger.table).encode())
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
            raise SqlmigError(_stranger(connection, ledger)) from None
        problem = error.diag.message_primary or str(error).strip()
        raise SqlmigError(f"cannot read the ledger {ledger.schema}.{TABLE}: {problem}") from None


def _stranger(connection: Connection, ledger: Ledger) -> str:
    """Say whose a table of the ledger's name is, and how to take over from that tool. It is left untouched."""
    query = "SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
    ((columns,),) = connection.execute(query, [ledger.table]).fetchall()
    known = {
        "golang-migrate": ["version", "dirty"],
        "dbmate or Rails": ["version"],
        "sqlx": ["version", "description", "installed_on", "success", "checksum", "execution_time"],
    }
    tool = next((tool for tool, theirs in known.items() if theirs == columns), None)
    where = f"{ledger.schema}.{TABLE}"
    if tool is None:
        return f"{where} is not sqlmig's ledger; give another schema with --schema. It was left untouched"
    theirs, newest = f"{where} is the ledger of {tool}, and was left untouched", _newest(connection, ledger.table)
    dirty = f"SELECT FROM {ledger.table} WHERE dirty"
    if tool == "golang-migrate" and connection.execute(dirty.encode()).fetchall():
        return f"{theirs}. Version {newest} is dirty, which may be half applied: mend it, and take the mark off, first"
    rename = f"ALTER TABLE {ledger.table} RENAME TO schema_migrations_before_sqlmig"
    return f"{theirs}. To take over:\n  {rename};\n  sqlmig stamp {newest}"


def _newest(connection: Connection, table: str) -> object:
    ((newest,),) = connection.execute(f"SELECT max(version) FROM {table}".encode()).fetchall()
    return newest or 0


def create(session: Session, *, within: bool = False, taking_over: bool = False) -> None:
    """Create the ledger; another runner may do so first.

    within: a transaction that is open. taking_over: from sqlx, whose ledger is an error otherwise.
    Raises SqlmigError when the role may not.
    """
    connection, ledger = session.connection, session.ledger
    sqlx = f"{quoted(ledger.schema)}._sqlx_migrations"
    query = "SELECT to_regnamespace(%s) IS NULL, to_regclass(%s) IS NOT NULL"
    ((missing, other),) = connection.execute(query, [quoted(ledger.schema), sqlx]).fetchall()
    if other and not taking_over:
        newest = _newest(connection, sqlx)
        raise SqlmigError(f"this database is kept by sqlx ({sqlx}); to take over: sqlmig stamp {newest}")
    schema = f"CREATE SCHEMA {quoted(ledger.schema)};" if missing and ledger.named else ""
    statements = schema + ledger.definition()
    try:
        send(connection, (statements if within else f"BEGIN;{statements}COMMIT").encode())
    except Refused as refused:
        connection.execute("ROLLBACK")
        faster = refused.error.sqlstate in ("23505", "42P06", "42P07", "42710") and read(connection, ledger) is not None
        if not faster:  # it was no other runner
            problem = refused.error.diag.message_primary
            raise SqlmigError(f"cannot create the ledger {ledger.schema}.{TABLE}: {problem}") from None


def holders(connection: Connection, ledger: Ledger) -> list[str]:
    """Return the processes that keep a runner from the ledger, or still run a statement for one that is gone."""
    query = f"""
        SELECT pid, coalesce(nullif(application_name, ''), backend_type), to_char(xact_start, 'HH24:MI:SS')
        FROM (
            SELECT pid FROM pg_locks
            WHERE relation = {literal(ledger.table)}::regclass AND granted
                AND mode NOT IN ('AccessShareLock', 'RowShareLock')
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            UNION
            SELECT pid FROM pg_stat_activity
            WHERE application_name = {literal(WORKER)} AND state = 'active' AND datname = current_database()
        ) AS held LEFT JOIN pg_stat_activity USING (pid)
        WHERE pid IS DISTINCT FROM pg_backend_pid()
    """
    # Without parameters: with them the portal would stay open, and its snapshot stall CREATE INDEX CONCURRENTLY.
    return [
        f"process {pid} ({name}, at work since {since or 'some time'})"
        if pid
        else "a prepared transaction (pg_prepared_xacts)"
        for pid, name, since in connection.execute(query.encode())
    ]
