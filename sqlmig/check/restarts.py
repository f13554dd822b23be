"""Check that a file that does not run in one transaction can be run again after an interruption.

The file is stopped after every statement but the last, and started again, each time on a
copy of the database from before it. A file that repeats is stopped after one run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.check.catalog import Catalog, add_sequence_values, compare, read_catalog
from sqlmig.check.rows import read_rows
from sqlmig.check.running import run_again, run_beginning, run_file
from sqlmig.core.errors import SqlmigError
from sqlmig.core.text import counted, few, find_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlmig.check.rows import Rows, TableRows
    from sqlmig.check.scratch import Scratch
    from sqlmig.core.sqlfile import SqlFile

    MakeCopy = Callable[[], AbstractContextManager[Scratch]]


class Failure(NamedTuple):
    """A place from which a file cannot be restarted, and why. line: of the statement before it."""

    line: int
    message: str


@dataclass
class Restarts:
    """The places at which a file was stopped, and those from which it does not restart."""

    places: int
    failures: list[Failure] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return a line for each failure, or one about all places."""
        if self.failures:
            return [failure.message for failure in self.failures]
        noun = "place" if self.places == 1 else "places"
        return [f"restarts: {self.places} of {self.places} {noun}"]


class _State(NamedTuple):
    """The catalog and the rows of a copy after a file has run."""

    catalog: Catalog
    rows: Rows


def places_of(file: SqlFile) -> int:
    """Return how many places there are at which the file may be interrupted between two transactions."""
    if file.repeats:
        return 1
    if file.in_transaction:
        return 0
    return max(0, len(file.statement_starts) - 1)


def try_restarts(file: SqlFile, copy: MakeCopy, *, with_values: bool) -> Restarts:
    """Stop a file at each place, start it again, and compare the result with an uninterrupted run.

    copy yields a new copy of the database from before the file. with_values: compare the
    values of sequences. Raises SqlmigError if the uninterrupted run fails.
    """
    count = len(file.statement_starts)
    restarts = Restarts(places_of(file))
    expected = _Expected(file, copy, with_values)
    for number in range(1, restarts.places + 1):
        line = find_place(file.text, file.statement_starts[number - 1]).line
        where = "after one run"
        if not file.repeats:
            where = f"after statement {number} of {count}"
        with copy() as scratch:
            try:
                _stop_and_restart(scratch, file, number)
            except SqlmigError as error:
                scratch.refuse_if_lost(error)
                message = f"cannot restart {where}: {error.first_line}"
                restarts.failures.append(Failure(line, message))
                continue
            differences = expected.differences(scratch)
        if differences:
            message = f"restarts with another result {where}: {few(differences)}"
            restarts.failures.append(Failure(line, message))
    return restarts


def _stop_and_restart(scratch: Scratch, file: SqlFile, number: int) -> None:
    """Run a file up to a place, and then from its beginning. Raises SqlmigError if the second run fails."""
    if file.repeats:
        run_again(scratch, file)
    else:
        run_beginning(scratch, file, number)
    run_file(scratch, file)


class _Expected:
    """The result of an uninterrupted run. It runs twice, to find the values that differ by themselves."""

    def __init__(self, file: SqlFile, copy: MakeCopy, with_values: bool) -> None:  # noqa: FBT001
        self._file = file
        self._copy = copy
        self._with_values = with_values
        self._first = self._run()
        self._second: _State | None = None

    def differences(self, scratch: Scratch) -> list[str]:
        """Return how a copy differs from the result of an uninterrupted run."""
        state = self._read(scratch)
        found = compare(self._first.catalog, state.catalog)
        differences = [f"left {' '.join(key)}" for key in found.left]
        differences += [f"lost {' '.join(key)}" for key in found.lost]
        differences += [f"changed {difference}" for difference in found.changed]
        if state.rows.tables != self._first.rows.tables:
            if self._second is None:
                self._second = self._run()
            differences += _row_differences(
                self._first.rows, self._second.rows, state.rows
            )
        return differences

    def _run(self) -> _State:
        with self._copy() as scratch:
            run_file(scratch, self._file)
            return self._read(scratch)

    def _read(self, scratch: Scratch) -> _State:
        catalog = read_catalog(scratch.connection)
        if self._with_values:
            add_sequence_values(scratch.connection, catalog)
        return _State(catalog, read_rows(scratch.connection, scratch.schema))


def _row_differences(first: Rows, second: Rows, state: Rows) -> Iterator[str]:
    """Yield the tables with other rows, apart from columns in which two uninterrupted runs differ, too."""
    for name in sorted(first.tables.keys() & state.tables.keys()):
        before, now = first.tables[name].rows, state.tables[name].rows
        if len(before) != len(now):
            yield f"{counted(len(now), 'row')} of {name} instead of {len(before):,}"
            continue
        columns = _stable_columns(first.tables[name], second.tables.get(name))
        if _values(before, columns) == _values(now, columns):
            continue
        changed = []
        for column in columns:
            if _values(before, [column]) != _values(now, [column]):
                changed.append(column)
        # Values may also be in other rows, with each column as it was.
        yield f"values of {', '.join(changed or columns)} of {name}"


def _stable_columns(first: TableRows, second: TableRows | None) -> list[str]:
    """Return the columns that have the same values after two uninterrupted runs: no time, and no random value."""
    columns = []
    for column in first.rows[0] if second and first.rows else ():
        if second and _values(first.rows, [column]) == _values(second.rows, [column]):
            columns.append(column)
    return columns


def _values(
    rows: list[dict[str, str | None]], columns: Sequence[str]
) -> Mapping[tuple[str | None, ...], int]:
    """Return how often each combination of values occurs in some columns."""
    return Counter(tuple(map(row.get, columns)) for row in rows)
