"""Find drift: compare a database with a scratch database on which the applied files have run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlmig.check import no_drift
from sqlmig.check.catalog import Catalog, Differences, compare, read_catalog
from sqlmig.check.dumps import leave_out, without_what_is_there
from sqlmig.check.scratch import run_file, scratch_database
from sqlmig.check.server_wide import server_wide_words
from sqlmig.core.connection import execute, fetch, rollback
from sqlmig.core.errors import SqlmigError
from sqlmig.core.session import no_rows
from sqlmig.core.sql import literal
from sqlmig.core.sqlfile import load

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from sqlmig.check.catalog import Key
    from sqlmig.check.scratch import Scratch
    from sqlmig.core.connection import Connection
    from sqlmig.core.ledger import Ledger
    from sqlmig.core.plan import VersionInfo
    from sqlmig.core.session import Session
    from sqlmig.core.sqlfile import SqlFile


def find_drift(session: Session, url: str, ignored: Sequence[str] = ()) -> Differences:
    """Compare the database with the result of its applied files, in the schemas that these files use.

    The database itself is read in one transaction that writes nothing. ignored: patterns
    of names to ignore. Raises SqlmigError if there is nothing to compare.
    """
    files = _applied_files(session)
    role, owner = _read_roles(session.connection, session.ledger)
    notes: list[str] = []
    catalogs = _read_expected(session, url, files, notes)
    before, expected = (no_drift.with_owner(each, role, owner) for each in catalogs)
    made = expected.keys() - before.keys()
    schemas = {expected[key].schema for key in made} - {None}

    # Use a new connection: the server may have closed the first while it was idle.
    with session.surroundings.connect("sqlmig") as connection:
        found = _read_with_schemas(connection, {"", *map(str, schemas)})
        if replace(session, connection=connection).reread():
            raise SqlmigError("the ledger has changed meanwhile; run it again")

    for catalog in (expected, found):
        no_drift.take_out_ledger(catalog, session.ledger)
    reasons = no_drift.Reasons(files, expected, found)
    for catalog in (expected, found):
        _drop_what_is_elsewhere(catalog, made, schemas)
        no_drift.take_out_ignored(catalog, ignored)
    notes += no_drift.take_out_partitions(expected, found)
    differences = compare(
        no_drift.without_what_differs_by_itself(expected),
        no_drift.without_what_differs_by_itself(found),
    )
    differences.notes += notes
    no_drift.excuse(differences, reasons)
    return differences


def _read_roles(connection: Connection, ledger: Ledger) -> tuple[str, str]:
    """Return the current role, and the owner of the ledger and so of the files' objects, quoted for SQL."""
    ((role, owner),) = fetch(
        connection,
        "SELECT quote_ident(current_user), relowner::regrole::text FROM pg_class "
        f"WHERE oid = {literal(ledger.table)}::regclass",
    )
    return role, owner


def _read_expected(
    session: Session, url: str, files: Sequence[SqlFile], notes: list[str]
) -> tuple[Catalog, Catalog]:
    """Return the catalog of a scratch database before and after the files ran there. Appends to notes."""
    with (
        scratch_database(
            url, session.ledger, session.say, with_privileges=True
        ) as scratch,
        session.surroundings.watch(session, "the scratch database", no_rows),
    ):
        scratch.connection.ticks = session.connection.ticks
        execute(scratch.connection, session.ledger.definition())
        before = _read_with_schemas(scratch.connection)
        version = scratch.connection.info.server_version
        for file in files:
            wanted = without_what_is_there(file, session.ledger, version)
            _run_on_scratch(scratch, _without_server_wide(wanted, notes))
        return before, _read_with_schemas(scratch.connection)


def _without_server_wide(file: SqlFile, notes: list[str]) -> SqlFile:
    """Return a file without the statements that change the whole server, and note them: their work is done there."""

    def is_unwanted(text: bytes) -> bool:
        words = server_wide_words(text)
        if words:
            notes.append(
                f"{file.path.name}: {words} was not run on the scratch database, because it belongs to the whole server"
            )
        return bool(words)

    return leave_out(file, is_unwanted)


def _run_on_scratch(scratch: Scratch, file: SqlFile) -> None:
    try:
        run_file(scratch, file)
    except SqlmigError as error:
        raise SqlmigError(f"on the scratch database: {error}") from None


def _drop_what_is_elsewhere(
    catalog: Catalog, made: Container[Key], schemas: Container[str | None]
) -> None:
    """Keep the objects that the files created, and all other objects in their schemas.

    An object without a schema is kept only if the files created it.
    """
    for key in list(catalog):
        is_in_their_schemas = key.kind != "schema" and catalog[key].schema in schemas
        if key not in made and not is_in_their_schemas:
            del catalog[key]


def _applied_files(session: Session) -> list[SqlFile]:
    applied = [row for row in session.versions() if row.ledger_row]
    _refuse_what_is_not_applied(applied)
    if not applied:
        raise SqlmigError("nothing can be compared: no file is applied here")
    return [load(row.migration.up_file) for row in applied if row.migration]


def _refuse_what_is_not_applied(recorded: Sequence[VersionInfo]) -> None:
    """Raise SqlmigError if a version's file is missing, or differs from the file that was applied."""
    wrong = [row for row in recorded if row.state != "applied"]
    if not wrong:
        return
    words = ", ".join(f"{row.label} is {row.state}" for row in wrong)
    remedy = "restore the file, or see `sqlmig repair`"
    if any(row.state == "ahead" for row in wrong):
        remedy = "run it with the files of the newest release"
    raise SqlmigError(f"nothing can be compared: {words}; {remedy}")


def _read_with_schemas(
    connection: Connection, schemas: set[str] | None = None
) -> Catalog:
    """Read the catalog, with schema-qualified names for any search path."""
    connection.execute(
        b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog"
    )
    try:
        return read_catalog(connection, schemas)
    finally:
        rollback(connection)
