"""Imports go one way: the command line knows the guests, the guests know the core, and the core knows neither."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sqlmig"
GUESTS = {
    path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()
} - {"cli"}
# Modules that stand above the guests, beside the command line.
ABOVE = {"api", "testing", "__init__", "__main__"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the modules of the package that a module imports, by the name below it; "click" where it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "sqlmig":
                names.update(alias.name for alias in node.names)
            else:
                names.add(node.module.removeprefix("sqlmig."))
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name.partition(".")[0] for name in names}


def room(path: Path) -> str:
    """Return the package below sqlmig that a module is in, or its own name."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_module_imports_only_what_is_below_it(path: Path) -> None:
    here = room(path)
    found = imported(path)
    if here == "cli" or here in ABOVE:
        assert here == "cli" or "cli" not in found or here == "__main__"
        return
    assert "click" not in found
    assert not found & {"cli", "api", "testing"}
    assert not found & (GUESTS - {here})


def test_there_is_a_core_and_there_are_guests() -> None:
    assert {
        "check",
        "rehearsal",
        "schemas",
        "script",
        "takeover",
        "docs",
        "embedded",
    } <= GUESTS
    assert imported(PACKAGE / "cli" / "commands.py") >= {"click", "migrations", "plan"}
