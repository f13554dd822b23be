"""A query over a connection of its own, repeated while another connection waits for the server."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from sqlmig.core.connection import close_now, column_received, send_without_waiting
from sqlmig.core.errors import SqlmigError
from sqlmig.core.sql import OWN_SETTINGS

if TYPE_CHECKING:
    from sqlmig.core.connection import Connection
    from sqlmig.core.session import Session


class SideQuery:
    """A query with one column of text. Nothing waits for its result, and its errors are ignored."""

    def __init__(self, session: Session, name: str, query: str) -> None:
        """Keep the query. The connection is opened, under a name, when it is sent for the first time."""
        self._session = session
        self._name = name
        self._query = f"{OWN_SETTINGS};{query}".encode()
        self._stack = ExitStack()
        self._connection: Connection | None = None
        self._has_failed = False
        self._result: list[str] = []

    def send(self) -> None:
        """Send the query, unless the last one still runs."""
        if self._connection is None:
            self._open()
        if self._connection:
            self.result()
            send_without_waiting(self._connection, self._query)

    def _open(self) -> None:
        if self._has_failed:
            return
        self._has_failed = True
        with suppress(SqlmigError):
            connect = self._session.surroundings.connect(self._name)
            self._connection = self._stack.enter_context(connect)
            self._has_failed = False

    def result(self) -> list[str]:
        """Return the lines of the newest result."""
        if self._connection:
            column = column_received(self._connection)
            if column is not None:
                self._result = column
        return self._result

    def close(self) -> None:
        """Close the connection, even if the query still runs."""
        if self._connection:
            close_now(self._connection)
        with suppress(SqlmigError):
            self._stack.close()
