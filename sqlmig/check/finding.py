"""The result of checking a version. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sqlmig.check.catalog import Differences
from sqlmig.check.effects import Effects

if TYPE_CHECKING:
    from pathlib import Path

    from sqlmig.check.breaks import Break
    from sqlmig.check.restarts import Restarts
    from sqlmig.check.rows import RowChange

Result = Literal["ok", "broken", "failed", "no-down", "irreversible"]


@dataclass
class Finding:
    """The result of checking a version.

    path and line give the place, if it is known. restarts: None for a file that runs in one
    transaction. breaks: what could be prepared or compiled before the version. refused
    describes what the gate does not allow.
    """

    version: int
    label: str
    path: Path
    result: Result = "ok"
    line: int | None = None
    differences: Differences = field(default_factory=Differences)
    row_changes: list[RowChange] = field(default_factory=list)
    effects: Effects = field(default_factory=Effects)
    restarts: Restarts | None = None
    breaks: list[Break] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def has_failed(self) -> bool:
        """Whether this finding makes the check fail."""
        return self.result not in ("ok", "irreversible") or bool(self.refused)
