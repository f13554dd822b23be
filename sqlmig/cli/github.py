"""Annotations, which GitHub shows at the lines of a pull request.

The format is the format of workflow commands:
https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
from pathlib import Path

import click


def is_wanted() -> bool:
    """Check whether we run in GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def annotate(path: Path, line: int | None, title: str, message: str) -> None:
    """Print an error at a line of a file, or at its first line, on standard error."""
    fields = {
        "file": _from_workspace(path),
        "line": str(line or 1),
        "title": title,
    }
    properties = ",".join(
        f"{name}={_escaped_property(value)}" for name, value in fields.items()
    )
    click.echo(f"::error {properties}::{_escaped(message)}", err=True)


def _from_workspace(path: Path) -> str:
    """Return a path as seen from the checkout's root, as GitHub wants it."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if workspace:
        return os.path.relpath(path.resolve(), Path(workspace).resolve())
    return str(path)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
