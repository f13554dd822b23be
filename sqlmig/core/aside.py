"""A question that is asked aside, over a connection of its own, while another connection waits for the server."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import psycopg

from sqlmig.core.errors import SqlmigError
from sqlmig.core.sql import OWN_SETTINGS

if TYPE_CHECKING:
    from psycopg import pq

    from sqlmig.core.session import Session


class Aside:
    """A question with one column of text, asked again and again, and never waited for.

    What goes wrong is nobody's business: there is no answer then.
    """

    def __init__(self, session: Session, name: str, query: str) -> None:
        """Take the question. The connection is opened, under a name, when it is asked."""
        self._session = session
        self._name = name
        self._query = f"{OWN_SETTINGS};{query}".encode()
        self._stack = ExitStack()
        self._pgconn: pq.abc.PGconn | None = None
        self._has_failed = False
        self._answer: list[str] = []

    def ask(self) -> None:
        """Ask, unless the last question is still to be answered."""
        if self._has_failed:
            return
        self._has_failed = True
        with suppress(SqlmigError, psycopg.Error):
            if self._pgconn is None:
                connect = self._session.connect(self._name)
                self._pgconn = self._stack.enter_context(connect).pgconn
            self.answer()
            if not self._pgconn.is_busy():
                self._pgconn.send_query(self._query)
            self._has_failed = False

    def answer(self) -> list[str]:
        """Return the lines of the newest answer."""
        if self._pgconn is None:
            return self._answer
        with suppress(psycopg.Error):
            self._pgconn.consume_input()
            while not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    break
                cells = [result.get_value(row, 0) for row in range(result.ntuples)]
                self._answer = [(cell or b"").decode() for cell in cells]
        return self._answer

    def close(self) -> None:
        """Close the connection, whatever it was asked."""
        if self._pgconn is not None:
            self._pgconn.finish()
        with suppress(SqlmigError, psycopg.Error):
            self._stack.close()
