"""Whether a database is what its applied files make: it is compared with a scratch database that they run on."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlmig.check.catalog import Catalog, Differences, compare, read_catalog
from sqlmig.check.scratch import run_file, scratch_database
from sqlmig.connection import rollback, send
from sqlmig.errors import SqlmigError
from sqlmig.sqlfile import load

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from sqlmig.check.catalog import Key
    from sqlmig.check.scratch import Scratch
    from sqlmig.connection import Connection
    from sqlmig.session import Session
    from sqlmig.sqlfile import SqlFile

# What a file's default privileges are for, where it says so in words, and the kinds of objects that it means.
_DEFAULT_PRIVILEGES = re.compile(
    rb"\bdefault\s+privileges\b(?:[^;]*?\bon\s+(tables|sequences|functions|types))?"
)
_KINDS = {
    b"tables": ("table", "view", "materialized view", "foreign table"),
    b"sequences": ("sequence",),
    b"functions": ("function", "procedure", "aggregate"),
    b"types": ("type", "enum", "domain", "composite type"),
}


def find_drift(session: Session, url: str) -> Differences:
    """Return how the database differs from what its applied files make, in the schemas where they make something.

    The database itself is read in one transaction that writes nothing. Raises
    SqlmigError where there is nothing to compare.
    """
    files = _applied_files(session)
    before, expected = _read_expected(session, url, files)
    made = expected.keys() - before.keys()
    schemas = {expected[key].schema for key in made} - {None}

    # A new connection: the other one may have waited for too long.
    with session.connect("sqlmig") as connection:
        found = _read_with_schemas(connection, {"", *map(str, schemas)})
        if replace(session, connection=connection).reread():
            raise SqlmigError("the ledger has changed meanwhile; run it again")

    for catalog in (expected, found):
        _drop_what_is_elsewhere(catalog, made, schemas)
    differences = compare(expected, found)
    _excuse_default_privileges(differences, files)
    return differences


def _read_expected(
    session: Session, url: str, files: Sequence[SqlFile]
) -> tuple[Catalog, Catalog]:
    """Return the catalog of a scratch database before the files ran there, and after."""
    with (
        scratch_database(
            url, session.ledger, session.say, with_privileges=True
        ) as scratch,
        session.watch(session, "the scratch database"),
    ):
        scratch.connection.tick = session.connection.tick
        send(scratch.connection, session.ledger.definition().encode())
        before = _read_with_schemas(scratch.connection)
        for file in files:
            _run_on_scratch(scratch, file)
        return before, _read_with_schemas(scratch.connection)


def _run_on_scratch(scratch: Scratch, file: SqlFile) -> None:
    try:
        run_file(scratch, file)
    except SqlmigError as error:
        raise SqlmigError(f"on the scratch database: {error}") from None


def _drop_what_is_elsewhere(
    catalog: Catalog, made: Container[Key], schemas: Container[str | None]
) -> None:
    """Leave what the files made, and what else is in their schemas (but not what is in no schema)."""
    for key in list(catalog):
        is_in_their_schemas = key.kind != "schema" and catalog[key].schema in schemas
        if key not in made and not is_in_their_schemas:
            del catalog[key]


def _applied_files(session: Session) -> list[SqlFile]:
    applied = [row for row in session.rows() if row.recorded]
    wrong = [f"{row.label} is {row.state}" for row in applied if row.state != "applied"]
    if wrong:
        raise SqlmigError(
            f"nothing can be compared: {', '.join(wrong)}; restore the file, or see `sqlmig repair`"
        )
    if not applied:
        raise SqlmigError("nothing can be compared: no file is applied here")
    return [load(row.migration.up_file) for row in applied if row.migration]


def _read_with_schemas(
    connection: Connection, schemas: set[str] | None = None
) -> Catalog:
    """Return the catalog with names written as with their schemas, whatever the search path."""
    connection.execute(
        b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog"
    )
    try:
        return read_catalog(connection, schemas)
    finally:
        rollback(connection)


def _excuse_default_privileges(
    differences: Differences, files: Sequence[SqlFile]
) -> None:
    """Make notes of grants that differ on kinds whose default privileges a file changes.

    They were not the same for each object, and the catalog cannot tell which one an object met.
    """
    kinds = _kinds_with_changed_defaults(files)
    kept = []
    for difference in differences.changed:
        if difference.property == "grants" and difference.key.kind in kinds:
            differences.notes.append(
                f"{difference}; a file changes default privileges, which may be why"
            )
        else:
            kept.append(difference)
    differences.changed = kept


def _kinds_with_changed_defaults(files: Iterable[SqlFile]) -> set[str]:
    words = set()
    for file in files:
        text = file.text.lower().replace(b"routines", b"functions")
        words.update(_DEFAULT_PRIVILEGES.findall(text))
    kinds: set[str] = set()
    for word, meant in _KINDS.items():
        if word in words or b"" in words:
            kinds.update(meant)
    return kinds
