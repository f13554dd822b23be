"""Provide one server for the run and a fresh database for each test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pytest_postgresql import factories
from pytest_postgresql.executors import NoopExecutor

from sqlmig import embedded
from sqlmig.cli import command
from tests.support.project import RUN, SQL, Project, until, url_of
from tests.support.proxy import Proxy
from tests.support.servers import data_directory, remove_data

if TYPE_CHECKING:
    from collections.abc import Iterator

EXISTING_SERVER = os.environ.pop("TEST_DATABASE_URL", None)
for name in [*os.environ]:
    if name.startswith(("PG", "SQLMIG_DIR", "SQLMIG_SCHEMA", "DATABASE_URL")):
        del os.environ[name]  # no test may reach a developer's own database


def pytest_sessionfinish() -> None:
    """Remove the servers' data after the last worker has ended."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        remove_data()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoopExecutor]:
    """Yield the server of TEST_DATABASE_URL, or an embedded server that the parallel workers share."""
    with contextlib.ExitStack() as stack:
        url = EXISTING_SERVER
        if not url:
            settings = {
                "fsync": "off",
                "full_page_writes": "off",
                "synchronous_commit": "off",
                "max_connections": "200",
            }
            settings["max_prepared_transactions"] = "4"
            directory = data_directory("postgres", tmp_path_factory)
            url = stack.enter_context(embedded.server(directory, settings))
        parts = conninfo_to_dict(url)
        database = str(parts["dbname"])
        executor = NoopExecutor(
            host=str(parts.get("host", "localhost")),
            port=int(str(parts.get("port", 5432))),
            user=str(parts.get("user", "postgres")),
            password=str(parts["password"]) if "password" in parts else None,
            dbname=database,
            options="",
            maintenance_dbname=database,
        )
        yield _Server(executor)  # type: ignore[misc]


class _Server:
    """The attributes that pytest-postgresql needs from a server fixture."""

    def __init__(self, executor: NoopExecutor) -> None:
        self._executor = executor
        self.template_dbname = "template1"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)


def apply_schema(**parts: Any) -> None:
    """Create a template database with the specification's tables only. Later tables do not concern its tests."""
    connection = psycopg.connect(
        **{key: value for key, value in parts.items() if value}
    )
    assert (
        command(["-d", url_of(connection), "--dir", str(SQL), "up", "--to", "10"]) == 0
    )
    connection.close()


empty_database = factories.postgresql_noproc(
    depends_on="server", dbname=f"sqlmig_empty_{RUN}_"
)
schema_database = factories.postgresql_noproc(
    depends_on="server", dbname=f"sqlmig_schema_{RUN}_", load=[apply_schema]
)
connection = factories.postgresql("empty_database")
schema_connection = factories.postgresql("schema_database")


@pytest.fixture
def project(tmp_path: Path, connection: psycopg.Connection[Any]) -> Project:
    """Return an empty directory and an empty database."""
    directory = tmp_path / "sql"
    directory.mkdir()
    return Project(directory, url_of(connection))


@pytest.fixture
def therapyflow(project: Project) -> Project:
    """Return the project's own SQL files and an empty database."""
    return replace(project, directory=SQL)


@pytest.fixture
def database(schema_connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Return an autocommit connection to a fresh database that has the project's tables."""
    schema_connection.autocommit = True
    return schema_connection


@pytest.fixture(scope="session")
def pooler(
    server: NoopExecutor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """Yield the port of a PgBouncer in transaction mode, with two server connections per database."""
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
    with subprocess.Popen(
        [program, "-q", *as_nobody, str(config)], stderr=subprocess.DEVNULL
    ) as process:

        def answers() -> bool:
            try:
                psycopg.connect(
                    f"postgresql://x@127.0.0.1:{port}/{server.dbname}"
                ).close()
            except psycopg.OperationalError:
                return False
            return True

        until(answers, "pgbouncer")
        yield port
        process.kill()


@pytest.fixture
def pooled(
    project: Project, pooler: int, connection: psycopg.Connection[Any]
) -> Iterator[Project]:
    """Yield the project, connected through the pooler."""
    pooled = replace(
        project, url=f"postgresql://x@127.0.0.1:{pooler}/{connection.info.dbname}"
    )
    yield pooled
    # The database cannot be dropped while the pooler's server connections are open.
    project.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND client_addr IS NULL AND application_name <> ''"
    )


@pytest.fixture(params=["directly", "through a pooler"])
def either(request: pytest.FixtureRequest) -> Project:
    """Return the project, once connected directly and once through the pooler."""
    name = "project" if request.param == "directly" else "pooled"
    project: Project = request.getfixturevalue(name)
    return project


@pytest.fixture
def proxy(server: NoopExecutor) -> Iterator[Proxy]:
    """Yield a relay in front of the server."""
    proxy = Proxy(server)
    yield proxy
    proxy.listener.close()
