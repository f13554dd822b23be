"""A transaction-mode pooler, and migrations to attack."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conftest import RUN, Project, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_postgresql.executors import NoopExecutor


@pytest.fixture(scope="session")
def pooler(server: NoopExecutor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Yield the port of a PgBouncer in transaction mode, with two server connections a database."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if not program:
        pytest.skip("pgbouncer is not installed (Debian's package pgbouncer)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    secret = f" password={server.password}" if server.password else ""
    config = tmp_path_factory.mktemp("pooler") / "pgbouncer.ini"
    config.write_text(f"""
        [databases]
        * = host={server.host} port={server.port} user={server.user}{secret}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = 2
        max_client_conn = 500
        server_idle_timeout = 2
        log_connections = 0
        log_disconnections = 0
    """)
    as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
    with subprocess.Popen([program, "-q", *as_nobody, str(config)], stderr=subprocess.DEVNULL) as process:

        def answers() -> bool:
            try:
                psycopg.connect(f"postgresql://x@127.0.0.1:{port}/{server.dbname}").close()
            except psycopg.OperationalError:
                return False
            return True

        until(answers, "pgbouncer")
        yield port
        process.kill()


@pytest.fixture
def pooled(project: Project, pooler: int, connection: psycopg.Connection[Any]) -> Iterator[Project]:
    """Yield the project with its database reached through the pooler."""
    pooled = replace(project, url=f"postgresql://x@127.0.0.1:{pooler}/{connection.info.dbname}")
    yield pooled
    # The pooler's server connections would keep the database from being dropped.
    project.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND client_addr IS NULL AND application_name <> ''"
    )


@pytest.fixture(params=["directly", "through a pooler"])
def either(request: pytest.FixtureRequest) -> Project:
    """Return the project, reached directly and through the pooler."""
    name = "project" if request.param == "directly" else "pooled"
    project: Project = request.getfixturevalue(name)
    return project


class Proxy:
    """A relay before the server: it keeps what the client sent, and can cut the client off behind a message."""

    def __init__(self, server: NoopExecutor, port: int = 0) -> None:
        """Listen on a port, else a free one."""
        self.server = server
        self.listener = socket.create_server(("127.0.0.1", port))
        self.cut_at: bytes | None = None
        self.sent: list[bytearray] = []  # one a connection
        threading.Thread(target=self._accept, daemon=True).start()

    def before(self, project: Project) -> Project:
        """Return the project with its database reached through the relay."""
        port = self.listener.getsockname()[1]
        parts = conninfo_to_dict(project.url)
        return replace(project, url=make_conninfo(**parts | {"host": "127.0.0.1", "port": port, "sslmode": "disable"}))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                if str(self.server.host).startswith("/"):
                    upstream = socket.socket(socket.AF_UNIX)
                    upstream.connect(f"{self.server.host}/.s.PGSQL.{self.server.port}")
                else:
                    upstream = socket.create_connection((self.server.host, self.server.port))
                threading.Thread(target=self._relay, args=(client, upstream), daemon=True).start()
                threading.Thread(target=self._relay, args=(upstream, client), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket) -> None:
        sent = bytearray()
        if source.getsockname() == self.listener.getsockname():
            self.sent.append(sent)
        with contextlib.suppress(OSError), source:
            while data := source.recv(1 << 20):
                last = False
                if source.getsockname() == self.listener.getsockname():
                    sent += data
                    last = self.cut_at is not None and self.cut_at in data
                if last:
                    source.shutdown(socket.SHUT_RDWR)
                target.sendall(data)
                if last:
                    return  # the server gets no word of it and goes on
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(server: NoopExecutor) -> Iterator[Proxy]:
    """Yield a relay before the server."""
    proxy = Proxy(server)
    yield proxy
    proxy.listener.close()


def tables(project: Project, count: int, body: str = "") -> None:
    """Write migrations that create the tables t1, t2 and so on."""
    for n in range(1, count + 1):
        project.file(f"{n:04}_t.up.sql", f"{body}CREATE TABLE t{n} (id int);")
        project.file(f"{n:04}_t.down.sql", f"{body}DROP TABLE t{n};")


GO = f"go on {RUN}"  # a connection of this name ends the wait
WAITS = f"""DO $$
BEGIN
    WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '{GO}') LOOP
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
    END LOOP;
END $$;
"""


def at_the_wait(project: Project, database: str) -> None:
    """Wait until a file waits in a database whose name is like this."""
    asleep = "SELECT 1 FROM pg_stat_activity WHERE datname LIKE %s AND wait_event = 'PgSleep'"
    until(lambda: project.query(asleep, database), "WAITS")
