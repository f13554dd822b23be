"""The ledger, the table schema_migrations: its name, its lock, and its statements (ledger.sql). Pure."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig.core.sql import dollar_quote, literal, quoted, read_statements

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlmig.core.migrations import Migration

TABLE = "schema_migrations"
_STATEMENTS = read_statements(Path(__file__).with_suffix(".sql"))
_IDENTITY = _STATEMENTS["identity"].strip()
_CONDITIONS = {
    "has_our_columns": _STATEMENTS["has_our_columns"].strip(),
    "has_trusted_owner": _STATEMENTS["has_trusted_owner"].strip(),
}
for _title in ("runs_no_code", "has_plain_defaults", "shows_all_rows", "has_duration"):
    _CONDITIONS[_title] = _STATEMENTS[_title].strip().format()
_CONDITIONS["is_ours"] = _STATEMENTS["is_ours"].strip().format(**_CONDITIONS)


OWNERS_QUERY = _STATEMENTS["owners"]


@dataclass(frozen=True)
class Ledger:
    """The place of the ledger, and of the files' objects.

    is_named: the user named the ledger's schema, so it is made if it is missing.
    files_schema: the schema that --schema names. It is made if it is missing, and comes
    first in the search path of the files; empty for the caller's search path.
    announces_schema: the server sends a notice about a schema that is made.
    """

    schema: str
    is_named: bool
    files_schema: str = ""
    announces_schema: bool = True

    @property
    def home_schema(self) -> str:
        """The schema whose objects are shown without it."""
        return self.files_schema or "public"

    @property
    def table(self) -> str:
        """The table's name, quoted and with its schema."""
        return f"{quoted(self.schema)}.{quoted(TABLE)}"

    @property
    def lock_key(self) -> int:
        """The number of the runner lock, an advisory lock: 64 bits of a hash of the schema's name."""
        digest = hashlib.sha256(f"sqlmig {self.schema}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    @property
    def worker_name(self) -> str:
        """The application_name of a connection that runs a no-transaction file."""
        return f"sqlmig: no-transaction #{self.lock_key}"

    @property
    def schema_option(self) -> str:
        """The options that name the schemas, after a blank, in the form that a user types; empty for the default."""
        options = ""
        if self.files_schema:
            options += f" --schema {shlex.quote(self.files_schema)}"
        if self.is_named and self.schema != self.files_schema:
            options += f" --ledger-schema {shlex.quote(self.schema)}"
        return options

    @cached_property
    def _fields(self) -> dict[str, object]:
        """The values that the statements are filled in with."""
        return {
            "schema_name": literal(self.schema),
            "home_name": literal(self.home_schema),
            "home_literal": literal(quoted(self.home_schema)),
            "table": self.table,
            "literal": literal(self.table),
            "quote": dollar_quote("sqlmig", self.table),
            "key": self.lock_key,
            "worker": self.worker_name,
            "level": "NOTICE" if self.announces_schema else "DEBUG",
            "identity": _IDENTITY,
            **_CONDITIONS,
        }

    def sql(self, title: str, /, **fields: object) -> str:
        """Return the statements with a title of ledger.sql, filled in for this ledger."""
        return self.fill(_STATEMENTS[title], **fields)

    def fill(self, template: str, /, **fields: object) -> str:
        """Return a template filled in for this ledger."""
        return template.rstrip("\n").format(**self._fields | fields)

    def definition(self, *, may_exist: bool = False) -> str:
        """Return the statements that make the ledger. may_exist: they do nothing if it exists."""
        unless = self.sql("unless_it_exists").strip() if may_exist else ""
        return self.schemas() + self.sql("definition", unless_it_exists=unless)

    def schemas(self) -> str:
        """Return the statements that make the named schemas that are missing."""
        names = [self.schema] if self.is_named else []
        if self.files_schema not in ("", self.schema):
            names.append(self.files_schema)
        statements = ""
        for name in names:
            statements += self.sql(
                "schema",
                schema=quoted(name),
                schema_literal=literal(quoted(name)),
                quote=dollar_quote("sqlmig", name),
            )
        return statements

    def insert(self, migration: Migration, checksum: str, duration: str = "") -> str:
        """Return the statement, without its semicolon, that records a migration.

        duration: an SQL expression, if the ledger has this column and the file has run.
        """
        if duration:
            return self._write("insert_with_duration", migration, checksum, duration)
        return self._write("insert", migration, checksum)

    def update(self, migration: Migration) -> str:
        """Return the statement that records a migration again, with its present files."""
        return self._write("update", migration, migration.checksum)

    def delete(self, version: int) -> str:
        """Return the statement that takes a version out."""
        return self.sql("delete", version=version)

    def _write(
        self, title: str, migration: Migration, checksum: str, duration: str = ""
    ) -> str:
        down = "NULL"
        if migration.down_text is not None:
            down = literal(migration.down_text)
        return self.sql(
            title,
            version=migration.version,
            name=literal(migration.name),
            checksum=literal(checksum),
            down=down,
            duration=duration,
        )


def ledger_in(schema: str | None, ledger_schema: str | None = None) -> Ledger:
    """Return the ledger for the options --schema and --ledger-schema; None for an option that is not given."""
    named = ledger_schema or schema
    return Ledger(named or "public", bool(named), schema or "")


def read_query(ledgers: Iterable[Ledger], *, looks_for_unfinished: bool = False) -> str:
    """Return the statements that read some ledgers.

    The result before the last one has their rows. looks_for_unfinished: one more result
    after it has what migrations have begun and not finished.
    """
    selects = []
    for number, ledger in enumerate(ledgers):
        selects.append(ledger.sql("rows", number=number))
    literals = ", ".join(literal(ledger.table) for ledger in ledgers)
    unfinished = ""
    if looks_for_unfinished:
        unfinished = _STATEMENTS["unfinished"].lstrip("\n").format(literals=literals)
    return (
        _STATEMENTS["read"]
        .rstrip("\n")
        .format(
            tables=", ".join(ledger.table for ledger in ledgers),
            literals=literals,
            unfinished=unfinished,
            identity=_IDENTITY,
            rows=" UNION ALL ".join(selects),
            **_CONDITIONS,
        )
    )
