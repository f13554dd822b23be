"""What a version breaks: statements of the application, and functions. Both are tried after each version."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.check.functions import Functions
from sqlmig.check.queries import Queries, all_words
from sqlmig.check.running import use_files_search_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlmig.check.queries import Query
    from sqlmig.check.scratch import Scratch
    from sqlmig.core.connection import Connection
    from sqlmig.core.sqlfile import SqlFile

# A new table or index can only break a statement that has its name: it hides another one.
_NEW_NAME = re.compile(
    rb"create\s+(?:unlogged\s+)?(?:table|unique\s+index|index)\s+(?:concurrently\s+)?(?:if\s+not\s+exists\s+)?"
    rb"(?:[\w$]+\.)?([\w$]+)[\s(](?!.*\bas\b)",
    re.IGNORECASE | re.DOTALL,
)
_COMMENT = re.compile(rb"comment\s+on\b", re.IGNORECASE)
_MAKES_FUNCTIONS = re.compile(
    rb"\b(?:function|procedure|extension|execute|call)\b", re.IGNORECASE
)
_CHANGES_PRIVILEGES = re.compile(
    rb"\b(?:grant|revoke|owner|role|user|drop|rename|schema|execute|call|select)\b",
    re.IGNORECASE,
)


class Break(NamedTuple):
    """A statement or function that a version breaks. path and line: the place of a statement."""

    what: str
    error: str
    path: Path | None = None
    line: int | None = None

    def __str__(self) -> str:
        """Return both: ``queries.sql:14: ERROR: column "due_at" does not exist``."""
        return f"{self.what}: {self.error}"


class BreakFinder:
    """Looks after each version for what could be prepared or compiled before it."""

    def __init__(self, scratch: Scratch, queries: Sequence[Query]) -> None:
        """Begin before the first version. It uses a connection of its own."""
        self._scratch = scratch
        self._has_queries = bool(queries)
        self._queries = Queries(queries)
        self._functions = Functions()
        self._may_have_functions = scratch.has_setup
        self._stack = ExitStack()
        self._connection: Connection | None = None
        self._words: set[bytes] | None = None

    def close(self) -> None:
        """Close the connection. The next look opens another."""
        self._stack.close()
        self._connection = None

    def begin(self) -> None:
        """Note what can be prepared or compiled before the first version that is judged."""
        self._look(privileges_may_differ=True)

    def note_file(self, file: SqlFile) -> None:
        """Note that a file has run, after which nothing is looked for."""
        if _MAKES_FUNCTIONS.search(file.text):
            self._may_have_functions = True

    def after(self, file: SqlFile) -> list[Break]:
        """Return what a file has broken."""
        self.note_file(file)
        if not self._has_queries and not self._may_have_functions:
            return []
        if self._is_harmless(file):
            return []
        may_differ = bool(_CHANGES_PRIVILEGES.search(file.text))
        return self._look(privileges_may_differ=may_differ)

    def never_prepared(self) -> list[Break]:
        """Return the statements that could be prepared after no version."""
        found = []
        for query, error in self._queries.never_prepared():
            found.append(Break(query.place, error, query.path, query.line))
        return found

    def _look(self, *, privileges_may_differ: bool) -> list[Break]:
        if not self._has_queries and not self._may_have_functions:
            return []
        connection = self._connect()
        found = []
        if self._has_queries:
            for query, error in self._queries.broken(
                connection, privileges_may_differ=privileges_may_differ
            ):
                found.append(Break(query.place, error, query.path, query.line))
        if self._may_have_functions:
            for name, error in self._functions.broken(connection):
                found.append(Break(name, error))
        connection.refuse_if_lost()
        self._words = None
        return found

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._stack.enter_context(self._scratch.connect())
            use_files_search_path(self._connection)
        return self._connection

    def _is_harmless(self, file: SqlFile) -> bool:
        """Check whether a file only makes tables and indexes whose names do not occur in a statement or a function."""
        names = []
        for statement in file.statement_texts():
            if _COMMENT.match(statement):
                continue
            match = _NEW_NAME.match(statement)
            if not match:
                return False
            names.append(match[1].lower())
        if self._words is None:
            self._words = self._queries.words() | all_words(self._functions.bodies)
        return self._words.isdisjoint(names)
