"""Create a scratch database with the settings of the database that is checked, and always drop it at the end."""

from __future__ import annotations

import os
import re
import secrets
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import make_conninfo

from sqlmig.check.server_wide import ServerGuard
from sqlmig.core.connection import (
    connect,
    execute,
    execute_alone,
    fetch,
    fetch_on_callers_path,
    parameters,
    rollback,
    send,
)
from sqlmig.core.errors import (
    MigrationFailed,
    ServerError,
    SqlmigError,
    replace_message,
)
from sqlmig.core.outside_transaction import send_each_statement
from sqlmig.core.repeated import RowCounter
from sqlmig.core.sending import send_pieces
from sqlmig.core.sql import literal, quoted, read_statements
from sqlmig.core.transaction import file_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlmig.core.connection import Connection
    from sqlmig.core.ledger import Ledger
    from sqlmig.core.session import Say
    from sqlmig.core.sqlfile import SqlFile

STATEMENTS = read_statements(Path(__file__).parent / "scratch.sql")
_PREFIX = "sqlmig_scratch_"
_MOST_RUNS = 1000  # of a file that repeats
# The application_name of the connection that creates a scratch database begins with this.
_OWNER = "sqlmig: "
_READ_ONLY = "25006"
_INSUFFICIENT_PRIVILEGE = "42501"
# DROP DATABASE ... WITH (FORCE) may not end the session of a superuser, and a session that is just beginning.
_OTHERS_ARE_CONNECTED = (_INSUFFICIENT_PRIVILEGE, "55006")
_PATIENCE = 5.0  # seconds for the other sessions to end
# Settings for the connection that creates and drops it. This connection is idle while the files run.
_PATIENT = (
    "SET idle_session_timeout = 0; SET statement_timeout = 0; SET client_min_messages = warning; "
    "SET default_transaction_read_only = off"
)


@dataclass
class Scratch:
    """A scratch database: a connection to it, and a guard for the rest of the server."""

    connection: Connection
    guard: ServerGuard
    owns_server: bool
    schema: str  # names in this schema are written without it


@contextmanager
def scratch_database(
    url: str,
    ledger: Ledger,
    say: Say,
    *,
    with_privileges: bool = False,
    owns_server: bool = False,
) -> Iterator[Scratch]:
    """Yield a new database with the settings of the URL's database, and drop it at the end.

    with_privileges: it also has that database's default privileges and grants on schemas.
    owns_server: the server was created for this, so files may change all of it. Raises
    SqlmigError if the database cannot be created.
    """
    name = f"{_PREFIX}{os.getpid()}_{secrets.token_hex(4)}"
    with connect(url, say, f"{_OWNER}{name}") as outside:
        send(outside, _PATIENT.encode())
        _remove_left_over(url, outside, say)
        try:
            _create(outside, name)
            within = _give_settings(
                outside, name, ledger, with_privileges=with_privileges
            )
            with _inside(url, outside, name) as inside:
                execute(inside, ";".join(within))
                guard = ServerGuard(inside, outside, owns_server=owns_server)
                guard.require_counts()
                yield Scratch(inside, guard, owns_server, ledger.schema)
        finally:
            _drop_or_warn(url, outside, name, say)


@contextmanager
def _inside(url: str, outside: Connection, name: str) -> Iterator[Connection]:
    """Yield a connection to the scratch database. Raises SqlmigError.

    It uses the password of the first connection, because .pgpass may have it for one
    database only.
    """
    given = parameters(url) | {"dbname": name}
    if outside.info.password:
        given["password"] = outside.info.password
    with ExitStack() as stack:
        try:
            inside = stack.enter_context(
                connect(make_conninfo("", **given), lambda _: None)
            )
        except SqlmigError as error:
            raise SqlmigError(
                f"the scratch database {name} was made, but does not let us in: {error}. If pg_hba.conf or a pooler "
                "names the databases, allow those that begin with sqlmig_scratch_"
            ) from None
        yield inside


def _run_again(scratch: Scratch, file: SqlFile) -> bool:
    """Run a repeating file once more, and return whether a statement changed rows."""
    connection = scratch.connection
    transaction = file_transaction(file, connection.callers_search_path)
    counter = RowCounter()
    try:
        send_pieces(connection, transaction.begin)
        writes_before = scratch.guard.writes()
        send_pieces(connection, transaction.body, counter.add)
        scratch.guard.refuse_if_beyond(file, writes_before)
        send_pieces(connection, [*transaction.end, *transaction.commit])
    finally:
        rollback(connection)
    return counter.rows > 0


def _create(outside: Connection, name: str) -> None:
    """Create the database, from template0 if template1 cannot be copied. Raises SqlmigError.

    template1 may have another encoding or locale, and others may be connected to it.
    """
    ((options,),) = fetch(outside, STATEMENTS["options"])
    try:
        try:
            execute_alone(outside, f"CREATE DATABASE {name} {options}")
        except ServerError as problem:
            if problem.sqlstate in (_INSUFFICIENT_PRIVILEGE, _READ_ONLY):
                raise
            create = f"CREATE DATABASE {name} TEMPLATE template0 {options}"
            execute_alone(outside, create)
    except ServerError as problem:
        if problem.sqlstate == _INSUFFICIENT_PRIVILEGE:
            raise SqlmigError(
                "a scratch database is needed: give the role CREATEDB, or connect as a role that has it"
            ) from None
        if problem.sqlstate == _READ_ONLY:
            raise SqlmigError(
                "this server is a standby, which takes no scratch database; connect to the primary"
            ) from None
        raise SqlmigError(
            f"cannot make a scratch database: {problem.server_message}"
        ) from None


def _remove_left_over(url: str, outside: Connection, say: Say) -> None:
    """Drop the scratch databases that killed runs left: no session is connected to them or is creating them."""
    for (name,) in fetch(
        outside, STATEMENTS["left_over"].format(prefix=_PREFIX, owner=_OWNER)
    ):
        with suppress(SqlmigError):  # another run may drop it first
            _drop(url, outside, name)
            say(f"dropped {name}, which a killed run had left")


def _give_settings(
    outside: Connection, name: str, ledger: Ledger, *, with_privileges: bool
) -> list[str]:
    """Give the scratch database this database's settings, and return the statements to run inside it."""
    query = STATEMENTS["settings"]
    if with_privileges:
        query += STATEMENTS["privileges"]
    ((on_path,),) = fetch_on_callers_path(
        outside, "SELECT pg_catalog.current_schemas(false)::pg_catalog.text[]"
    )
    schemas = map(literal, {"public", ledger.schema, *on_path})
    rows: list[Any] = fetch(
        outside,
        query.format(
            name=name,
            schemas=f"ARRAY[{', '.join(schemas)}]",
            table=literal(ledger.table),
        ),
    )

    from_outside = [statement for is_within, statement in rows if not is_within]
    within = [STATEMENTS["own_public"]]
    if ledger.is_named:
        path = ", ".join(
            filter(None, [quoted(ledger.schema), outside.callers_search_path])
        )
        from_outside += [
            f"SELECT pg_catalog.set_config('search_path', {literal(path)}, true)",
            f"ALTER DATABASE {name} SET search_path FROM CURRENT",
        ]
        within.append(ledger.sql("schema"))
    send(outside, ";".join(from_outside).encode())
    return [*within, *(statement for is_within, statement in rows if is_within)]


def _end_prepared(url: str, outside: Connection, name: str) -> None:
    """Roll back the prepared transactions of the scratch database, because they prevent dropping it."""
    query = STATEMENTS["prepared"].format(name=literal(name))
    prepared = fetch(outside, query)
    if not prepared:
        return
    with _inside(url, outside, name) as inside:
        for (gid,) in prepared:
            execute_alone(inside, f"ROLLBACK PREPARED {literal(gid)}")


def _drop_or_warn(url: str, outside: Connection, name: str, say: Say) -> None:
    """Drop the database. If a session of a stronger role is connected to it, try again, and then print a warning."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            _drop(url, outside, name)
        except ServerError as problem:
            if problem.sqlstate in _OTHERS_ARE_CONNECTED:
                if time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                _warn(say, name, "another session is connected to it")
            elif fetch(outside, STATEMENTS["exists"].format(name=literal(name))):
                _warn(say, name, str(problem))
        except SqlmigError:  # the connection was idle, and is lost
            _drop_by_new_connection(url, name, say)
        return


def _drop_by_new_connection(url: str, name: str, say: Say) -> None:
    try:
        with connect(url, say) as outside:
            _drop(url, outside, name)
    except SqlmigError as problem:
        _warn(say, name, str(problem))


def _warn(say: Say, name: str, why: str) -> None:
    say(
        f"warning: the scratch database {name} was not dropped: {why}. The next `sqlmig check` drops it"
    )


def _drop(url: str, outside: Connection, name: str) -> None:
    """Drop the database, whatever a file left there. Raises SqlmigError."""
    with suppress(SqlmigError):
        _end_prepared(url, outside, name)
    drop = f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)"
    with suppress(ServerError):
        execute_alone(outside, f"ALTER DATABASE {quoted(name)} IS_TEMPLATE false")
    try:
        execute_alone(outside, drop)
    except KeyboardInterrupt:  # drop it in any case
        execute_alone(outside, drop)
        raise


def run_file(
    scratch: Scratch, file: SqlFile, observe: Callable[[], None] = lambda: None
) -> None:
    """Run a file like ``up`` does, but without the ledger. Nothing of it stays in the session.

    observe is called before a transaction is committed.

    Raises BeyondDatabase before the commit if the file changes more than the scratch
    database.
    """
    guard = scratch.guard
    guard.before_file(file)
    try:
        _run_guarded(scratch, file, observe)
    except MigrationFailed as error:
        raise _without_bad_advice(error) from None
    finally:
        guard.after_file(file)


def _without_bad_advice(error: MigrationFailed) -> BaseException:
    """Return an error without the server's advice to use the scratch database's name in its configuration.

    pg_cron and a few other extensions give it, because they work in one database only.
    """
    hint = "HINT: this works in one database of the server only, so a scratch database cannot have it"
    message = re.sub(rf"^HINT: .*{_PREFIX}.*$", hint, str(error), flags=re.MULTILINE)
    return replace_message(error, message)


def _run_guarded(scratch: Scratch, file: SqlFile, observe: Callable[[], None]) -> None:
    connection = scratch.connection
    guard = scratch.guard
    if file.in_transaction:
        transaction = file_transaction(file, connection.callers_search_path)
        for _ in range(_MOST_RUNS if file.repeats else 0):
            if not _run_again(scratch, file):
                break
        try:
            send_pieces(connection, transaction.begin)
            writes_before = guard.writes()
            send_pieces(connection, transaction.body)
            guard.refuse_if_beyond(file, writes_before)
            observe()
            send_pieces(connection, [*transaction.end, *transaction.commit])
        finally:
            rollback(connection)
        return

    try:
        send_each_statement(connection, file, guard.before_statement)
    finally:
        rollback(connection)
        connection.execute("DISCARD ALL")
