"""Correct the ledger by hand: stamp, unstamp and repair. They do not run any files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core.ledger_pieces import write_records
from sqlmig.core.plan import check_version, versions_to_stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlmig.core.plan import VersionInfo
    from sqlmig.core.session import Session


class Correction(NamedTuple):
    """A change of the ledger: a message about it, and the statement that makes the change."""

    message: str
    statement: str


def to_stamp(session: Session, version: int, *, only: bool = False) -> list[Correction]:
    """Return the corrections that record everything up to a version as applied, or that version alone.

    Raises like plan.versions_to_stamp.
    """
    corrections = []
    for migration in versions_to_stamp(session.versions(), version, only=only):
        statement = session.ledger.insert(migration, migration.checksum)
        corrections.append(Correction(f"recorded {migration.label}", statement))
    return corrections


def to_unstamp(session: Session, versions: Sequence[int]) -> list[Correction]:
    """Return the corrections that take versions out of the ledger."""
    corrections = []
    for one in session.versions(checks_files=False):
        if one.version in versions and one.ledger_row:
            but = "" if one.seconds is None else ", although sqlmig has run it"
            corrections.append(_to_take_out(session, one, but))
    return corrections


def _to_take_out(session: Session, one: VersionInfo, but: str = "") -> Correction:
    return Correction(
        f"take {one.label_applied} out of the ledger{but}; what it made stays",
        session.ledger.delete(one.version),
    )


def to_repair(session: Session, versions: Sequence[int]) -> list[Correction]:
    """Return the corrections that record changed files again and remove missing files, for some versions or all.

    A version that a newer release applied is removed only if it is named.
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
            corrections.append(_to_take_out(session, one))
    return corrections


def check_versions(sessions: Sequence[Session], versions: Sequence[int]) -> None:
    """Raise UsageError for a version that is in no ledger and in no file."""
    known: list[VersionInfo] = []
    for session in sessions:
        known += session.versions()
    for version in versions:
        check_version(known, version)


def correct(
    session: Session, corrections_of: Callable[[Session], list[Correction]]
) -> list[str]:
    """Make the corrections that the ledger needs when no other runner is active, and return their messages."""

    def attempt() -> list[str]:
        corrections = corrections_of(session)
        if corrections:
            write_records(session, [correction.statement for correction in corrections])
        return [correction.message for correction in corrections]

    return session.when_alone(attempt)
