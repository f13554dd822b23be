"""Errors show their place and the next step, and no output ever contains a secret."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from sqlmig.cli import command
from sqlmig.cli.group import command_names

if TYPE_CHECKING:
    from tests.support.project import Project


def test_error_shows_line_column_caret_and_hint(
    project: Project,
) -> None:
    project.file("1_x.up.sql", "CREATE TABLE t (id int);\nSELECT idd\n  FROM t;\n")
    error = project.run("up", code=1).err
    assert (
        '1_x.up.sql:2:8: ERROR: column "idd" does not exist\n  2 | SELECT idd\n    |        ^\n'
        in error
    )
    assert 'HINT: Perhaps you meant to reference the column "t.id".' in error


@pytest.mark.parametrize(
    ("text", "place", "line", "caret"),
    [
        ("SELECT 'é漢', x;", "1:14", "SELECT 'é漢', x;", "              ^"),
        ("\tSELECT\tx;", "1:9", "\tSELECT\tx;", "\t      \t^"),
        ("SELECT 1;\r\nSELECT x;\r\n", "2:8", "SELECT x;", "       ^"),
        ("\ufeffSELECT x;", "1:8", "SELECT x;", "       ^"),
        ("BEGIN;\nSELECT x;\nCOMMIT;", "2:8", "SELECT x;", "       ^"),
        ("SELECT 1 1;", "1:10", "SELECT 1 1;", "         ^"),
    ],
)
def test_error_position_is_correct_for_any_line_content(
    project: Project, text: str, place: str, line: str, caret: str
) -> None:
    project.file("1_x.up.sql", text)
    error = project.run("up", code=1).err
    assert f"1_x.up.sql:{place}: ERROR" in error
    number = place.partition(":")[0]
    assert f"  {number} | {line}\n    | {caret}\n" in error


def test_very_long_line_is_truncated_around_error(project: Project) -> None:
    project.file("1_x.up.sql", f"SELECT {'1, ' * 5000} x, {'1, ' * 5000} 1;")
    error = project.run("up", code=1).err
    assert max(map(len, error.splitlines()[1:])) < 200
    shown, caret = error.splitlines()[1:3]
    assert shown[caret.index("^")] == "x"


def test_an_error_without_a_position_names_the_statements_line(
    project: Project,
) -> None:
    project.file(
        "1_x.up.sql",
        "CREATE TABLE t (id int PRIMARY KEY);\nINSERT INTO t VALUES (1);\n\nINSERT INTO t VALUES (1);\n",
    )
    error = project.run("up", code=1).err
    assert (
        "1_x.up.sql:4:1: ERROR: duplicate key value violates unique constraint" in error
    )
    assert "DETAIL: Key (id)=(1) already exists." in error


def test_error_without_position_in_explicit_transaction_names_line(
    project: Project,
) -> None:
    project.file(
        "1_x.up.sql",
        "BEGIN;\nCREATE TABLE t (id int PRIMARY KEY);\nINSERT INTO t VALUES (1), (1);\nCOMMIT;",
    )
    assert "1_x.up.sql:3:1: ERROR: duplicate key" in project.run("up", code=1).err


def test_missing_url_is_a_usage_error_that_explains_how_to_set_one(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    assert command(["--dir", str(project.directory), "status"]) == 2
    error = capsys.readouterr().err
    assert "give --database-url URL, set DATABASE_URL, or use embedded:PATH" in error


def test_libpq_variables_are_used_if_no_url_is_given(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    for key, value in conninfo_to_dict(project.url).items():
        monkeypatch.setenv(
            {"dbname": "PGDATABASE"}.get(key, f"PG{key.upper()}"), str(value)
        )
    assert command(["--dir", str(project.directory), "up"]) == 0
    assert project.states() == {1: "applied"}


def test_no_server_is_a_clear_error(project: Project) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"postgresql://someone:s3cret@127.0.0.1:{unused.getsockname()[1]}/x"
        error = replace(project, url=url).run("up", code=1).err
    assert "cannot connect: " in error
    assert "Connection refused" in error
    assert "s3cret" not in error


def test_an_unknown_database_is_a_clear_error(project: Project) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    error = replace(project, url=f"{project.url}&dbname=nowhere").run("up", code=1).err
    assert 'database "nowhere" does not exist' in error


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cret@host:port/db",
        "postgresql://u:s3/cret@localhost/db",
        "postgresql://u:s3@cret@localhost/db",
        "postgresql://u:s3%zzcret@localhost/db",
        "postgresql+s3cret://u:cret@localhost/db",
        "postgres://u:5432/s3?host=cret@h/db",
        "u+s3cret:5432/db",
        "u+s3cret://localhost/db",
        "host=localhost password='s3cret",
        "s3cret",
    ],
)
@pytest.mark.parametrize("command", ["up", "status"])
def test_invalid_url_is_a_usage_error_and_is_not_printed(
    project: Project, url: str, command: str
) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    output = replace(project, url=url).run(command, code=2)
    assert "the database URL cannot be read" in output.err
    assert "s3" not in output.err + output.out
    assert "cret" not in output.err + output.out


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "postgresql+drivers3cret://u:s3cret@localhost/db",
            "“postgresql…” belongs to another library; begin it with postgresql://",
        ),
        (
            "jdbc:postgresql://localhost/db?user=u&password=s3cret",
            "“jdbc…” belongs to another library; begin it with postgresql://",
        ),
        (
            "'postgresql://u:s3cret@localhost/db'",
            "it begins with a quote; give it without quotes",
        ),
        (
            "postgresql://u:s3cret@localhost/db?search_path=app",
            "“search_path” belongs to another library; --schema names a schema",
        ),
        (
            "postgresql://u:s3cret@localhost/db?ssl=require",
            "“ssl” belongs to another library; write sslmode=require",
        ),
        (
            "postgresql://u:s3cret@localhost/db?pool_size=5&sslmode=require&command_timeout=1",
            "“pool_size” belongs to another library; remove it, and “command_timeout” belongs to another library; remove it",
        ),
        (
            "postgresql://u:s3cret@localhost/db?pgbouncer=true",
            "“pgbouncer” belongs to another library; remove it\n",
        ),
        (
            "postgresql://u:s3cret@h/db?schema=app",
            "“schema” belongs to another library; --schema names a schema",
        ),
    ],
)
def test_url_parts_of_other_libraries_are_named(
    project: Project, url: str, said: str
) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    error = replace(project, url=url).run("status", code=2).err
    assert said in error
    assert "s3cret" not in error


@pytest.mark.parametrize(
    "scheme",
    [
        "postgresql+psycopg",
        "postgresql+psycopg2",
        "postgresql+asyncpg",
        "postgres+pg8000",
    ],
)
@pytest.mark.parametrize("blanks", ["", "\n "])
def test_sqlalchemy_urls_and_surrounding_whitespace_are_accepted(
    project: Project, scheme: str, blanks: str
) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    url = project.url.replace("postgresql", scheme, 1)
    assert replace(project, url=f"{blanks}{url}{blanks}").states() == {1: "pending"}


def test_failed_connection_is_reported_once(project: Project) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    url = "postgresql://u@127.0.0.1:1/db"
    error = replace(project, url=url).run("status", code=1).err
    assert error.startswith(
        'error: cannot connect: server at "127.0.0.1", port 1: Connection refused'
    )
    assert "--wait 30s" in error


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("migrate", "up"),
        ("rollback", "down"),
        ("init", "new"),
        ("baseline", "stamp"),
        ("statsu", "status"),
    ],
)
def test_unknown_command_suggests_the_right_one(
    project: Project, typed: str, meant: str
) -> None:
    assert f"did you mean `sqlmig {meant}`?" in project.run(typed, code=2).err


def test_every_commands_help_shows_the_shared_options(project: Project) -> None:
    commands = re.findall(r"^  (\w+)  ", project.run("--help").out, re.MULTILINE)
    assert sorted(commands) == sorted(command_names())
    for name in commands:
        text = project.run(name, "--help").out
        for shown in (
            "--database-url URL",
            "--dir DIR",
            "--schema NAME",
            "--wait TIME",
        ):
            assert shown in text
        for strange in ("RANGE", "x>=0", "default: (", "..."):
            assert strange not in text
    assert "..." not in project.run("--help").out.replace("[ARGS]...", "")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_the_embedded_servers_command_has_help(option: str) -> None:
    line = [sys.executable, "-m", "sqlmig.embedded", option]
    ran = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Usage: python -m sqlmig.embedded COMMAND")


def test_undecodable_arguments_are_usage_errors(project: Project) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    assert "cannot be shown" in project.run("--schema", "\udcff", "up", code=2).err
    secret = (
        replace(project, url="postgresql://u:s3\udcffcret@localhost/db")
        .run("status", code=2)
        .err
    )
    assert "the database URL cannot be read" in secret
    assert "cret" not in secret


def test_a_full_disk_is_a_clear_error(project: Project) -> None:
    project.file("1_x.up.sql", "SELECT 1")
    with open("/dev/full", "w") as full:  # noqa: PTH123
        process = project.start("script", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No space left on device" in err
    assert "Traceback" not in err


def test_error_after_rule_with_extra_results_is_reported(
    project: Project,
) -> None:
    rule = "CREATE TABLE r (x int PRIMARY KEY); CREATE RULE rr AS ON INSERT TO r DO ALSO (SELECT 1; SELECT 2; SELECT 3);"
    project.file(
        "1_x.up.sql",
        f"{rule}\nINSERT INTO r VALUES (1);\nINSERT INTO r VALUES (2);\nINSERT INTO r VALUES (1);",
    )
    assert "duplicate key" in project.run("up", code=1).err


def test_help_and_version_go_to_standard_output(project: Project) -> None:
    assert project.run("--version").out.startswith("sqlmig ")
    assert "Usage: sqlmig" in project.run("--help").out
    for name in ("up", "down", "status", "new"):
        assert f"Usage: sqlmig {name}" in project.run(name, "--help").out


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_up_succeeds_with_closed_standard_streams(
    project: Project, closed: str
) -> None:
    project.file("1_x.up.sql", "CREATE TABLE t ();")
    line = f'"{sys.executable}" -m sqlmig -d "$0" --dir "$1" up {closed}'
    ran = subprocess.run(
        ["sh", "-c", line, project.url, str(project.directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert project.states() == {1: "applied"}
