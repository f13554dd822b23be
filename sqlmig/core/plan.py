"""The plan: which versions to run, from the files and the ledger rows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core.errors import LedgerDisagrees, SqlmigError, UsageError
from sqlmig.core.text import counted
from sqlmig.core.versions import VersionState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from sqlmig.core.migrations import Migration, Replaces
    from sqlmig.core.versions import LedgerRow, State

_FEW = 3  # the number of versions that are named
_FEW_LINES = 5  # the number of versions with a line of their own


class VersionInfo(NamedTuple):
    """A version and its state, with its files and its ledger row if it has them."""

    version: int
    label: str
    name: str
    state: State
    migration: Migration | None
    ledger_row: LedgerRow | None
    replaces: Replaces | None = None  # the versions that its file replaces

    @property
    def applied_at(self) -> str | None:
        """When it was applied; None if it is not applied."""
        return None if self.ledger_row is None else self.ledger_row.applied_at

    @property
    def applied_by(self) -> str | None:
        """Who applied it; None if that is not known."""
        return None if self.ledger_row is None else self.ledger_row.applied_by

    @property
    def seconds(self) -> float | None:
        """How long it ran; None if that is not known, or it was stamped."""
        return None if self.ledger_row is None else self.ledger_row.seconds

    @property
    def label_applied(self) -> str:
        """The label under which it was applied, for reverts."""
        if not self.has_another_name:
            return self.label
        digits, _, _ = self.label.partition("_")
        return f"{digits}_{self.recorded_name}"

    @property
    def recorded_name(self) -> str:
        """The name under which it was applied; empty if it is not applied."""
        return "" if self.ledger_row is None else self.ledger_row.name

    @property
    def has_another_name(self) -> bool:
        """Whether the version was applied under another name, as another migration."""
        return self.ledger_row is not None and self.ledger_row.name != self.name


class Up(NamedTuple):
    """A request to apply pending versions: up to a version, at most a number of them, or all.

    allow_non_empty: also in a schema that has objects, but no ledger yet.
    """

    to: int | None = None
    steps: int | None = None
    allow_out_of_order: bool = False
    allow_non_empty: bool = False


class Down(NamedTuple):
    """A request to revert: all versions above a version, a number of them, or all.

    confirmed: the versions that the user has seen and confirmed. Others are refused.
    """

    to: int | None = None
    steps: int | None = None
    confirmed: frozenset[int] | None = None


Request = Up | Down


def states(
    migrations: Iterable[Migration],
    ledger: Sequence[LedgerRow],
    checksums: Mapping[int, str],
    replaces: Replaces | None = None,
) -> list[VersionInfo]:
    """Return each known version with its state, by version.

    checksums: of the up files as they are now. A version without a checksum counts as
    unchanged. replaces: the versions that the first file replaces. If all of them are
    applied, it counts as applied, and so do they.
    """
    recorded = {row.version: row for row in ledger}
    replaced = _replaced(recorded, replaces)
    newest = max(recorded, default=-1)
    digits = 0
    rows = []
    for migration in migrations:
        version = migration.version
        digits = digits or len(migration.label.partition("_")[0])
        entry = recorded.pop(version, None)
        state: State = "applied"
        if entry is None:
            state = "pending" if version > newest else "out-of-order"
        elif version not in replaced and _is_changed(entry, checksums):
            state = "changed"
        rows.append(
            VersionInfo(
                version, migration.label, migration.name, state, migration, entry
            )
        )
    if rows:
        rows[0] = rows[0]._replace(replaces=replaces)

    rows += _without_file(recorded, replaced, rows, digits)
    return sorted(rows, key=lambda row: row.version)


def _without_file(
    recorded: Mapping[int, LedgerRow],
    replaced: Collection[int],
    rows: Sequence[VersionInfo],
    digits: int,
) -> Iterator[VersionInfo]:
    """Yield the applied versions that have no file here."""
    newest_file = max((row.version for row in rows), default=-1)
    for version, entry in recorded.items():
        label = f"{version:0{digits}}_{entry.name}"
        state: State = "applied"
        if version not in replaced:
            state = _state_without_file(version, newest_file)
        yield VersionInfo(version, label, entry.name, state, None, entry)


def _is_changed(entry: LedgerRow, checksums: Mapping[int, str]) -> bool:
    """Check whether the up file of an applied version has another text now."""
    return checksums.get(entry.version, entry.checksum) != entry.checksum


def _state_without_file(version: int, newest_file: int) -> State:
    """Return the state of an applied version without a file: if it is newer than all files, a newer release ran it."""
    return "ahead" if version > newest_file else "missing"


def _replaced(
    recorded: Mapping[int, LedgerRow], replaces: Replaces | None
) -> Collection[int]:
    """Return the applied versions that a squashed file replaces, if the last of them is applied."""
    if replaces is None:
        return ()
    last = recorded.get(replaces.last)
    if last is None or last.checksum != replaces.checksum:
        return ()
    versions = range(replaces.first, replaces.last + 1)
    count = sum(version in versions for version in recorded)
    return versions if replaces.least <= count <= replaces.most else ()


def versions_to_run(
    request: Request,
    rows: Sequence[VersionInfo],
    done: int = 0,
    database: str = "the database",
) -> list[VersionInfo]:
    """Return the versions that a request is about, in the order in which they run.

    done: how many of the request's steps are done already. database: its name, for
    messages. Raises UsageError for a version that does not exist, and LedgerDisagrees if
    ``up`` must not begin.
    """
    if isinstance(request, Up):
        return _versions_to_apply(request, rows, done, database)
    return _versions_to_revert(request, rows, done)


def _versions_to_apply(
    request: Up, rows: Sequence[VersionInfo], done: int, database: str
) -> list[VersionInfo]:
    check_version(rows, request.to)
    _refuse_disagreement(request, rows, done, database)
    pending = []
    for row in rows:
        if row.ledger_row is None and (request.to is None or row.version <= request.to):
            pending.append(row)
    if request.steps is None:
        return pending
    return pending[: request.steps - done]


def _refuse_disagreement(
    request: Up, rows: Sequence[VersionInfo], done: int, database: str
) -> None:
    """Raise LedgerDisagrees if the files and the ledger do not fit together."""
    accepted = {"applied", "pending", "ahead"}
    if request.allow_out_of_order:
        accepted.add("out-of-order")
    problems = [row for row in rows if row.state not in accepted]
    if problems:
        _refuse_partly_replaced(rows, database)
        states = [VersionState(row.version, row.name, row.state) for row in problems]
        message = _disagreement(problems, rows, done, database)
        raise LedgerDisagrees(message, states)


def _refuse_partly_replaced(rows: Sequence[VersionInfo], database: str) -> None:
    """Raise LedgerDisagrees if the database has only some of the versions that a squashed file replaces."""
    for row in rows:
        if row.replaces and row.state != "applied":
            _refuse_if_partly_applied(row, row.replaces, rows, database)


def _refuse_if_partly_applied(
    squashed: VersionInfo,
    replaces: Replaces,
    rows: Sequence[VersionInfo],
    database: str,
) -> None:
    entry = squashed.ledger_row
    versions = range(replaces.first, replaces.last + 1)
    old = [row for row in rows if row.ledger_row and row.version in versions]
    if not old or (entry and entry.checksum != replaces.checksum):
        return
    rest = f"those after {old[-1].version}, up to {replaces.last},"
    if entry:
        rest = f"the missing ones ({len(old)} of {replaces.most} are there)"
    raise LedgerDisagrees(
        f"nothing was applied to {database}: {squashed.label} replaces the versions {replaces.first} to "
        f"{replaces.last}, and the database has only some of them. Apply {rest} "
        "with the older release that has their files; then run this again",
        [VersionState(row.version, row.name, row.state) for row in old],
    )


def message_for_ahead(rows: Iterable[VersionInfo]) -> str:
    """Return the message for versions that a newer release has applied; empty if there are none."""
    labels = [row.label for row in rows if row.state == "ahead"]
    if not labels:
        return ""
    few = ", ".join(labels[:_FEW])
    if len(labels) > _FEW:
        few += f" and {len(labels) - _FEW} more"
    verb = "is" if len(labels) == 1 else "are"
    return (
        f"{few} {verb} newer than every file here: "
        "applied by a newer release; continuing without it"
    )


def _disagreement(
    problems: Sequence[VersionInfo],
    rows: Sequence[VersionInfo],
    done: int,
    database: str,
) -> str:
    """Return the message for versions that keep ``up`` from beginning."""
    nothing = "nothing more" if done else "nothing"
    lines = [
        f"{nothing} was applied to {database}, because the directory and the ledger disagree:"
    ]
    newest = max((row.version for row in rows if row.ledger_row), default=-1)
    for row in problems[:_FEW_LINES]:
        lines.append(f"{row.label}: {_remedy(row, is_newest=row.version == newest)}")
    if len(problems) > _FEW_LINES:
        more = counted(len(problems) - _FEW_LINES, "more version")
        lines.append(f"and {more}; `sqlmig status` shows all")

    lines += _what_to_check(problems, rows, database)
    return "\n".join(lines)


def _what_to_check(
    problems: Sequence[VersionInfo], rows: Sequence[VersionInfo], database: str
) -> list[str]:
    """Return a question to answer before any repair, because it may be the wrong database."""
    question = f"Is {database} the right database, and --dir the right directory?"
    states_found = {row.state for row in problems}
    if any(row.state == "changed" and row.has_another_name for row in problems):
        return [
            (
                f"{question} Another application's ledger looks like this. `sqlmig repair` would overwrite it, "
                "so use it only if you renamed these files on purpose."
            )
        ]
    if states_found & {"changed", "missing"}:
        return [
            (
                "If you changed these files on purpose, `sqlmig repair` accepts them as they are. "
                f"First check that {database} is the right database."
            )
        ]
    if all(row.state != "applied" for row in rows):
        return [f"{question} No file here is applied there, but others are."]
    return []


def _remedy(row: VersionInfo, *, is_newest: bool) -> str:
    if row.state == "missing":
        return (
            "applied, but its file is gone: restore the file, or revert it with `down`"
        )
    if row.state == "out-of-order":
        return "pending, but older than the newest applied: renumber it, or use --allow-out-of-order"
    if row.replaces:
        return (
            "it replaces a version, but the database applied that version from another file; "
            "compare the two histories"
        )
    if row.has_another_name:
        return (
            f"version {row.version} was applied as {row.recorded_name}, which is another migration: "
            "if you renumbered that file, give it its old number; otherwise give this file a new number"
        )
    remedy = "changed since it was applied: restore the file, and write the change as a new migration"
    if is_newest and row.migration and row.migration.down_file:
        remedy += (
            ". If only this database has it: restore the file, `sqlmig down`, edit it, `sqlmig up`. "
            "The rows in its tables are lost then"
        )
    return remedy


def _versions_to_revert(
    request: Down, rows: Sequence[VersionInfo], done: int
) -> list[VersionInfo]:
    newest_first = [row for row in reversed(rows) if row.ledger_row]
    chosen = newest_first
    if request.to is not None:
        # 0 means the start, even if there is no version 0.
        if request.to > 0:
            check_version(rows, request.to)
        chosen = [row for row in newest_first if row.version > request.to]
    elif request.steps is not None:
        if not done:
            _check_steps(request.steps, len(newest_first))
        chosen = newest_first[: request.steps - done]

    if request.confirmed is not None:
        _check_confirmed(chosen, request.confirmed)
    return chosen


def _check_steps(steps: int, applied: int) -> None:
    if steps > max(1, applied):
        raise UsageError(
            f"cannot revert {counted(steps, 'version')}: {applied} applied; use --all to revert all of them"
        )


def _check_confirmed(chosen: Sequence[VersionInfo], confirmed: frozenset[int]) -> None:
    """Raise SqlmigError for a version that the user has not seen."""
    for row in chosen:
        if row.version not in confirmed:
            raise SqlmigError(
                f"the ledger has changed since the rehearsal: {row.version} is applied; "
                "run it again"
            )


def versions_to_stamp(
    rows: Sequence[VersionInfo], version: int, *, only: bool = False
) -> list[Migration]:
    """Return the migrations to record, up to a version, or it alone.

    Raises SqlmigError if the ledger contradicts them.
    """
    check_version(rows, version)
    migrations = []
    problems = []
    for row in rows:
        if row.version > version or (only and row.version != version):
            continue
        if row.state in ("changed", "missing"):
            problems.append(f"{row.label} is {row.state}")
        elif row.migration and row.ledger_row is None:
            migrations.append(row.migration)

    if problems:
        raise SqlmigError(f"nothing was recorded: {', '.join(problems)}")
    return migrations


def check_version(
    known: Sequence[VersionInfo] | Sequence[Migration], version: int | None
) -> None:
    """Raise UsageError for a version that does not exist."""
    if version is not None and all(one.version != version for one in known):
        raise UsageError(
            f"there is no version {version}; `sqlmig status` shows all versions"
        )
