"""A relay in front of the server that keeps the client's messages and can cut the client off."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from tests.support.project import Project
    from tests.support.servers import Server


class Proxy:
    """A relay in front of the server that keeps the client's messages and can cut the client off after a message."""

    def __init__(self, server: Server, port: int = 0) -> None:
        """Listen on a port, or on a free port if it is 0."""
        self.server = server
        self.listener = socket.create_server(("127.0.0.1", port))
        self.cut_at: bytes | None = None
        self.sent: list[bytearray] = []  # one for each connection
        threading.Thread(target=self._accept, daemon=True).start()

    def before(self, project: Project) -> Project:
        """Return the project, connected through the relay."""
        port = self.listener.getsockname()[1]
        parts = conninfo_to_dict(project.url)
        return replace(
            project,
            url=make_conninfo(
                **parts | {"host": "127.0.0.1", "port": port, "sslmode": "disable"}
            ),
        )

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                if str(self.server.host).startswith("/"):
                    upstream = socket.socket(socket.AF_UNIX)
                    upstream.connect(f"{self.server.host}/.s.PGSQL.{self.server.port}")
                else:
                    upstream = socket.create_connection(
                        (self.server.host, self.server.port)
                    )
                threading.Thread(
                    target=self._relay, args=(client, upstream), daemon=True
                ).start()
                threading.Thread(
                    target=self._relay, args=(upstream, client), daemon=True
                ).start()

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
                    return  # the server does not notice and continues
            target.shutdown(socket.SHUT_WR)
