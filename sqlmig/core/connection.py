"""A connection to the server. The only module of the core that knows psycopg's errors."""

from __future__ import annotations

import re
import select
import time
from contextlib import contextmanager, suppress
from itertools import count
from math import ceil
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import generators, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.waiting import Wait

from sqlmig.core.errors import ConnectionLost, ServerError, SqlmigError, UsageError
from sqlmig.core.sql import OWN_SETTINGS, literal
from sqlmig.core.text import server_message
from sqlmig.core.url import is_plausible, what_is_wrong, without_driver

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from psycopg.abc import Buffer
    from psycopg.pq.abc import PGresult

# Bytes of a batch. A longer file takes several: that needs less memory here, and far less
# on the server.
LARGEST_BATCH = 1 << 20
_PART_OF_DATA = 1 << 18  # bytes of the data of COPY in a message
_MOST_AT_ONCE = 50  # statements in one pipeline
_TICKS_A_SECOND = 10  # how often psycopg wakes while it waits
_DEFAULT_PORT = 5432
_LEAST_CONNECT_TIMEOUT = 2  # seconds; libpq waits no less
_PATIENCE = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
}
_ADD_WAIT = "To wait for a server that is starting, add --wait 30s"
_SUCCESS = (
    pq.ExecStatus.COMMAND_OK,
    pq.ExecStatus.TUPLES_OK,
    pq.ExecStatus.EMPTY_QUERY,
)
_ENDS_SESSION = ("FATAL", "PANIC")  # the severity of an error
_CALLERS_PATH = "pg_catalog.current_setting('search_path')"
_REMEMBER_SETTINGS = (
    f"SELECT pg_catalog.set_config('sqlmig.search_path', {_CALLERS_PATH}, true), "
    "pg_catalog.set_config('sqlmig.row_security', pg_catalog.current_setting('row_security'), true), "
    "pg_catalog.set_config('sqlmig.lock_timeout', pg_catalog.current_setting('lock_timeout'), true)"
)
# A query of ours may meet a lock on a table that it reads.
_QUERY_SETTINGS = f"{OWN_SETTINGS}; SET LOCAL lock_timeout = '10s'"
_RESTORE_SETTINGS = (
    "SELECT pg_catalog.set_config('search_path', pg_catalog.current_setting('sqlmig.search_path'), true), "
    "pg_catalog.set_config('row_security', pg_catalog.current_setting('sqlmig.row_security'), true), "
    "pg_catalog.set_config('lock_timeout', pg_catalog.current_setting('sqlmig.lock_timeout'), true)"
)


class Connection(psycopg.Connection[tuple[object, ...]]):
    """A connection that passes notices to ``say``.

    While it waits for the server it calls each function of ``ticks`` ten times a second.
    """

    ticks: list[Callable[[], None]]
    say: Callable[[str], None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Connect as psycopg does."""
        self.ticks = []
        super().__init__(*args, **kwargs)

    # Citus passes the text of a batch to its workers, and accepts only one statement in it.
    one_statement_a_batch: bool = False
    # The database and the server, for messages: ``shop on db.example.org``.
    database_name: str = "the database"
    # The search path that the session began with, if a query has read it.
    known_search_path: str | None = None
    # The first schema on it that exists, if a query has read it.
    first_schema: str = ""
    # The error with which the server ended the session, if it gave one.
    fatal_error: str = ""

    def receive_notice(self, notice: Any) -> None:
        """Say a notice. If it is the error with which the server ends an idle session, only note it.

        notice: psycopg's Diagnostic.
        """
        if notice.severity_nonlocalized in _ENDS_SESSION:
            self.fatal_error = server_message(notice)
        else:
            self.say(_without_context(notice))

    def refuse_if_lost(self) -> None:
        """Raise ConnectionLost if the session has ended, with the error that the server gave for it."""
        if self.closed:
            raise ConnectionLost(self.fatal_error or "the connection is closed")

    @property
    def callers_search_path(self) -> str:
        """The search path that the session began with. Files run on it."""
        if self.known_search_path is None:
            ((path,),) = fetch_on_callers_path(self, f"SELECT {_CALLERS_PATH}")
            self.known_search_path = str(path)
        return self.known_search_path

    def resolve_tables(self, names: Collection[str]) -> dict[str, int]:
        """Return the numbers of the tables and indexes that are found on the current search path.

        Raises ServerError and ConnectionLost.
        """
        listed = []
        for name in sorted(names):
            listed.append(f"pg_catalog.to_regclass({literal(name)})::pg_catalog.oid")
        if not listed:
            return {}

        (oids,) = fetch_on_callers_path(self, f"SELECT {', '.join(listed)}")
        found = {}
        for name, oid in zip(sorted(names), oids, strict=True):
            if oid is not None:
                found[name] = int(str(oid))
        return found

    @property
    def largest_batch(self) -> int:
        """The largest number of bytes in a batch; 0 if it must not hold two statements."""
        return 0 if self.one_statement_a_batch else LARGEST_BATCH

    @property
    def is_idle(self) -> bool:
        """Whether no transaction is open."""
        return self.info.transaction_status == pq.TransactionStatus.IDLE

    def refuse_read_only(self, *, chooses_its_mode: bool = False) -> None:
        """Raise SqlmigError if the server has reported that it accepts no changes.

        chooses_its_mode: the transaction may begin as READ WRITE. Source: the parameters
        that the server reports, since PostgreSQL 14 in_hot_standby
        (https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC).
        """
        if self.info.parameter_status("in_hot_standby") == "on":
            why = "is a standby"
        elif (
            self.info.parameter_status("default_transaction_read_only") == "on"
            and not chooses_its_mode
        ):
            why = "is read-only for this role (default_transaction_read_only)"
        else:
            return
        raise SqlmigError(
            f"nothing was done: {self.database_name} {why}. Connect to the primary, "
            "for example with target_session_attrs=read-write in the URL"
        )

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Consume a generator of psycopg, as psycopg does."""
        if self.ticks:
            gen = self._ticking(gen)
        return super().wait(gen, *args, **kwargs)

    def _ticking(self, gen: Any) -> Any:
        """Tick each time that psycopg wakes and the server has sent nothing."""
        ready = None
        try:
            while True:
                state = gen.send(ready)
                while not (ready := (yield state)):
                    for tick in list(self.ticks):
                        tick()
        except StopIteration as end:
            return end.value


def parameters(url: str) -> dict[str, str]:
    """Return the parameters that a URL or a conninfo string gives. Raises UsageError."""
    url = without_driver(url)
    with suppress(psycopg.Error, UnicodeEncodeError):
        url.encode()
        given = {}
        for name, value in conninfo_to_dict(url).items():
            if value is not None:
                given[name] = str(value)
        if is_plausible(url, given):
            return given
    raise UsageError(what_is_wrong(url))


@contextmanager
def connect(
    url: str,
    say: Callable[[str], None],
    name: str = "",
    like: Connection | None = None,
) -> Iterator[Connection]:
    """Yield a connection in autocommit mode.

    say is called with each notice. name is the connection's application_name. like is an
    earlier connection to the same server, which spares queries about the server. Raises
    SqlmigError if it cannot connect.
    """
    given = parameters(url)
    options: dict[str, Any] = _PATIENCE | given
    options |= {"client_encoding": "UTF8", "fallback_application_name": "sqlmig"}
    if name:
        options["application_name"] = name
    try:
        opened = Connection.connect(**options, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        message = _why_not_connected(error, given.get("password"))
        raise SqlmigError(f"cannot connect: {message}") from None

    with _translated(opened), opened as connection:
        connection.say = say
        connection.database_name = _database_name(connection)
        if like:
            connection.one_statement_a_batch = like.one_statement_a_batch
            connection.known_search_path = like.known_search_path
        connection.add_notice_handler(connection.receive_notice)
        _require_standard_strings(connection)
        yield connection


def _why_not_connected(error: psycopg.Error, password: str | None) -> str:
    """Return libpq's message, which may be long and repeat itself, without the password."""
    # psycopg and libpq each say that it failed, and so does our own message.
    message = str(error).strip().removeprefix("connection failed: ")
    message = re.sub(r"connection to (server [^\n]*?) failed: ", r"\1: ", message)
    if password:
        message = message.replace(password, "***")
    if "Connection refused" in message or "is starting up" in message:
        message += f"\n{_ADD_WAIT}"
    return message


def _database_name(connection: Connection) -> str:
    server = connection.info.host
    if not server or server.startswith(("/", "@")):  # a socket of the file system
        server = "this machine"
    port = ""
    if connection.info.port != _DEFAULT_PORT:
        port = f", port {connection.info.port}"
    return f"{connection.info.dbname} on {server}{port}"


def _without_context(notice: Any) -> str:
    return server_message(notice).partition("\nCONTEXT: ")[0]


def _require_standard_strings(connection: Connection) -> None:
    if connection.info.parameter_status("standard_conforming_strings") != "on":
        raise SqlmigError(
            "standard_conforming_strings is off here, so no file can be read safely; turn it on"
        )


def wait_for_server(url: str, seconds: float) -> None:
    """Wait for a server that cannot be reached yet, or is starting. Any other reply ends the wait.

    Raises SqlmigError if the time is up.
    """
    if not seconds:
        return
    deadline = time.monotonic() + seconds
    given = parameters(url)
    while (left := deadline - time.monotonic()) > 0:
        # An address that drops packets never replies.
        timeout = str(max(_LEAST_CONNECT_TIMEOUT, ceil(left)))
        conninfo = make_conninfo("", **given | {"connect_timeout": timeout}).encode()
        if pq.PGconn.ping(conninfo) not in (pq.Ping.REJECT, pq.Ping.NO_RESPONSE):
            return
        time.sleep(0.2)
    try:
        with connect(url, lambda _: None):
            return
    except SqlmigError as error:
        why = str(error).partition(_ADD_WAIT)[0].strip()
        raise SqlmigError(f"no answer within {seconds:g} s: {why}") from None


@contextmanager
def _translated(connection: Connection) -> Iterator[None]:
    """Turn psycopg's errors into ours."""
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate is None:
            # psycopg says only that the connection is closed.
            message = connection.fatal_error or str(error).strip()
            raise ConnectionLost(message) from None
        raise _server_error(connection, error, []) from None


def _server_error(
    connection: Connection, error: psycopg.Error, results_before: list[PGresult]
) -> ServerError:
    """Roll back, and return our error for the server's. Note it if it has ended the session."""
    rollback(connection)
    message = server_message(error.diag)
    if error.diag.severity_nonlocalized in _ENDS_SESSION:
        connection.fatal_error = message
    return ServerError(message, str(error.sqlstate), error.diag, results_before)


def send(
    connection: Connection, batch: bytes, data: Buffer | None = None
) -> list[PGresult]:
    """Send statements as one message of the simple query protocol, and return a result for each.

    data: for a COPY … FROM stdin, which is the last statement. Raises ServerError and
    ConnectionLost.
    """
    with _translated(connection):
        connection.pgconn.send_query(batch)
        results: list[PGresult] = connection.wait(generators.execute(connection.pgconn))
        if results and results[-1].status == pq.ExecStatus.COPY_IN:
            results[-1] = connection.wait(_copy_in(connection.pgconn, data))
    for number, result in enumerate(results):
        if result.status not in _SUCCESS:
            error = psycopg.errors.error_from_result(result)
            raise _server_error(connection, error, results[:number])
    return results


def _copy_in(pgconn: Any, data: Buffer | None) -> Any:
    """Send the data of a COPY … FROM stdin, in parts, and return its result."""
    error = None if data is not None else b"there is no data for it"
    view = memoryview(data or b"")
    for begin in range(0, len(view), _PART_OF_DATA):
        part = bytes(view[begin : begin + _PART_OF_DATA])
        yield from generators.copy_to(pgconn, part)
    while pgconn.put_copy_end(error) == 0:
        while not (yield Wait.W):
            continue
    results = yield from generators.fetch_many(pgconn)
    return results[-1]


def cell_of(results: Sequence[PGresult], column: str) -> str | None:
    """Return the value of a column from the last result with a first column of this name; None if there is none."""
    for result in reversed(results):
        if result.nfields and result.ntuples and result.fname(0) == column.encode():
            return (result.get_value(0, 0) or b"").decode()
    return None


def prepare_each(
    connection: Connection, statements: Sequence[bytes]
) -> list[str | None]:
    """Let the server analyse statements without running them. Return its error for each, or None.

    Each statement is a transaction of its own, and many are sent at once: Parse and Sync of
    the extended query protocol
    (https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING).
    Raises ConnectionLost.
    """
    errors: list[str | None] = []
    pgconn = connection.pgconn
    with _translated(connection):
        for first in range(0, len(statements), _MOST_AT_ONCE):
            pgconn.enter_pipeline_mode()
            some = statements[first : first + _MOST_AT_ONCE]
            for statement in some:
                pgconn.send_prepare(b"", statement)
                pgconn.pipeline_sync()
            errors += [_error_of_prepare(connection) for _ in some]
            pgconn.exit_pipeline_mode()
    return errors


def _error_of_prepare(connection: Connection) -> str | None:
    """Read the results up to the next Sync, and return the first line of the error."""
    message = None
    while True:
        result = connection.pgconn.get_result()
        if result is None:
            continue
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return message
        if result.status not in _SUCCESS:
            error = psycopg.errors.error_from_result(result)
            message = server_message(error.diag).splitlines()[0]


def execute(connection: Connection, statements: str) -> None:
    """Run statements of our own, in the open transaction or in a new one. Raises as send does."""
    send(connection, _with_own_settings(connection, statements))


def execute_alone(connection: Connection, statement: str) -> None:
    """Run a statement that cannot run with others in one batch. It must call no function. Raises as send does."""
    send(connection, statement.encode())


def fetch(connection: Connection, query: str) -> list[Any]:
    """Return the rows of a query of our own; of the last one, if there are several. Raises as send does."""
    return fetch_each(connection, query)[-1]


def fetch_on_callers_path(connection: Connection, query: str) -> list[Any]:
    """Return the rows of a query of our own about the search path that the session has now.

    Every function and type in it must be written with its schema. Raises as send does.
    """
    with _translated(connection):
        return connection.execute(query.encode()).fetchall()


def fetch_each(connection: Connection, queries: str) -> list[list[Any]]:
    """Return the rows of each statement of our own that has rows. Raises as send does."""
    is_idle = connection.is_idle
    results = []
    with _translated(connection):
        cursor = connection.execute(_with_own_settings(connection, queries))
        while True:
            if cursor.pgresult and cursor.pgresult.nfields:
                results.append(cursor.fetchall())
            if not cursor.nextset():
                break
    if not is_idle:  # without the first and the last, which remember and restore
        return results[1:-1]
    return results


def _with_own_settings(connection: Connection, statements: str) -> bytes:
    """Return a batch in which only our own statements run under our own settings."""
    statements = statements.rstrip().removesuffix(";")
    batch = f"{_QUERY_SETTINGS};{statements}"
    if not connection.is_idle:  # otherwise the batch is a transaction
        batch = f"{_REMEMBER_SETTINGS};{batch};{_RESTORE_SETTINGS}"
    return batch.encode()


@contextmanager
def rolled_back(connection: Connection) -> Iterator[None]:
    """Run a block in a transaction that is rolled back at its end; in a savepoint if a transaction is open.

    If the block fails, everything is rolled back already.
    """
    begin, end = "BEGIN", "ROLLBACK"
    if not connection.is_idle:
        begin = "SAVEPOINT sqlmig_rolled_back"
        end = "ROLLBACK TO sqlmig_rolled_back; RELEASE sqlmig_rolled_back"
    send(connection, begin.encode())
    yield
    send(connection, end.encode())


def rollback(connection: Connection) -> None:
    """Roll back the open transaction, if the connection is not lost."""
    with suppress(psycopg.Error):
        # A signal may have come just after a batch was sent. Its result must be read first.
        if connection.info.transaction_status == pq.TransactionStatus.ACTIVE:
            _cancel(connection)
        if not connection.is_idle:
            connection.execute("ROLLBACK")


def discard(connection: Connection) -> None:
    """Roll back, and remove what a failed file left in the session: prepared statements, locks."""
    rollback(connection)
    with suppress(psycopg.Error):
        connection.execute("DISCARD ALL")


def cancel(connection: Connection) -> None:
    """Ask the server to cancel the running query, from any thread."""
    with suppress(psycopg.Error):  # it is lost
        connection.cancel()


def _cancel(connection: Connection) -> None:
    """Cancel the batch that the server is running, and read its result.

    The request is repeated each second. The server ignores the first one if it comes before
    the batch has begun, and a file may catch it.
    """
    waking = count(1)

    def cancel_again() -> None:
        if next(waking) % _TICKS_A_SECOND == 0:
            connection.cancel()

    connection.cancel()
    connection.ticks.append(cancel_again)
    try:
        connection.wait(generators.execute(connection.pgconn))
    finally:
        connection.ticks.remove(cancel_again)


def send_without_waiting(connection: Connection, batch: bytes) -> None:
    """Send a batch unless the last one still runs. Errors are ignored."""
    with suppress(psycopg.Error):
        if not connection.pgconn.is_busy():
            connection.pgconn.send_query(batch)


def column_received(connection: Connection) -> list[str] | None:
    """Return the first column of the newest result that has come; None if none has. Errors are ignored."""
    column = None
    pgconn = connection.pgconn
    with suppress(psycopg.Error):
        pgconn.consume_input()
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                break
            if result.nfields:
                cells = [result.get_value(row, 0) for row in range(result.ntuples)]
                column = [(cell or b"").decode() for cell in cells]
    return column


def close_now(connection: Connection) -> None:
    """Close a connection, even if the server is still working for it."""
    connection.pgconn.finish()


def reply_comes(connection: Connection, seconds: float) -> list[PGresult] | None:
    """Send a query for the server process's number; return its result, or None if none comes in time."""
    connection.pgconn.send_query(b"SELECT pg_catalog.pg_backend_pid()")
    readable, _, _ = select.select([connection], [], [], seconds)
    if not readable:
        return None
    with _translated(connection):
        results: list[PGresult] = connection.wait(
            generators.fetch_many(connection.pgconn)
        )
    return results
