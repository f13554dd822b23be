"""Bringing the ledger in line by hand: stamp and repair. They run no file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core.plan import check_version, rows_to_stamp
from sqlmig.core.runner import write_records

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlmig.core.plan import Row
    from sqlmig.core.session import Session


class Correction(NamedTuple):
    """A change of the ledger: what it is in words, and the statement that makes it."""

    words: str
    statement: str


def to_stamp(session: Session, version: int) -> list[Correction]:
    """Return what records everything up to a version as applied. Raises as plan.rows_to_stamp."""
    corrections = []
    for migration in rows_to_stamp(session.rows(), version):
        statement = session.ledger.insert(migration, migration.checksum)
        corrections.append(Correction(f"recorded {migration.label}", statement))
    return corrections


def to_repair(session: Session, versions: Sequence[int]) -> list[Correction]:
    """Return what records changed files again and takes missing ones out: of these versions, or of all.

    What a newer release has applied is taken out only where its version is named.
    """
    corrections = []
    for row in session.rows():
        if versions and row.version not in versions:
            continue
        if row.state == "changed" and row.migration:
            words = f"record {row.label} again; its SQL is not run"
            if row.has_another_name:
                words = f"record {row.label} in the place of {row.label_applied}; its SQL is not run"
            corrections.append(Correction(words, session.ledger.update(row.migration)))
        elif row.state == "missing" or (row.state == "ahead" and versions):
            words = f"take {row.label} out of the ledger; what it made stays"
            corrections.append(Correction(words, session.ledger.delete(row.version)))
    return corrections


def check_versions(sessions: Sequence[Session], versions: Sequence[int]) -> None:
    """Raise UsageError for a version that no schema and no file has."""
    known: list[Row] = []
    for session in sessions:
        known += session.rows()
    for version in versions:
        check_version(known, version)


def correct(
    session: Session, corrections_of: Callable[[Session], list[Correction]]
) -> list[str]:
    """Make the corrections that the ledger needs when no other runner is at work; return their words."""

    def attempt() -> list[str]:
        corrections = corrections_of(session)
        if corrections:
            write_records(session, [correction.statement for correction in corrections])
        return [correction.words for correction in corrections]

    return session.when_alone(attempt)
