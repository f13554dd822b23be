"""Run the guide's example files for a new table as they are."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest

from sqlmig import embedded
from tests.support.project import SQL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.supabase.conftest import Platform
    from tests.support.project import Project

SECTION = re.findall(
    r"^## Your next table\n(.*?)^## ",
    (SQL / "GUIDE.md").read_text(),
    re.MULTILINE | re.DOTALL,
)[0]
# Use another name, because a reader of the guide may already have created the table.
UP, DOWN, TRY = (
    text.replace("treatment_goals", "goals_of_the_guide")
    for text in re.findall(r"```sql\n(.*?)```", SECTION, re.DOTALL)
)


def test_down_file_undoes_example_table(therapyflow: Project, tmp_path: Path) -> None:
    directory = tmp_path / "both"
    directory.mkdir()
    for file in SQL.glob("*.sql"):
        (directory / file.name).write_bytes(file.read_bytes())
    (directory / "9999_goals_of_the_guide.up.sql").write_text(UP)
    (directory / "9999_goals_of_the_guide.down.sql").write_text(DOWN)
    output = therapyflow.run("--dir", str(directory), "check").out
    lines = [line for line in output.splitlines() if not line.startswith(" ")]
    assert lines[-1].endswith("9999_goals_of_the_guide")
    assert {line.split()[0] for line in lines} == {"ok"}


def test_example_table_is_restricted_and_audited_like_the_others(
    own_platform: Platform,
) -> None:
    platform = own_platform
    platform.owner.execute(UP)
    patient, stranger = platform.ours["patients"], platform.theirs["patients"]
    add = "INSERT INTO goals_of_the_guide (patient_id, title) VALUES (%s, 'walk') RETURNING org_id"
    with platform.request(claims=platform.own()) as api:
        assert api.execute(add, [patient]).fetchone() == (
            platform.ours["organizations"],
        )
        api.execute("UPDATE goals_of_the_guide SET title = 'run', reached_at = now()")
        with pytest.raises(psycopg.errors.ForeignKeyViolation), api.transaction():
            api.execute(add, [stranger])
        for forbidden in (
            "DELETE FROM goals_of_the_guide",
            "UPDATE goals_of_the_guide SET org_id = org_id",
            "TRUNCATE goals_of_the_guide",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), api.transaction():
                api.execute(forbidden)
        query = "SELECT action FROM audit_logs WHERE table_name = 'goals_of_the_guide' ORDER BY action"
        assert [action.lower() for (action,) in api.execute(query)] == [
            "insert",
            "update",
        ]
    platform.owner.execute(add, [patient])
    with pytest.raises(psycopg.IntegrityError, match="use DELETE, not TRUNCATE"):
        platform.owner.execute("TRUNCATE goals_of_the_guide")
    with platform.request(claims=platform.other()) as api:
        assert api.execute("SELECT * FROM goals_of_the_guide").fetchall() == []
    with (
        platform.request("anon") as api,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        api.execute("SELECT * FROM goals_of_the_guide")


def test_guide_block_for_impersonating_a_role_works_in_psql(
    own_platform: Platform, tmp_path: Path
) -> None:
    """Paste the whole block into psql, like a user."""
    own_platform.owner.execute(UP)
    file = tmp_path / "pasted.sql"
    file.write_text(TRY)
    psql = [
        str(embedded.programs() / "psql"),
        "-X",
        "-v",
        "ON_ERROR_STOP=1",
        "-f",
        str(file),
        own_platform.url,
    ]
    out = subprocess.run(psql, check=True, capture_output=True, text=True).stdout
    assert out.count("| walk  |") == 1
    assert (
        own_platform.owner.execute("SELECT * FROM goals_of_the_guide").fetchall() == []
    )


def test_every_column_of_example_table_has_a_comment(own_platform: Platform) -> None:
    own_platform.owner.execute(UP)
    query = "SELECT attname FROM pg_attribute WHERE attrelid = 'goals_of_the_guide'::regclass AND attnum > 0"
    rows = own_platform.owner.execute(
        f"{query} AND col_description(attrelid, attnum) IS NULL"
    ).fetchall()
    assert [
        f"goals_of_the_guide: no comment on column {name}" for (name,) in rows
    ] == []
