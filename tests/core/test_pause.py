"""How long a runner waits before it tries again, and when it gives up."""

from __future__ import annotations

import pytest

from sqlmig.core.attempts import Attempts


@pytest.mark.parametrize(
    ("tries", "at_most"), [(1, 0.2), (3, 0.8), (6, 5), (1_024, 5), (1_000_000, 5)]
)
def test_the_pause_grows_and_never_overflows(tries: int, at_most: float) -> None:
    attempts = Attempts(limit=tries, tries=tries)
    assert at_most / 2 <= attempts.pause() <= at_most


def test_a_run_gives_up_after_its_last_try() -> None:
    attempts = Attempts(limit=1)
    attempts.note_failure()
    assert not attempts.are_used_up
    attempts.note_failure()
    assert attempts.are_used_up
    assert attempts.message_at_the_end().startswith("Gave up after 2 tries. Nothing")


def test_progress_resets_the_try_count() -> None:
    attempts = Attempts(limit=0)
    for rows in (1, 2, 3):
        attempts.rows = rows
        attempts.note_failure()
        assert attempts.tries == 1
