"""The gate: the effects on the application that `check --fail-on` refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlmig.core.text import find_place

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlmig.check.effects import EffectWatcher
    from sqlmig.check.finding import Finding
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece


@dataclass(frozen=True)
class Gate:
    """The kinds of effects that a file must not have while others wait, unless it accepts them.

    versions: the versions that are judged; None for all of them.
    """

    kinds: Sequence[str] = ()
    versions: Collection[int] | None = None

    def kinds_for(self, version: int) -> Sequence[str]:
        """Return the kinds that a version is judged by."""
        if self.versions is not None and version not in self.versions:
            return ()
        return self.kinds


@dataclass
class FirstRefused:
    """Finds the first statement of a file that has an effect that the gate refuses.

    line: its line, or None.
    """

    watcher: EffectWatcher
    file: SqlFile
    kinds: Sequence[str]
    line: int | None = None

    @property
    def look(self) -> Callable[[Piece], None] | None:
        """A function to call after each statement; None if the version is not judged."""
        return self._look if self.kinds else None

    def _look(self, statement: Piece) -> None:
        """Look at the effects up to a statement that has just run in the open transaction."""
        if self.line is not None or statement.role != "file":
            return
        effects = self.watcher.observe()
        for kind in self.kinds:
            if kind not in self.file.accepts and effects.while_others_wait(kind):
                self.line = find_place(self.file.text, statement.begin).line
                return


def judge(finding: Finding, up: SqlFile, kinds: Sequence[str]) -> None:
    """Note in a finding the effects on the application that the file does not accept."""
    if not kinds:
        return
    if not up.in_transaction:
        finding.notes.append(
            "it runs outside a transaction, so what it does to the application was not traced"
        )
    if b"track_counts" in up.text.lower():
        finding.refused.append(
            "sets track_counts, so that nobody can tell what it does to the application"
        )
    for kind in kinds:
        done = finding.effects.while_others_wait(kind)
        if done and kind in up.accepts:
            finding.notes.append(f"it accepts {kind}: {up.accepts_reason}")
        elif done:
            finding.refused.append(_refusal(kind, done))
    if finding.refused:
        finding.notes.append(
            f"to let it pass, put “-- sqlmig: accepts {', '.join(kinds)}: REASON” in {up.path.name}, "
            "with those that are meant"
        )


def _refusal(kind: str, done: Sequence[str]) -> str:
    if kind == "losses":
        return f"loses {', '.join(done)}"
    return f"{kind} {', '.join(done)} while others wait"
