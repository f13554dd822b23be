"""Plan the steps from a ledger and a directory, in a short notation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sqlmig.cli import command
from sqlmig.core import plan
from sqlmig.core.errors import SqlmigError, UsageError
from sqlmig.core.migrations import Migration
from sqlmig.core.plan import Down, Up, VersionInfo, versions_to_run, versions_to_stamp
from sqlmig.core.versions import LedgerRow

if TYPE_CHECKING:
    from collections.abc import Sequence


def rows(words: str) -> list[VersionInfo]:
    """Parse rows like ``1 2+ 3* -4+``: + is applied, * is applied and changed since, - has lost its file."""
    migrations, applied, checksums = [], [], {}
    for word in words.split():
        version = int(word.strip("-+*"))
        if not word.startswith("-"):
            migrations.append(
                Migration(
                    version, f"{version}_x", "x", Path(f"{version}_x.up.sql"), None
                )
            )
            checksums[version] = "new" if word.endswith("*") else "old"
        if word.endswith(("+", "*")):
            applied.append(LedgerRow(version, "x", "old", "2026-01-01T00:00:00Z"))
    return plan.states(migrations, applied, checksums)


def versions_of(chosen: Sequence[VersionInfo] | Sequence[Migration]) -> list[int]:
    return [one.version for one in chosen]


@pytest.mark.parametrize(
    ("words", "states"),
    [
        ("1 2", ["pending", "pending"]),
        ("1+ 2+ 3", ["applied", "applied", "pending"]),
        ("1* 2+", ["changed", "applied"]),
        ("1+ -2+ 3", ["applied", "missing", "pending"]),
        ("1 2+", ["out-of-order", "applied"]),
        ("0 -1+ 2+", ["out-of-order", "missing", "applied"]),
        ("1+ 2+ -3+ -9+", ["applied", "applied", "ahead", "ahead"]),
        ("1+ 2 -3+", ["applied", "out-of-order", "ahead"]),
        ("1+ -2+ 3+ -4+", ["applied", "missing", "applied", "ahead"]),
        ("", []),
    ],
)
def test_each_version_has_the_expected_state(words: str, states: list[str]) -> None:
    assert [row.state for row in rows(words)] == states


@pytest.mark.parametrize(
    ("words", "to", "steps", "done", "versions"),
    [
        ("1 2 3", None, None, 0, [1, 2, 3]),
        ("1+ 2 3", None, None, 0, [2, 3]),
        ("1 2 3", 2, None, 0, [1, 2]),
        ("0 1 2", 0, None, 0, [0]),
        ("1 2 3", None, 0, 0, []),
        ("1 2 3", None, 2, 0, [1, 2]),
        ("1 2 3", None, 9, 0, [1, 2, 3]),
        ("1+ 2 3", None, 2, 1, [2]),
        ("1+ 2+ 3", None, 2, 2, []),
        ("1+ 2+", None, None, 0, []),
        ("1+ 2+", 1, None, 0, []),
    ],
)
def test_up_selects_pending_versions(
    words: str, to: int | None, steps: int | None, done: int, versions: list[int]
) -> None:
    assert versions_of(versions_to_run(Up(to, steps), rows(words), done)) == versions


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("1* 2", "1_x: changed since it was applied"),
        ("-1+ 2", "1_x: applied, but its file is gone"),
        ("1 2+", "1_x: pending, but older than the newest applied"),
    ],
)
def test_up_refuses_a_directory_and_a_ledger_that_disagree(
    words: str, said: str
) -> None:
    with pytest.raises(SqlmigError, match="nothing was applied") as refused:
        versions_to_run(Up(), rows(words))
    assert said in str(refused.value)


def test_version_applied_under_another_name_is_reported() -> None:
    applied = [LedgerRow(12, "reminder_notes", "old", "2026-01-01T00:00:00Z")]
    (row,) = plan.states(
        [Migration(12, "12_reminders", "reminders", Path("12_reminders.up.sql"), None)],
        applied,
        {12: "new"},
    )
    with pytest.raises(
        SqlmigError,
        match="12_reminders: version 12 was applied as reminder_notes, which is another migration",
    ):
        versions_to_run(Up(), [row])


def test_out_of_order_versions_can_be_allowed() -> None:
    assert versions_of(
        versions_to_run(Up(allow_out_of_order=True), rows("1 2+ 3"))
    ) == [
        1,
        3,
    ]


@pytest.mark.parametrize(
    ("words", "to", "steps", "done", "versions"),
    [
        ("1+ 2+ 3+", None, 1, 0, [3]),
        ("1+ 2+ 3", None, 1, 0, [2]),
        ("1+ 2+ 3+", None, None, 0, [3, 2, 1]),
        ("1+ 2+ 3+", 1, None, 0, [3, 2]),
        ("1+ 2+ 3+", 0, None, 0, [3, 2, 1]),
        ("0+ 1+ 2+", 0, None, 0, [2, 1]),
        ("0+ 1+", None, None, 0, [1, 0]),
        ("1+ 2+", None, 0, 0, []),
        ("1+ -2+ 3*", None, 2, 0, [3, 2]),
        ("1 2", None, 1, 0, []),
        ("1 2", None, None, 0, []),
        ("1+ 2", None, 2, 1, [1]),
        ("1 2", None, 3, 2, []),
    ],
)
def test_down_selects_applied_versions_newest_first(
    words: str, to: int | None, steps: int | None, done: int, versions: list[int]
) -> None:
    assert versions_of(versions_to_run(Down(to, steps), rows(words), done)) == versions


def test_down_with_too_many_steps_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="cannot revert 3 versions: 2 applied"):
        versions_to_run(Down(steps=3), rows("1+ 2+"))


@pytest.mark.parametrize("version", [0, 4])
def test_unknown_version_is_a_usage_error(version: int) -> None:
    with pytest.raises(UsageError, match=f"there is no version {version}"):
        versions_to_run(Up(to=version), rows("1 2"))
    with pytest.raises(UsageError, match=f"there is no version {version}"):
        versions_to_stamp(rows("1 2"), version)


def test_unknown_version_is_a_usage_error_for_down() -> None:
    with pytest.raises(UsageError, match="there is no version 4"):
        versions_to_run(Down(to=4), rows("1+ 2"))


def test_stamp_selects_pending_versions_up_to_target() -> None:
    assert versions_of(versions_to_stamp(rows("1+ 2 3"), 2)) == [2]
    assert versions_of(versions_to_stamp(rows("1 2+ 3"), 3)) == [1, 3]
    with pytest.raises(
        SqlmigError, match="nothing was recorded: 1_x is changed, 2_x is missing"
    ):
        versions_to_stamp(rows("1* -2+ 3"), 3)


@pytest.mark.parametrize(
    "line",
    [
        ("down", "--to", "0", "--steps", "1"),
        ("down", "--to", "0", "--all"),
        ("down", "--steps", "0", "--all"),
        ("up", "--to", "0", "--steps", "1"),
        ("up", "--to", "1", "--steps", "0"),
    ],
)
def test_zero_counts_as_given_option(
    line: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["-d", "postgresql://nowhere.invalid/x", *line]) == 2
    assert "cannot be combined; give one" in capsys.readouterr().err
