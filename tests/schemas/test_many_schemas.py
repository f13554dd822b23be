"""Many schemas in one database: each has its own ledger, and the promises for one schema hold for all."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.project import RUN, until
from tests.support.terminal import on_a_terminal

if TYPE_CHECKING:
    from tests.support.project import Project

# `make soak` kills more runners.
PARTS = 8 if os.environ.get("SQLMIG_TEST_KILLS") else 2
ODD = [
    "a_b",
    "a%b",
    "aXb",
    'Q"uote',
    "Größe",
    "日本",
    "a b",
    "a'b",
    "a.b",
    "[ab]",
    "a\\b",
]


def schemas(project: Project, count: int) -> list[str]:
    """Create ``count`` schemas, t_001 and up, apply the first file to each, and write a second file."""
    names = [f"t_{n:03}" for n in range(1, count + 1)]
    project.write(up_1_a="CREATE TABLE a (n int);", down_1_a="DROP TABLE a;")
    for some in (names[n : n + 100] for n in range(0, count, 100)):
        project.run("up", *(word for name in some for word in ("--schema", name)))
    project.write(
        up_2_b="ALTER TABLE a ADD m int; INSERT INTO a VALUES (1, 2);",
        down_2_b="ALTER TABLE a DROP m;",
    )
    return names


def columns(project: Project) -> dict[str, int]:
    """Return the number of columns of table a in each schema."""
    query = "SELECT table_schema, count(*) FROM information_schema.columns WHERE table_name = 'a' GROUP BY 1"
    return dict(project.query(query))


def recorded(project: Project, schema: str) -> list[int]:
    return [
        version
        for (version,) in project.query(
            f'SELECT version FROM "{schema}".schema_migrations ORDER BY 1'
        )
    ]


def test_up_applies_pending_files_and_prints_line_for_each_schema(
    project: Project,
) -> None:
    names = schemas(project, 3)
    lines = project.run("up", "--schema", "t_*").out.splitlines()
    assert sorted(re.sub(r"\(.*", "", line) for line in lines[:3]) == [
        f"{name}: applied 1 " for name in names
    ]
    assert lines[3:] == ["3 schemas: 3 applied"]
    assert columns(project) == dict.fromkeys(names, 2)
    assert project.run("up", "--schema", "t_*").out == "nothing to do in 3 schemas\n"
    assert "public" not in dict(
        project.query(
            "SELECT nspname, 1 FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relname = 'schema_migrations'"
        )
    )


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("*", set(ODD)),
        ("a?b", {"a_b", "a%b", "aXb", "a b", "a'b", "a.b", "a\\b"}),
        ("a_b", {"a_b"}),
        ("a%*", {"a%b"}),
        ("?", set()),
        ("Gr*", {"Größe"}),
        ("gr*", set()),
        ("日?", {"日本"}),
        ('*"*', {'Q"uote'}),
        ("[ab]*", {"[ab]"}),
        ("a.*", {"a.b"}),
        ("a\\*", {"a\\b"}),
    ],
)
def test_only_star_and_question_mark_are_wildcards(
    project: Project, pattern: str, fitting: set[str]
) -> None:
    project.write(up_1_a="CREATE TABLE a (n int);")
    project.run("up", *(word for name in ODD for word in ("--schema", name)))
    if fitting:
        shown = project.run(
            "status", "--json", "--schema", pattern, "--schema", pattern
        ).json()
        assert sorted(row["schema"] for row in shown) == sorted(fitting)
    else:
        assert (
            "no schema that matches has a ledger"
            in project.run("status", "--schema", pattern, code=1).err
        )


def test_matching_schemas_without_ledger_are_skipped_and_counted(
    project: Project,
) -> None:
    schemas(project, 2)
    project.query(
        "CREATE SCHEMA t_bare; CREATE SCHEMA t_other; CREATE TABLE t_other.schema_migrations (version text)"
    )
    output = project.run("up", "--schema", "t_*")
    assert "2 schemas without a ledger, left alone" in output.err
    assert "2 schemas: 2 applied" in output.out
    assert project.query(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 't_bare'::regnamespace"
    ) == [(0,)]
    assert (
        "t_other.schema_migrations is the ledger of dbmate"
        in project.run("up", "--schema", "t_other", "--schema", "t_001", code=1).err
    )


def test_up_starts_ledger_in_schema_given_by_name(project: Project) -> None:
    schemas(project, 1)
    project.run("up", "--schema", "t_*", "--schema", "new")
    assert columns(project) == {"t_001": 2, "new": 2}


def test_only_broken_schema_fails_and_next_up_retries_only_it(
    project: Project,
) -> None:
    names = schemas(project, 200)
    project.query("ALTER TABLE t_077.a ADD m int")
    output = project.run("up", "--schema", "t_*", code=1)
    assert output.out.splitlines()[-1] == "200 schemas: 199 applied, 1 failed"
    assert "t_077: error: " in output.err
    assert (
        '2_b.up.sql:1:1: ERROR: column "m" of relation "a" already exists' in output.err
    )
    assert output.err.splitlines()[-1] == "error: 1 of 200 schemas failed: t_077"
    assert [name for name in names if recorded(project, name) != [1, 2]] == ["t_077"]
    project.query("ALTER TABLE t_077.a DROP m")
    assert (
        project.run("up", "--schema", "t_*").out.splitlines()[-1]
        == "200 schemas: 1 applied, 199 with nothing to do"
    )
    assert set(columns(project).values()) == {2}


def test_a_schema_in_which_some_files_were_applied_counts_as_failed(
    project: Project,
) -> None:
    schemas(project, 2)
    project.write(up_3_c="SELECT 1;", up_4_d="CREATE TABLE d ();")
    project.query("CREATE TABLE t_002.d ()")
    output = project.run("up", "--schema", "t_*", code=1)
    assert output.out.splitlines()[-1] == "2 schemas: 1 applied, 1 failed"
    assert recorded(project, "t_002") == [1, 2, 3]


def test_a_schema_whose_rehearsal_failed_is_reported_once(project: Project) -> None:
    schemas(project, 2)
    project.run("up", "--schema", "t_*")
    project.query("DROP TABLE t_002.a CASCADE")
    output = project.run("down", "--yes", "--schema", "t_*", code=1)
    assert output.out.splitlines()[-1] == "2 schemas: 1 reverted, 1 failed"
    assert output.err.count("error: 1 of 2 schemas failed: t_002") == 1


def test_changed_checksum_fails_only_its_schema(project: Project) -> None:
    schemas(project, 3)
    project.query("UPDATE t_002.schema_migrations SET checksum = 'x'")
    output = project.run("up", "--schema", "t_*", code=1)
    assert "t_002: error: nothing was applied to " in output.err
    assert "3 schemas: 2 applied, 1 failed" in output.out


def test_locked_table_in_one_schema_does_not_delay_others(project: Project) -> None:
    names = schemas(project, 20)
    with psycopg.connect(project.url) as holder:
        holder.execute("LOCK TABLE t_001.a")
        runner = project.fork(
            "up",
            "--schema",
            "t_*",
            "--lock-timeout",
            "100ms",
            "--retries",
            "1000",
            "--jobs",
            "2",
        )
        until(
            lambda: sum(len(recorded(project, name)) for name in names) == 39,
            "the others",
        )
        assert "t_001: 1_a" not in runner.text()
    assert "20 schemas: 20 applied" in runner.ended()


def test_status_groups_schemas_and_names_only_small_groups(project: Project) -> None:
    schemas(project, 8)
    project.run("up", "--schema", "t_001", "--schema", "t_002")
    lines = project.run("status", "--schema", "t_*").out.splitlines()
    assert lines == [
        "6 schemas, each: 1 applied, 1 pending (2_b)",
        "2 schemas (t_001, t_002), each: 2 applied",
    ]
    assert project.run("status", "--schema", "t_*", "--exit-code", code=1)
    project.run("up", "--schema", "*")
    assert (
        project.run("status", "--schema", "t_00?", "--exit-code").out
        == "8 schemas, each: 2 applied\n"
    )
    shown = project.run(
        "status", "--schema", "t_003", "--schema", "t_004", "--json"
    ).json()
    assert [(row["schema"], row["version"], row["state"]) for row in shown] == [
        (schema, version, "applied")
        for schema in ("t_003", "t_004")
        for version in (1, 2)
    ]


def test_down_rehearsal_sums_losses_and_down_reverts_all_schemas(
    project: Project,
) -> None:
    names = schemas(project, 4)
    project.run("up", "--schema", "t_*")
    lines = project.run("down", "--schema", "t_*", "--dry-run").out.splitlines()
    assert lines[0].startswith("would revert 2_b in 4 schemas (")
    assert re.fullmatch(r"  a: blocks reads and writes for up to \d+ ms", lines[1])
    assert lines[2:] == ["would lose m of a (4 rows)"]
    assert columns(project) == dict.fromkeys(names, 2)
    refused = project.run("down", "--schema", "t_*", code=1)
    assert "would lose m of a (4 rows)" in refused.err
    assert columns(project) == dict.fromkeys(names, 2)
    project.run("down", "--schema", "t_*", "--yes")
    assert columns(project) == dict.fromkeys(names, 1)
    project.run("down", "--schema", "t_*", "--all", "--yes")
    assert columns(project) == {}


def test_terminal_shows_progress_bar_and_asks_one_question(project: Project) -> None:
    schemas(project, 30)
    shown = on_a_terminal(project, "up", "--schema", "t_*", NO_COLOR="1")
    assert "30/30" in shown
    assert "30 schemas: 30 applied" in shown
    assert "\r\x1b[Kt_001: applied 1 (" in shown
    for answer, said, left in (
        ("n", "nothing was reverted", 2),
        ("y", "30 schemas: 30 reverted", 1),
    ):
        shown = on_a_terminal(
            project,
            "down",
            "--schema",
            "t_*",
            answer=answer,
            code=int(answer == "n"),
            NO_COLOR="1",
        )
        assert "would lose m of a (30 rows)" in shown
        assert "Revert this in 30 schemas of " in shown
        assert said in shown
        assert set(columns(project).values()) == {left}


def test_rehearsing_many_changes_nothing(project: Project) -> None:
    names = schemas(project, 5)
    assert (
        "would apply 2_b in 5 schemas ("
        in project.run("up", "--schema", "t_*", "--dry-run").out
    )
    assert columns(project) == dict.fromkeys(names, 1)


def test_stamp_takes_names_and_no_patterns(project: Project) -> None:
    schemas(project, 2)
    lines = sorted(
        project.run(
            "stamp", "2", "--schema", "t_001", "--schema", "t_002"
        ).out.splitlines()
    )
    assert lines == ["t_001: recorded 2_b", "t_002: recorded 2_b"]
    assert (
        "give --schema without * or ?"
        in project.run("stamp", "2", "--schema", "t_*", code=2).err
    )


@pytest.mark.parametrize("command", ["check", "script", "docs"])
def test_some_commands_work_on_one_schema(project: Project, command: str) -> None:
    schemas(project, 1)
    assert "one schema" in project.run(command, "--schema", "t_*", code=2).err


def test_session_state_of_one_schema_does_not_leak_into_next(project: Project) -> None:
    project.write(
        up_1_a="SET search_path = pg_catalog; SET lock_timeout = 1; CREATE TEMP TABLE left_over (n int); SET ROLE pg_monitor;"
    )
    names = [f"t_{n}" for n in range(12)]
    project.run(
        "up", "--jobs", "1", *(word for name in names for word in ("--schema", name))
    )
    project.write(
        up_2_b="CREATE TEMP TABLE left_over (n int); CREATE TABLE b AS SELECT current_schema() AS place, current_setting('lock_timeout') AS patience, current_user AS me;"
    )
    project.run("up", "--schema", "t_*", "--jobs", "2", "--lock-timeout", "7s")
    for name in names:
        assert project.query(f"SELECT * FROM {name}.b") == [(name, "7s", "postgres")]


def test_up_opens_one_connection_per_job_plus_one(project: Project) -> None:
    schemas(project, 12)
    project.write(up_3_c="SELECT pg_sleep(0.2);")
    runner = project.fork("up", "--schema", "t_*", "--jobs", "3")
    most = 0
    while runner.process.is_alive():
        ((count,),) = project.query(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sqlmig' AND datname = current_database()"
        )
        most = max(most, count)
    runner.ended()
    assert most == 4


def test_no_transaction_file_runs_in_each_schema(project: Project) -> None:
    names = schemas(project, 6)
    project.write(up_3_c="CREATE INDEX CONCURRENTLY i ON a (n);")
    assert "6 schemas: 6 applied" in project.run("up", "--schema", "t_*").out
    assert project.query(
        "SELECT count(*) FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relname = 'i' AND indisvalid"
    ) == [(len(names),)]


def consistent(project: Project, names: list[str]) -> None:
    """Assert that each ledger agrees with its schema."""
    found = columns(project)
    for name in names:
        assert len(recorded(project, name)) == found[name], name


@pytest.mark.parametrize("part", range(PARTS))
def test_ledgers_match_tables_after_kills_at_random_moments(
    project: Project, part: int
) -> None:
    names, rng = schemas(project, 60), random.Random(part)
    for _ in range(5):
        runner = project.fork("up", "--schema", "t_*")
        time.sleep(rng.uniform(0.1, 0.5))
        runner.process.kill()
        runner.process.join()
        until(
            lambda: (
                not project.query(
                    "SELECT 1 FROM pg_stat_activity WHERE application_name = 'sqlmig' AND datname = current_database() AND pid <> pg_backend_pid()"
                )
            ),
            "the backends",
        )
        consistent(project, names)
    project.run("up", "--schema", "t_*")
    assert columns(project) == dict.fromkeys(names, 2)
    consistent(project, names)


def test_three_at_once_apply_each_file_once(project: Project) -> None:
    names = schemas(project, 60)
    runners = [project.fork("up", "--schema", "t_*") for _ in range(3)]
    applied = sum(runner.ended().count(": applied 1 (") for runner in runners)
    assert applied == 60
    assert (
        project.query(
            " UNION ALL ".join(f"SELECT count(*) FROM {name}.a" for name in names)
        )
        == [(1,)] * 60
    )


def test_up_on_many_schemas_works_through_pooler(
    project: Project, pooled: Project
) -> None:
    names = schemas(project, 30)
    assert "30 schemas: 30 applied" in pooled.run("up", "--schema", "t_*").out
    consistent(project, names)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_interrupted_up_says_how_many_schemas_are_done(
    project: Project, sent: signal.Signals, code: int
) -> None:
    names = schemas(project, 20)
    project.write(
        up_2_b="ALTER TABLE a ADD m int; SELECT pg_sleep(CASE WHEN current_schema() > 't_004' THEN 60 ELSE 0 END);"
    )
    runner = project.fork("up", "--schema", "t_*")
    runner.said("t_004: applied 1")
    until(
        lambda: (
            len(
                project.query(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
                )
            )
            == 4
        ),
        "four at work",
    )
    runner.send(sent)
    assert (
        "interrupted; 4 of 20 schemas done; run it again for the rest"
        in runner.ended(code)
    )
    consistent(project, names)
    assert sum(columns(project).values()) == 24


def test_unreadable_ledger_fails_only_its_schema(
    project: Project,
) -> None:
    schemas(project, 2)
    project.query(
        "CREATE SCHEMA t_foreign; CREATE TABLE t_foreign.schema_migrations (version bigint, dirty boolean)"
    )
    names = ("--schema", "t_001", "--schema", "t_foreign", "--schema", "t_002")
    output = project.run("up", *names, code=1)
    assert (
        "t_foreign: error: t_foreign.schema_migrations is the ledger of golang-migrate"
        in output.err
    )
    assert "3 schemas: 2 applied, 1 failed" in output.out
    output = project.run("status", *names, code=1)
    assert output.out == "2 schemas (t_001, t_002), each: 2 applied\n"
    assert "t_foreign: error: " in output.err
    project.query(
        "UPDATE t_001.schema_migrations SET checksum = 'x'; UPDATE t_002.schema_migrations SET checksum = 'x'"
    )
    output = project.run("repair", "--yes", *names, code=1)
    assert output.out.count("again") == 4
    assert "error: 1 of 3 schemas failed: t_foreign" in output.err


def test_role_without_rights_to_one_schema_can_migrate_others(
    project: Project,
) -> None:
    names, role = schemas(project, 3), f"tenant_{RUN}"
    project.query(f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 3")
    try:
        for name in names[:2]:
            for what in ("TABLE {}.a", "TABLE {}.schema_migrations"):
                project.query(f"ALTER {what.format(name)} OWNER TO {role}")
            project.query(f"ALTER SCHEMA {name} OWNER TO {role}")
        limited = replace(
            project, url=make_conninfo(project.url, user=role, password="x")
        )
        output = limited.run("up", "--schema", "t_*", "--jobs", "8", code=1)
        assert "3 schemas: 2 applied, 1 failed" in output.out
        assert (
            "t_003: error: cannot read the ledger t_003.schema_migrations: permission denied"
            in output.err
        )
        project.query(f"CREATE SCHEMA mine AUTHORIZATION {role}")
        # The server counts a session for a moment after its end.
        project.query(f"ALTER ROLE {role} CONNECTION LIMIT -1")
        # No CREATE right is needed if the schema exists.
        limited.run("up", "--schema", "mine")
    finally:
        project.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_concurrent_jobs_can_replace_shared_function(project: Project) -> None:
    project.write(
        up_1_a="CREATE OR REPLACE FUNCTION public.shared() RETURNS int LANGUAGE sql AS 'SELECT 1';"
    )
    project.query(
        "CREATE FUNCTION public.shared() RETURNS int LANGUAGE sql AS 'SELECT 0'"
    )
    names = [word for n in range(24) for word in ("--schema", f"s_{n}")]
    assert "24 schemas: 24 applied" in project.run("up", "--jobs", "8", *names).out


@pytest.mark.parametrize("name", ["", "x" * 64, "ü" * 32])
def test_invalid_schema_name_is_usage_error(project: Project, name: str) -> None:
    project.write(up_1_a="CREATE TABLE a ();")
    assert (
        "is not a name of 1 to 63 bytes"
        in project.run("up", "--schema", name, code=2).err
    )


def test_up_reports_created_schema_but_not_existing_one(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();")
    assert (
        'NOTICE: created the schema "acme"' in project.run("up", "--schema", "acme").err
    )
    project.query("CREATE SCHEMA there")
    assert project.run("up", "--schema", "there").err == ""


def test_refused_schema_does_not_stop_others(project: Project) -> None:
    both = ("--schema", "s_1", "--schema", "s_2")
    project.write(up_1_a="CREATE TABLE a ();")
    project.run("up", *both)
    project.query("UPDATE s_1.schema_migrations SET checksum = 'another'")
    project.write(up_2_b="CREATE TABLE b ();")
    output = project.run("up", *both, code=1)
    assert "s_1: error: nothing was applied to " in output.err
    assert "2 schemas: 1 applied, 1 failed" in output.out
    assert (recorded(project, "s_1"), recorded(project, "s_2")) == ([1], [1, 2])


def test_too_many_steps_for_all_schemas_is_usage_error(
    project: Project,
) -> None:
    both = ("--schema", "s_1", "--schema", "s_2")
    project.write(up_1_a="CREATE TABLE a ();", down_1_a="DROP TABLE a;")
    project.run("up", *both)
    assert (
        "cannot revert 5 versions: 1 applied"
        in project.run("down", "--steps", "5", *both, code=2).err
    )
    assert (recorded(project, "s_1"), recorded(project, "s_2")) == ([1], [1])


def test_up_reports_created_schemas_in_one_line(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();")
    project.query("CREATE SCHEMA s_0")
    names = [word for n in range(12) for word in ("--schema", f"s_{n}")]
    output = project.run("up", *names)
    assert output.err == "created 11 schemas\n"
    assert output.out.endswith("12 schemas: 12 applied\n")
    assert (
        project.run("status", "--schema", "s_*").out == "12 schemas, each: 1 applied\n"
    )
    few = project.run("up", "--schema", "s_1", "--schema", "n_1", "--schema", "n_2")
    assert few.err == "created 2 schemas: n_1, n_2\n"
