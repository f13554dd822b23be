"""Whether each down file undoes its up file: both run on the scratch database, and the catalog is compared."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import psycopg

from sqlmig.check.catalog import (
    Catalog,
    Differences,
    Entry,
    Key,
    add_sequence_values,
    catalogs,
    compare,
    read_catalog,
)
from sqlmig.check.counts import CatalogCounts
from sqlmig.check.scratch import run_file
from sqlmig.check.server_wide import SHARED_CATALOGS, shared_objects
from sqlmig.connection import rollback
from sqlmig.errors import SqlmigError
from sqlmig.sqlfile import load
from sqlmig.transaction import file_pieces, own_piece
from sqlmig.transmission import transmit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlmig.check.scratch import Scratch
    from sqlmig.migrations import Migration
    from sqlmig.sqlfile import SqlFile
    from sqlmig.transaction import Piece

Result = Literal["ok", "broken", "failed", "no-down", "irreversible"]
# A file with these words moves a sequence. To take the next value, as an INSERT does,
# is no change: no down file gives it back.
_MOVES_SEQUENCE = re.compile(rb"\b(?:setval|restart)\b", re.IGNORECASE)


@dataclass
class Finding:
    """What was found of a version."""

    version: int
    label: str
    result: Result = "ok"
    differences: Differences = field(default_factory=Differences)
    notes: list[str] = field(default_factory=list)


def prove(
    scratch: Scratch, migrations: Sequence[Migration], start: int = 0
) -> Iterator[Finding]:
    """Try each version on the scratch database, and yield what was found. Those before the start are only run."""
    names = catalogs(scratch.connection)
    if scratch.owns_server:
        names = sorted({*names, *SHARED_CATALOGS})
    counts = CatalogCounts(
        scratch.connection, names, counts_all_again=scratch.owns_server
    )
    _clear(scratch, counts)
    for migration in migrations:
        if migration.version < start:
            _run(scratch, counts, load(migration.up_file))
            continue

        finding = Finding(migration.version, migration.label)
        try:
            _try_version(scratch, counts, migration, finding)
        except SqlmigError as error:
            finding.result = "failed"
            finding.notes.append(str(error))
        yield finding


def _try_version(
    scratch: Scratch, counts: CatalogCounts, migration: Migration, finding: Finding
) -> None:
    up = load(migration.up_file)
    if migration.down_file is None:
        finding.result = "no-down"
        _run(scratch, counts, up)
        return
    down = load(migration.down_file)
    if down.irreversible is not None:
        finding.result = "irreversible"
        if down.irreversible:
            finding.notes.append(down.irreversible)
        _run(scratch, counts, up)
        return

    down_name = migration.down_file.name.removesuffix(".down.sql").partition("_")[2]
    if down_name != migration.name:
        finding.notes.append("the down file has another name")
    if up.statement_starts and not down.statement_starts:
        finding.notes.append("the down file is empty")
    differences = _try_in_one_transaction(scratch, counts, up, down)
    if differences is None:
        _try_one_by_one(scratch, counts, up, down, finding)
    else:
        finding.differences = differences
        finding.notes += differences.notes
    if finding.differences:
        finding.result = "broken"


def _try_in_one_transaction(
    scratch: Scratch, counts: CatalogCounts, up: SqlFile, down: SqlFile
) -> Differences | None:
    """Try both files in one transaction, at whose end the up file has run once.

    Returns None where that cannot be; then nothing was done.
    """
    if not _fit_one_transaction(up, down):
        return None
    ups = _body_of(up)
    downs = _body_of(down)
    applied = own_piece("other", "SAVEPOINT applied")
    back_to_applied = own_piece("other", "ROLLBACK TO applied")
    try:
        for file in (up, down):
            scratch.guard.before_file(file)
        scratch.connection.execute("BEGIN")
        writes_before = scratch.guard.writes()
        before = counts.read()
        for start, (*pieces, reset) in (
            (own_piece("other", "SAVEPOINT before"), ups),
            (applied, downs),
        ):
            transmit(scratch.connection, [start, *pieces])
            if scratch.guard.reaches_beyond(writes_before):
                return None  # one by one it is told which file does
            transmit(scratch.connection, [reset])
        if counts.read() == before:
            # Nothing differs. The down file has left what the up file needs to run again.
            differences = Differences()
            again = [*ups, back_to_applied]
        else:
            after = _read(scratch)
            transmit(scratch.connection, [own_piece("other", "ROLLBACK TO before")])
            differences = compare(_read(scratch), after)
            again = ups
            if not differences:  # whether the up file runs again is still to be seen
                again = [*ups, applied, *downs, *ups, back_to_applied]
        transmit(scratch.connection, again)
        counts.forget_written()
        transmit(scratch.connection, [own_piece("commit", "COMMIT")])
    except (SqlmigError, psycopg.Error):
        return None
    finally:
        rollback(scratch.connection)
    return differences


def _fit_one_transaction(up: SqlFile, down: SqlFile) -> bool:
    for file in (up, down):
        if not file.in_transaction or file.has_own_mode:
            return False
    # ROLLBACK does not move a sequence back.
    return not _MOVES_SEQUENCE.search(up.text)


def _body_of(file: SqlFile) -> list[Piece]:
    pieces = file_pieces(file)
    return [pieces.body, pieces.constraints, pieces.reset]


def _try_one_by_one(
    scratch: Scratch,
    counts: CatalogCounts,
    up: SqlFile,
    down: SqlFile,
    finding: Finding,
) -> None:
    """Run up, down and up, each committed. Raises SqlmigError where up or down fails the first time."""
    _clear(scratch, counts)
    moves_sequence = _MOVES_SEQUENCE.search(up.text) is not None
    before = _read(scratch, with_values=moves_sequence)
    _run(scratch, counts, up)
    _run(scratch, counts, down)
    after = _read(scratch, with_values=moves_sequence)
    finding.differences = compare(before, after)
    finding.notes += finding.differences.notes

    try:
        _run(scratch, counts, up)
    except SqlmigError as error:  # it stumbles over what its down file left
        finding.result = "failed"
        finding.notes.append(f"up again failed: {error}")


def _run(scratch: Scratch, counts: CatalogCounts, file: SqlFile) -> None:
    try:
        run_file(scratch, file)
    finally:
        if file.in_transaction:
            counts.forget()
        else:
            _clear(scratch, counts)


def _read(scratch: Scratch, *, with_values: bool = False) -> Catalog:
    """Return the catalog; where the server was made for this, with what its databases share.

    with_values: how far each sequence is belongs to it.
    """
    catalog = read_catalog(scratch.connection)
    if with_values:
        add_sequence_values(scratch.connection, catalog)
    if scratch.owns_server:
        name = scratch.connection.info.dbname
        for shared, state in shared_objects(scratch.connection, name).items():
            catalog[Key(shared.kind, shared.name)] = Entry({"state": state}, None)
    return catalog


def _clear(scratch: Scratch, counts: CatalogCounts) -> None:
    """Let nothing of a file stay in the session, and prepare there what counts the catalogs."""
    rollback(scratch.connection)
    scratch.connection.execute("DISCARD ALL")
    counts.prepare()
