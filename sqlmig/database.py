"""A connection to the server, and messages sent to it as they are written."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import generators, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq.abc import PGresult

from sqlmig.errors import SqlmigError, UsageError, said

LARGEST = 1 << 20  # bytes of a message; a longer file takes several: less memory here, and far less on the server
# What other libraries' URLs have: a scheme or a parameter, each by its known name, as anything else may be a password.
_FOREIGN = re.compile(
    r"^(?:jdbc:|pgx[45]?:|postgres(?:ql)?\+(?:psycopg2?|psycopg2cffi|asyncpg|pg8000|psycopg_async):)|(?<=[?&])(?:schema"
    r"|pgbouncer|connection_limit|pool_timeout|socket_timeout|statement_cache_size|sslaccept|sslidentity|currentSchema"
    r"|prepareThreshold|x-migrations-table|x-statement-timeout|x-multi-statement)(?==)"
)
_FINE = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY)


class Connection(psycopg.Connection[tuple[object, ...]]):
    """A connection that tells notices, and calls ``tick`` ten times a second while it waits for the server."""

    tick: Callable[[], None] | None = None
    say: Callable[[str], None]
    largest: int  # bytes of a message; none means a statement a message

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Consume a generator of psycopg's, which is sent nothing while there is nothing."""
        return super().wait(self._ticking(gen, self.tick) if self.tick else gen, *args, **kwargs)

    def _ticking(self, gen: Any, tick: Callable[[], None]) -> Any:
        ready = None
        try:
            while True:
                state = gen.send(ready)
                while not (ready := (yield state)):
                    tick()
        except StopIteration as end:
            return end.value


class Refused(SqlmigError):
    """The server's error, in words with its place in the file; what was open is rolled back."""

    def __init__(self, error: psycopg.Error, before: list[PGresult], words: str = "") -> None:
        """Keep the error, and the results of what had been done before it."""
        super().__init__(words or said(error.diag))
        self.error, self.before = error, before


def parameters(url: str) -> dict[str, str]:
    """Return what a connection URL says alone. UsageError repeats nothing of it: a password may be anywhere."""
    problem = "the database URL cannot be read (it is not repeated here, as it may hold a password)"
    remedy = "it looks like postgresql://USER:PASSWORD@HOST:PORT/DATABASE, a password's @ : / ? # % written as %XX"
    # An @ or / in the password moves a part of it into another field, which libpq's messages then show.
    moved = re.match(r"postgres(?:ql)?://(?:[^?@]*@[^?@]*|[^?@/]*/[^?@]*)@", url)
    try:
        url.encode()
        found = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
        ports = found.get("port", "").replace(",", "") or "0"
        if not moved and ports.isdecimal() and "@" not in found.get("host", "")[1:]:
            return found
    except (psycopg.Error, UnicodeEncodeError):
        if foreign := _FOREIGN.search(url):
            problem = f"the database URL cannot be read: “{foreign[0]}” is another library's"
            remedy = "begin it with postgresql://" if foreign[0].endswith(":") else "take it out"
            remedy += "; --schema names a schema" if "chema" in foreign[0] else ""
    raise UsageError(f"{problem}; {remedy}")


@contextmanager
def connected(url: str, say: Callable[[str], None], name: str = "", largest: int = LARGEST) -> Iterator[Connection]:
    """Yield a connection in autocommit mode under a name; raise SqlmigError when it or a query fails."""
    given = parameters(url)
    patience = {"connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "6"}
    fixed = {"client_encoding": "UTF8", "fallback_application_name": "sqlmig"}
    options: dict[str, Any] = patience | given | fixed | ({"application_name": name} if name else {})
    failed = "cannot connect"
    try:
        with Connection.connect(**options, autocommit=True, prepare_threshold=None) as connection:
            failed = "the database said"
            connection.say, connection.largest = say, largest
            connection.add_notice_handler(lambda notice: connection.say(said(notice).partition("\nCONTEXT: ")[0]))
            if connection.info.parameter_status("standard_conforming_strings") != "on":
                problem = "standard_conforming_strings is off here, so that no file can be read safely"
                raise SqlmigError(f"{problem}; set it on")
            yield connection
    except psycopg.Error as error:
        words, password = str(error).strip(), given.get("password")
        raise SqlmigError(f"{failed}: {words.replace(password, '***') if password else words}") from None


def awaited(url: str, seconds: float) -> None:
    """Wait for a server that cannot be reached yet, or is starting, but not for one that answers otherwise."""
    deadline, conninfo = time.monotonic() + seconds, make_conninfo("", **parameters(url)).encode()
    while time.monotonic() < deadline and pq.PGconn.ping(conninfo) in (pq.Ping.REJECT, pq.Ping.NO_RESPONSE):
        time.sleep(0.2)


def send(connection: Connection, message: bytes) -> list[PGresult]:
    """Send statements as one message of the simple protocol, and return a result for each; raise Refused."""
    connection.pgconn.send_query(message)
    results: list[PGresult] = connection.wait(generators.execute(connection.pgconn))
    for done, result in enumerate(results):
        if result.status not in _FINE:
            rollback(connection)
            raise Refused(psycopg.errors.error_from_result(result), results[:done])
    return results


def rollback(connection: Connection) -> None:
    """End what is open, where there is still a connection."""
    with suppress(psycopg.Error):
        if connection.info.transaction_status != pq.TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
