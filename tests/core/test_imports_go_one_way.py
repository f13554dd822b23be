"""Imports go one way: the command line knows the guests, the guests know the core, and the core knows neither."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sqlmig"
GUESTS = {
    path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()
} - {"cli", "core"}
MODULES = sorted(PACKAGE.rglob("*.py"))
# The only import from the core to a guest: a URL that begins with "embedded:" needs a server.
DOORS = {("core/database.py", "embedded")}


def name_of(path: Path) -> str:
    """Return a module's name below sqlmig, or "" for sqlmig itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


NAMES = {name_of(path) for path in MODULES}


def imported(path: Path) -> set[str]:
    """Return the modules of the package that a module imports, as names below sqlmig.

    Imports within functions and under TYPE_CHECKING count as well, and "click".
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = whole.removeprefix("sqlmig.") in NAMES
                found.add(whole if is_module else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    own = {name.removeprefix("sqlmig.") for name in found if name.startswith("sqlmig.")}
    return {name for name in own if name in NAMES} | ({"click"} & found)


def room(name: str) -> str:
    """Return the folder that a module is in, or its own name."""
    return name.partition(".")[0]


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_module_imports_only_what_is_below_it(path: Path) -> None:
    here = room(name_of(path))
    found = {room(name) for name in imported(path)} - {here}
    for module, guest in DOORS:
        if module == str(path.relative_to(PACKAGE)):
            found.discard(guest)
    if here == "core" or here in GUESTS:
        assert found <= {"core"}
    elif here != "cli":  # the Python API, and the entry point
        assert "click" not in found
        assert "cli" not in found or here == "__main__"


def test_imports_have_no_cycles() -> None:
    """Imports within functions and under TYPE_CHECKING count as well."""
    imports = {name_of(path): imported(path) - {"click"} for path in MODULES}
    for package in [name for name in imports if f"{name}." in " ".join(imports)]:
        # A package imports its own modules to export their names. That does not count.
        imports[package] = {
            name for name in imports[package] if not name.startswith(f"{package}.")
        }
    done: set[str] = set()
    for name in imports:
        _follow(name, imports, [], done)


def _follow(
    name: str, imports: dict[str, set[str]], path: list[str], done: set[str]
) -> None:
    assert name not in path, " imports ".join([*path[path.index(name) :], name])
    if name in done:
        return
    for other in sorted(imports[name]):
        _follow(other, imports, [*path, name], done)
    done.add(name)


def test_core_and_guests_are_found() -> None:
    assert {
        "check",
        "rehearsal",
        "schemas",
        "script",
        "takeover",
        "docs",
        "embedded",
    } <= GUESTS
    assert "core.runner" in imported(PACKAGE / "api.py")
