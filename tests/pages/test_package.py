"""The archives of a release: their contents, and the page that an index shows."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from flit_core.sdist import SdistBuilder  # type: ignore[import-untyped]
from flit_core.wheel import make_wheel_in  # type: ignore[import-untyped]

from tests.support.pages import ROOT, Page

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = ROOT / "pyproject.toml"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of the files in the source archive."""
    made = SdistBuilder.from_ini_path(PROJECT).build(tmp_path_factory.mktemp("sdist"))
    with tarfile.open(made) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_the_source_archive_has_every_file_of_the_repository(sdist: set[str]) -> None:
    """So its tests can run."""
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split("\n")
    needed = {name for name in tracked if name and not name.startswith(".git")}
    needed |= {"README.md", "Makefile", "sql/GUIDE.md", "tests/conftest.py"}
    assert needed - sdist == set()
    assert [name for name in sdist if name.endswith((".pyc", "__pycache__"))] == []


def test_wheel_has_sql_files_type_marker_and_metadata(tmp_path: Path) -> None:
    made = make_wheel_in(PROJECT, tmp_path)
    with zipfile.ZipFile(made.file) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith("/METADATA")]
        text = archive.read(metadata).decode()
    package = ROOT / "sqlmig"
    for path in [*package.rglob("*.sql"), *package.rglob("*.py"), package / "py.typed"]:
        assert str(path.relative_to(ROOT)) in names
    for field in ("Author", "Keywords", "Classifier", "License-Expression", "Summary"):
        assert f"\n{field}: " in text


def test_the_manual_can_be_read_outside_the_repository() -> None:
    """An index shows it on a page of its own."""
    links = Page(ROOT / "sqlmig" / "README.md").links
    assert [link for link in links if not link.startswith(("#", "https://"))] == []
