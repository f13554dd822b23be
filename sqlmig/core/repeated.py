"""Files that repeat: one transaction for each run, until a run changes no row. For backfills of large tables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlmig.core.attempts import message_for_rows
from sqlmig.core.connection import cell_of, fetch, rollback
from sqlmig.core.errors import MigrationFailed, TryAgain
from sqlmig.core.hidden_rows import COLUMN, hidden_rows_pieces
from sqlmig.core.ledger_pieces import before_file, check_of_ledger, record_pieces
from sqlmig.core.reading import Contents
from sqlmig.core.sending import send_pieces
from sqlmig.core.sql import literal
from sqlmig.core.transaction import file_transaction, own_piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.pq.abc import PGresult

    from sqlmig.core.attempts import Attempts
    from sqlmig.core.session import Session
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.steps import Step
    from sqlmig.core.transaction import Piece

# The command tags in which the server reports how many rows a statement changed
# (https://www.postgresql.org/docs/current/protocol-message-formats.html, CommandComplete).
_ROW_COUNT = re.compile(rb"(?:INSERT \d+|UPDATE|DELETE|MERGE) (\d+)")
_COUNTED_STATEMENTS = frozenset((b"insert", b"update", b"delete", b"merge"))
_CHANGES_NO_ROW = frozenset((b"set", b"reset", b"lock", b"begin", b"start", b"commit"))
# The server's count of the rows that the session changed in permanent tables, in this
# transaction and in earlier transactions that the statistics lack. Null if it does not count.
_ROWS_BY_STATISTICS = """
    SELECT CASE WHEN current_setting('track_counts')::bool THEN coalesce(sum(
        pg_stat_get_xact_tuples_inserted(oid)
        + pg_stat_get_xact_tuples_updated(oid)
        + pg_stat_get_xact_tuples_deleted(oid)
    ), 0)::bigint END
    FROM pg_class
    WHERE relkind = 'r' AND relpersistence <> 't' AND relnamespace <> 'pg_catalog'::regnamespace
"""


def run_repeatedly(session: Session, step: Step, attempts: Attempts) -> str | None:
    """Run a file until a run changes no row, and write its ledger row in the same transaction as that last run.

    Returns the tables in which row level security may have hidden rows. attempts.rows
    counts the rows that are committed. Raises as runner.run does; the message of a
    MigrationFailed says how many rows are committed.
    """
    file = step.file
    connection = session.connection
    has_other_statements = _has_other_statements(file)
    if has_other_statements and connection.one_statement_a_batch:
        raise MigrationFailed(
            f"{file.path}: on Citus a file that repeats may only INSERT, UPDATE, DELETE and MERGE, "
            "because the coordinator does not count the rows of other statements",
            path=file.path,
        )
    try:
        while True:
            rows, results = _run_once(session, step, attempts)
            if not rows:
                return cell_of(results, COLUMN)
            if session.contents is None:
                session.contents = Contents([], identity="")
            attempts.rows += rows
    except TryAgain:
        raise
    except MigrationFailed as failure:
        if attempts.rows:
            failure.args = (f"{failure}\n{message_for_rows(attempts.rows)}",)
        raise


def _run_once(
    session: Session, step: Step, attempts: Attempts
) -> tuple[int, list[PGresult]]:
    """Run a file in one transaction, and return how many rows it changed, and the results of its end.

    If it changed none, its ledger row is written as well.
    """
    connection = session.connection
    transaction = file_transaction(
        step.file,
        session.file_settings,
        before=before_file(session, step, stays_open=True),
        after=hidden_rows_pieces(step.file),
        before_commit=[check_of_ledger(session, step.file)],
    )
    counter = RowCounter()
    results: list[PGresult] = []
    send_pieces(connection, transaction.begin)
    before = _rows_by_statistics(session)
    send_pieces(connection, transaction.body, counter.add)
    # A trigger may do the work elsewhere, while its statement changes no row.
    rows = counter.rows
    if _has_other_statements(step.file) or not rows:
        rows = _rows_since(before, session, step.file, counter.rows)
    record: list[Piece] = []
    if not rows:
        record = record_pieces(session, step, attempts.seconds())
    if not rows or not attempts.rows:
        record = [*record, *_note_pieces(session, step, is_finished=not rows)]
    end = [*transaction.end, *record, *transaction.commit]
    send_pieces(connection, end, results.extend)
    return rows, results


def _note_pieces(session: Session, step: Step, *, is_finished: bool) -> list[Piece]:
    """Return the statement that notes in the ledger's comment that the file has begun, or removes that note."""
    if step.direction == "down":
        return []
    note = "" if is_finished else f" Begun and not finished: {step.version.version}."
    query = session.ledger.sql("note", note=literal(note))
    return [own_piece("other", query, step.file)]


class RowCounter:
    """Counts the rows that statements have changed, from their command tags."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.rows = 0

    def add(self, results: Sequence[PGresult]) -> None:
        """Add the rows of some results."""
        for result in results:
            match = _ROW_COUNT.fullmatch(result.command_status or b"")
            if match:
                self.rows += int(match[1])


def _has_other_statements(file: SqlFile) -> bool:
    """Check whether a file has statements that may change rows without reporting how many, such as DO."""
    return bool(set(file.first_words()) - _COUNTED_STATEMENTS - _CHANGES_NO_ROW)


def _rows_by_statistics(session: Session) -> int | None:
    """Return how many rows the session has changed, in the server's count; None if it does not count."""
    ((rows,),) = fetch(session.connection, _ROWS_BY_STATISTICS)
    return None if rows is None else int(rows)


def _rows_since(
    before: int | None, session: Session, file: SqlFile, by_tags: int
) -> int:
    """Return how many rows were changed since. If the server does not count, the command tags must do."""
    now = _rows_by_statistics(session)
    if before is not None and now is not None:
        return max(by_tags, now - before)
    if not _has_other_statements(file):
        return by_tags
    rollback(session.connection)
    raise MigrationFailed(
        f"{file.path}: track_counts is off, so sqlmig cannot see when a file that repeats is finished; "
        "turn it on, or write the file with INSERT, UPDATE, DELETE and MERGE only",
        path=file.path,
    )
