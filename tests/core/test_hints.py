"""What the server does not know, and a user wants to: hints below its words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.project import Project


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            "SELECT 1; VACUUM;",
            "HINT: give it a file of its own without a BEGIN (for CONCURRENTLY that will do), or put “-- sqlmig: no-tr",
        ),
        (
            "DO $$BEGIN COMMIT; END$$;",
            "HINT: a DO block or procedure may not end the file's transaction: take that out, or put",
        ),
        (
            "CREATE TABLE t (); GRANT ALL ON t TO authenticated;",
            "HINT: it is Supabase's: create the role, or look into pg_roles",
        ),
        (
            "-- sqlmig: no-transaction\nBEGIN; CREATE TABLE t (); VACUUM; COMMIT;",
            "HINT: take BEGIN and COMMIT out: this file runs statement by statement",
        ),
        (
            "-- sqlmig: no-transaction\nCREATE TABLE t (); CREATE TABLE t ();",
            "HINT: it may be left over from an interrupted run. Check that it is complete, or drop it",
        ),
        (
            "CREATE EXTENSION no_such_thing;",
            "HINT: use a server that has the extension, with --database-url",
        ),
    ],
)
def test_a_hint(project: Project, text: str, hint: str) -> None:
    project.write(up_1_a=text)
    assert hint in project.run("up", code=1).err


@pytest.mark.parametrize(
    "again", ["GRANT ALL ON t TO somebody_else", "CREATE TABLE t ()"]
)
def test_no_hint_where_none_fits(project: Project, again: str) -> None:
    project.write(up_1_a=f"CREATE TABLE t (); {again};")
    assert "HINT" not in project.run("up", code=1).err
