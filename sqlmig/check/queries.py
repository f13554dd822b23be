"""The statements of the application: which of them the server can prepare after each version.

They come from a file of `--queries`. A SET or RESET is executed, so a role or a search path
can be part of it. Every other statement is prepared and not run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.check.running import use_files_search_path
from sqlmig.core.connection import prepare_each, rollback, send
from sqlmig.core.errors import ScanError, ServerError, SqlmigError
from sqlmig.core.lexer import first_token, statements, tokens
from sqlmig.core.migrations import read
from sqlmig.core.text import excerpt, find_place, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sqlmig.core.connection import Connection

_SETTING = re.compile(rb"(?:set|reset)\b", re.IGNORECASE)
_MOST_PARAMETERS = 65535  # of a statement, in PostgreSQL's protocol
_EXPLAINABLE = re.compile(
    rb"(?:select|insert|update|delete|merge|values|with|table)\b", re.IGNORECASE
)
_TYPED_PARAMETER = re.compile(
    rb"\b(interval|date|time|timestamp|timestamptz)\s+(\$\d+)", re.IGNORECASE
)
_EXTRACT_PARAMETER = re.compile(rb"\bextract\s*\(\s*(\$\d+)\s+from\s+", re.IGNORECASE)
# The planner looks for the unique index of ON CONFLICT (…), and finds it or not.
_ON_CONFLICT = re.compile(rb"\bon\s+conflict\s*\(", re.IGNORECASE)
_INSUFFICIENT_PRIVILEGE = "42501"
_NO_UNIQUE_INDEX = "42P10"


class Query(NamedTuple):
    """A statement of the application, with its place. is_setting: it is executed."""

    path: Path
    line: int
    text: bytes
    is_setting: bool

    @property
    def place(self) -> str:
        """The file and the line of its first word."""
        return f"{self.path}:{self.line}"


def read_queries(path: Path) -> list[Query]:
    """Return the statements of a file. Raises SqlmigError for what cannot be read."""
    text = read(path)
    try:
        starts = [start for start, _ in statements(text, first_token(text))]
    except ScanError as error:
        where = place(path, text, error.offset)
        message = f"{where}: {error.problem}\n{excerpt(text, error.offset)}"
        raise SqlmigError(message, path=path) from None
    queries = []
    for number, start in enumerate(starts, start=1):
        end = starts[number] if number < len(starts) else len(text)
        statement = text[start:end]
        line = find_place(text, start).line
        is_setting = bool(_SETTING.match(statement))
        queries.append(Query(path, line, _as_sent(statement), is_setting))
    return queries


def _as_sent(statement: bytes) -> bytes:
    """Return a statement that pg_stat_statements shows in a form that can be parsed.

    It writes ``interval $1`` for ``interval '1 day'``, and ``extract($1 FROM …)`` for
    ``extract(year FROM …)``.
    """
    statement = _TYPED_PARAMETER.sub(rb"\2::\1", statement)
    return _EXTRACT_PARAMETER.sub(rb"date_part(\1, ", statement)


class Queries:
    """The statements on a connection of their own, and the server's verdict on each."""

    def __init__(self, queries: Sequence[Query]) -> None:
        """Begin without verdicts."""
        self._queries = queries
        self._settings = any(query.is_setting for query in queries)
        # The verdict on each: an error; "" if it can be prepared.
        self._verdicts: list[str] = []
        # The error of a statement that can be prepared and is refused when it is planned or run.
        self._refusals: dict[Query, str] = {}
        self._ever_prepared: set[Query] = set()

    def words(self) -> set[bytes]:
        """Return the words and quoted names of all statements, in lower case."""
        found: set[bytes] = set()
        for query in self._queries:
            found |= words_of(query.text)
        return found

    def broken(
        self, connection: Connection, *, privileges_may_differ: bool
    ) -> list[tuple[Query, str]]:
        """Return the statements that could be prepared before and cannot be prepared now, with the error.

        privileges_may_differ: also try whether the role may still run them.
        """
        verdicts = self._try_all(
            connection, privileges_may_differ=privileges_may_differ
        )
        found = []
        for number, query in enumerate(self._queries):
            if not verdicts[number]:
                self._ever_prepared.add(query)
            elif self._verdicts and not self._verdicts[number]:
                found.append((query, verdicts[number]))
        self._verdicts = verdicts
        return found

    def never_prepared(self) -> list[tuple[Query, str]]:
        """Return the statements that could be prepared after no version, with the newest error."""
        found = []
        for query, verdict in zip(self._queries, self._verdicts, strict=False):
            if query not in self._ever_prepared:
                found.append((query, verdict))
        return found

    def _try_all(
        self, connection: Connection, *, privileges_may_differ: bool
    ) -> list[str]:
        """Execute the settings, and prepare the statements after each of them."""
        if self._settings:
            send(connection, b"DISCARD ALL")
            use_files_search_path(connection)
        verdicts: list[str] = []
        group: list[Query] = []
        refused = ""  # the error of the last setting
        for query in self._queries:
            if not query.is_setting:
                group.append(query)
                continue
            verdicts += self._try_group(
                connection, group, refused, privileges_may_differ=privileges_may_differ
            )
            group = []
            refused = _error_of(connection, query.text)
            verdicts.append(refused)
        return verdicts + self._try_group(
            connection, group, refused, privileges_may_differ=privileges_may_differ
        )

    def _try_group(
        self,
        connection: Connection,
        group: Sequence[Query],
        refused: str,
        *,
        privileges_may_differ: bool,
    ) -> list[str]:
        if refused:
            return [refused] * len(group)
        errors = prepare_each(connection, [query.text for query in group])
        verdicts = []
        for query, error in zip(group, errors, strict=True):
            verdict = error or ""
            if not verdict and self._must_be_planned(query, privileges_may_differ):
                self._refusals[query] = _refusal(connection, query)
            verdicts.append(verdict or self._refusals.get(query, ""))
        return verdicts

    def _must_be_planned(self, query: Query, privileges_may_differ: bool) -> bool:  # noqa: FBT001
        """Check whether a statement that can be prepared may still be refused."""
        if not _EXPLAINABLE.match(query.text):
            return False
        if _ON_CONFLICT.search(query.text):
            return True
        is_new = query not in self._ever_prepared
        return self._settings and (privileges_may_differ or is_new)


def _error_of(connection: Connection, statement: bytes) -> str:
    """Execute a setting, and return the first line of the error; "" for none."""
    try:
        send(connection, statement)
    except ServerError as error:
        return error.first_line
    return ""


def _refusal(connection: Connection, query: Query) -> str:
    """Return the error of EXPLAIN, which plans a statement, checks the role's privileges, and does not run it.

    Only a missing privilege and a missing unique index count, because the values are null here.
    """
    values = ", ".join(["NULL"] * _count_of_parameters(query.text))
    prepare = b"PREPARE sqlmig_query AS " + query.text.rstrip().rstrip(b";") + b"\n;"
    explain = f"EXPLAIN EXECUTE sqlmig_query{f'({values})' if values else ''}"
    try:
        begin = b"BEGIN; DEALLOCATE ALL; "
        send(connection, begin + prepare + explain.encode() + b"; ROLLBACK")
    except ServerError as error:
        if error.sqlstate in (_INSUFFICIENT_PRIVILEGE, _NO_UNIQUE_INDEX):
            return error.first_line
    finally:
        rollback(connection)
    return ""


def _count_of_parameters(text: bytes) -> int:
    """Return the largest number of a parameter such as ``$1``, outside strings and comments."""
    largest = 0
    before = b""
    for kind, start, end in tokens(text):
        token = text[start:end]
        if before == b"$" and kind == "other" and token.isdigit():
            largest = max(largest, int(token))
        before = token
    return min(largest, _MOST_PARAMETERS)


def words_of(text: bytes) -> set[bytes]:
    """Return the words and quoted names of a text, in lower case and without quotes."""
    found = set()
    try:
        for kind, start, end in tokens(text):
            if kind in ("word", "name"):
                found.add(text[start:end].strip(b'"').lower())
    except ScanError:  # the body of a function in another language
        found.update(word.lower() for word in re.findall(rb"[\w$\x80-\xff]+", text))
    return found


def all_words(texts: Iterable[bytes]) -> set[bytes]:
    """Return the words of several texts."""
    found: set[bytes] = set()
    for text in texts:
        found |= words_of(text)
    return found
