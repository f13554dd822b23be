"""Bringing the ledger in line by hand: stamp and repair. They run no file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core.ledger_pieces import write_records
from sqlmig.core.plan import check_version, versions_to_stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlmig.core.plan import VersionInfo
    from sqlmig.core.session import Session


class Correction(NamedTuple):
    """A change of the ledger: a message about it, and the statement that makes it."""

    message: str
    statement: str


def to_stamp(session: Session, version: int) -> list[Correction]:
    """Return what records everything up to a version as applied. Raises as plan.versions_to_stamp."""
    corrections = []
    for migration in versions_to_stamp(session.versions(), version):
        statement = session.ledger.insert(migration, migration.checksum)
        corrections.append(Correction(f"recorded {migration.label}", statement))
    return corrections


def to_repair(session: Session, versions: Sequence[int]) -> list[Correction]:
    """Return what records changed files again and takes missing ones out: of these versions, or of all.

    What a newer release has applied is taken out only where its version is named.
    """
    corrections = []
    for one in session.versions():
        if versions and one.version not in versions:
            continue
        if one.state == "changed" and one.migration:
            message = f"record {one.label} again; its SQL is not run"
            if one.has_another_name:
                message = f"record {one.label} instead of {one.label_applied}; its SQL is not run"
            corrections.append(
                Correction(message, session.ledger.update(one.migration))
            )
        elif one.state == "missing" or (one.state == "ahead" and versions):
            message = f"take {one.label} out of the ledger; what it made stays"
            corrections.append(Correction(message, session.ledger.delete(one.version)))
    return corrections


def check_versions(sessions: Sequence[Session], versions: Sequence[int]) -> None:
    """Raise UsageError for a version that no schema and no file has."""
    known: list[VersionInfo] = []
    for session in sessions:
        known += session.versions()
    for version in versions:
        check_version(known, version)


def correct(
    session: Session, corrections_of: Callable[[Session], list[Correction]]
) -> list[str]:
    """Make the corrections that the ledger needs when no other runner is at work; return their messages."""

    def attempt() -> list[str]:
        corrections = corrections_of(session)
        if corrections:
            write_records(session, [correction.statement for correction in corrections])
        return [correction.message for correction in corrections]

    return session.when_alone(attempt)
