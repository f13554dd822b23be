"""The ledger, the table schema_migrations: its place, its lock, its SQL, and reading it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig.errors import SqlmigError
from sqlmig.plan import Applied

if TYPE_CHECKING:
    from sqlmig.database import Connection

TABLE = "schema_migrations"
# What other tools call the columns of a table of that name.
_OTHERS = {
    ("version", "dirty"): "the ledger of golang-migrate",
    ("version",): "the ledger of dbmate or Rails",
    ("version", "inserted_at"): "the ledger of Ecto",
}
_UNKNOWN = "not sqlmig's ledger"
# AT TIME ZONE makes a timestamp of a timestamptz, and the other way round; so the types tell whether the table is ours.
_QUERY = """\
BEGIN READ ONLY; SET LOCAL row_security = off; SET LOCAL lock_timeout = '10s'; SET LOCAL DateStyle = ISO;
SELECT version, name, checksum, applied_at AT TIME ZONE 'UTC' FROM {} ORDER BY version;
COMMIT"""
_DEFINITION, _HOLDERS, _WORKERS = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").split("-- %%\n")
_TYPES = [20, 25, 25, 1114]  # bigint, text, text, timestamp


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
        """The name of a connection that runs a no-transaction file: its statement outlives a killed runner's lock."""
        return f"sqlmig: no-transaction #{self.key}"

    def lock(self) -> str:
        """Return the statement that takes the lock for the transaction, or fails at once: nobody waits within one.

        So a pooler cannot leak it, a killed runner cannot leave it, and CREATE INDEX CONCURRENTLY never waits for it.
        """
        return _unless(f"pg_catalog.pg_try_advisory_xact_lock({self.key})", "another runner is at work")

    def unlocked(self) -> str:
        """Return the statement that fails while a worker whose runner was killed is still at work."""
        working = f"EXISTS ({_WORKERS.format(literal(self.worker))} AND pid <> pg_backend_pid())"
        return _unless(f"NOT {working}", "another runner's statement is at work")

    def guard(self, newest: int | None, version: int | None) -> str:
        """Return the statement that fails unless the newest version is this one, and another is not recorded."""
        # The newest version tells whether this one is recorded, unless this one is older.
        older = newest is not None and version is not None and version < newest
        also = f" AND NOT EXISTS (SELECT FROM {self.table} WHERE version = {version})" if older else ""
        found = f"(SELECT max(version) FROM {self.table}) IS NOT DISTINCT FROM {'NULL' if newest is None else newest}"
        return _unless(found + also, "the ledger has changed")

    def missing(self) -> str:
        """Return the statement that fails unless there is no ledger."""
        return _unless(f"pg_catalog.to_regclass({literal(self.table)}) IS NULL", "there is a ledger by now")

    def definition(self) -> str:
        """Return the statements that make the ledger where it is missing, closed to everyone but its owner."""
        schema = f"CREATE SCHEMA IF NOT EXISTS {quoted(self.schema)};\n" if self.named else ""
        return schema + _DEFINITION.format(
            table=self.table, literal=literal(self.table), quote=dollar("sqlmig", self.table)
        )

    def insert(self, version: int, name: str, checksum: str) -> str:
        """Return the statement, without its end, that records a migration."""
        row = f"({version}, {literal(name)}, {literal(checksum)})"
        return f"INSERT INTO {self.table} (version, name, checksum) VALUES {row}"

    def delete(self, version: int) -> str:
        """Return the statement, without its end, that takes a migration's row out."""
        return f"DELETE FROM {self.table} WHERE version = {version}"

    def path_first(self, *, local: bool) -> str:
        """Return the statement that puts the schema first on the search path, for the transaction or the session."""
        path = f"concat_ws(', ', {literal(quoted(self.schema))}, nullif(current_setting('search_path'), ''))"
        return f"SELECT set_config('search_path', {path}, {str(local).lower()})"


def _unless(condition: str, problem: str) -> str:
    """Return a query that fails unless something is so; a DO block would be plainer, and take twice as long."""
    return f"SELECT CASE WHEN {condition} THEN '1' ELSE {literal(problem)} END::int"


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL string, with standard_conforming_strings on."""
    return "'" + text.replace("'", "''") + "'"


def dollar(word: str, text: str) -> str:
    """Return a dollar quote, made of a word, that a text does not contain."""
    number = 0
    while f"${word}{number or ''}$" in text:
        number += 1
    return f"${word}{number or ''}$"


def read(connection: Connection, ledger: Ledger) -> list[Applied] | None:
    """Return the ledger's rows by version, or None where there is no ledger yet. It writes nothing.

    Raises SqlmigError for a table of that name that is not this ledger, and for a role that may not read it.
    """
    from psycopg import OperationalError  # here, as `script` needs no driver

    from sqlmig.database import Refused, rows_of, send

    try:
        types, rows = rows_of(send(connection, _QUERY.format(ledger.table).encode()))
    except Refused as refused:
        if refused.error.sqlstate == "42P01":  # there is no such table
            return None
        if refused.error.sqlstate not in ("42703", "42883"):  # no such column, or of a type that knows no time zone
            raise SqlmigError(
                f"cannot read the ledger {ledger.schema}.{TABLE}: {refused.error.diag.message_primary}"
            ) from None
        types, rows = [], []
    except OperationalError as error:
        raise SqlmigError(f"cannot read the ledger {ledger.schema}.{TABLE}: {str(error).strip()}") from None
    if types != _TYPES:
        raise SqlmigError(_other_tools(connection, ledger))
    return [Applied(int(row[0]), row[1], row[2], f"{row[3][:10]}T{row[3][11:19]}Z") for row in rows]


def _other_tools(connection: Connection, ledger: Ledger) -> str:
    """Say whose a table of the ledger's name is, and how to take over from that tool. It is left untouched."""
    query = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum"
    columns = tuple(str(name) for (name,) in connection.execute(query, [ledger.table]))
    where = f"{ledger.schema}.{TABLE}"
    if "version" not in columns:
        return f"{where} is {_UNKNOWN}, and was left untouched; give another schema with --schema"
    whose = f"{where} is {_OTHERS.get(columns, _UNKNOWN)}, and was left untouched"
    newest = newest_of(connection, ledger.table)
    if "dirty" in columns and connection.execute(f"SELECT FROM {ledger.table} WHERE dirty".encode()).fetchall():
        return f"{whose}. Version {newest} is dirty, which may be half applied: mend it, and take the mark off, first"
    rename = f"ALTER TABLE {ledger.table} RENAME TO schema_migrations_before_sqlmig"
    return f"{whose}. To take over:\n  {rename};\n  sqlmig stamp {newest}\nOr give another schema with --schema"


def holders(connection: Connection, ledger: Ledger) -> list[str]:
    """Return, in words, the processes that hold the lock, and those that work on for a runner that is gone."""
    # Without parameters: with them the portal would stay open, and its snapshot stall CREATE INDEX CONCURRENTLY.
    query = _HOLDERS.format(key=ledger.key, workers=_WORKERS.format(literal(ledger.worker)))
    return [
        f"process {pid} ({name}, at work since {since or 'some time'})"
        if pid
        else "a prepared transaction (pg_prepared_xacts)"
        for pid, name, since in connection.execute(query.encode())
    ]


def newest_of(connection: Connection, table: str) -> object:
    """Return the newest version in another tool's ledger, 0 where it is empty."""
    number = "max(version::text::numeric) FILTER (WHERE version::text ~ '^[0-9]+$')"
    ((newest,),) = connection.execute(f"SELECT coalesce({number}, 0) FROM {table}".encode()).fetchall()
    return newest
