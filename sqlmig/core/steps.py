"""The steps of a run: each version to apply or to revert, with the file that does it, read and scanned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from sqlmig.core.connection import fetch
from sqlmig.core.errors import SqlmigError
from sqlmig.core.other_tools import (
    find_neighbours,
    other_ledgers,
    refuse_other_tool,
)
from sqlmig.core.outside_transaction import refuse_pooler
from sqlmig.core.plan import Up
from sqlmig.core.sqlfile import load
from sqlmig.core.text import few

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlmig.core.plan import Request, VersionInfo
    from sqlmig.core.session import Session
    from sqlmig.core.sqlfile import SqlFile

Direction = Literal["up", "down"]


class Step(NamedTuple):
    """A version to apply or to revert, and the file that does it."""

    version: VersionInfo
    direction: Direction
    file: SqlFile

    @property
    def label(self) -> str:
        """The name of the migration, for messages."""
        if self.direction == "up":
            return self.version.label
        return self.version.label_applied

    @property
    def verb(self) -> str:
        """What the step does, in the past tense."""
        return "applied" if self.direction == "up" else "reverted"


def plan_steps(session: Session, request: Request, done: int = 0) -> list[Step]:
    """Return the steps of a request, after this many of them are done.

    All their files are read and scanned here, so a file that must not run stops all of
    them. Raises SqlmigError for that, for a ledger or database that is not ours, and for a
    server that accepts no changes.
    """
    versions = session.versions_to_run(request, done)
    if session.contents is None:
        neighbours = find_neighbours(session.connection, session.ledger)
        refuse_other_tool(session.connection, session.ledger, neighbours)
        if isinstance(request, Up) and not request.allow_non_empty:
            _refuse_non_empty(session, neighbours.objects)
    if isinstance(request, Up):
        steps = [_step_to_apply(session, version) for version in versions]
    else:
        steps = _steps_to_revert(session, versions)
    if steps:
        has_own_mode = steps[0].file.has_own_mode
        session.connection.refuse_read_only(chooses_its_mode=has_own_mode)
    return steps


def plan_steps_for_run(session: Session, request: Request, done: int = 0) -> list[Step]:
    """Return the steps as plan_steps does, and refuse files that cannot run through a pooler."""
    steps = plan_steps(session, request, done)
    refuse_pooler(session, [step.file for step in steps])
    return steps


def _refuse_non_empty(session: Session, objects: Sequence[str]) -> None:
    """Refuse a schema that has objects but no ledger: it may be another application's."""
    if objects:
        raise SqlmigError(message_for_non_empty(session, objects))


def message_for_non_empty(session: Session, objects: Sequence[str]) -> str:
    """Return the message for a schema that has objects but no ledger."""
    others = other_ledgers(session.connection, session.ledger)
    if others:
        return f"nothing was applied: {session.connection.database_name} has no ledger in the schema public. {others}"
    return (
        f"nothing was applied: {session.connection.database_name} has no ledger in the schema {session.ledger.schema}, "
        f"but it is not empty: {few(objects)}. Is it the right database? If it has what these files make, "
        f"`sqlmig stamp V{session.ledger.schema_option}` records everything up to V as applied, and runs nothing. "
        "To apply all files anyway, add --allow-non-empty"
    )


def _step_to_apply(session: Session, version: VersionInfo) -> Step:
    assert version.migration  # a pending version has a file
    _ = (
        version.migration.down_text
    )  # read now: a down file that cannot be kept stops all
    return Step(version, "up", _scanned(session, version.migration.up_file))


def _steps_to_revert(session: Session, versions: Sequence[VersionInfo]) -> list[Step]:
    files: dict[int, SqlFile] = {}
    for one in versions:
        if one.migration and one.migration.down_file and not one.has_another_name:
            files[one.version] = _scanned(session, one.migration.down_file)
    without = [one for one in versions if one.version not in files]
    files |= _copies_in_ledger(session, without)

    _refuse_versions_without_a_down_file(versions, files)
    return [Step(one, "down", files[one.version]) for one in versions]


def _refuse_versions_without_a_down_file(
    versions: Sequence[VersionInfo], files: Mapping[int, SqlFile]
) -> None:
    for one in versions:
        if one.version not in files and one.has_another_name:
            raise SqlmigError(
                f"nothing was reverted: version {one.version} was applied as {one.recorded_name}, "
                f"and its down file is not here; {one.label} is another migration"
            )
    without = [one.label for one in versions if one.version not in files]
    if without:
        raise SqlmigError(
            f"nothing was reverted: there is no down file for {', '.join(without)}"
        )
    for one in versions:
        reason = files[one.version].irreversible
        if reason is not None:
            raise SqlmigError(
                f"nothing was reverted: {one.label} is irreversible: {reason}"
            )


def _scanned(session: Session, path: Path) -> SqlFile:
    """Return a file, scanned only once for all sessions that share it."""
    if path not in session.files:
        session.files[path] = load(path)
    return session.files[path]


def _copies_in_ledger(
    session: Session, versions: Sequence[VersionInfo]
) -> dict[int, SqlFile]:
    """Return the ledger's copies of the down files of these versions."""
    labels = {}
    for one in versions:
        if one.ledger_row and one.ledger_row.has_down_copy:
            labels[one.version] = one.label
    if not labels:
        return {}
    listed = ", ".join(str(version) for version in labels)

    copies = {}
    query = session.ledger.sql("copies", versions=listed)
    for version, text in fetch(session.connection, query):
        path = Path(f"the ledger's copy of {labels[version]}.down.sql")
        copies[version] = load(path, text.encode())
    return copies
