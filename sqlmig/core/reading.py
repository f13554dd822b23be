"""Reading ledgers, many in one batch, and the messages for a ledger that cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core.connection import fetch, send
from sqlmig.core.errors import ConnectionLost, ServerError, SqlmigError
from sqlmig.core.ledger import OWNERS_QUERY, TABLE, read_query
from sqlmig.core.other_tools import why_not_ours
from sqlmig.core.sql import quoted
from sqlmig.core.versions import LedgerRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.pq.abc import PGresult

    from sqlmig.core.connection import Connection
    from sqlmig.core.ledger import Ledger

# The types of the columns as ledger.sql reads them, by their numbers in pg_type:
# integer, bigint, text, text, timestamp, boolean, text, double precision.
_TYPES_AS_READ = [23, 20, 25, 25, 1114, 16, 25, 701]
_UNDEFINED_TABLE_OR_SCHEMA = ("42P01", "3F000")
# A text that is no integer: so the checks of ledger.sql say no.
_NOT_OURS = "22P02"
_INSUFFICIENT_PRIVILEGE = "42501"
_UNDEFINED_COLUMN_OR_FUNCTION = ("42703", "42883")


class Contents(NamedTuple):
    """What a ledger held when it was read. identity changes when the table itself does.

    has_duration: whether it has the columns that tell who applied a version and how long it
    took; older ledgers lack them. unfinished: constraints and indexes that are not finished,
    as text, and begun: the version of a file that repeats and has begun. Both are read only
    if they are asked for.
    """

    rows: list[LedgerRow]
    identity: str
    has_duration: bool = True
    unfinished: tuple[str, ...] = ()
    begun: int | None = None


def read(
    connection: Connection, ledger: Ledger, *, looks_for_unfinished: bool = False
) -> Contents | None:
    """Return the rows of a ledger by version; None if there is no such table. Raises as read_several does."""
    found = read_several(
        connection, [ledger], looks_for_unfinished=looks_for_unfinished
    )
    return None if found is None else found[0]


def read_several(
    connection: Connection,
    ledgers: Sequence[Ledger],
    *,
    looks_for_unfinished: bool = False,
) -> list[Contents] | None:
    """Return the rows of each ledger in one batch; None if one of the tables is missing.

    Raises SqlmigError for a table that is not ours, before it is read, and if it cannot be read.
    Notes on the connection its search path, and whether the server is Citus. The first
    statement reads both, so they cost no batch of their own.
    """
    query = read_query(ledgers, looks_for_unfinished=looks_for_unfinished)
    try:
        results = _ask(connection, query)
    except ServerError as problem:
        if _is_citus(problem.results_before) and not connection.one_statement_a_batch:
            connection.one_statement_a_batch = True
            return read_several(
                connection, ledgers, looks_for_unfinished=looks_for_unfinished
            )
        if problem.sqlstate in _UNDEFINED_TABLE_OR_SCHEMA:
            return None
        if problem.sqlstate in (_NOT_OURS, *_UNDEFINED_COLUMN_OR_FUNCTION):
            raise _not_ours(connection, ledgers[0]) from None
        raise SqlmigError(_why_unreadable(connection, ledgers[0], problem)) from None
    except ConnectionLost as problem:
        raise SqlmigError(_unreadable(ledgers[0], str(problem))) from None

    connection.one_statement_a_batch = _is_citus(results)
    connection.known_search_path = _cell(results[0], 0, 1)
    connection.first_schema = _cell(results[0], 0, 2)
    unfinished = results.pop(-2) if looks_for_unfinished else None
    contents = _contents(connection, ledgers, results)
    return _with_unfinished(contents, unfinished) if unfinished else contents


def _contents(
    connection: Connection, ledgers: Sequence[Ledger], results: list[PGresult]
) -> list[Contents]:
    """Return what each ledger holds. Raises SqlmigError for a table that is not ours."""
    *_, identities, table, _commit = results
    types = [table.ftype(column) for column in range(table.nfields)]
    if types != _TYPES_AS_READ:
        raise _not_ours(connection, ledgers[0])
    contents = []
    for number, rows in enumerate(_rows_by_ledger(table, len(ledgers))):
        has_duration = _cell(identities, number, 1) == "t"
        identity = _cell(identities, number, 0)
        contents.append(Contents(rows, identity, has_duration))
    return contents


def _with_unfinished(contents: list[Contents], table: PGresult) -> list[Contents]:
    """Add what migrations have not finished. Constraints and indexes are noted with the first ledger."""
    words: list[str] = []
    for row in range(table.ntuples):
        number, text, version = (_cell(table, row, column) for column in range(3))
        if text:
            words.append(text)
        if version:
            contents[int(number)] = contents[int(number)]._replace(begun=int(version))
    contents[0] = contents[0]._replace(unfinished=tuple(words))
    return contents


def read_identity(connection: Connection, ledger: Ledger) -> str:
    """Return the identity of a ledger that this run has made."""
    ((identity,),) = fetch(connection, ledger.sql("current_identity"))
    return str(identity)


def _ask(connection: Connection, message: str) -> list[PGresult]:
    """Return a result for each statement of the batch."""
    if not connection.one_statement_a_batch:
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
        number, version, name, checksum, applied_at, has_copy, by, seconds = cells
        iso_time = ""
        if applied_at:
            iso_time = f"{applied_at[:10]}T{applied_at[11:19]}Z"
        entry = LedgerRow(
            int(version),
            name,
            checksum,
            iso_time,
            has_down_copy=has_copy == "t",
            applied_by=by or None,
            seconds=float(seconds) if seconds else None,
        )
        found[int(number)].append(entry)
    return found


def _why_unreadable(
    connection: Connection, ledger: Ledger, problem: ServerError
) -> str:
    """Return a message for a ledger that the server does not let us read; with its owner, if that helps."""
    message = _unreadable(ledger, problem.server_message)
    if problem.sqlstate == _INSUFFICIENT_PRIVILEGE:
        owner = ledger_owner(connection)
        if owner:
            role = quoted(str(connection.info.user))
            message += (
                f"; {owner}. To let this role read it: GRANT SELECT ON {ledger.table} TO {role}; "
                f"CREATE POLICY {role} ON {ledger.table} FOR SELECT TO {role} USING (true)"
            )
    return message


def _unreadable(ledger: Ledger, why: str | None) -> str:
    return f"cannot read the ledger {ledger.schema}.{TABLE}: {why}"


def ledger_owner(connection: Connection) -> str:
    """Return a message about who owns the ledgers that the role may not write; empty if there is none."""
    ((owners,),) = fetch(connection, OWNERS_QUERY)
    if not owners:
        return ""
    return f"the ledger belongs to {owners}: connect as that role, or as a member of it"


def _not_ours(connection: Connection, ledger: Ledger) -> SqlmigError:
    return SqlmigError(why_not_ours(connection, ledger))
