"""The gate: the effects on the application, and the other findings, that `check --fail-on` refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlmig.check.effects import KINDS as EFFECT_KINDS
from sqlmig.core.text import counted, find_place

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlmig.check.effects import EffectWatcher
    from sqlmig.check.finding import Finding
    from sqlmig.core.sqlfile import SqlFile
    from sqlmig.core.transaction import Piece


# What `check --fail-on` and the directive `accepts` take.
KINDS = (*EFFECT_KINDS, "restarts", "breaks")


@dataclass(frozen=True)
class Gate:
    """The kinds of findings that a file must not have, unless it accepts them.

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
        return self._look if set(self.kinds) & set(EFFECT_KINDS) else None

    def _look(self, statement: Piece) -> None:
        """Look at the effects up to a statement that has just run in the open transaction."""
        if self.line is not None or statement.role != "file":
            return
        effects = self.watcher.observe()
        for kind in self.kinds:
            if kind not in EFFECT_KINDS or kind in self.file.accepts:
                continue
            if effects.while_others_wait(kind):
                self.line = find_place(self.file.text, statement.begin).line
                return


def judge(finding: Finding, up: SqlFile, kinds: Sequence[str]) -> None:
    """Note in a finding what the gate refuses and the file does not accept."""
    if set(kinds) & set(EFFECT_KINDS):
        _note_untraced(finding, up)
    refused = []
    for kind in kinds:
        refusal = _refusal(kind, finding)
        if refusal and kind in up.accepts:
            finding.notes.append(f"it accepts {kind}: {up.accepts_reason}")
        elif refusal:
            finding.refused.append(refusal)
            refused.append(kind)
    if finding.refused:
        finding.notes.append(
            f"to let it pass, put “-- sqlmig: accepts {', '.join(refused)}: REASON” in {up.path.name}"
        )


def _note_untraced(finding: Finding, up: SqlFile) -> None:
    """Note if the effects of a file on the application were not traced, or may be hidden."""
    if not up.in_transaction:
        finding.notes.append(
            "it runs outside a transaction, so what it does to the application was not traced"
        )
    if b"track_counts" in up.text.lower():
        finding.refused.append(
            "sets track_counts, which hides what it does to the application"
        )


def _refusal(kind: str, finding: Finding) -> str:
    """Describe what a version does of a kind; "" for nothing."""
    if kind == "breaks":
        return _refusal_of_breaks(finding)
    if kind == "restarts":
        return _refusal_of_restarts(finding)
    done = finding.effects.while_others_wait(kind)
    if not done:
        return ""
    if kind == "losses":
        return f"loses {', '.join(done)}"
    return f"{kind} {', '.join(done)} while others wait"


def _refusal_of_breaks(finding: Finding) -> str:
    if not finding.breaks:
        return ""
    count = len(finding.breaks)
    return (
        f"breaks {counted(count, 'statement or function', 'statements or functions')}"
    )


def _refusal_of_restarts(finding: Finding) -> str:
    if finding.restarts is None or not finding.restarts.failures:
        return ""
    failures = finding.restarts.failures
    if finding.line is None:
        finding.line = failures[0].line
    return f"does not restart from {len(failures)} of {counted(finding.restarts.places, 'place')}"
