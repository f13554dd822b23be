"""The scratch database: made like the one that is checked, and dropped whatever happens."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo

from sqlmig.connection import connect, fetch, rollback, send
from sqlmig.errors import SqlmigError
from sqlmig.ledger import literal, read_statements
from sqlmig.outside_transaction import send_each_statement
from sqlmig.transaction import file_pieces
from sqlmig.transmission import transmit
from sqlmig.url import parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlmig.connection import Connection
    from sqlmig.ledger import Ledger
    from sqlmig.session import Say
    from sqlmig.sqlfile import SqlFile

STATEMENTS = read_statements(Path(__file__).parent / "scratch.sql")
# Whatever is set for the connection that makes and drops it: it waits for the files to run.
_PATIENT = (
    "SET idle_session_timeout = 0; SET statement_timeout = 0; SET client_min_messages = warning; "
    "SET default_transaction_read_only = off"
)


@contextmanager
def scratch_database(
    url: str, ledger: Ledger, say: Say, *, with_privileges: bool = False
) -> Iterator[Connection]:
    """Yield a connection to a new database with the settings of the URL's, and drop it at the end.

    with_privileges: it also does what the URL's database does to every new object.
    Raises SqlmigError where it cannot be made.
    """
    name = f"sqlmig_scratch_{os.getpid()}_{secrets.token_hex(4)}"
    with connect(url, say) as outside:
        send(outside, _PATIENT.encode())
        try:
            outside.execute(f"CREATE DATABASE {name}".encode())
            within = _give_settings(
                outside, name, ledger, with_privileges=with_privileges
            )
            inside_url = make_conninfo("", **parameters(url) | {"dbname": name})
            with connect(inside_url, lambda _: None) as inside:
                send(inside, ";".join(within).encode())
                yield inside
        except psycopg.errors.InsufficientPrivilege:
            raise SqlmigError(
                "a scratch database is needed: give the role CREATEDB, or name another role"
            ) from None
        finally:
            _drop(outside, name)


def _give_settings(
    outside: Connection, name: str, ledger: Ledger, *, with_privileges: bool
) -> list[str]:
    """Give the scratch database this one's settings, and return what is to be said within it."""
    query = STATEMENTS["settings"]
    if with_privileges:
        query += STATEMENTS["privileges"]
    rows: list[Any] = fetch(
        outside, query.format(name=name, schema_name=literal(ledger.schema))
    )

    from_outside = [statement for is_within, statement in rows if not is_within]
    within = [STATEMENTS["own_public"]]
    if ledger.is_named:
        outside.execute(ledger.sql("path_first", local=False).encode())
        from_outside.append(f"ALTER DATABASE {name} SET search_path FROM CURRENT")
        within.append(ledger.sql("schema"))
    send(outside, ";".join(from_outside).encode())
    return [*within, *(statement for is_within, statement in rows if is_within)]


def _drop(outside: Connection, name: str) -> None:
    drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode()
    try:
        outside.execute(drop)
    except KeyboardInterrupt:  # it is dropped all the same
        outside.execute(drop)
        raise


def run_file(connection: Connection, file: SqlFile) -> None:
    """Run a file as ``up`` would, but for the ledger. Nothing of it stays in the session."""
    if file.in_transaction:
        pieces = file_pieces(file)
        transmit(
            connection,
            [
                *pieces.opening,
                pieces.body,
                pieces.constraints,
                pieces.reset,
                pieces.commit,
            ],
        )
        return

    try:
        send_each_statement(connection, file)
    finally:
        rollback(connection)
        connection.execute("DISCARD ALL")
