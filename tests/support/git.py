"""Run git as the tests need it, whatever its user's configuration says."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SETTINGS = ("user.name=x", "user.email=x@example.org", "commit.gpgsign=false")


def git(directory: Path, *arguments: str) -> None:
    """Run a git command in a directory."""
    options = [part for setting in _SETTINGS for part in ("-c", setting)]
    subprocess.run(
        ["git", *options, *arguments], cwd=directory, check=True, capture_output=True
    )


def commit(directory: Path) -> None:
    """Commit everything in a directory."""
    git(directory, "add", "-A", ".")
    git(directory, "commit", "-qm", "x")
