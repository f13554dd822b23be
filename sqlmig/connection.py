"""A connection to the server, and messages that are sent to it as they are written."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import generators, pq
from psycopg.conninfo import make_conninfo

from sqlmig.errors import SqlmigError
from sqlmig.url import parameters
from sqlmig.wording import server_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    """The server refused a statement, and what was open is rolled back.

    error is psycopg's; results_before are those of the statements before it in its message.
    """

    def __init__(
        self, error: psycopg.Error, results_before: list[PGresult], words: str = ""
    ) -> None:
        """Take the server's words for the message, unless better ones are given."""
        super().__init__(words or server_words(error.diag))
        self.error = error
        self.results_before = results_before


@contextmanager
def connect(
    url: str,
    say: Callable[[str], None],
    name: str = "",
    *,
    one_statement_a_message: bool = False,
) -> Iterator[Connection]:
    """Yield a connection in autocommit mode.

    say is called with each notice. name is the connection's application_name. Raises
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
            connection.one_statement_a_message = one_statement_a_message
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
    conninfo = make_conninfo("", **parameters(url)).encode()
    while time.monotonic() < deadline:
        if pq.PGconn.ping(conninfo) not in (pq.Ping.REJECT, pq.Ping.NO_RESPONSE):
            return
        time.sleep(0.2)


def send(connection: Connection, message: bytes) -> list[PGresult]:
    """Send statements as one message of the simple protocol, and return a result for each. Raises ServerError."""
    connection.pgconn.send_query(message)
    results: list[PGresult] = connection.wait(generators.execute(connection.pgconn))
    for number, result in enumerate(results):
        if result.status not in _ANSWERS:
            rollback(connection)
            raise ServerError(
                psycopg.errors.error_from_result(result), results[:number]
            )
    return results


def fetch(connection: Connection, query: str) -> list[Any]:
    """Return the rows of a query of our own."""
    return connection.execute(query.encode()).fetchall()


def rollback(connection: Connection) -> None:
    """End what is open, where there is still a connection."""
    with suppress(psycopg.Error):
        # A signal may have come just when a message was sent: its answer is to be read first.
        if connection.info.transaction_status == pq.TransactionStatus.ACTIVE:
            _cancel(connection)
        if not connection.is_idle:
            connection.execute("ROLLBACK")


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
