"""Find and refuse changes beyond the scratch database, because the rest of the server is in use.

Roles, memberships, settings, databases, tablespaces, subscriptions, parameters, and
comments and labels on them belong to the whole server.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlmig.core.connection import execute_alone, fetch, rollback, send
from sqlmig.core.errors import ServerError, SqlmigError
from sqlmig.core.irrevocable import (
    Reach,
    find_irrevocable,
    may_define_reach,
    read_reach,
)
from sqlmig.core.lexer import first_token, read_statement
from sqlmig.core.sending import data_of
from sqlmig.core.sql import literal, read_statements
from sqlmig.core.sqlfile import CONTROL_WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlmig.core.connection import Connection
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece

STATEMENTS = read_statements(Path(__file__).parent / "server_wide.sql")
_OWN_SERVER = "use a throwaway server: --scratch embedded:"
_REMEDY = f"which the whole server would see; {_OWN_SERVER}"
SHARED_CATALOGS = [
    "pg_authid",
    "pg_auth_members",
    "pg_database",
    "pg_parameter_acl",
    "pg_shdescription",
    "pg_shseclabel",
    "pg_subscription",
    "pg_tablespace",
]
# Catalogs that also have rows about the scratch database only.
_ALSO_OF_ONE_DATABASE = {
    "pg_database",
    "pg_db_role_setting",
    "pg_shdescription",
    "pg_shseclabel",
}
# The row that shows whether the server counts writes at all.
_NOT_COUNTED = "not counted"
# The rows with the number of foreign tables that the transaction has written, or may have written.
_FOREIGN_TABLES = "foreign tables"
_DROPPED_AFTER_WRITING = "dropped after writing"
_LOCKED_FOREIGN_TABLES = "locked foreign tables"
_HAS_FOREIGN_TABLES = "has foreign tables"
_NOT_WRITES = (
    _FOREIGN_TABLES,
    _DROPPED_AFTER_WRITING,
    _LOCKED_FOREIGN_TABLES,
    _HAS_FOREIGN_TABLES,
)
# A file that may be about a foreign table, and a file that truncates or drops a table.
_ABOUT_FOREIGN = re.compile(rb"\bforeign\b(?!\s+key\b)", re.IGNORECASE)
_TRUNCATES = re.compile(rb"\btruncate\b", re.IGNORECASE)
# How to describe a change that is not visible in the objects, for example of a password.
_CATALOG_WORDS = {"pg_authid": "a role", "pg_auth_members": "a membership"}
_VERBS = {
    "membership": ("grants", "revokes", "changes"),
    "setting": ("makes", "removes", "changes"),
    "comment": ("makes", "removes", "changes"),
}
_USUAL_VERBS = ("creates", "drops", "changes")
# Statements that change more than the database, by their text. Statements that can run in
# a transaction are also tried.
_REACHES_BEYOND = re.compile(
    rb"""
    (?:create|alter|drop)\ (?:role|user(?!\ mapping\b)|group|database|tablespace|subscription)\b
    |alter\ system\b
    |(?:comment|security\ label(?:\ for\ \S+)?)\ on\ (?:role|database|tablespace|subscription)\b
    |(?:grant|revoke)\b.*\ on\ (?:database|tablespace|parameter)\b
    |(?:grant|revoke)\b(?!.*\ on\b)
    """,
    re.VERBOSE,
)
# The SQLSTATE of a COMMIT in a DO block or a procedure that runs in a transaction.
_ENDS_TRANSACTION_ITSELF = "2D000"
_MAY_CHANGE_SERVER = re.compile(
    r"\b(?:role|user|group|database|tablespace|subscription|system|grant|revoke|execute)\b",
    re.IGNORECASE,
)
_WORD = re.compile(rb"[A-Za-z_][\w$]*")


class BeyondDatabase(SqlmigError):
    """A file changes something that other databases of the server share. The file was rolled back."""


class SharedObject(NamedTuple):
    """An object that the databases of a server share."""

    kind: str
    name: str


class ServerGuard:
    """Makes sure that no file on the scratch database changes the rest of the server."""

    def __init__(
        self, connection: Connection, outside: Connection, *, owns_server: bool
    ) -> None:
        """Guard the statements on a connection to the scratch database.

        outside: a connection to another database of the server, which sees only committed
        changes. owns_server: the server was created for this, so all of it may change.
        """
        self._connection = connection
        self._outside = outside
        self._owns_server = owns_server
        self._writes_at_begin: dict[str, int] | None = None
        self._reach = Reach()
        # Of a no-transaction file: the statement that runs or is refused, and the BEGIN of its own transaction.
        self.statement: Piece | None = None
        self.own_begin: Piece | None = None
        # The counts that mean that a file writes to another database.
        self._writes_elsewhere = {_FOREIGN_TABLES}
        oids = [oid for (oid,) in fetch(connection, STATEMENTS["shared_catalogs"])]
        self._changes = STATEMENTS["changes"].format(catalogs=",".join(oids))

    def require_counts(self) -> None:
        """Raise SqlmigError if the server does not count writes, because changes could not be detected."""
        if self.writes().get(_NOT_COUNTED):
            raise SqlmigError(
                "track_counts is off here, so a change of the whole server would not be seen; "
                "turn it on, or use a throwaway server: --scratch embedded:"
            )

    def before_file(self, file: SqlFile) -> None:
        """Raise BeyondDatabase for a file that may hide its changes."""
        if _TRUNCATES.search(file.text):
            self._writes_elsewhere.add(_LOCKED_FOREIGN_TABLES)
        if _ABOUT_FOREIGN.search(file.text):
            self._writes_elsewhere.add(_DROPPED_AFTER_WRITING)
        irrevocable = find_irrevocable(file, self._reach)
        if irrevocable and irrevocable.is_elsewhere:
            raise BeyondDatabase(f"{irrevocable}; it cannot be checked")
        if self._owns_server:
            return
        if irrevocable:
            raise BeyondDatabase(f"{irrevocable}; {_OWN_SERVER}")
        if b"track_counts" in file.text.lower():
            raise BeyondDatabase(
                f"{file.path}: it sets track_counts, so a change of the whole server would not be seen; "
                f"{_OWN_SERVER}"
            )

    def after_file(self, file: SqlFile) -> None:
        """Read the functions that the file defined, because later files may call them.

        Raises BeyondDatabase if the file left a prepared transaction open.
        """
        self._writes_elsewhere = {_FOREIGN_TABLES}
        if may_define_reach(file):
            self._reach = read_reach(self._connection)
        if file.in_transaction:
            return
        prepared = fetch(self._connection, STATEMENTS["prepared"])
        for (name,) in prepared:
            execute_alone(self._connection, f"ROLLBACK PREPARED {literal(name)}")
        for (name,) in prepared:
            raise BeyondDatabase(
                f"{file.path}: it leaves the prepared transaction {name} open, which was rolled back"
            )

    def writes(self) -> dict[str, int]:
        """Return how many rows the open transaction wrote in each shared catalog."""
        return dict(fetch(self._connection, self._changes))

    def reaches_beyond(self, writes_before: Mapping[str, int]) -> bool:
        """Return whether the open transaction changed more than the scratch database since an earlier writes()."""
        return bool(self._what_changed(writes_before))

    def refuse_if_beyond(self, file: SqlFile, writes_before: Mapping[str, int]) -> None:
        """Roll back and raise BeyondDatabase if the open transaction changed more than the scratch database."""
        words = self._what_changed(writes_before)
        if not words:
            return
        rollback(self._connection)
        remedy = f", {_REMEDY}"
        if "foreign table" in words:
            remedy = "; it cannot be checked"
        raise BeyondDatabase(f"{file.path}: it {words}{remedy}")

    def before_statement(self, statement: Piece) -> None:
        """Check a statement of a no-transaction file before it is sent. Raises BeyondDatabase."""
        previous = self._note_statement(statement)
        file = statement.file
        if file is None or (self._owns_server and not self._has_foreign_tables()):
            return
        text = bytes(statement.text)
        words, _ = read_statement(text, first_token(text))
        if not words:
            return
        if not self._connection.is_idle:
            self._within_own_transaction(file, previous)
            return

        self._writes_at_begin = None
        joined = b" ".join(words)
        if _REACHES_BEYOND.match(joined) and not self._owns_server:
            raise BeyondDatabase(
                f"{file.path}: {joined.decode().upper()} changes something {_REMEDY}"
            )
        # They affect the session, or would end the trial.
        if words[0] not in CONTROL_WORDS:
            self._try(file, statement)

    def _note_statement(self, statement: Piece) -> Piece | None:
        """Note which statement runs, and return the one before it."""
        previous = self.statement
        self.statement = statement
        if self._connection.is_idle:
            self.own_begin = None
        elif self.own_begin is None:
            self.own_begin = previous
        return previous

    def _has_foreign_tables(self) -> bool:
        ((has_some,),) = fetch(self._connection, STATEMENTS["has_foreign_tables"])
        return bool(has_some)

    def _within_own_transaction(self, file: SqlFile, previous: Piece | None) -> None:
        """Check the previous statement of the file's own transaction, before anything can commit it."""
        if self._writes_at_begin is None:
            self._writes_at_begin = self.writes()
        elif self.reaches_beyond(self._writes_at_begin):
            self.statement = previous
            self.refuse_if_beyond(file, self._writes_at_begin)

    def _try(self, file: SqlFile, statement: Piece) -> None:
        """Run a statement in a transaction that is rolled back. If it cannot run in one, only its text is checked."""
        try:
            self._connection.execute("BEGIN")
            before = self.writes()
            text = bytes(statement.text)
            send(self._connection, text, data_of(statement))
            self.refuse_if_beyond(file, before)
        except ServerError as problem:
            # It will fail in the same way when it is sent, or it cannot run in a transaction.
            if problem.sqlstate == _ENDS_TRANSACTION_ITSELF and not self._owns_server:
                self._refuse_hidden(file, text)
        finally:
            rollback(self._connection)

    def _refuse_hidden(self, file: SqlFile, text: bytes) -> None:
        """Refuse a DO block or CALL that commits and may change the whole server, because no check comes in time."""
        names = ", ".join(literal(word.decode()) for word in set(_WORD.findall(text)))
        query = STATEMENTS["sources"].format(names=names or "''")
        sources = [
            text.decode(),
            *(str(source) for (source,) in fetch(self._connection, query)),
        ]
        if any(_MAY_CHANGE_SERVER.search(source) for source in sources):
            raise BeyondDatabase(
                f"{file.path}: a DO block or a procedure commits by itself, and may change something {_REMEDY}"
            )

    def _what_changed(self, writes_before: Mapping[str, int]) -> str:
        """Describe what the open transaction changed beyond the scratch database; "" for nothing."""
        writes = self.writes()
        elsewhere = set(self._writes_elsewhere)
        if writes_before[_HAS_FOREIGN_TABLES]:
            elsewhere.add(_DROPPED_AFTER_WRITING)
        if any(writes[name] for name in elsewhere):
            return "writes to a foreign table, which belongs to another database"
        if self._owns_server:
            return ""
        if writes[_NOT_COUNTED]:
            return "turns off track_counts, so that nothing is seen of what it changes"
        written = _written(writes, writes_before)
        if not written:
            return ""
        words = self._uncommitted()
        if words:
            return words
        hidden = written - _ALSO_OF_ONE_DATABASE
        if not hidden:
            return ""
        return f"changes {_CATALOG_WORDS.get(min(hidden), 'something')}"

    def _uncommitted(self) -> str:
        """Describe our uncommitted change of a shared object. Ignore objects that others change at the same time."""
        scratch = self._connection.info.dbname
        before = shared_objects(self._outside, scratch)
        now = shared_objects(self._connection, scratch)
        again = shared_objects(self._outside, scratch)
        for shared in before.keys() | again.keys():
            if before.get(shared) != again.get(shared):
                before.pop(shared, None)
                now.pop(shared, None)
        return _first_difference(before, now)


def server_wide_words(text: bytes) -> str:
    """Return the first words of a statement that by its text belongs to the whole server; "" for another."""
    words, _ = read_statement(text, first_token(text))
    match = _REACHES_BEYOND.match(b" ".join(words))
    if not match:
        return ""
    return b" ".join(words[:2]).decode().upper()


def changes_server(file: SqlFile) -> bool:
    """Check whether a statement of a file belongs by its text to the whole server."""
    return any(server_wide_words(text) for text in file.statement_texts())


def shared_objects(connection: Connection, scratch: str) -> dict[SharedObject, Any]:
    """Return the objects that the server's databases share, with their state, without the scratch database's own."""
    found = {}
    for kind, name, state in fetch(
        connection, STATEMENTS["objects"].format(scratch=literal(scratch))
    ):
        found[SharedObject(kind, name)] = state
    return found


def _first_difference(
    before: Mapping[SharedObject, Any], after: Mapping[SharedObject, Any]
) -> str:
    """Describe the first difference, for example ``creates role reader``."""
    for shared in sorted(before.keys() | after.keys()):
        create, drop, change = _VERBS.get(shared.kind, _USUAL_VERBS)
        what = f"{shared.kind} {shared.name}"
        if shared not in before:
            return f"{create} {what}"
        if shared not in after:
            return f"{drop} {what}"
        if before[shared] != after[shared]:
            return f"{change} {what}"
    return ""


def _written(writes: Mapping[str, int], writes_before: Mapping[str, int]) -> set[str]:
    """Return the shared catalogs that were written in between."""
    written = set()
    for name, count in writes.items():
        if count != writes_before.get(name, 0) and name not in _NOT_WRITES:
            written.add(name)
    return written
