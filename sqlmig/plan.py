"""What is to be done, from what the directory holds and what the ledger says. It knows no database."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from sqlmig.errors import SqlmigError, UsageError
from sqlmig.files import Migration

State = Literal["applied", "pending", "changed", "missing", "out-of-order"]
Verb = Literal["applied", "reverted"]


class Applied(NamedTuple):
    """A row of the ledger; the time is UTC, in ISO 8601. has_copy: of the down file."""

    version: int
    name: str
    checksum: str
    applied_at: str
    has_copy: bool = False


class Row(NamedTuple):
    """A version and its state, with its files and what the ledger says, where there are such."""

    version: int
    label: str
    name: str
    state: State
    schema: str
    migration: Migration | None
    applied: Applied | None
    applied_at: str | None


class Wish(NamedTuple):
    """What is to be done, and to which rows, by all and how many are done; shown: the only versions, by schema."""

    verb: Verb
    choose: Callable[..., list[Row]]
    shown: Mapping[str, Sequence[int]] | None = None


def states(
    migrations: Iterable[Migration], applied: Sequence[Applied], checksums: Mapping[int, str], schema: str = ""
) -> list[Row]:
    """Return a row for each known version, by version. checksums: of the up files now; without one it is unchanged."""
    ledger, rows = {row.version: row for row in applied}, list[Row]()
    newest, width = max(ledger, default=-1), 0
    for migration in migrations:
        version, label, row = migration.version, migration.label, ledger.pop(migration.version, None)
        state: State = "applied"
        if row is None:
            state = "pending" if version > newest else "out-of-order"
        elif checksums.get(version, row.checksum) != row.checksum:
            state = "changed"
        width = width or len(label.partition("_")[0])
        rows.append(Row(version, label, migration.name, state, schema, migration, row, row and row.applied_at))
    for version, row in ledger.items():
        label = f"{version:0{width}}_{row.name}"
        rows.append(Row(version, label, row.name, "missing", schema, None, row, row.applied_at))
    return sorted(rows, key=lambda row: row.version)


def up(rows: list[Row], to: int | None, steps: int | None, *, done: int = 0, out_of_order: bool = False) -> list[Row]:
    """Return the rows to apply, oldest first; raise SqlmigError where the directory and the ledger disagree."""
    check_version(rows, to)
    fine = ("applied", "pending", "out-of-order" if out_of_order else "")
    if problems := [f"{row.label}: {_remedy(row)}" for row in rows if row.state not in fine]:
        if any(row.state in ("changed", "missing") for row in rows):
            problems.append("where that is so on purpose, `sqlmig repair` brings the ledger in line")
        raise SqlmigError("\n".join(["nothing was applied, because the directory and the ledger disagree:", *problems]))
    wanted = [row for row in rows if not row.applied and (to is None or row.version <= to)]
    return wanted if steps is None else wanted[: steps - done]


def _remedy(row: Row) -> str:
    if row.state == "missing":
        return "applied, but its file is gone: restore the file, or revert it with `down`"
    if row.state == "out-of-order":
        return "pending, but older than the newest applied: renumber it, or use --allow-out-of-order"
    if row.applied and row.applied.name != row.name:
        return f"version {row.version} was applied as {row.applied.name}: give that file its number back"
    return "changed since it was applied: restore the file, and write the change as a new migration"


def down(rows: Sequence[Row], to: int | None, steps: int | None, *, done: int = 0) -> list[Row]:
    """Return the rows to revert, newest first: above one (0 for the start), so many of which some are done, all."""
    applied = [row for row in rows if row.applied][::-1]
    if to is not None:
        check_version(rows, to or None)
        return [row for row in applied if row.version > to]
    if steps is not None and not done and steps > max(1, len(applied)):
        raise UsageError(f"{steps} steps go beyond the start: {len(applied)} applied; use --all to revert all")
    return applied if steps is None else applied[: steps - done]


def stamp(rows: Sequence[Row], version: int) -> list[Migration]:
    """Return the migrations to record, up to one; raise SqlmigError where the ledger says something else."""
    check_version(rows, version)
    until = [row for row in rows if row.version <= version]
    if strange := [f"{row.label} is {row.state}" for row in until if row.state in ("changed", "missing")]:
        raise SqlmigError(f"nothing was recorded: {', '.join(strange)}")
    return [row.migration for row in until if row.migration and not row.applied]


def check_version(known: Sequence[Row] | Sequence[Migration], *versions: int | None) -> None:
    """Raise UsageError for a version that does not exist."""
    for version in {*versions} - {None, *(one.version for one in known)}:
        raise UsageError(f"there is no version {version}; `sqlmig status` shows those there are")
