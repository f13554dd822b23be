"""Check that each down file undoes its up file: run both on the scratch database, and compare catalog and rows."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlmig.check.breaks import BreakFinder
from sqlmig.check.catalog import (
    Catalog,
    Differences,
    Entry,
    Key,
    add_sequence_values,
    catalogs,
    compare,
    read_catalog_again,
)
from sqlmig.check.counts import CatalogCounts
from sqlmig.check.effects import EffectWatcher
from sqlmig.check.finding import Finding
from sqlmig.check.gate import FirstRefused, Gate, judge
from sqlmig.check.restarts import places_of, try_restarts
from sqlmig.check.rows import Rows, compare_rows, read_rows
from sqlmig.check.running import run_file, send_watched
from sqlmig.check.server_wide import (
    SHARED_CATALOGS,
    changes_server,
    shared_objects,
)
from sqlmig.core.connection import rollback
from sqlmig.core.errors import MigrationFailed, SqlmigError
from sqlmig.core.sending import send_pieces
from sqlmig.core.session import FileSettings
from sqlmig.core.sqlfile import load
from sqlmig.core.transaction import file_transaction, own_piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlmig.check.breaks import Break
    from sqlmig.check.queries import Query
    from sqlmig.check.scratch import Scratch
    from sqlmig.core.migrations import Migration
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece

# A file that contains one of these moves a sequence. Taking the next value, like INSERT
# does, is not counted as a change, because no down file can give it back.
_MOVES_SEQUENCE = re.compile(rb"\b(?:setval|restart)\b", re.IGNORECASE)


@dataclass
class _Trial:
    """The scratch database with its counts, its watcher and the gate.

    compares_rows: whether any version has a rows file.
    """

    scratch: Scratch
    counts: CatalogCounts
    watcher: EffectWatcher
    compares_rows: bool
    gate: Gate
    names: Sequence[str]
    breaks: BreakFinder

    @contextmanager
    def saved(self) -> Iterator[Callable[[], AbstractContextManager[Scratch]]]:
        """Save the state of the scratch database, and yield a function that yields copies of it."""
        self.breaks.close()
        with self.scratch.saved() as copy:
            connection = self.scratch.connection
            self.counts = CatalogCounts(
                connection, self.names, may_lie=self.scratch.owns_server
            )
            self.counts.prepare()
            self.watcher = EffectWatcher(connection, self.scratch.schema)
            yield copy

    def first_refused(self, file: SqlFile, finding: Finding) -> FirstRefused:
        """Return what finds the first statement that the gate refuses."""
        kinds = self.gate.kinds_for(finding.version)
        return FirstRefused(self.watcher, file, kinds)

    def rows(self) -> Rows:
        """Return the rows of all tables, or nothing if rows are not compared."""
        if not self.compares_rows:
            return Rows({}, {})
        return read_rows(self.scratch.connection, self.scratch.schema)


def prove(
    scratch: Scratch,
    migrations: Sequence[Migration],
    start: int = 0,
    gate: Gate | None = None,
    queries: Sequence[Query] = (),
    report_never_prepared: Callable[[Sequence[Break]], None] = lambda _: None,
) -> Iterator[Finding]:
    """Try each version on the scratch database, and yield a finding for it. Versions before the start are only run.

    queries: the statements of the application, which are prepared after each version.
    report_never_prepared is called at the end with those that could be prepared after none.
    """
    names = catalogs(scratch.connection)
    if scratch.owns_server:
        names = sorted({*names, *SHARED_CATALOGS})
    counts = CatalogCounts(scratch.connection, names, may_lie=scratch.owns_server)
    trial = _Trial(
        scratch,
        counts,
        EffectWatcher(scratch.connection, scratch.schema),
        compares_rows=any(migration.rows_file for migration in migrations),
        gate=gate or Gate(),
        names=names,
        breaks=BreakFinder(scratch, queries),
    )
    _clear(trial)
    judged = [migration for migration in migrations if migration.version >= start]
    try:
        for migration in migrations[: len(migrations) - len(judged)]:
            _run_before_start(trial, migration)
        trial.breaks.begin()
        for migration in judged:
            yield _finding(trial, migration)
        report_never_prepared(trial.breaks.never_prepared())
    finally:
        trial.breaks.close()


def _run_before_start(trial: _Trial, migration: Migration) -> None:
    up = load(migration.up_file)
    trial.breaks.note_file(up)
    _run(trial, up)
    if migration.rows_file:
        _run(trial, load(migration.rows_file))


def _finding(trial: _Trial, migration: Migration) -> Finding:
    """Try a version, and return the finding. Raises SqlmigError for what says nothing about the version."""
    finding = Finding(migration.version, migration.label, migration.up_file)
    try:
        _try_version(trial, migration, finding)
    except SqlmigError as error:
        trial.scratch.refuse_if_lost(error)
        _note_failure(finding, error)
    return finding


def _note_failure(finding: Finding, error: SqlmigError) -> None:
    finding.result = "failed"
    finding.notes.append(str(error))
    if isinstance(error, MigrationFailed) and error.path:
        finding.path = error.path
        finding.line = error.line


def _try_version(trial: _Trial, migration: Migration, finding: Finding) -> None:
    up = load(migration.up_file)
    down = _down_to_try(migration, finding)
    if places_of(up):
        _try_with_restarts(trial, up, down, finding)
    else:
        _try_up(trial, up, down, finding)
    finding.breaks = trial.breaks.after(up)
    judge(finding, up, trial.gate.kinds_for(finding.version))
    if migration.rows_file:
        _run(trial, load(migration.rows_file))
        if down is not None:
            _try_down_with_rows(trial, down, migration.rows_file)


def _try_up(trial: _Trial, up: SqlFile, down: SqlFile | None, finding: Finding) -> None:
    if down is None:
        _run_once(trial, up, finding)
    else:
        _try_both(trial, up, down, finding)


def _try_with_restarts(
    trial: _Trial, up: SqlFile, down: SqlFile | None, finding: Finding
) -> None:
    """Try a version whose up file can be interrupted, and then each place of the interruption."""
    if trial.scratch.owns_server and changes_server(up):
        _try_up(trial, up, down, finding)
        finding.notes.append("it changes the whole server, so no restart was tried")
        return
    with trial.saved() as copy:
        _try_up(trial, up, down, finding)
        moves_sequence = bool(_MOVES_SEQUENCE.search(up.text))
        finding.restarts = try_restarts(up, copy, with_values=moves_sequence)


def _down_to_try(migration: Migration, finding: Finding) -> SqlFile | None:
    """Return the down file, or None if it cannot be tried. In that case the finding says why."""
    if migration.down_file is None:
        finding.result = "no-down"
        return None
    down = load(migration.down_file)
    if down.irreversible is not None:
        finding.result = "irreversible"
        if down.irreversible:
            finding.notes.append(down.irreversible)
        return None

    down_name = migration.down_file.name.removesuffix(".down.sql").partition("_")[2]
    if down_name != migration.name:
        finding.notes.append("the down file has another name")
    return down


def _try_both(trial: _Trial, up: SqlFile, down: SqlFile, finding: Finding) -> None:
    if up.statement_starts and not down.statement_starts:
        finding.notes.append("the down file is empty")
    rows_before = trial.rows()
    if not _try_in_one_transaction(trial, up, down, finding, rows_before):
        _try_one_by_one(trial, up, down, finding, rows_before)

    if finding.row_changes and "losses" in down.accepts:
        for change in finding.row_changes:
            finding.notes.append(f"{change.kind}: {change}")
        finding.notes.append(f"it accepts losses: {down.accepts_reason}")
        finding.row_changes = []
    elif finding.row_changes:
        finding.notes.append(
            "after up and down these rows are not as they were. If that cannot be helped, "
            f"put “-- sqlmig: accepts losses: REASON” in {down.path.name}"
        )
    if finding.differences or finding.row_changes:
        finding.result = "broken"


def _try_in_one_transaction(
    trial: _Trial, up: SqlFile, down: SqlFile, finding: Finding, rows_before: Rows
) -> bool:
    """Try both files in one transaction, and note the results. When it ends, the up file has run once.

    Returns False if this is not possible; in that case nothing was changed.
    """
    if not _fit_one_transaction(up, down):
        return False
    scratch = trial.scratch
    counts = trial.counts
    ups = _body_of(scratch, up)
    downs = _body_of(scratch, down)
    applied = own_piece("other", "SAVEPOINT applied")
    back_to_applied = own_piece("other", "ROLLBACK TO applied")
    try:
        for file in (up, down):
            scratch.guard.before_file(file)
        trial.watcher.begin()
        scratch.connection.execute("BEGIN")
        writes_before = scratch.guard.writes()
        counts.begin(up, down)

        *pieces, reset = ups
        first_refused = trial.first_refused(up, finding)
        send_watched(
            scratch.connection,
            [own_piece("other", "SAVEPOINT before"), *pieces],
            first_refused.look,
        )
        if scratch.guard.reaches_beyond(writes_before):
            return False  # running the files one by one shows which file does
        effects = trial.watcher.observe()
        send_pieces(scratch.connection, [reset])

        *pieces, reset = downs
        send_pieces(scratch.connection, [applied, *pieces])
        if scratch.guard.reaches_beyond(writes_before):
            return False
        send_pieces(scratch.connection, [reset])

        row_changes = compare_rows(rows_before, trial.rows())
        # If nothing differs, the up file can run again on the state that the down file left.
        again = [*ups, back_to_applied]
        differences = Differences()
        if not counts.is_unchanged():
            differences = _differences_after_down(scratch)
            again = ups
            if not differences:  # it is not yet known whether the up file can run again
                again = [*ups, applied, *downs, *ups, back_to_applied]
        send_pieces(scratch.connection, again)
        send_pieces(scratch.connection, [own_piece("commit", "COMMIT")])
    except SqlmigError:
        if scratch.connection.closed:
            raise
        return False
    finally:
        rollback(scratch.connection)
    for file in (up, down):
        scratch.guard.after_file(file)
    finding.differences = differences
    finding.notes += differences.notes
    finding.row_changes = row_changes
    finding.effects = effects
    finding.line = first_refused.line
    return True


def _differences_after_down(scratch: Scratch) -> Differences:
    """Compare the catalog with that before the up file. Afterwards the transaction is there again."""
    after = _read(scratch)
    send_pieces(scratch.connection, [own_piece("other", "ROLLBACK TO before")])
    return compare(_read(scratch), after)


def _fit_one_transaction(up: SqlFile, down: SqlFile) -> bool:
    for file in (up, down):
        if not file.in_transaction or file.has_own_mode or file.repeats:
            return False
    return not _move_a_sequence(up, down)  # ROLLBACK does not move a sequence back


def _move_a_sequence(up: SqlFile, down: SqlFile) -> bool:
    return any(_MOVES_SEQUENCE.search(file.text) for file in (up, down))


def _body_of(scratch: Scratch, file: SqlFile) -> list[Piece]:
    settings = FileSettings(scratch.connection.callers_search_path)
    transaction = file_transaction(file, settings)
    return [*transaction.body, *transaction.end]


def _try_one_by_one(
    trial: _Trial, up: SqlFile, down: SqlFile, finding: Finding, rows_before: Rows
) -> None:
    """Run up, down and up again, and commit each. Raises SqlmigError if up or down fails the first time."""
    _clear(trial)
    moves_sequence = _move_a_sequence(up, down)
    before = _read(trial.scratch, with_values=moves_sequence)
    _run_once(trial, up, finding)
    _run(trial, down)
    after = _read(trial.scratch, with_values=moves_sequence)
    finding.differences = compare(before, after)
    finding.notes += finding.differences.notes
    finding.row_changes = compare_rows(rows_before, trial.rows())

    try:
        _run(trial, up)
    except SqlmigError as error:  # it fails on something that its down file left
        trial.scratch.refuse_if_lost(error)
        finding.result = "failed"
        finding.notes.append(f"up again failed: {error}")


def _try_down_with_rows(trial: _Trial, down: SqlFile, rows_file: Path) -> None:
    """Check that the down file also runs when its version's tables contain rows. Raises SqlmigError."""
    if not down.in_transaction or down.has_own_mode:
        return
    connection = trial.scratch.connection
    try:
        connection.execute("BEGIN")
        send_pieces(connection, _body_of(trial.scratch, down))
    except MigrationFailed as failure:
        failure.args = (f"with the rows of {rows_file.name}: {failure}",)
        raise
    finally:
        rollback(connection)


def _run_once(trial: _Trial, up: SqlFile, finding: Finding) -> None:
    """Run an up file, and note its effects on the application."""

    def observe() -> None:
        finding.effects = trial.watcher.observe()

    first_refused = trial.first_refused(up, finding)
    trial.watcher.begin()
    try:
        run_file(trial.scratch, up, observe, first_refused.look)
        finding.line = first_refused.line
    finally:
        _forget(trial, up)


def _run(trial: _Trial, file: SqlFile) -> None:
    try:
        run_file(trial.scratch, file)
    finally:
        _forget(trial, file)


def _forget(trial: _Trial, file: SqlFile) -> None:
    """Reset the session after a file that may have changed it, and forget the tables from before."""
    if not file.in_transaction or file.repeats:
        _clear(trial)
        trial.watcher.forget()


def _read(scratch: Scratch, *, with_values: bool = False) -> Catalog:
    """Return the catalog. If the server was created for the check, add the objects that its databases share.

    with_values: include the current value of each sequence.
    """
    catalog = read_catalog_again(scratch.connection)
    if with_values:
        add_sequence_values(scratch.connection, catalog)
    if scratch.owns_server:
        name = scratch.connection.info.dbname
        for shared, state in shared_objects(scratch.connection, name).items():
            catalog[Key(shared.kind, shared.name)] = Entry({"state": state}, None)
    return catalog


def _clear(trial: _Trial) -> None:
    """Reset the session after a file, and prepare the statements that count the catalogs."""
    rollback(trial.scratch.connection)
    trial.scratch.connection.execute("DISCARD ALL")
    trial.counts.prepare()
