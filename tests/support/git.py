"""Run git without the configuration of its user."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_WITHOUT_CONFIGURATION = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def git(directory: Path, *arguments: str) -> None:
    """Run a git command in a directory."""
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(
        ["git", *identity, *arguments],
        cwd=directory,
        env=os.environ | _WITHOUT_CONFIGURATION,
        check=True,
        capture_output=True,
    )


def commit(directory: Path) -> None:
    """Commit everything in a directory."""
    git(directory, "add", "-A", ".")
    git(directory, "commit", "-qm", "x")
