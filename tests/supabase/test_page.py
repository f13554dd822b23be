"""The page about the schema is what `make docs` writes, whatever the platform grants by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conftest import SQL, Project

if TYPE_CHECKING:
    from tests.supabase.conftest import Platform


def test_the_projects_page_is_what_make_docs_writes(platform: Platform) -> None:
    project = Project(SQL, platform.url)
    assert (SQL / "README.md").read_text() == f"<!-- Written by make docs. -->\n\n{project.run('docs').out}"
