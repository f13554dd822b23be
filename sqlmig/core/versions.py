"""A version: its state, its ledger row, and its entry in the result of a run. Plain data."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["applied", "pending", "changed", "missing", "out-of-order", "ahead"]


class VersionState(NamedTuple):
    """A version and its state."""

    version: int
    name: str
    state: State


class LedgerRow(NamedTuple):
    """A row of the ledger. applied_at is UTC, in ISO 8601.

    applied_by and seconds are None if the ledger does not say; seconds also for a version
    that was stamped.
    """

    version: int
    name: str
    checksum: str
    applied_at: str
    has_down_copy: bool = False  # whether the ledger holds the text of the down file
    applied_by: str | None = None
    seconds: float | None = None

    @property
    def was_stamped(self) -> bool:
        """Whether the ledger says that sqlmig recorded the version without running it."""
        return self.applied_by is not None and self.seconds is None


class Applied(NamedTuple):
    """A migration that was applied, or reverted, and how long it took."""

    version: int
    name: str
    seconds: float
