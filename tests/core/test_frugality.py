"""A command loads only the modules it needs, and never sends the same query twice."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.waits import tables

if TYPE_CHECKING:
    from tests.support.project import Project
    from tests.support.proxy import Proxy


def queries(proxy: Proxy) -> int:
    """Count the queries that the last connection sent.

    After the startup message, each message begins with its type and its length. Q is a simple query, and S ends an
    extended query.
    (https://www.postgresql.org/docs/current/protocol-message-formats.html)
    """
    sent = proxy.sent[-1]
    at, asked = int.from_bytes(sent[:4], "big"), 0
    while at < len(sent):
        asked += sent[at : at + 1] in b"QS"
        at += 1 + int.from_bytes(sent[at + 1 : at + 5], "big")
    return asked


def test_a_file_is_one_round_trip(project: Project, proxy: Proxy) -> None:
    behind = proxy.before(project)
    counts = {}
    for count in (10, 40):
        tables(project, count)
        behind.run("up")
        counts["up", count] = queries(proxy)
        behind.run("down", "--all", "--yes")
        counts["down", count] = queries(proxy)
    # Each run has a fixed number of queries, and one more for each file: ten files first, then forty.
    assert counts["down", 40] - counts["down", 10] == 30
    assert counts["down", 10] <= 10 + 2
    assert counts["up", 40] <= 40 + 2
    assert counts["up", 10] <= 10 + 5  # creates the ledger


def test_a_long_file_is_a_message_a_megabyte(project: Project, proxy: Proxy) -> None:
    project.file(
        "1_t.up.sql",
        "CREATE TABLE t (id int);\n" + "INSERT INTO t VALUES (1);\n" * 200_000,
    )
    proxy.before(project).run("up")
    assert 5 <= queries(proxy) <= 6 + 5
    assert project.query("SELECT count(*) FROM t") == [(200_000,)]


@pytest.mark.parametrize("command", ["up", "status"])
def test_nothing_to_do_is_one_question(
    project: Project, proxy: Proxy, command: str
) -> None:
    tables(project, 3)
    project.run("up")
    proxy.before(project).run(command)
    assert queries(proxy) == 1


def loaded(project: Project, *arguments: str) -> set[str]:
    """Return the modules that a command loads."""
    program = "import sys; from sqlmig.cli import command; command(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    options = ["-d", project.url, "--dir", str(project.directory)]
    ran = subprocess.run(
        [sys.executable, "-c", program, *options, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(ran.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["up", "--help"],
        ["nonsense"],
        ["up", "--to", "x"],
        ["new", "x"],
        ["script"],
    ],
)
def test_who_does_not_connect_loads_no_driver(
    project: Project, arguments: list[str]
) -> None:
    tables(project, 2)
    assert "psycopg" not in loaded(project, *arguments)


def test_with_nothing_to_do_nothing_is_loaded_to_do_it(project: Project) -> None:
    tables(project, 2)
    assert {
        "sqlmig.core.runner",
        "sqlmig.core.lexer",
        "sqlmig.core.sqlfile",
        "sqlmig.core.transaction",
    } <= loaded(project, "up")
    assert not {
        "sqlmig.core.runner",
        "sqlmig.core.lexer",
        "sqlmig.core.transaction",
        "sqlmig.check",
    } & loaded(project, "up")
