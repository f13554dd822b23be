"""A connection to the server, and messages that are sent to it as they are written."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, suppress
from itertools import count
from math import ceil
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import generators, pq
from psycopg.conninfo import make_conninfo

from sqlmig.core.errors import SqlmigError
from sqlmig.core.sql import OWN_SETTINGS, literal
from sqlmig.core.url import parameters
from sqlmig.core.wording import server_words

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from psycopg.pq.abc import PGresult

# Bytes of a message. A longer file takes several: that needs less memory here, and far
# less on the server.
LARGEST_MESSAGE = 1 << 20
_TICKS_A_SECOND = 10  # so often psycopg wakes while it waits
_DEFAULT_PORT = 5432
_PATIENCE = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
}
_ANSWERS = (
    pq.ExecStatus.COMMAND_OK,
    pq.ExecStatus.TUPLES_OK,
    pq.ExecStatus.EMPTY_QUERY,
)
_CALLERS_PATH = "pg_catalog.current_setting('search_path')"
_REMEMBER_SETTINGS = (
    f"SELECT pg_catalog.set_config('sqlmig.search_path', {_CALLERS_PATH}, true), "
    "pg_catalog.set_config('sqlmig.row_security', pg_catalog.current_setting('row_security'), true)"
)
_RESTORE_SETTINGS = (
    "SELECT pg_catalog.set_config('search_path', pg_catalog.current_setting('sqlmig.search_path'), true), "
    "pg_catalog.set_config('row_security', pg_catalog.current_setting('sqlmig.row_security'), true)"
)


class Connection(psycopg.Connection[tuple[object, ...]]):
    """A connection that tells notices, and calls each of ``ticks`` ten times a second while it waits for the server."""

    ticks: list[Callable[[], None]]
    say: Callable[[str], None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Connect as psycopg does."""
        self.ticks = []
        super().__init__(*args, **kwargs)

    # Citus hands the text of a message to its workers, and takes one statement in it only.
    one_statement_a_message: bool = False
    # The database and the server in words, for messages: ``shop on db.example.org``.
    database_name: str = "the database"
    # The search path that the session began with, as far as it was asked for.
    known_search_path: str | None = None

    @property
    def callers_search_path(self) -> str:
        """The search path that the session began with: files run on it."""
        if self.known_search_path is None:
            ((path,),) = fetch_on_callers_path(self, f"SELECT {_CALLERS_PATH}")
            self.known_search_path = str(path)
        return self.known_search_path

    def resolve_tables(self, names: Collection[str]) -> dict[str, int]:
        """Return the numbers of the tables and indexes that are found on the search path that the session has now.

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
    def largest_message(self) -> int:
        """How many bytes a message may have; 0 where it must not hold two statements."""
        return 0 if self.one_statement_a_message else LARGEST_MESSAGE

    @property
    def is_idle(self) -> bool:
        """Whether no transaction is open."""
        return self.info.transaction_status == pq.TransactionStatus.IDLE

    def refuse_read_only(self, *, chooses_its_mode: bool = False) -> None:
        """Raise SqlmigError where the server has said that it takes no changes (since PostgreSQL 14 it does).

        chooses_its_mode: the transaction may begin as READ WRITE.
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
        """Consume a generator of psycopg's, as psycopg does."""
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


class ServerError(SqlmigError):
    """The server refused a statement. The open transaction, if any, is rolled back.

    error is psycopg's. results_before are those of the statements before it in its message.
    """

    def __init__(
        self, error: psycopg.Error, results_before: list[PGresult], words: str = ""
    ) -> None:
        """Take the server's words as the message, unless better ones are given."""
        super().__init__(words or server_words(error.diag))
        self.error = error
        self.results_before = results_before

    @property
    def sqlstate(self) -> str:
        """The server's code for the error."""
        return str(self.error.sqlstate)


class ConnectionLost(SqlmigError):
    """The connection to the server is lost. Nobody can tell what became of the last message."""


@contextmanager
def connect(
    url: str,
    say: Callable[[str], None],
    name: str = "",
    like: Connection | None = None,
) -> Iterator[Connection]:
    """Yield a connection in autocommit mode.

    say is called with each notice. name is the connection's application_name. like is an earlier
    connection to the same server: what is known of the server need not be asked for again. Raises
    SqlmigError where the connection, or anything over it, fails.
    """
    given = parameters(url)
    options: dict[str, Any] = _PATIENCE | given
    options |= {"client_encoding": "UTF8", "fallback_application_name": "sqlmig"}
    if name:
        options["application_name"] = name

    failed = "cannot connect"
    try:
        with Connection.connect(
            **options, autocommit=True, prepare_threshold=None
        ) as connection:
            failed = "the database said"
            connection.say = say
            connection.database_name = _database_name(connection)
            if like:
                connection.one_statement_a_message = like.one_statement_a_message
                connection.known_search_path = like.known_search_path
            connection.add_notice_handler(
                lambda notice: connection.say(_without_context(notice))
            )
            _require_standard_strings(connection)
            yield connection
    except psycopg.Error as error:
        # psycopg and libpq each say that it failed; we have said so as well.
        words = str(error).strip().removeprefix("connection failed: ")
        words = re.sub(r"connection to (server [^\n]*?) failed: ", r"\1: ", words)
        password = given.get("password")
        if password:
            words = words.replace(password, "***")
        if "Connection refused" in words or "is starting up" in words:
            words += "\nTo wait for a server that is starting, add --wait 30s"
        raise SqlmigError(f"{failed}: {words}") from None


def _database_name(connection: Connection) -> str:
    server = connection.info.host
    if not server or server.startswith(("/", "@")):  # a socket of the file system
        server = "this machine"
    port = ""
    if connection.info.port != _DEFAULT_PORT:
        port = f", port {connection.info.port}"
    return f"{connection.info.dbname} on {server}{port}"


def _without_context(notice: Any) -> str:
    return server_words(notice).partition("\nCONTEXT: ")[0]


def _require_standard_strings(connection: Connection) -> None:
    if connection.info.parameter_status("standard_conforming_strings") != "on":
        raise SqlmigError(
            "standard_conforming_strings is off here, so that no file can be read safely; set it on"
        )


def wait_for_server(url: str, seconds: float) -> None:
    """Wait for a server that cannot be reached yet, or is starting. One that answers otherwise is not waited for."""
    deadline = time.monotonic() + seconds
    given = parameters(url)
    while (left := deadline - time.monotonic()) > 0:
        # libpq waits for at least two seconds. An address that drops packets never answers.
        patience = str(max(2, ceil(left)))
        conninfo = make_conninfo("", **given | {"connect_timeout": patience}).encode()
        if pq.PGconn.ping(conninfo) not in (pq.Ping.REJECT, pq.Ping.NO_RESPONSE):
            return
        time.sleep(0.2)


@contextmanager
def _translated(connection: Connection) -> Iterator[None]:
    """Turn psycopg's errors into ours."""
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate is None:
            raise ConnectionLost(str(error).strip()) from None
        rollback(connection)
        raise ServerError(error, []) from None


def send(connection: Connection, message: bytes) -> list[PGresult]:
    """Send statements as one message of the simple protocol, and return a result for each.

    Raises ServerError and ConnectionLost.
    """
    with _translated(connection):
        connection.pgconn.send_query(message)
        results: list[PGresult] = connection.wait(generators.execute(connection.pgconn))
    for number, result in enumerate(results):
        if result.status not in _ANSWERS:
            rollback(connection)
            error = psycopg.errors.error_from_result(result)
            raise ServerError(error, results[:number])
    return results


def cell_of(results: Sequence[PGresult], column: str) -> str | None:
    """Return the value under a column's name, from the last result that has such a first column; None if none has."""
    for result in reversed(results):
        if result.nfields and result.ntuples and result.fname(0) == column.encode():
            return (result.get_value(0, 0) or b"").decode()
    return None


def execute(connection: Connection, statements: str) -> None:
    """Run statements of our own, in the open transaction or in one of their own. Raises as send does."""
    send(connection, _with_own_settings(connection, statements))


def execute_alone(connection: Connection, statement: str) -> None:
    """Run one statement that cannot run in a transaction. It must call no function. Raises as send does."""
    send(connection, statement.encode())


def fetch(connection: Connection, query: str) -> list[Any]:
    """Return the rows of a query of our own; of the last one, if there are several. Raises as send does."""
    return fetch_each(connection, query)[-1]


def fetch_on_callers_path(connection: Connection, query: str) -> list[Any]:
    """Return the rows of a query of our own that is about the search path that the session has now.

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
            if cursor.description:
                results.append(cursor.fetchall())
            if not cursor.nextset():
                break
    if not is_idle:  # without those of our own that remember and restore
        return results[1:-1]
    return results


def _with_own_settings(connection: Connection, statements: str) -> bytes:
    """Return a message in which statements of our own run under our own settings, and nothing after them does."""
    statements = statements.rstrip().removesuffix(";")
    if connection.is_idle:  # a message is a transaction then
        return f"{OWN_SETTINGS};{statements}".encode()
    return (
        f"{_REMEMBER_SETTINGS};{OWN_SETTINGS};{statements};{_RESTORE_SETTINGS}".encode()
    )


def rollback(connection: Connection) -> None:
    """End what is open, where there is still a connection."""
    with suppress(psycopg.Error):
        # A signal may have come just when a message was sent: its answer is to be read first.
        if connection.info.transaction_status == pq.TransactionStatus.ACTIVE:
            _cancel(connection)
        if not connection.is_idle:
            connection.execute("ROLLBACK")


def discard(connection: Connection) -> None:
    """End what is open, and let nothing of a file that failed stay in the session: prepared statements, locks."""
    rollback(connection)
    with suppress(psycopg.Error):
        connection.execute("DISCARD ALL")


def _cancel(connection: Connection) -> None:
    """Cancel the message that the server is at, and read its answer.

    It is cancelled again each second: the server knows nothing of the first time where that
    came before it had begun, and a file may catch it.
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
