"""Find drift: compare a database with a scratch database on which the applied files have run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sqlmig.check import no_drift
from sqlmig.check.catalog import Catalog, Differences, compare, read_catalog
from sqlmig.check.dumps import leave_out, without_what_is_there
from sqlmig.check.original import STATEMENTS
from sqlmig.check.running import run_file, setup_from
from sqlmig.check.scratch import scratch_database
from sqlmig.check.server_wide import server_wide_words
from sqlmig.check.skipping import without_server_wide_statement
from sqlmig.core.connection import (
    execute,
    fetch,
    fetch_on_callers_path,
    rollback,
    rolled_back,
)
from sqlmig.core.errors import SqlmigError
from sqlmig.core.session import no_rows
from sqlmig.core.sql import literal
from sqlmig.core.sqlfile import load

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence
    from pathlib import Path

    from sqlmig.check.catalog import Key
    from sqlmig.check.scratch import Scratch, ScratchServer
    from sqlmig.core.connection import Connection
    from sqlmig.core.ledger import Ledger
    from sqlmig.core.plan import VersionInfo
    from sqlmig.core.session import Session
    from sqlmig.core.sqlfile import SqlFile

_MAJOR = 10000  # the factor of the major version in a server's version number
# The kinds of objects that are found by their names in pg_class and pg_proc.
_FOUND_BY_NAME = ("table", "view", "materialized view", "sequence", "function")


@dataclass(frozen=True)
class _Expected:
    """The catalog of a scratch database before and after the files ran there, as if their owner had run them.

    schema: the schema of unqualified names. stand_in: the role, quoted for SQL, that ran them
    in their owner's place; empty if the owner did.
    """

    before: Catalog
    after: Catalog
    schema: str
    stand_in: str

    @property
    def made(self) -> set[Key]:
        """What the files created."""
        return {*self.after} - {*self.before}


def find_drift(
    session: Session,
    url: str,
    server: ScratchServer,
    *,
    ignored: Sequence[str] = (),
    setup: Path | None = None,
) -> Differences:
    """Compare the database with the result of its applied files, in the schemas that these files use.

    The database itself is read in transactions that write nothing. server: where the
    scratch database is made. ignored: patterns of names to ignore. setup: a file to run on
    the scratch database first. Raises SqlmigError if there is nothing to compare.
    """
    files = _applied_files(session)
    run = _ScratchRun(session, url, server, files, setup_from(setup))
    expected = run.read_expected()
    elsewhere = _schema_with_objects(session, expected)
    if elsewhere:
        first = expected.schema
        expected = run.read_expected(leading_schema=elsewhere)
        run.notes.append(
            f"nothing of the files is in the schema {first}, so they are taken to have run in {elsewhere}"
        )
    schemas = {expected.after[key].schema for key in expected.made} - {None}

    # Use a new connection: the server may have closed the first while it was idle.
    with session.surroundings.connect("sqlmig") as connection:
        found = _read_with_schemas(connection, {"", *map(str, schemas)})
        if replace(session, connection=connection).reread():
            raise SqlmigError(
                "the ledger changed in the meantime; run the command again"
            )

    made = expected.made
    for catalog in (expected.after, found):
        no_drift.take_out_ledger(catalog, session.ledger)
    reasons = no_drift.Reasons(files, expected.after, found, expected.stand_in)
    for catalog in (expected.after, found):
        _drop_what_is_elsewhere(catalog, made, schemas)
        no_drift.take_out_ignored(catalog, ignored)
    notes = [*run.notes, *no_drift.take_out_partitions(expected.after, found)]
    differences = compare(
        no_drift.without_what_differs_by_itself(expected.after),
        no_drift.without_what_differs_by_itself(found),
    )
    differences.notes += notes
    no_drift.excuse(differences, reasons)
    return differences


@dataclass
class _ScratchRun:
    """Runs the applied files on a scratch database. notes: what was left out, and why."""

    session: Session
    url: str
    server: ScratchServer
    files: Sequence[SqlFile]
    set_up: Callable[[Scratch], None]
    notes: list[str] = field(default_factory=list)

    def read_expected(self, leading_schema: str = "") -> _Expected:
        """Run the files, and read the catalog. leading_schema: comes first in their search path."""
        session = self.session
        self.notes.clear()
        owner = _files_owner(session.connection, session.ledger)
        with (
            scratch_database(
                self.url,
                session.ledger,
                session.say,
                server=self.server,
                files=[file.path for file in self.files],
                files_owner=owner,
                leading_schema=leading_schema,
                file_settings=session.options.settings,
                set_up=self.set_up,
            ) as scratch,
            session.surroundings.watch(session, "the scratch database", no_rows),
        ):
            connection = scratch.connection
            connection.ticks = session.connection.ticks
            self._refuse_other_version(connection)

            execute(connection, session.ledger.definition(may_exist=True))
            before = _read_with_schemas(connection)
            for file in self.files:
                wanted = without_what_is_there(
                    file, session.ledger, connection.info.server_version
                )
                self._run(scratch, self._without_server_wide(wanted))

            after = _read_with_schemas(connection)
            role, owner = _quoted(connection, owner)
            schema = _first_schema(connection)
        return _Expected(
            no_drift.with_owner(before, role, owner),
            no_drift.with_owner(after, role, owner),
            schema,
            stand_in=role if role != owner else "",
        )

    def _refuse_other_version(self, connection: Connection) -> None:
        ours = self.session.connection.info.server_version // _MAJOR
        theirs = connection.info.server_version // _MAJOR
        if ours != theirs:
            raise SqlmigError(
                f"the database has PostgreSQL {ours}, and the scratch server has PostgreSQL {theirs}: "
                f"drift compares only the same major version. Give --scratch a server of PostgreSQL {ours}"
            )

    def _without_server_wide(self, file: SqlFile) -> SqlFile:
        """Return a file without the statements that by their text change the whole server, and note them."""

        def is_unwanted(text: bytes) -> bool:
            words = server_wide_words(text)
            if words:
                self._note(file, words)
            return bool(words)

        return leave_out(file, is_unwanted)

    def _run(self, scratch: Scratch, file: SqlFile) -> None:
        """Run a file. Leave out statements that turn out to change the whole server, and note them."""
        while True:
            try:
                run_file(scratch, file)
            except SqlmigError as error:
                rest = without_server_wide_statement(scratch, file, error)
                if rest is None:
                    raise SqlmigError(f"on the scratch database: {error}") from None
                self._note(file, rest.words)
                file = rest.file
            else:
                return

    def _note(self, file: SqlFile, words: str) -> None:
        self.notes.append(
            f"{file.path.name}: {words} was not run on the scratch database, because it changes more than this database"
        )


def _files_owner(connection: Connection, ledger: Ledger) -> str:
    """Return the owner of the ledger, who also owns the files' objects."""
    ((owner,),) = fetch(
        connection,
        "SELECT pg_get_userbyid(relowner)::text FROM pg_class "
        f"WHERE oid = {literal(ledger.table)}::regclass",
    )
    return str(owner)


def _quoted(connection: Connection, owner: str) -> tuple[str, str]:
    """Return the current role and another role as the catalog query writes them."""
    query = f"SELECT quote_ident(current_user), quote_ident({literal(owner)})"
    ((role, quoted_owner),) = fetch(connection, query)
    return str(role), str(quoted_owner)


def _first_schema(connection: Connection) -> str:
    """Return the schema in which the files' unqualified names are created; "" if there is none."""
    path = literal(connection.callers_search_path)
    with rolled_back(connection):
        ((schema,),) = fetch_on_callers_path(
            connection,
            "SELECT (pg_catalog.current_schemas(false))[1]::pg_catalog.text "
            f"FROM pg_catalog.set_config('search_path', {path}, true)",
        )
    return str(schema or "")


def _schema_with_objects(session: Session, expected: _Expected) -> str:
    """Return the schema in which the database has what the files create in the first schema of the search path.

    Returns "" if the first schema has some of it, or no other schema has half of it. The
    files may have run with another search path, of another role or in another URL.
    """
    names = _names_in_first_schema(expected)
    if not names or session.ledger.files_schema:
        return ""
    query = STATEMENTS["schemas_with"].format(
        schema=literal(expected.schema),
        names=", ".join(literal(name) for name in sorted(names)),
    )
    with session.surroundings.connect("sqlmig") as connection:
        counts = {str(schema): count for schema, count in fetch(connection, query)}
    if not counts or expected.schema in counts:
        return ""
    best = max(sorted(counts), key=lambda schema: counts[schema])
    return best if counts[best] * 2 >= len(names) else ""


def _names_in_first_schema(expected: _Expected) -> set[str]:
    """Return the kinds and names, with the schema, of what the files create in the first schema of the search path."""
    names = set()
    for key in expected.made:
        if key.kind in _FOUND_BY_NAME and expected.after[key].schema == expected.schema:
            names.add(f"{key.kind} {key.name.partition('(')[0]}")
    return names


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
