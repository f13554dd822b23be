"""Data directories for the servers of a test run: in memory if it is large enough, which halves the time of a run."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.project import RUN_OF_ALL

if TYPE_CHECKING:
    import pytest

_MEMORY = Path("/dev/shm")  # Linux only; in a container it may be small
_NEEDED = 2 << 30  # bytes
_PREFIX = "sqlmig-tests-"
_SECONDS_TO_START = 10  # until then the directory of a new server may be empty


def data_directory(name: str, factory: pytest.TempPathFactory) -> Path:
    """Return the data directory of a server that all workers of a run share."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    in_memory = _MEMORY / f"{_PREFIX}{RUN_OF_ALL}"
    if in_memory.is_dir() or _has_room():
        base = in_memory
    return base / name


def _has_room() -> bool:
    if not os.access(_MEMORY, os.W_OK):
        return False
    return shutil.disk_usage(_MEMORY).free > _NEEDED


def remove_data() -> None:
    """Remove the data of this run and of killed runs."""
    shutil.rmtree(_MEMORY / f"{_PREFIX}{RUN_OF_ALL}", ignore_errors=True)
    for left in _MEMORY.glob(f"{_PREFIX}*"):
        process = left.name.removeprefix(_PREFIX)
        if process.isdigit() and not Path(f"/proc/{process}").exists():
            shutil.rmtree(left, ignore_errors=True)
    _remove_empty_socket_directories()


def _remove_empty_socket_directories() -> None:
    """Remove the directories of the servers that tests have killed. That of a running server is not empty."""
    for left in Path("/tmp").glob("sqlmig-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _SECONDS_TO_START:
                left.rmdir()
