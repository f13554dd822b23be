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

from sqlmig import embedded
from sqlmig.cli import command
from tests.support.environment import forget_callers_settings
from tests.support.initdb import programs_with_fast_initdb
from tests.support.project import RUN, SQL, Project, until, url_of
from tests.support.proxy import Proxy
from tests.support.servers import FAST, Server, data_directory, remove_data

if TYPE_CHECKING:
    from collections.abc import Iterator

EXISTING_SERVER = os.environ.get("TEST_DATABASE_URL")
forget_callers_settings(os.environ)


def pytest_sessionfinish() -> None:
    """Remove the servers' data after the last worker has ended."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        remove_data()


@pytest.fixture(scope="session", autouse=True)
def fast_initdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the private servers of all tests an initdb that works once and then copies.

    Not with TEST_DATABASE_URL: private servers then have to find the programs of its version.
    """
    if EXISTING_SERVER:
        yield
        return
    directory = data_directory(f"initdb_{RUN}", tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch:
        programs = programs_with_fast_initdb(directory)
        patch.setenv("SQLMIG_PG_BIN", str(programs))
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield the server of TEST_DATABASE_URL, or an embedded server that the parallel workers share."""
    with contextlib.ExitStack() as stack:
        url = EXISTING_SERVER
        if not url:
            settings = {
                **FAST,
                "max_connections": "200",
                "max_prepared_transactions": "4",
            }
            directory = data_directory("postgres", tmp_path_factory)
            url = stack.enter_context(embedded.server(directory, settings))
        yield stack.enter_context(contextlib.closing(Server(url)))


@pytest.fixture(scope="session")
def specified(server: Server) -> Iterator[str]:
    """Yield a template database with the specification's tables only. Later tables do not concern its tests."""
    with server.database("sqlmig_specified") as opened:
        name, url = opened.info.dbname, url_of(opened)
        opened.close()
        assert command(["-d", url, "--dir", str(SQL), "up", "--to", "10"]) == 0
        yield name


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Iterator[Project]:
    """Yield an empty directory and an empty database."""
    with server.project(tmp_path) as made:
        yield made


@pytest.fixture
def alone(project: Project, tmp_path: Path) -> Iterator[Project]:
    """Yield the project on a server of its own, for what would touch other tests or be touched by them."""
    with embedded.server(tmp_path / "server", FAST) as url:
        yield replace(project, url=url)


@pytest.fixture
def therapyflow(project: Project) -> Project:
    """Return the project's own SQL files and an empty database."""
    return replace(project, directory=SQL)


@pytest.fixture
def database(server: Server, specified: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield an autocommit connection to a fresh database that has the project's tables."""
    with server.database("sqlmig_schema", specified) as opened:
        opened.autocommit = True
        yield opened


@pytest.fixture(scope="session")
def pooler(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
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
def pooled(project: Project, pooler: int) -> Iterator[Project]:
    """Yield the project, connected through the pooler."""
    name = conninfo_to_dict(project.url)["dbname"]
    yield replace(project, url=f"postgresql://x@127.0.0.1:{pooler}/{name}")
    # Otherwise DROP DATABASE has to wait for the pooler's sessions.
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
def proxy(server: Server) -> Iterator[Proxy]:
    """Yield a relay in front of the server."""
    proxy = Proxy(server)
    yield proxy
    proxy.listener.close()
