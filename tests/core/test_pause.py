"""How long a runner waits before it tries again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sqlmig.core import runner
from sqlmig.core.sending import TryAgain
from sqlmig.core.session import Options


@pytest.mark.parametrize(
    ("tries", "at_most"), [(1, 0.2), (3, 0.8), (6, 5), (1_024, 5), (1_000_000, 5)]
)
def test_the_pause_grows_and_never_overflows(tries: int, at_most: float) -> None:
    slept: list[float] = []
    session: Any = SimpleNamespace(
        say=lambda _: None, sleep=slept.append, options=Options(retries=tries)
    )
    runner.pause_before_next_try(session, TryAgain("no lock"), tries)
    assert at_most / 2 <= slept[0] <= at_most
