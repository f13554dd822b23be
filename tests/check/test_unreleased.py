"""`check` detects what a server supports. It does not rely on the version number, because a beta reports it, too."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sqlmig import embedded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.project import Project
    from tests.support.servers import Server

_FILES = {"up_1_t": "CREATE TABLE t ();", "down_1_t": "DROP TABLE t;"}


class _Says19:
    """A relay that makes the server report version 19 (ParameterStatus "server_version")."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def before(self, project: Project) -> Project:
        """Return the project, connected through the relay."""
        parts = conninfo_to_dict(project.url) | {
            "host": "127.0.0.1",
            "port": self._listener.getsockname()[1],
            "sslmode": "disable",
            "gssencmode": "disable",
        }
        return replace(project, url=make_conninfo("", **parts))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                for source, target in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._relay, args=(source, target), daemon=True
                    ).start()

    def _connect(self) -> socket.socket:
        if str(self._server.host).startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._server.host}/.s.PGSQL.{self._server.port}")
            return server
        return socket.create_connection((self._server.host, self._server.port))

    def _relay(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError), source:
            while data := source.recv(1 << 16):
                target.sendall(
                    re.sub(
                        rb"S.{4}server_version\0[^\0]*\0",
                        _version_19,
                        data,
                        flags=re.DOTALL,
                    )
                )
            target.shutdown(socket.SHUT_WR)


def _version_19(_: re.Match[bytes]) -> bytes:
    value = b"server_version\x0019.0\0"
    return b"S" + (4 + len(value)).to_bytes(4, "big") + value


def test_a_server_19_without_property_graphs_is_checked(
    project: Project, server: Server
) -> None:
    with psycopg.connect(project.url) as connection:
        has_graphs = connection.execute(
            "SELECT to_regproc('pg_get_propgraphdef') IS NOT NULL"
        ).fetchall()
    project.write(**_FILES)
    as_19 = _Says19(server).before(project)
    with psycopg.connect(as_19.url) as connection:
        assert connection.info.server_version == 190000
    if has_graphs == [(False,)]:
        assert as_19.run("check").out == "ok            1_t\n"
        as_19.run("up")
        assert as_19.run("drift").out == "nothing differs\n"


def test_server_with_the_function_is_queried_for_property_graphs(
    project: Project, tmp_path: Path
) -> None:
    """A server below 19 gets a function with that name. Nothing in the database calls it."""
    settings = {"fsync": "off", "allow_system_table_mods": "on"}
    with embedded.server(tmp_path / "data", settings) as url:
        with psycopg.connect(url.replace("/postgres?", "/template1?")) as connection:
            connection.execute(
                "CREATE FUNCTION pg_catalog.pg_get_propgraphdef(oid) RETURNS text LANGUAGE sql AS 'SELECT NULL'"
            )
        project.write(**_FILES)
        of_beta = replace(project, url=url)
        assert of_beta.run("check").out == "ok            1_t\n"
