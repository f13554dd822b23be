"""What is to be done, from what the directory holds and what the ledger says. It knows no database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlmig.errors import SqlmigError, UsageError
from sqlmig.files import Migration

State = Literal["applied", "pending", "changed", "missing", "out-of-order"]
Verb = Literal["applied", "reverted"]


@dataclass(frozen=True)
class Applied:
    """A row of the ledger; the time is UTC, in ISO 8601. has_copy: of the down file."""

    version: int
    name: str
    checksum: str
    applied_at: str
    has_copy: bool = False


@dataclass(frozen=True)
class Row:
    """A version and its state."""

    version: int
    label: str
    name: str
    state: State
    applied_at: str | None
    schema: str = ""
    has_copy: bool = False


@dataclass(frozen=True)
class Wish:
    """What is to be done, and to which versions, by the rows and how many are done already."""

    verb: Verb
    choose: Callable[[Sequence[Row], int], list[int]]


def states(
    migrations: Iterable[Migration], applied: Sequence[Applied], checksums: Mapping[int, str], schema: str = ""
) -> list[Row]:
    """Return a row for each version that the directory or the ledger knows, by version.

    checksums: of the up files as they are now; an applied version without one counts as unchanged.
    """
    ledger = {row.version: row for row in applied}
    newest = max(ledger, default=-1)
    rows = []
    state: State
    for migration in migrations:
        row = ledger.pop(migration.version, None)
        if row is None:
            state = "pending" if migration.version > newest else "out-of-order"
        else:
            state = "applied" if checksums.get(row.version, row.checksum) == row.checksum else "changed"
        applied_at = row.applied_at if row else None
        rows.append(Row(migration.version, migration.label, migration.name, state, applied_at, schema))
    width = len(rows[0].label.partition("_")[0]) if rows else 0
    for gone in ledger.values():
        label = f"{gone.version:0{width}}_{gone.name}"
        rows.append(Row(gone.version, label, gone.name, "missing", gone.applied_at, schema, gone.has_copy))
    return sorted(rows, key=lambda row: row.version)


def up(
    rows: Sequence[Row], to: int | None, steps: int | None, *, done: int = 0, out_of_order: bool = False
) -> list[int]:
    """Return the versions to apply, oldest first.

    to: the last of them. steps: how many at most, of which some are done. out_of_order: what is so may be applied, too.
    Raises UsageError for a version that does not exist, SqlmigError for a directory and a ledger that disagree.
    """
    check_version(rows, to)
    remedies: dict[State, str] = {
        "changed": "changed since it was applied: restore the file, and write the change as a new migration",
        "missing": "applied, but its file is gone: restore the file, or revert it with `down`",
        "out-of-order": "pending, but older than the newest applied: renumber it, or use --allow-out-of-order",
    }
    if out_of_order:
        del remedies["out-of-order"]
    problems = [f"{row.label}: {remedies[row.state]}" for row in rows if row.state in remedies]
    if problems:
        if any(row.state in ("changed", "missing") for row in rows):
            problems.append("where that is so on purpose, `sqlmig repair` brings the ledger in line")
        message = "\n".join(["nothing was applied, because the directory and the ledger disagree:", *problems])
        raise SqlmigError(message)
    wanted = [row.version for row in rows if row.applied_at is None and (to is None or row.version <= to)]
    return wanted if steps is None else wanted[: steps - done]


def down(rows: Sequence[Row], to: int | None, steps: int | None, *, done: int = 0) -> list[int]:
    """Return the versions to revert, newest first.

    to: all above it (0 stands for the start where no version is 0). steps: how many (of which some are done), else all.
    Raises UsageError for a version that does not exist, and for more steps than there are.
    """
    applied = [row.version for row in rows if row.applied_at is not None][::-1]
    if to is not None:
        if to != 0:
            check_version(rows, to)
        start = -1 if to == 0 and not any(row.version == 0 for row in rows) else to
        return [version for version in applied if version > start]
    if steps is not None and not done and steps > max(1, len(applied)):
        raise UsageError(f"{steps} steps go beyond the start: {len(applied)} applied; use --all to revert all")
    return applied if steps is None else applied[: steps - done]


def stamp(rows: Sequence[Row], version: int) -> list[int]:
    """Return the versions to record, up to one.

    Raises UsageError for a version that does not exist, SqlmigError where the ledger says something else already.
    """
    check_version(rows, version)
    wrong = [row for row in rows if row.version <= version and row.state in ("changed", "missing")]
    if strange := [f"{row.label} is {row.state}" for row in wrong]:
        raise SqlmigError(f"nothing was recorded: {', '.join(strange)}")
    return [row.version for row in rows if row.version <= version and row.applied_at is None]


def repair(rows: Sequence[Row], versions: Sequence[int]) -> list[Row]:
    """Return the rows that a repair mends: all that are changed or missing, or those of some versions.

    Raises UsageError for a version that does not exist.
    """
    for version in versions:
        check_version(rows, version)
    return [row for row in rows if row.state in ("changed", "missing") and (not versions or row.version in versions)]


def check_version(rows: Sequence[Row], version: int | None) -> None:
    """Raise UsageError for a version that does not exist."""
    if version is not None and not any(row.version == version for row in rows):
        raise UsageError(f"there is no version {version}; `sqlmig status` shows those there are")
