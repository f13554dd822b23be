"""Write another tool's files as pairs of our files, and read that tool's ledger to find the version to stamp."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core import migrations
from sqlmig.core.errors import ServerError, SqlmigError
from sqlmig.core.ledger import TABLE
from sqlmig.core.other_tools import rows_of_plain_table
from sqlmig.core.sql import literal, read_statements
from sqlmig.core.sqlfile import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlmig.core.connection import Connection
    from sqlmig.takeover.foreign_files import ForeignFiles, ForeignMigration

_LEDGERS = read_statements(Path(__file__).parent / "foreign_ledgers.sql")
_RENAMED = (
    f"{TABLE}_before_sqlmig"  # the new name of another tool's ledger with that name
)
_TABLES = {
    "dbmate": [_RENAMED, TABLE],
    "goose": ["goose_db_version"],
    "sql-migrate": ["gorp_migrations"],
    "tern": ["schema_version"],
    "Flyway": ["flyway_schema_history"],
    "the Supabase CLI": ["supabase_migrations.schema_migrations"],
}
_UNDEFINED_COLUMN = "42703"
_DIGITS = (
    4  # of a version, unless the tool's own versions are longer or begin with zeros
)


class Pair(NamedTuple):
    """A migration as we write it: the version's digits, the files with their texts, and the tool's migration."""

    version: str
    files: dict[Path, bytes]
    source: ForeignMigration


class TheirLedger(NamedTuple):
    """The state of these migrations in another tool's ledger: the newest applied, and older migrations that are not."""

    newest: Pair | None
    not_applied: list[Pair]


def pairs_of(foreign: ForeignFiles, directory: Path) -> list[Pair]:
    """Return the files to write into a directory. Raises SqlmigError if it already has one of the versions."""
    pairs = []
    versions = _versions(foreign.migrations)
    for version, migration in zip(versions, foreign.migrations, strict=True):
        name = " ".join(migration.name.split()).replace(" ", "_").replace("/", "_")
        stem = f"{version}_{name}"
        files = {directory / f"{stem}.up.sql": migration.up.text}
        if migration.down and not migration.down.is_empty():
            files[directory / f"{stem}.down.sql"] = migration.down.text
        pairs.append(Pair(version, files, migration))
    _refuse_to_meet(pairs, directory)
    return pairs


def _versions(found: Sequence[ForeignMigration]) -> list[str]:
    """Return the versions to use: the tool's own, or consecutive numbers if any of them has dots (Flyway)."""
    if all(migration.version.isdecimal() for migration in found):
        width = max((len(migration.version) for migration in found), default=0)
        width = max(width, _DIGITS)
        if all(migration.version.startswith("0") for migration in found):
            width = 0  # their own zeros are enough
        return [f"{migration.version:0>{width}}" for migration in found]
    return [f"{number:0{_DIGITS}}" for number in range(1, len(found) + 1)]


def _refuse_to_meet(pairs: Sequence[Pair], directory: Path) -> None:
    """Raise SqlmigError for a version that the directory already has, under any name."""
    try:
        present = migrations.find(directory)
    except SqlmigError:
        if directory.is_dir() and any(directory.glob("*.sql")):
            raise
        return  # the directory has no migrations
    taken = {migration.version: migration.up_file for migration in present}
    for pair in pairs:
        if int(pair.version) in taken:
            raise SqlmigError(
                f"nothing was written: {taken[int(pair.version)]} has version {int(pair.version)} already; "
                "name another directory with --dir"
            )


def write(pairs: Sequence[Pair], directory: Path) -> list[str]:
    """Write all files or none, and return the problems to fix in them before they can run."""
    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for pair in pairs:
            for path, text in pair.files.items():
                with path.open("xb") as file:
                    written.append(path)
                    file.write(text)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise SqlmigError(
                f"nothing was written: {error.filename}: {error.strerror}"
            ) from None
        raise

    problems = []
    for path in written:
        try:
            load(path)
        except SqlmigError as problem:
            problems.append(str(problem))
    return problems


def read_their_ledger(
    connection: Connection, tool: str, pairs: Sequence[Pair]
) -> TheirLedger | None:
    """Read the tool's ledger in this database, without writing anything. Returns None if it does not exist."""
    applied = _applied(connection, tool)
    if applied is None:
        return None
    newest = None
    not_applied: list[Pair] = []
    for pair in reversed(pairs):
        if applied & _their_names(tool, pair.source):
            newest = newest or pair
        elif newest:
            not_applied.insert(0, pair)
    return TheirLedger(newest, not_applied)


def _applied(connection: Connection, tool: str) -> set[str] | None:
    """Return the tool's names for the versions that it has applied; None if it has no ledger."""

    def query_of(table: str) -> str:
        return _LEDGERS[_title(tool)].format(table=table, literal=literal(table))

    for name in _TABLES[tool]:
        try:
            rows = rows_of_plain_table(connection, name, query_of)
        except ServerError as problem:
            if problem.sqlstate == _UNDEFINED_COLUMN:
                continue
            raise
        if rows is not None:
            return {str(version) for (version,) in rows}
    return None


def is_ledger_in_the_way(connection: Connection) -> bool:
    """Return whether a table of another tool has the name of our ledger."""
    return connection.resolve_tables([TABLE, _RENAMED]).keys() == {TABLE}


def _title(tool: str) -> str:
    return tool.lower().replace("-", "_").replace(" ", "_")


def _their_names(tool: str, migration: ForeignMigration) -> set[str]:
    """Return the names that the tool may use for a migration in its ledger."""
    if tool == "sql-migrate":
        return {migration.path.name}
    names = {migration.version}
    if migration.version.isdecimal():
        names.add(str(int(migration.version)))
    return names
