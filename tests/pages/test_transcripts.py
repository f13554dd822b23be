"""Type the pages: the commands print what each transcript shows, and each Python program runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from sqlmig import embedded
from tests.support.environment import environment_for_another_run
from tests.support.pages import GUIDE, MANUAL, README, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.support.pages import Block
    from tests.support.project import Project


def without_what_differs(text: str) -> str:
    """Replace durations, times of day, counts of tests and the database, and strip white space from line ends."""
    text = re.sub(
        r"sqlmig_project_\w+ on (?:this machine|[\w.]+)(?:, port \d+)?",
        "shop on this machine",
        text,
    )
    text = re.sub(r"\b\d+ passed.*", "ALL passed", text)
    text = re.sub(r"\b(?:\d+ ms|\d+\.\d s)\b", "SOME TIME", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "THEN", text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def agree(shown: str, said: str) -> bool:
    """Return whether a command's output matches the page.

    “…” matches any number of lines, or the rest of a line.
    """
    pattern = ""
    for line in without_what_differs(shown).splitlines():
        if line == "…":
            pattern += r"(?:[^\n]*\n)*"
        else:
            pattern += re.sub("…$", r"[^\\n]*", re.escape(line)) + "\n"
    return bool(re.fullmatch(pattern, without_what_differs(said)))


def difference(command: str, shown: str, said: str) -> str:
    """Return the lines in which the page and a command's output differ, and a line around them."""
    lines = unified_diff(
        without_what_differs(shown).splitlines(),
        without_what_differs(said).splitlines(),
        "the page",
        "the command",
        n=1,
        lineterm="",
    )
    return "\n".join([f"$ {command}", *lines])


def test_difference_is_shown_as_short_diff() -> None:
    page = "".join(f"line {n}\n" for n in range(100))
    words = difference("sqlmig up", page, page.replace("line 50", "another line"))
    assert words.splitlines() == [
        "$ sqlmig up",
        "--- the page",
        "+++ the command",
        "@@ -50,3 +50,3 @@",
        " line 49",
        "-line 50",
        "+another line",
        " line 51",
    ]


@pytest.mark.parametrize(
    ("shown", "said", "is_so"),
    [
        ("applied 1 (3 ms)\n…\ndone\n", "applied 1 (1.2 s)\nmore\nmore\ndone\n", True),
        ("applied 1 (3 ms)\n", "applied 2 (3 ms)\n", False),
        ("applied 1 (3 ms)\n", "applied 1 (3 ms)\nmore\n", False),
        ("warning: …\n", "warning: this\n", True),
        ("warning: …\n", "warning: this\nand more\n", False),
        ("…\n12 passed in 3 s\n", "..\n1 passed, 2 skipped in 4 s\n", True),
        ("…\n12 passed in 3 s\n", "..\n1 failed in 4 s\n", False),
    ],
)
def test_false_transcripts_are_told_from_true_ones(
    shown: str, said: str, *, is_so: bool
) -> None:
    assert agree(shown, said) is is_so


def type_all(
    blocks: Iterable[Block],
    project: Project,
    after: Callable[[str], None] = lambda _: None,
) -> int:
    """Run the commands of transcripts in the directory above the files, and return their number."""
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), str(embedded.programs()), os.environ["PATH"]]
    )
    environment = os.environ | {"DATABASE_URL": project.url, "PATH": path}
    here = project.directory.parent
    done = 0
    for block in blocks:
        for command, shown in block.steps():
            if command.startswith("cat "):  # the reader writes this file
                (here / command.removeprefix("cat ")).write_text(shown)
                continue
            ran = subprocess.run(
                ["sh", "-c", command],
                cwd=here,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if not agree(shown, ran.stdout):
                pytest.fail(difference(command, shown, ran.stdout))
            after(command)
            done += 1
    return done


# Sections with transcripts that begin with another database


def dbmate(project: Project) -> None:
    """Create the state that dbmate leaves: its files, its ledger and their tables."""
    migrations = project.directory.parent / "db" / "migrations"
    migrations.mkdir(parents=True)
    for version, name, up, down in (
        ("20260101080000", "users", "CREATE TABLE users (id int);", "DROP TABLE users"),
        (
            "20260102090000",
            "email",
            "ALTER TABLE users ADD email text;",
            "ALTER TABLE users DROP email",
        ),
    ):
        text = f"-- migrate:up\n{up}\n\n-- migrate:down\n{down};\n"
        (migrations / f"{version}_{name}.sql").write_text(text)
        project.query(up)
    project.query("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    project.query(
        "INSERT INTO schema_migrations VALUES ('20260101080000'), ('20260102090000')"
    )


def golang_migrate(project: Project) -> None:
    """Create the state that golang-migrate leaves."""
    project.write(
        up_0001_users="CREATE TABLE users ();", down_0001_users="DROP TABLE users;"
    )
    project.query("CREATE TABLE users ()")
    project.query(
        "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)"
    )
    project.query("INSERT INTO schema_migrations VALUES (1, false)")


def alembic(project: Project) -> None:
    """Create the state that Alembic leaves, without a directory for sqlmig."""
    project.directory.rmdir()
    project.query(
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
    )
    project.query("CREATE TABLE users (id int PRIMARY KEY, email text)")


SCENES = {
    "From dbmate, goose, sql-migrate, tern, Flyway or the Supabase CLI": dbmate,
    "From golang-migrate": golang_migrate,
    "From Alembic, Prisma, Django, Rails or a database made by hand": alembic,
}


def test_manual_transcripts_match_output(project: Project) -> None:
    blocks = [block for block in MANUAL.of("console") if block.heading not in SCENES]
    assert type_all(blocks, project) > 40


@pytest.mark.parametrize("heading", SCENES)
def test_takeover_transcripts_match_output(project: Project, heading: str) -> None:
    def as_a_server_of_this_age_has_it(command: str) -> None:
        if command.startswith("pg_dump"):
            path = project.directory / "0001_start.up.sql"
            text = path.read_text()
            path.write_text(text.replace("SET transaction_timeout = 0;\n", ""))

    SCENES[heading](project)
    blocks = [block for block in MANUAL.of("console") if block.heading == heading]
    assert type_all(blocks, project, as_a_server_of_this_age_has_it)


def test_other_pages_have_no_untested_transcript() -> None:
    assert len(README.of("console")) == 1
    assert GUIDE.of("console") == []


# The two commands of the front page


def a_copy(directory: Path) -> Path:
    """Return a copy of the project that uses the virtual environment of these tests."""
    copy = directory / "project"
    copy.mkdir()
    for name in ("Makefile", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    for name in ("sql", "sqlmig", "tests"):
        (copy / name).symlink_to(ROOT / name)
    environment = copy / ".venv"
    environment.mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != "ready":
            (environment / path.name).symlink_to(path)
    (environment / "ready").touch()
    return copy


def test_front_page_commands_print_what_it_shows(tmp_path: Path) -> None:
    copy = a_copy(tmp_path)
    environment = environment_for_another_run()
    # All of `make test` would run this test again. One file is enough.
    environment["PYTEST_ADDOPTS"] = "tests/core/test_pause.py"
    (block,) = README.of("console")
    for command, shown in block.steps():
        ran = subprocess.run(
            command.split(),
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert agree(shown, ran.stdout), f"$ {command}\n{ran.stdout}{ran.stderr}"


def test_workers_use_the_given_server(tmp_path: Path) -> None:
    nowhere = "postgresql://x@/x?host=/nowhere"
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "1",
            f"--basetemp={tmp_path / 'run'}",
            "tests/core/test_way_back.py",
        ],
        cwd=ROOT,
        env=environment_for_another_run() | {"TEST_DATABASE_URL": nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout
    assert "/nowhere" in ran.stdout


# Programs in Python

FASTAPI = """
class FastAPI:
    def __init__(self, lifespan):
        self.lifespan = lifespan
"""
STARTS = """
import asyncio

async def start():
    async with app.lifespan(app):
        print("started")

asyncio.run(start())
"""


def run_python(
    text: str, project: Project, code: int = 0, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a Python program in the directory above the files."""
    ran = subprocess.run(
        [sys.executable, *(arguments or ["-c", text])],
        cwd=project.directory.parent,
        env=os.environ | {"DATABASE_URL": project.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran


def programs(heading: str) -> Sequence[str]:
    return [block.text for block in MANUAL.of("python") if block.heading == heading]


@pytest.fixture
def shop(project: Project) -> Project:
    """Return a project with the manual's first table."""
    project.write(
        up_1_invoices="CREATE TABLE invoices (total numeric);",
        down_1_invoices="DROP TABLE invoices;",
    )
    return project


def test_manual_program_applies_and_prints_status(shop: Project) -> None:
    first, _, _ = programs("From Python")
    said = run_python(first, shop).stdout.split()
    assert said[:2] == ["1", "invoices"]
    assert said[3:6] == ["1", "invoices", "applied"]


def test_web_application_migrates_at_startup(shop: Project) -> None:
    """FastAPI is not installed here. A class with the same signature takes the same function."""
    _, application, _ = programs("From Python")
    (shop.directory.parent / "fastapi.py").write_text(FASTAPI)
    assert run_python(application + STARTS, shop).stdout == "started\n"
    assert shop.states() == {1: "applied"}
    assert run_python(application + STARTS, shop).stdout == "started\n"


def test_manual_program_reports_failure(shop: Project) -> None:
    _, _, catches = programs("From Python")
    shop.write(up_2_bad="SELECT 1;\nSELECT 1/0;")
    said = run_python(catches, shop, code=1)
    assert said.stdout == "sql/2_bad.up.sql, line 2: 22012\n"
    assert said.stderr == ""


@pytest.mark.parametrize("way", ["pytest-postgresql", "our fixtures"])
def test_each_test_has_tables_but_no_rows_of_other_tests(
    shop: Project, way: str
) -> None:
    conftest, a_test, with_package = programs("In tests")
    if way == "pytest-postgresql":
        # It has no fixture for a URL.
        a_test = a_test[a_test.index("def test_its_total") :]
        # The manual starts a server. The test already has a server.
        with psycopg.connect(shop.url) as connection:
            info = connection.info
            there = f"host={info.host!r}, port={info.port}, user={info.user!r}, "
            there += f"password={info.password or None!r}, dbname='manual_{info.backend_pid}_', "
        conftest = with_package.replace(
            "postgresql_proc(", f"postgresql_noproc({there}"
        )
        assert conftest != with_package
    here = shop.directory.parent
    (here / "conftest.py").write_text(conftest)
    again = a_test.replace("def test_", "def test_again_")
    (here / "test_shop.py").write_text(a_test + textwrap.dedent(again))
    run = f"--basetemp={here / 'run'}"
    run_python("", shop, 0, "-m", "pytest", "-q", "-p", "no:cacheprovider", run, ".")


def test_manual_has_no_untested_program() -> None:
    tried = programs("From Python") + programs("In tests")  # type: ignore[operator]
    assert [block.text for block in MANUAL.of("python")] == tried
    assert README.of("python") + GUIDE.of("python") == []


@pytest.mark.parametrize(
    ("shell", "word"),
    [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --")],
)
def test_shell_completion_works(project: Project, shell: str, word: str) -> None:
    assert f"{shell}_source" in MANUAL.text
    completing = {"_SQLMIG_COMPLETE": f"{shell}_source"}
    process = project.start(env=os.environ | completing)
    assert word in process.communicate()[0]
    assert process.returncode == 0
    process = project.start(
        env=os.environ
        | {
            "_SQLMIG_COMPLETE": "bash_complete",
            "COMP_WORDS": "sqlmig st",
            "COMP_CWORD": "1",
        }
    )
    assert process.communicate()[0].split() == ["plain,stamp", "plain,status"]
