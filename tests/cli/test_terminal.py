"""On a terminal, sqlmig shows colours and a line about the statement that takes long. In a pipe, it shows neither."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.project import RUN
from tests.support.terminal import on_a_terminal

if TYPE_CHECKING:
    from tests.support.project import Project

GREEN, YELLOW, RED = "\x1b[32m", "\x1b[33m", "\x1b[31m"
# This index takes at least two seconds to build.
SLOW = """
    CREATE TABLE t (id int);
    INSERT INTO t SELECT generate_series(1, 500);
    CREATE FUNCTION slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(0.006); RETURN n; END$$;
"""


# How long something has been running. A busy machine may show it late.
RUNNING = r"running for (0:00:0[1-9])"


@pytest.fixture
def states(project: Project) -> Project:
    """Return a database with an applied, a changed and a pending migration."""
    project.write(up_1_a="SELECT 1;", up_2_b="SELECT 2;", down_1_a="")
    project.run("up")
    project.write(up_2_b="SELECT 3;", up_3_c="SELECT 4;")
    return project


def test_states_have_colours(states: Project) -> None:
    shown = on_a_terminal(states, "status")
    assert f"{GREEN}applied\x1b[0m" in shown
    assert f"{RED}changed\x1b[0m" in shown
    assert f"{YELLOW}pending\x1b[0m" in shown
    assert f"{RED}error\x1b[0m: nothing was applied" in on_a_terminal(
        states, "up", code=1
    )


def test_no_colour_in_pipe_or_with_no_color(states: Project) -> None:
    assert "\x1b" not in states.run("status").out
    assert "\x1b" not in on_a_terminal(states, "status", NO_COLOR="1")
    assert f"{GREEN}applied" in on_a_terminal(
        states, "status", NO_COLOR=""
    )  # https://no-color.org
    plain = re.sub(r"\x1b\[\d*m", "", on_a_terminal(states, "status")).splitlines()
    database, *lines = [line.rstrip() for line in plain]
    assert lines == states.run("status").out.splitlines()
    ((name,),) = states.query("SELECT current_database()")
    assert database.startswith(f"{name} on ")


def test_long_migration_shows_running_time(project: Project) -> None:
    project.write(up_1_long="SELECT pg_sleep(3);", up_2_short="SELECT 1;")
    project.write(down_1_long="SELECT pg_sleep(2);", down_2_short="SELECT 1;")
    shown = on_a_terminal(project, "up", NO_COLOR="1")
    times = re.findall(rf"\r\x1b\[K1_long: {RUNNING}", shown)
    assert len(times) >= 2
    assert times == sorted(set(times))
    assert re.search(r"\r\x1b\[Kapplied 1_long \([3-9]\.\d s\)\r\n", shown)
    shown = on_a_terminal(project, "down", "--all", "--dry-run")
    assert re.search(f"1_long: {RUNNING}", shown)


def test_notice_during_progress_gets_its_own_line(project: Project) -> None:
    project.write(
        up_1_long="DO $$BEGIN PERFORM pg_sleep(1.5); RAISE NOTICE 'half-way'; PERFORM pg_sleep(1); END$$;"
    )
    shown = on_a_terminal(project, "up")
    assert "\r\x1b[KNOTICE: half-way\r\n" in shown


@pytest.mark.parametrize("how", ["INDEX", "INDEX CONCURRENTLY"])
def test_index_build_shows_percentage(project: Project, how: str) -> None:
    project.query(SLOW)
    project.write(up_1_index=f"CREATE {how} ON t (slow(id));")
    shown = on_a_terminal(project, "up", "--retries", "0", "--allow-non-empty")
    assert re.search(
        rf"1_index: {RUNNING}: \d+ % of create {how.lower()} on t, [a-z ]+",
        shown,
    )
    assert project.states() == {1: "applied"}


def test_the_line_fits_the_terminal(project: Project) -> None:
    label = "1_" + 40 * "\u5e83"
    project.file(f"{label}.up.sql", "SELECT pg_sleep(2.5);")
    shown = on_a_terminal(project, "up")
    lines = set(re.findall(r"\r\x1b\[K(1_[^\r]+)\r", shown))
    assert lines == {label[:-2]}  # one more wide character would reach column 80
    assert "applied" in shown


def test_progress_works_if_terminal_width_is_unknown(
    project: Project,
) -> None:
    project.write(up_1_long="SELECT pg_sleep(2.5);")
    shown = on_a_terminal(project, "up", columns=0)
    assert re.search(rf"1_long: {RUNNING}\r", shown)
    assert project.states() == {1: "applied"}


def test_running_time_is_shown_without_second_connection(project: Project) -> None:
    role, database = f"lonely_{RUN}", conninfo_to_dict(project.url)["dbname"]
    project.query(f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 1")
    try:
        project.query(
            f"GRANT CREATE ON SCHEMA public TO {role}; GRANT CREATE ON DATABASE {database} TO {role}"
        )
        project.write(up_1_index=f"{SLOW}; CREATE INDEX ON t (slow(id));")
        lonely = replace(
            project, url=make_conninfo(project.url, user=role, password="x")
        )
        assert re.search(rf"1_index: {RUNNING}\r", on_a_terminal(lonely, "up"))
    finally:
        project.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_pipe_gets_whole_lines_only(project: Project) -> None:
    project.write(up_1_long="SELECT pg_sleep(1.5);")
    output = project.run("up")
    assert re.fullmatch(r"applied 1_long \([1-9]\.\d s\)\n", output.out)
    assert output.err == ""


def test_pipe_gets_progress_line_after_ten_seconds(project: Project) -> None:
    project.write(up_1_long="SELECT pg_sleep(10.6);")
    output = project.run("up")
    assert re.fullmatch(r"1_long: running for 0:00:1\d\n", output.err)
    assert re.fullmatch(r"applied 1_long \(1\d\.\d s\)\n", output.out)


@pytest.mark.parametrize("seconds", [1.02, 1.05, 1.1])
def test_up_succeeds_if_statement_ends_during_progress_query(
    project: Project, seconds: float
) -> None:
    project.write(up_1_long=f"SELECT pg_sleep({seconds});", up_2_next="SELECT 1;")
    on_a_terminal(project, "up")
    assert project.states() == {1: "applied", 2: "applied"}
