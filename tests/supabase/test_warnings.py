"""sqlmig only warns about a file without a statement and a table that anyone can reach."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest

from sqlmig.cli import command
from tests.support.project import NUMBERS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.project import Project


def test_warns_about_file_without_statements(project: Project) -> None:
    project.write(
        up_1_a="-- nothing yet",
        up_2_b="CREATE TABLE b ();",
        down_2_b="-- nothing either",
    )
    output = project.run("up")
    assert output.err == "warning: 1_a was applied, and its file has no statement\n"
    assert project.states() == {1: "applied", 2: "applied"}
    assert project.run("up").err == ""
    assert (
        project.run("down").err
        == "warning: 2_b was reverted, and its file has no statement\n"
    )
    project.run("up", "--schema", "x", "--schema", "y")


def test_no_warning_if_anon_role_is_missing(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();")
    assert project.run("up").err == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CREATE TABLE a ();", "anyone can reach a, because"),
        ("CREATE TABLE a (); ALTER TABLE a ENABLE ROW LEVEL SECURITY;", None),
        ("CREATE TABLE a (); REVOKE ALL ON a FROM anon;", None),
        (
            "CREATE SCHEMA closed; CREATE TABLE closed.a (); GRANT ALL ON closed.a TO anon;",
            None,
        ),
        (
            "CREATE TABLE p (n int) PARTITION BY LIST (n); REVOKE ALL ON p FROM anon; CREATE TABLE a PARTITION OF p DEFAULT;",
            "anyone can reach a, because",
        ),
    ],
)
def test_warns_about_table_anyone_can_reach(
    supabase: str,
    tmp_path: Path,
    text: str,
    said: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "1_a.up.sql").write_text(text)
    name = f"warned_{os.getpid()}_{next(NUMBERS)}"
    with psycopg.connect(supabase, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    url = supabase.replace("/postgres?", f"/{name}?")
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon"
        )
    assert command(["-d", url, "--dir", str(tmp_path), "up"]) == 0
    warning = (
        f"warning: {said} the role anon may and row level security is off"
        if said
        else ""
    )
    assert capsys.readouterr().err.partition(";")[0].strip() == warning
    assert command(["-d", url, "--dir", str(tmp_path), "up"]) == 0
    assert capsys.readouterr().err == ""
