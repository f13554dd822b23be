"""The fixtures of sqlmig.testing, used by a small project as the manual shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

import sqlmig
from sqlmig import testing
from tests.support.environment import environment_for_another_run
from tests.support.project import SQL, Project

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = (
    "CREATE TABLE invoices (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total int)"
)
CONFTEST = """
import sqlmig.testing

database_url = sqlmig.testing.database_url("sql"{options})
connection = sqlmig.testing.connection("sql"{options})
sqlalchemy_connection = sqlmig.testing.sqlalchemy_connection("sql"{options})
asyncpg_url = sqlmig.testing.database_url("sql", driver="asyncpg"{options})
"""
TESTS = """
import asyncio

import psycopg
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

COUNT = "SELECT count(*) FROM invoices"
ADD = "INSERT INTO invoices (total) VALUES (10)"


@pytest.mark.parametrize("number", range(3))
def test_each_test_has_a_database_of_its_own(database_url, number):
    with psycopg.connect(database_url) as connection:
        assert connection.execute(COUNT).fetchone() == (0,)
        connection.execute(ADD)


@pytest.mark.parametrize("number", range(2))
def test_sqlalchemy_can_read_the_url(database_url, number):
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(ADD))
        assert connection.execute(text(COUNT)).scalar() == 1
    engine.dispose()


@pytest.mark.parametrize("number", range(2))
def test_asyncpg_can_read_the_url(asyncpg_url, number):
    async def work():
        engine = create_async_engine(asyncpg_url)
        async with engine.begin() as connection:
            await connection.execute(text(ADD))
            assert (await connection.execute(text(COUNT))).scalar() == 1
        await engine.dispose()

    asyncio.run(work())


@pytest.mark.parametrize("number", range(3))
def test_a_connection_is_rolled_back(connection, number):
    assert connection.execute(COUNT).fetchone() == (0,)
    connection.execute(ADD)
    with connection.transaction():
        connection.execute(ADD)
    assert connection.execute(COUNT).fetchone() == (2,)


@pytest.mark.parametrize("number", range(3))
def test_a_session_may_commit_and_roll_back(sqlalchemy_connection, number):
    with Session(sqlalchemy_connection, join_transaction_mode="create_savepoint") as session:
        assert session.execute(text(COUNT)).scalar() == 0
        session.execute(text(ADD))
        session.commit()
        session.execute(text(ADD))
        session.rollback()
        assert session.execute(text(COUNT)).scalar() == 1
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Return a small project with a test suite."""
    suite = tmp_path / "suite"
    (suite / "sql").mkdir(parents=True)
    (suite / "sql" / "1_invoices.up.sql").write_text(FILES)
    (suite / "conftest.py").write_text(CONFTEST.format(options=""))
    (suite / "test_it.py").write_text(TESTS)
    (suite / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return suite


def run(suite: Path, *arguments: str, code: int = 0) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=suite,
        env=environment_for_another_run("SQLMIG_PG_BIN")
        | {
            "PYTHONPATH": str(SQL.parent),
            "PYTEST_ADDOPTS": f"--basetemp={suite.parent / 'run'}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


PLACES = (Path("/dev/shm"), Path(tempfile.gettempdir()))


def left_over(runs: str) -> list[Path]:
    """Return the servers' directories that runs have not removed. runs: a pattern of their names."""
    found = []
    for place in PLACES:
        for path in place.glob("sqlmig-testing-*"):
            if re.search(runs, path.name):
                found.append(path)
    return found


@pytest.mark.parametrize("workers", ["0", "2"])
def test_suite_on_private_server_leaves_no_directories(
    suite: Path, workers: str
) -> None:
    """It also removes what a killed run left, in memory or on disk."""
    for place in PLACES:
        if os.access(place, os.W_OK):
            killed = place / f"sqlmig-testing-{os.getuid()}-killed"
            killed.mkdir(exist_ok=True)
            killed.with_suffix(".lock").touch()
    (suite / "test_run.py").write_text(
        "import os, pathlib\n\ndef test_run(connection):\n"
        "    name = os.environ.get('PYTEST_XDIST_TESTRUNUID') or str(os.getpid())\n"
        "    pathlib.Path('run.txt').write_text(name)\n"
    )
    assert "14 passed" in run(suite, "-n", workers)
    assert left_over(f"-{(suite / 'run.txt').read_text()}|-killed") == []


@pytest.fixture
def on_server(project: Project, suite: Path) -> Iterator[Path]:
    """Return the suite with fixtures on the server of this run, and check that no database stays."""
    options = f", url={project.url!r}"
    (suite / "conftest.py").write_text(CONFTEST.format(options=options))
    yield suite
    left = project.query(
        "SELECT datname FROM pg_database WHERE datname ~ '^sqlmig_test_' AND datname !~ 'template'"
    )
    assert left == []
    for (name,) in templates(project):
        project.query(f"DROP DATABASE {name}")


def templates(project: Project) -> list[tuple[str]]:
    return project.query(
        "SELECT datname FROM pg_database WHERE datname ~ '^sqlmig_test_template_'"
    )


def test_suite_reuses_template_until_files_change(
    project: Project, on_server: Path
) -> None:
    run(on_server, "-n", "2")
    ((first,),) = templates(project)
    run(on_server)
    assert templates(project) == [(first,)]
    (on_server / "sql" / "2_more.up.sql").write_text("CREATE TABLE more ()")
    run(on_server)
    ((second,),) = templates(project)
    assert second != first


def test_template_whose_drop_was_interrupted_is_made_again(
    project: Project, suite: Path
) -> None:
    made = testing.template(suite / "sql", url=project.url)
    with made as template:
        name = template.name
    # This is what PostgreSQL writes before it removes the files of a database.
    project.query("UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", name)
    try:
        with testing.template(suite / "sql", url=project.url) as again:
            assert again.name == name
            with again.copy() as url, psycopg.connect(url) as connection:
                assert connection.execute("TABLE invoices").fetchall() == []
    finally:
        project.query(f"DROP DATABASE {name}")


def test_directory_is_found_from_subfolder_and_in_larger_project(
    suite: Path,
) -> None:
    folder = suite / "folder"
    folder.mkdir()
    test = folder / "test_there.py"
    test.write_text("def test_it(connection): connection.execute('TABLE invoices')\n")
    assert "1 passed" in run(folder, str(test))
    larger = suite.parent / "pytest.ini"
    (suite / "pytest.ini").rename(larger)
    (suite / "test_it.py").unlink()
    assert "1 passed" in run(suite)


def test_the_context_managers_need_no_pytest(suite: Path) -> None:
    with testing.template(suite / "sql", schema="app") as made, made.copy() as url:
        assert url.startswith("postgresql://")
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT total FROM app.invoices").fetchall() == []


def test_templates_may_be_closed_in_any_order(suite: Path) -> None:
    first, second = ExitStack(), ExitStack()
    one = first.enter_context(testing.template(suite / "sql"))
    two = second.enter_context(testing.template(suite / "sql", schema="app"))
    url = second.enter_context(two.copy())
    with one.copy():
        pass
    first.close()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT total FROM app.invoices").fetchall() == []
    second.close()
    with testing.template(suite / "sql") as again, again.copy():
        pass


def test_sqlalchemy_connection_refuses_to_commit(suite: Path) -> None:
    (suite / "test_it.py").write_text(
        "import pytest, sqlmig\nfrom sqlalchemy import text\n\n"
        "@pytest.mark.parametrize('number', range(2))\n"
        "def test_it(sqlalchemy_connection, number):\n"
        "    assert sqlalchemy_connection.execute(text('SELECT count(*) FROM invoices')).scalar() == 0\n"
        "    sqlalchemy_connection.execute(text('INSERT INTO invoices (total) VALUES (1)'))\n"
        "    with pytest.raises(sqlmig.UsageError, match='cannot commit'):\n"
        "        sqlalchemy_connection.commit()\n"
    )
    assert "2 passed" in run(suite)


def test_unknown_driver_or_keyword_is_refused_immediately() -> None:
    with pytest.raises(sqlmig.UsageError, match="there is no driver 'asynpg' here"):
        testing.database_url("sql", driver="asynpg")
    with pytest.raises(TypeError):
        testing.database_url("sql", drvier="asyncpg")  # type: ignore[call-arg]


COUNT_UPS = """
import pathlib
import sqlmig

up = sqlmig.up


def counted(*arguments, **keywords):
    with pathlib.Path("ups.txt").open("a") as file:
        file.write(".")
    return up(*arguments, **keywords)


sqlmig.up = counted
"""


def test_failing_file_runs_once_and_is_named_without_traceback(suite: Path) -> None:
    (suite / "sql" / "2_wrong.up.sql").write_text("SELECT wrong")
    with (suite / "conftest.py").open("a") as conftest:
        conftest.write(COUNT_UPS)
    output = run(suite, "-rN", code=1)
    assert "13 errors" in output
    assert len(re.findall(r"2_wrong\.up\.sql:1:8: ERROR: column", output)) == 13
    assert "sqlmig/testing.py" not in output
    drivers = 3  # each has its own URLs
    assert len((suite / "ups.txt").read_text()) == drivers
