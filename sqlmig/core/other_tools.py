"""A database that is not ours alone: a ledger of another tool or role, and a schema that is not empty."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlmig.core.connection import fetch, fetch_each
from sqlmig.core.errors import ServerError, SqlmigError
from sqlmig.core.ledger import TABLE, Ledger, ledger_in
from sqlmig.core.sql import literal, quoted, read_statements
from sqlmig.core.text import counted, few

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlmig.core.connection import Connection

_STATEMENTS = read_statements(Path(__file__).with_suffix(".sql"))
# The ledgers of other tools, by the names of their tables.
_TOOLS = {
    "_sqlx_migrations": "sqlx",
    "goose_db_version": "goose",
    "flyway_schema_history": "Flyway",
    "gorp_migrations": "sql-migrate",
    "alembic_version": "Alembic",
    "_prisma_migrations": "Prisma",
    "django_migrations": "Django",
    "pgmigrations": "node-pg-migrate",
}
_IMPORTED = ("goose", "Flyway", "sql-migrate")
# The ledgers of other tools that have the name of ours, by their columns.
_BY_COLUMNS = {
    "version dirty": "the ledger of golang-migrate",
    "version": "the ledger of dbmate or Rails",
    "version inserted_at": "the ledger of Ecto",
}
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}


def _fill(title: str, ledger: Ledger, **fields: object) -> str:
    can_be_read = ledger.fill(_STATEMENTS["can_be_read"].strip())
    return ledger.fill(_STATEMENTS[title], can_be_read=can_be_read, **fields)


def _query_for_newest(ledger: Ledger, table: str) -> str:
    """Return the statements that read the newest version in a table, after a check that it can be read."""
    fields = {"table": table, "literal": literal(table)}
    locked = _fill("locked", ledger, **fields)
    return f"{locked};{_fill('newest', ledger, **fields)}"


def why_not_ours(connection: Connection, ledger: Ledger) -> str:
    """Return a message for a table of the ledger's name that is not our ledger: its owner, and the remedy.

    Nothing of it is run, and its rows are read only if that runs no code.
    """
    name = f"{ledger.schema}.{TABLE}"
    rows = fetch(connection, _fill("table", ledger))
    if not rows:
        return f"{name} was dropped just now; run the command again"
    kind, columns, owner, has_our_columns, has_trusted_owner, can_be_read = rows[0]
    if kind not in ("r", "p"):
        what = _KINDS.get(kind, "no table")
        return (
            f"{name} is {what}, and so not sqlmig's ledger, which is a plain table. It was not read; "
            "drop it, or name another schema with --ledger-schema"
        )
    if not has_our_columns:
        return _another_tools(connection, ledger, columns, can_be_read=can_be_read)
    if not has_trusted_owner:
        return (
            f"{name} belongs to {owner}, which is neither this role, nor a role that it is a member of, nor the owner "
            "of the database. Its owner could run code with the rights of this role. Nothing was done. "
            f"If it is sqlmig's ledger, connect as {owner}, or give it to this role: "
            f"ALTER TABLE {ledger.table} OWNER TO CURRENT_ROLE"
        )
    return (
        f"{name} differs from a ledger that sqlmig makes: it is not a plain table, or it has a trigger, a rule, "
        "a CHECK, a default, or a column of a type that is not PostgreSQL's own. They would run with the rights of "
        "this role, so it was not read. Drop what was added, or name another schema with --ledger-schema"
    )


def _another_tools(
    connection: Connection, ledger: Ledger, columns: str, *, can_be_read: bool
) -> str:
    """Return a message for a table with other columns than our ledger."""
    whose = _BY_COLUMNS.get(columns, "not sqlmig's ledger")
    message = f"{ledger.schema}.{TABLE} is {whose}, and was left untouched"
    others = other_ledgers(connection, ledger)
    if others:
        return f"{message}. {others}"
    if "version" not in columns.split():
        return f"{message}; name another schema with --ledger-schema"
    version = "V"
    if can_be_read:
        try:
            ((version, is_dirty),) = fetch(
                connection, _query_for_newest(ledger, ledger.table)
            )
        except ServerError as problem:
            return f"{message}. It cannot be read: {problem.server_message}"
        if is_dirty:
            return (
                f"{message}. Version {version} is marked dirty, so it may be half applied: "
                "repair it and clear the mark first"
            )
    command = "up" if version == "0" else f"stamp {version}"
    return (
        f"{message}. To take over while the other tool still runs, keep sqlmig's ledger in another schema:\n"
        f"  sqlmig {command}{replace(ledger, schema='sqlmig', is_named=True).schema_option}\n"
        "Or, if nothing uses the table any more, rename it:\n"
        f"  ALTER TABLE {ledger.table} RENAME TO schema_migrations_before_sqlmig;\n"
        f"  sqlmig {command}{ledger.schema_option}"
    )


class Neighbours(NamedTuple):
    """The objects in the schema of a ledger that does not exist yet.

    tables: with the name of another tool's ledger, and whether each can be read.
    objects: tables, views and functions that no extension owns: ``table patients``.
    """

    tables: list[tuple[str, bool]]
    objects: list[str]


def find_neighbours(connection: Connection, ledger: Ledger) -> Neighbours:
    """Return the objects in the ledger's schema. If another runner has just made the ledger: none."""
    names = ", ".join(literal(name) for name in _TOOLS)
    first = ledger.files_schema or connection.first_schema or ledger.home_schema
    fields = {
        "ledger_schema": literal(quoted(ledger.schema)),
        "first_schema": literal(quoted(first)),
    }
    tables, objects = fetch_each(
        connection,
        f"{_fill('known_tables', ledger, names=names)};{_fill('objects', ledger, **fields)}",
    )
    if any(is_ledger for _, is_ledger in objects):
        return Neighbours([], [])
    return Neighbours(tables, [str(name) for name, _ in objects])


def other_ledgers(connection: Connection, ledger: Ledger) -> str:
    """Return a message about ledgers of sqlmig in other schemas; "" if the user named a schema, or there is none.

    The user may have forgotten an option or a variable.
    """
    if ledger.is_named:
        return ""
    rows = fetch(connection, ledger.sql("schemas", pattern=literal(".*")))
    schemas = [str(schema) for schema, has_ledger in rows if has_ledger]
    if not schemas:
        return ""
    options = replace(ledger, schema=schemas[0], is_named=True).schema_option
    return (
        f"There is a ledger of sqlmig in {counted(len(schemas), 'other schema')}: {few(schemas)}. "
        f"If you meant that one, add{options}, or --schema"
    )


def refuse_other_tool(
    connection: Connection, ledger: Ledger, neighbours: Neighbours
) -> None:
    """Raise SqlmigError if another tool keeps a ledger in the schema, with how to take over."""
    if not neighbours.tables:
        return
    table, can_be_read = neighbours.tables[0]
    tool = _TOOLS[table]
    if tool == "sqlx" and can_be_read:
        version = _newest_of(connection, ledger, table)
        way = f"sqlmig stamp {version}{ledger.schema_option}\n"
    elif tool in _IMPORTED:
        way = "`sqlmig import DIR` makes pairs of its files, and prints the `sqlmig stamp` to run next\n"
    else:
        way = "write the schema into a first file (pg_dump --schema-only does), then `sqlmig stamp` its version\n"
    raise SqlmigError(
        f"this database is managed by {tool} ({quoted(ledger.schema)}.{table}); to take over: {way}"
        "To use both, name another schema for sqlmig's ledger with --ledger-schema"
    )


def _newest_of(connection: Connection, ledger: Ledger, table: str) -> str:
    name = f"{quoted(ledger.schema)}.{table}"
    query = _query_for_newest(ledger, name)
    try:
        ((version, _),) = fetch(connection, query)
    except ServerError as problem:
        reason = problem.server_message
        raise SqlmigError(
            f"this database has the ledger of another tool ({name}), which cannot be read: {reason}"
        ) from None
    return str(version)


def rows_of_plain_table(
    connection: Connection, name: str, query_of: Callable[[str], str]
) -> list[Any] | None:
    """Return the rows of a query on a table that is found on the caller's search path; None if there is none.

    query_of: returns the query for the table's name with its schema. Raises SqlmigError for
    a table that may run code of another role when it is read, and as connection.fetch does.
    """
    oid = connection.resolve_tables([name]).get(name)
    if oid is None:
        return None
    ledger = ledger_in(None)
    query = _fill("plain_table", ledger, oid=oid)
    ((table, can_be_read),) = fetch(connection, query)
    if not can_be_read:
        raise SqlmigError(
            f"{table} is not a plain table of a trusted role. It may run code of another role, "
            "so it was not read"
        )
    locked = _fill("locked", ledger, table=table, literal=literal(table))
    return fetch(connection, f"{locked};{query_of(str(table))}")
