"""`check --base REF` and `docs --check FILE` find the mistakes of a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.git import commit, git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.project import Project


def pair(project: Project, version: int, name: str, text: str = "SELECT 1;") -> None:
    project.file(f"{version:04}_{name}.up.sql", text)
    project.file(f"{version:04}_{name}.down.sql", "SELECT 1;")


@pytest.fixture
def branch(project: Project) -> Project:
    """Return a branch that has only version 1, while main already has versions 2 and 4."""
    git(project.directory.parent, "init", "-q", "-b", "main")
    pair(project, 1, "first")
    commit(project.directory)
    git(project.directory, "branch", "work")
    pair(project, 2, "second")
    pair(project, 4, "fourth")
    commit(project.directory)
    git(project.directory, "checkout", "-q", "work")
    return project


def test_branch_behind_base_may_add_a_newer_version(
    branch: Project,
) -> None:
    pair(branch, 5, "mine")
    assert branch.run("check", "--base", "main").err == ""


def test_version_taken_in_base_is_reported(branch: Project) -> None:
    pair(branch, 2, "mine")
    output = branch.run("check", "--base", "main", code=1)
    assert (
        "0002_mine.up.sql: version 2 is taken in main by 0002_second.up.sql"
        in output.err
    )
    assert "give it a number after 4" in output.err
    assert output.out.count("ok") == 2  # the trial still ran


def test_version_older_than_newest_in_base_is_reported(branch: Project) -> None:
    pair(branch, 3, "mine")
    error = branch.run("check", "--base", "main", code=1).err
    assert (
        "0003_mine.up.sql: it is older than the newest in main, 0004_fourth.up.sql"
        in error
    )


def test_edited_or_removed_up_file_is_reported(branch: Project) -> None:
    git(branch.directory, "merge", "-q", "main")
    pair(branch, 1, "first", "SELECT 2;")
    for path in branch.directory.glob("0002_*"):
        path.unlink()
    branch.file("0004_fourth.down.sql", "SELECT 'a down file may be mended';")
    error = branch.run("check", "--base", "main", code=1).err
    assert "0001_first.up.sql: it is in main, but it was edited here" in error
    assert "0002_second.up.sql is in main, but it was removed here" in error
    assert "0004" not in error


def test_line_ending_change_is_not_an_edit(branch: Project) -> None:
    pair(branch, 1, "first", "SELECT 1;")
    branch.file("0001_first.up.sql", b"SELECT 1;")
    assert branch.run("check", "--base", "main").err == ""


def test_error_is_an_annotation_on_github(
    branch: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    pair(branch, 2, "mine")
    error = branch.run("check", "--base", "main", code=1).err
    assert "::error file=" in error
    assert "version 2 is taken in main" in error


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("nothing", "--base nothing: there is no such revision here; fetch it first"),
        ("--all", "there is no such revision here"),
    ],
)
def test_unknown_revision_is_reported(
    branch: Project, revision: str, said: str
) -> None:
    assert said in branch.run("check", f"--base={revision}", code=1).err


def test_missing_common_commit_is_blamed_on_shallow_clone(branch: Project) -> None:
    git(branch.directory, "checkout", "-q", "--orphan", "other")
    pair(branch, 9, "apart")
    commit(branch.directory)
    error = branch.run("check", "--base", "main", code=1).err
    assert "A shallow clone has too few" in error
    assert "fetch-depth: 0" in error


def test_directory_outside_a_git_repository_is_reported(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.directory.parent))
    pair(project, 1, "first")
    error = project.run("check", "--base", "main", code=1).err
    assert "not a git repository" in error


def test_missing_git_program_is_reported(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    pair(project, 1, "first")
    assert "--base needs git" in project.run("check", "--base", "main", code=1).err


def test_docs_check_accepts_up_to_date_page(project: Project, tmp_path: Path) -> None:
    project.query("CREATE TABLE t (n int)")
    page = tmp_path / "schema.md"
    page.write_text(project.run("docs").out)
    output = project.run("docs", "--check", str(page))
    assert (output.out, output.err) == ("", "")
    page.write_bytes(page.read_bytes().replace(b"\n", b"\r\n"))
    project.run("docs", "--check", str(page))


def test_docs_check_reports_stale_or_missing_page(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "schema.md"
    page.write_text(project.run("docs").out)
    project.query("CREATE TABLE t (n int)")
    output = project.run("docs", "--check", str(page), code=1)
    assert output.out == ""
    assert "schema.md:2: it is not the page of " in output.err
    assert "sqlmig docs > " in output.err
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::error file=" in project.run("docs", "--check", str(page), code=1).err
    missing = project.run("docs", "--check", str(tmp_path / "none.md"), code=1).err
    assert "none.md" in missing


def test_files_renamed_or_removed_in_base_are_not_reported(
    branch: Project,
) -> None:
    git(branch.directory, "merge", "-q", "main")
    git(branch.directory, "checkout", "-q", "main")
    for kind in ("up", "down"):
        git(
            branch.directory,
            "mv",
            f"0002_second.{kind}.sql",
            f"0002_renamed.{kind}.sql",
        )
        git(branch.directory, "rm", "-q", f"0001_first.{kind}.sql")
    commit(branch.directory)
    git(branch.directory, "checkout", "-q", "work")
    assert branch.run("check", "--base", "main").err == ""


def test_an_empty_base_is_a_usage_error(branch: Project) -> None:
    assert (
        "--base needs a git revision" in branch.run("check", "--base", "", code=2).err
    )


def test_gate_checks_only_new_versions_with_a_base(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    git(project.directory.parent, "init", "-q", "-b", "main")
    pair(project, 1, "first", "CREATE TABLE t (a int);")
    pair(project, 2, "second", "CREATE INDEX ON t (a);")  # reads it whole
    for version in (1, 2):
        name = {1: "first", 2: "second"}[version]
        project.file(f"000{version}_{name}.down.sql", "-- sqlmig: irreversible: test")
    commit(project.directory)
    git(project.directory, "checkout", "-qb", "work")
    gate = ["--fail-on", "reads,rewrites,losses"]
    project.run("check", *gate, code=1)
    assert project.run("check", *gate, "--base", "main").out.startswith("irreversible")

    pair(
        project,
        3,
        "third",
        "\nCREATE TABLE u ();\nCREATE INDEX\n    ON t (a);\nSELECT 1;",
    )
    project.file("0003_third.down.sql", "DROP TABLE u; DROP INDEX t_a_idx1;")
    output = project.run("check", *gate, "--base", "main", code=1)
    assert "refused       0003_third" in output.out
    assert output.out.count("refused") == 2  # the version, and the effect
    assert (
        "0003_third.up.sql,line=3,title=0003_third refused::refused: reads t"
        in output.err
    )


def test_the_printed_command_gives_each_file_a_free_number(branch: Project) -> None:
    pair(branch, 2, "ours")
    pair(branch, 3, "ours_too")
    pair(branch, 5, "later")
    error = branch.run("check", "--base", "main", code=1).err
    commands = [line.partition(": sqlmig ")[2].split() for line in error.splitlines()]
    assert commands == [
        ["renumber", "0002_ours", "6"],
        ["renumber", "0003_ours_too", "7"],
    ]
    for command in commands:
        branch.run(*command)
    assert branch.run("check", "--base", "main").err == ""
