"""Keep the environment of the person who runs the tests from changing their results."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

# These lead to a developer's own database or repository, or set what sqlmig does.
_REACH = ("GIT_", "PG", "SQLMIG_")
_KEPT = ("SQLMIG_PG_BIN", "SQLMIG_TEST_")  # settings of the suite
# These lead to a database, or change what click, mypy, pytest and sqlmig print.
_NAMES = {
    "COLUMNS", "DATABASE_URL", "FORCE_COLOR", "GITHUB_ACTIONS", "GITHUB_WORKSPACE", "LINES",
    "NO_COLOR", "PY_COLORS",
}  # fmt: skip
# These belong to the run of make and pytest in progress.
_RUN = ("MAKE", "MFLAGS", "PYTEST", "SQLMIG_", "TEST_")
# With these, pytest prints more.
_CI = {"BUILD_NUMBER", "CI"}


def forget_callers_settings(environment: MutableMapping[str, str]) -> None:
    """Remove the variables that would change what a test does or what a program prints."""
    for name in [*environment]:
        is_ours = name.startswith(_KEPT)
        if name in _NAMES or (name.startswith(_REACH) and not is_ours):
            del environment[name]


def environment_for_another_run(*kept: str) -> dict[str, str]:
    """Return the environment without the variables of this run of make and pytest. kept: names to keep."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not (name in _CI or name.startswith(_RUN))
    }
