"""`make docs` writes the same page about the schema, whatever the platform grants by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.project import SQL, Project

if TYPE_CHECKING:
    from tests.supabase.conftest import Platform


def test_committed_page_matches_make_docs_output(platform: Platform) -> None:
    project = Project(SQL, platform.url)
    page = project.run("docs").out
    assert (SQL / "README.md").read_text() == page, (
        "sql/README.md is not what the files make: run `make docs`"
    )


def test_no_drift_right_after_up(platform: Platform) -> None:
    assert Project(SQL, platform.url).run("drift").out == "nothing differs\n"


def test_policy_and_grant_added_in_dashboard_are_reported_as_drift(
    own_platform: Platform,
) -> None:
    own_platform.owner.execute(
        "CREATE POLICY everybody ON patients USING (true); GRANT DELETE ON patients TO anon"
    )
    lines = Project(SQL, own_platform.url).run("drift", code=1).out.splitlines()
    assert lines[0] == "extra  policy public.patients.everybody"
    assert lines[1] == "changed  table public.patients: anon may now DELETE"
    assert len(lines) == 2
