"""Files that repeat: one transaction a run, until a run changes no row. For backfills of large tables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlmig.core.connection import cell_of, fetch, rollback
from sqlmig.core.errors import MigrationFailed
from sqlmig.core.hidden_rows import COLUMN, hidden_rows_pieces
from sqlmig.core.sending import TryAgain, transmit
from sqlmig.core.transaction import file_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg.pq.abc import PGresult

    from sqlmig.core.session import Session
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece

# The tags with which the server says how many rows a statement changed
# (https://www.postgresql.org/docs/current/protocol-message-formats.html, CommandComplete).
_ROW_COUNT = re.compile(rb"(?:INSERT \d+|UPDATE|DELETE|MERGE) (\d+)")
_COUNTED_STATEMENTS = frozenset((b"insert", b"update", b"delete", b"merge"))
_CHANGES_NO_ROW = frozenset((b"set", b"reset", b"lock", b"begin", b"start", b"commit"))
# What the session changed in tables that outlive it, as the server counts it: of this transaction, and of earlier ones
# that it has not yet handed to the statistics. Null where it does not count.
_ROWS_BY_STATISTICS = """
    SELECT CASE WHEN current_setting('track_counts')::bool THEN coalesce(sum(
        pg_stat_get_xact_tuples_inserted(oid)
        + pg_stat_get_xact_tuples_updated(oid)
        + pg_stat_get_xact_tuples_deleted(oid)
    ), 0)::bigint END
    FROM pg_class
    WHERE relkind = 'r' AND relpersistence <> 't' AND relnamespace <> 'pg_catalog'::regnamespace
"""


def run_repeatedly(
    session: Session,
    file: SqlFile,
    before: Callable[[], Sequence[Piece]],
    own_guard: Sequence[Piece],
    record: Piece,
) -> str | None:
    """Run a file until a run changes no row, and record it in the same transaction as that last run.

    Returns the tables of which row level security may have hidden rows from it.

    before: returns what stands before the file in each transaction, as the ledger is then.
    own_guard: sees that the file itself does not change the ledger.
    session.rows_so_far counts the rows that are committed. Raises as runner.apply_file, with words
    for what stays.
    """
    pieces = file_pieces(file, session.files_search_path)
    connection = session.connection
    has_other_statements = _has_other_statements(file)
    if has_other_statements and connection.one_statement_a_message:
        raise MigrationFailed(
            f"{file.path}: on Citus a file that repeats may only INSERT, UPDATE, DELETE and MERGE, "
            "as the coordinator does not count the rows of other statements",
            path=file.path,
        )
    try:
        while True:
            counter = RowCounter()
            transmit(connection, [*pieces.opening, *before()])
            before_body = _rows_by_statistics(session)
            transmit(
                connection,
                [pieces.settings, pieces.body, pieces.constraints],
                counter.add,
            )
            # A trigger may do the work elsewhere, and let its statement change no row.
            rows = counter.rows
            if has_other_statements or not rows:
                rows = _rows_since(before_body, session, file, counter.rows)
            if not rows:
                break
            end = [pieces.reset, *own_guard, pieces.commit]
            transmit(connection, end, file=file)
            session.ledger_exists = True
            session.rows_so_far += rows
        results: list[PGresult] = []
        end = [
            *hidden_rows_pieces(file),
            pieces.reset,
            *own_guard,
            record,
            pieces.commit,
        ]
        transmit(connection, end, results.extend, file)
    except TryAgain:
        raise
    except MigrationFailed as failure:
        if session.rows_so_far:
            failure.args = (f"{failure}\n{words_for_rows(session.rows_so_far)}",)
        raise
    return cell_of(results, COLUMN)


def words_for_rows(rows: int) -> str:
    """Return the words for rows that earlier runs have changed."""
    return f"{rows:,} rows are done and stay. Run sqlmig again: it goes on from there"


class RowCounter:
    """How many rows statements have changed, as their tags say."""

    def __init__(self) -> None:
        """Begin with none."""
        self.rows = 0

    def add(self, results: Sequence[PGresult]) -> None:
        """Add the rows of some results."""
        for result in results:
            match = _ROW_COUNT.fullmatch(result.command_status or b"")
            if match:
                self.rows += int(match[1])


def _has_other_statements(file: SqlFile) -> bool:
    """Say whether a file has statements that may change rows without saying how many, such as DO."""
    words = set(file.first_words())
    return bool(words - _COUNTED_STATEMENTS - _CHANGES_NO_ROW)


def _rows_by_statistics(session: Session) -> int | None:
    """Return how many rows the session has changed, as the server counts them; None where it does not."""
    ((rows,),) = fetch(session.connection, _ROWS_BY_STATISTICS)
    return None if rows is None else int(rows)


def _rows_since(
    before: int | None, session: Session, file: SqlFile, by_tags: int
) -> int:
    """Return how many rows were changed since. Where the server does not count, the tags must do."""
    now = _rows_by_statistics(session)
    if before is not None and now is not None:
        return max(by_tags, now - before)
    if not _has_other_statements(file):
        return by_tags
    rollback(session.connection)
    raise MigrationFailed(
        f"{file.path}: track_counts is off, so nobody can tell when a file that repeats is done; "
        "set it on, or write the file with INSERT, UPDATE, DELETE and MERGE only",
        path=file.path,
    )
