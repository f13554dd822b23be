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


def queries(proxy: Proxy, project: Project, *arguments: str) -> int:
    """Run a command through the proxy, and count the queries that its first connection sent.

    If the server is silent for a second, a second connection asks why. It does not count.
    After the startup message, each message begins with its type and its length. Q is a simple query, and S ends an
    extended query.
    (https://www.postgresql.org/docs/current/protocol-message-formats.html)
    """
    proxy.sent.clear()
    proxy.before(project).run(*arguments)
    sent = proxy.sent[0]
    at, asked = int.from_bytes(sent[:4], "big"), 0
    while at < len(sent):
        asked += sent[at : at + 1] in b"QS"
        at += 1 + int.from_bytes(sent[at + 1 : at + 5], "big")
    return asked


def test_each_file_takes_one_round_trip(project: Project, proxy: Proxy) -> None:
    counts = {}
    for count in (10, 40):
        tables(project, count)
        counts["up", count] = queries(proxy, project, "up")
        counts["down", count] = queries(proxy, project, "down", "--all", "--yes")
    # Each run has a fixed number of queries, and one more for each file: ten files first, then forty.
    assert counts["down", 40] - counts["down", 10] == 30
    assert counts["down", 10] <= 10 + 2
    assert counts["up", 40] <= 40 + 2
    assert counts["up", 10] <= 10 + 5  # creates the ledger


def test_long_file_is_sent_in_megabyte_messages(project: Project, proxy: Proxy) -> None:
    project.file(
        "1_t.up.sql",
        "CREATE TABLE t (id int);\n" + "INSERT INTO t VALUES (1);\n" * 200_000,
    )
    assert 5 <= queries(proxy, project, "up") <= 6 + 5
    assert project.query("SELECT count(*) FROM t") == [(200_000,)]


@pytest.mark.parametrize("command", ["up", "status"])
def test_up_and_status_send_one_query_if_nothing_is_pending(
    project: Project, proxy: Proxy, command: str
) -> None:
    tables(project, 3)
    project.run("up")
    assert queries(proxy, project, command) == 1


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
def test_commands_that_do_not_connect_load_no_driver(
    project: Project, arguments: list[str]
) -> None:
    tables(project, 2)
    assert "psycopg" not in loaded(project, *arguments)


def test_up_loads_no_runner_if_nothing_is_pending(project: Project) -> None:
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
