"""Free the tests from the environment in which somebody starts them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

# A developer's own database and repository, which no test may reach, and the settings of sqlmig.
_REACHED = ("DATABASE_URL", "GIT_", "PG", "SQLMIG_")
# What the suite itself reads.
_OURS = ("SQLMIG_PG_BIN", "SQLMIG_TEST_")
# These change what click, mypy, pytest and sqlmig print.
_OUTPUT = ("COLUMNS", "FORCE_COLOR", "GITHUB_", "LINES", "NO_COLOR")
# These belong to the run of make and pytest in progress. pytest prints more where CI or BUILD_NUMBER is set.
_RUN = ("BUILD_NUMBER", "CI", "MAKE", "MFLAGS", "PYTEST", "SQLMIG_TEST_", "TEST_")


def forget_callers_settings(environment: MutableMapping[str, str]) -> None:
    """Remove the variables that would change what a test does or what a program prints."""
    for name in [*environment]:
        if name.startswith(_REACHED + _OUTPUT) and not name.startswith(_OURS):
            del environment[name]


def environment_for_another_run() -> dict[str, str]:
    """Return the environment without the variables of this run of make and pytest."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(_RUN)
    }
