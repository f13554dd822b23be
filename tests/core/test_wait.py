"""--wait waits only for a server that has not started yet, for example if containers start together."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from tests.support.project import Project
    from tests.support.servers import Server


@pytest.fixture
def port() -> int:
    """Return a port on which no server listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def at(project: Project, port: int) -> Project:
    """Return the project with a URL for this port."""
    parts = conninfo_to_dict(project.url) | {
        "host": "127.0.0.1",
        "port": port,
        "sslmode": "disable",
    }
    return replace(project, url=make_conninfo(**parts))  # type: ignore[arg-type]


def test_wait_succeeds_when_server_starts_later(
    project: Project, server: Server, port: int
) -> None:
    project.write(up_1_a="CREATE TABLE a ();")
    runner = at(project, port).fork("up", "--wait", "2 min")
    time.sleep(0.7)
    assert runner.process.is_alive()
    proxy = Proxy(server, port)
    assert "applied 1_a" in runner.ended()
    proxy.listener.close()


def test_up_fails_without_wait_or_after_wait_expires(
    project: Project, port: int
) -> None:
    project.write(up_1_a="CREATE TABLE a ();")
    assert "cannot connect" in at(project, port).run("up", code=1).err
    assert "cannot connect" in at(project, port).run("up", "--wait", "0.5s", code=1).err


def test_wait_ends_if_server_rejects_connection(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();")
    nowhere = replace(
        project, url=make_conninfo(project.url, dbname="no_such_database")
    )
    assert "does not exist" in nowhere.run("up", "--wait", "24h", code=1).err


@pytest.mark.parametrize("time", ["soon", "10", "-1s", "1 day"])
def test_invalid_wait_time_is_a_usage_error(project: Project, time: str) -> None:
    assert (
        "a number with s, min or h" in project.run("status", "--wait", time, code=2).err
    )
