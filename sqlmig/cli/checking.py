"""The words of ``check``: a line a version, and below it what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sqlmig.cli import github, output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlmig.check import BaseProblem, Finding

_INDENT = " " * 14


def tell(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print the findings, and show those that fail on GitHub, where we run there."""
    if as_json:
        output.print_json(map(_as_object, findings))
    else:
        for finding in findings:
            _print_finding(finding)
    if github.is_wanted():
        for finding in findings:
            if finding.has_failed:
                _annotate(finding)


def _print_finding(finding: Finding) -> None:
    """Print what was found of a version."""
    word: str = finding.result
    if finding.refused and word in ("ok", "irreversible"):
        word = "refused"
    padding = " " * (12 - len(word))
    click.echo(f"{output.coloured(word)}{padding}  {finding.label}")
    for line in [*finding.effects.words(), *_faults(finding)]:
        click.echo(f"{_INDENT}{line}")
    for note in finding.notes:
        click.echo(f"{_INDENT}note: {note}".replace("\n", f"\n{_INDENT}"))


def _faults(finding: Finding) -> Iterator[str]:
    """Yield a line for each thing that makes a version broken, or that the gate does not let pass."""
    found = _as_object(finding)
    for name in ("left", "lost", "changed", "refused"):
        for words in found[name]:  # type: ignore[attr-defined]
            yield f"{name}: {words}"


def _as_object(finding: Finding) -> dict[str, object]:
    """Return what was found of a version, for JSON."""
    differences = finding.differences
    left = [" ".join(key) for key in differences.left]
    lost = [" ".join(key) for key in differences.lost]
    changed = [str(difference) for difference in differences.changed]
    by_kind = {"left": left, "lost": lost, "changed": changed}
    for change in finding.row_changes:
        by_kind[change.kind].append(str(change))

    effects = finding.effects
    return {
        "version": finding.version,
        "result": finding.result,
        **by_kind,
        "refused": finding.refused,
        "notes": finding.notes,
        "locks": effects.locks,
        "rewrites": effects.rewrites,
        "reads": effects.reads,
        "losses": effects.losses,
    }


def _annotate(finding: Finding) -> None:
    """Show on GitHub what makes a version fail."""
    words = list(_faults(finding))
    if finding.result != "broken":
        words += finding.notes
    title = f"{finding.label} {finding.result}"
    if finding.refused:
        title = f"{finding.label} refused"
    github.annotate(
        finding.path, finding.line, title, "\n".join(words) or finding.result
    )


def say_base_problem(problem: BaseProblem) -> None:
    """Say what is wrong with a file beside the base."""
    output.say_error(f"{problem.path}: {problem.words}")
    if github.is_wanted():
        github.annotate(problem.path, None, "migration beside the base", problem.words)
