"""A relay in front of the server that counts the messages of the protocol, and acts after the k-th message."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.project import Project

Direction = Literal["to the server", "to the client"]


class CountingProxy:
    """A relay that counts messages in each direction, over all its connections.

    After message ``at`` in one direction it calls ``act`` once. Each message has a type
    and a length. The client's first message has no type, but counts, too
    (https://www.postgresql.org/docs/current/protocol-message-formats.html).
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host  # the server's host, or the directory of its socket
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._relays: list[threading.Thread] = []
        self.count = 0
        self._direction: Direction = "to the server"
        self._at = 0
        self._act: Callable[[], None] = lambda: None
        threading.Thread(target=self._accept, daemon=True).start()

    def before(self, project: Project) -> Project:
        """Return the project, connected through the relay."""
        parts = conninfo_to_dict(project.url) | {
            "host": "127.0.0.1",
            "port": self.listener.getsockname()[1],
            "sslmode": "disable",
            "gssencmode": "disable",
        }
        return replace(project, url=make_conninfo("", **parts))

    def arm(self, direction: Direction, at: int, act: Callable[[], None]) -> None:
        """Reset the count, and call ``act`` after message ``at``."""
        with self._lock:
            self._sockets = []
            self._relays = []
            self.count = 0
            self._direction = direction
            self._at = at
            self._act = act

    def wait_until_acted(self) -> None:
        """Wait until every message is counted and ``act`` has ended: the command may end before its last message is."""
        for relay in [*self._relays]:
            relay.join(60)
            assert not relay.is_alive()

    def cut(self) -> None:
        """Cut all open connections."""
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                upstream = self._connect()
                for end in (client, upstream):
                    if end.family == socket.AF_INET:  # send small messages at once
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, upstream]
                for source, target, direction in (
                    (client, upstream, "to the server"),
                    (upstream, client, "to the client"),
                ):
                    relay = threading.Thread(
                        target=self._relay,
                        args=(source, target, direction),
                        daemon=True,
                    )
                    relay.start()
                    self._relays.append(relay)

    def _connect(self) -> socket.socket:
        if self.host.startswith("/"):
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(f"{self.host}/.s.PGSQL.{self.port}")
            return upstream
        return socket.create_connection((self.host, self.port))

    def _relay(
        self, source: socket.socket, target: socket.socket, direction: Direction
    ) -> None:
        try:
            self._relay_messages(source, target, direction)
        except OSError:
            pass  # one end is cut off
        finally:
            # Like a network: if one end is gone, the other end notices.
            for end in (source, target):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            source.close()

    def _relay_messages(
        self, source: socket.socket, target: socket.socket, direction: Direction
    ) -> None:
        rest = b""
        is_first = direction == "to the server"
        while data := source.recv(1 << 16):
            rest += data
            while rest:
                type_length = 0 if is_first else 1
                if len(rest) < type_length + 4:
                    break
                length = type_length + int.from_bytes(
                    rest[type_length : type_length + 4], "big"
                )
                if len(rest) < length:
                    break
                target.sendall(rest[:length])
                rest = rest[length:]
                is_first = False
                self._counted(direction)

    def _counted(self, direction: Direction) -> None:
        with self._lock:
            if direction != self._direction:
                return
            self.count += 1
            acts = self.count == self._at
        if acts:
            self._act()
