"""What is to be done, from what the directory holds and what the ledger says. It knows no database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlmig.errors import SqlmigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlmig.files import Migration


@dataclass(frozen=True)
class Applied:
    """A row of the ledger; the time is UTC, in ISO 8601."""

    version: int
    name: str
    checksum: str
    applied_at: str


@dataclass(frozen=True)
class Row:
    """A version and its state: applied, pending, changed, missing or out-of-order."""

    version: int
    label: str
    name: str
    state: str
    applied_at: str | None


def states(migrations: Iterable[Migration], applied: Sequence[Applied], checksums: Mapping[int, str]) -> list[Row]:
    """Return a row for each version that the directory or the ledger knows, by version.

    checksums: of the up files as they are now; an applied version without one counts as unchanged.
    """
    ledger = {row.version: row for row in applied}
    newest = max(ledger, default=-1)
    rows = []
    for migration in migrations:
        row = ledger.pop(migration.version, None)
        if row is None:
            state = "pending" if migration.version > newest else "out-of-order"
        else:
            state = "applied" if checksums.get(row.version, row.checksum) == row.checksum else "changed"
        applied_at = row.applied_at if row else None
        rows.append(Row(migration.version, migration.label, migration.name, state, applied_at))
    width = len(rows[0].label.partition("_")[0]) if rows else 0
    gone = [Row(a.version, f"{a.version:0{width}}_{a.name}", a.name, "missing", a.applied_at) for a in ledger.values()]
    return sorted(rows + gone, key=lambda row: row.version)


def up(
    rows: Sequence[Row], to: int | None = None, steps: int | None = None, *, allow_out_of_order: bool = False
) -> list[int]:
    """Return the versions to apply, oldest first.

    to: the last of them. steps: how many at most.
    Raises UsageError for a version that does not exist, SqlmigError for a directory and a ledger that disagree.
    """
    check_version(rows, to)
    remedies = {
        "changed": "changed since it was applied: restore the file, and write the change as a new migration",
        "missing": "applied, but its file is gone: restore the file",
        "out-of-order": "pending, but older than the newest applied: renumber it, or use --allow-out-of-order",
    }
    if allow_out_of_order:
        del remedies["out-of-order"]
    problems = [f"{row.label}: {remedies[row.state]}" for row in rows if row.state in remedies]
    if problems:
        message = "\n".join(["nothing was applied, because the directory and the ledger disagree:", *problems])
        raise SqlmigError(message)
    wanted = [row.version for row in rows if row.applied_at is None and (to is None or row.version <= to)]
    return wanted[:steps]


def down(rows: Sequence[Row], to: int | None = None, steps: int | None = 1) -> list[int]:
    """Return the versions to revert, newest first.

    to: all above it (0 stands for the start where no version is 0). steps: how many; None for all.
    Raises UsageError for a version that does not exist, and for more steps than there are.
    """
    applied = [row.version for row in rows if row.applied_at is not None][::-1]
    if to is not None:
        if to != 0:
            check_version(rows, to)
        start = -1 if to == 0 and not any(row.version == 0 for row in rows) else to
        return [version for version in applied if version > start]
    if steps is not None and steps > max(1, len(applied)):
        raise UsageError(f"{steps} steps go beyond the start: {len(applied)} applied; use --all to revert all")
    return applied[:steps]


def check_version(rows: Sequence[Row], version: int | None) -> None:
    """Raise UsageError for a version that does not exist."""
    if version is not None and not any(row.version == version for row in rows):
        raise UsageError(f"there is no version {version}; `sqlmig status` shows those there are")
