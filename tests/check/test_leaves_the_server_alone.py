"""check and drift leave the server alone: the shared catalogs are the same before and after."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.project import RUN, Project, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.project import Forked

# All shared catalogs, except the rows about databases and roles that other tests create and drop.
SHARED = """
    SELECT 'role', rolname::text, to_jsonb(r) - 'oid' FROM pg_authid r WHERE rolname ~ %(ours)s
    UNION ALL
    SELECT 'membership', format('%%s %%s', roleid::regrole, member::regrole), to_jsonb(m) - 'oid' FROM pg_auth_members m
    WHERE roleid::regrole::text ~ %(ours)s OR member::regrole::text ~ %(ours)s
    UNION ALL
    SELECT 'setting', format('%%s %%s', setrole::regrole, setdatabase), to_jsonb(setconfig) FROM pg_db_role_setting
    WHERE setrole::regrole::text ~ %(ours)s OR setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL
    SELECT 'database', datname::text, to_jsonb(d) - '{oid,datfrozenxid,datminmxid}'::text[] FROM pg_database d
    WHERE datname = current_database() OR datname ~ %(ours)s
    UNION ALL
    SELECT 'tablespace', spcname::text, to_jsonb(spcacl) FROM pg_tablespace
    UNION ALL
    SELECT 'subscription', subname::text, to_jsonb(subenabled) FROM pg_subscription
    UNION ALL
    SELECT 'parameter', parname, to_jsonb(paracl) FROM pg_parameter_acl
    UNION ALL
    SELECT 'comment', objoid::text, to_jsonb(description) FROM pg_shdescription
    WHERE classoid <> 'pg_authid'::regclass OR pg_get_userbyid(objoid) ~ %(ours)s
    UNION ALL
    SELECT 'file setting', name, to_jsonb(setting) FROM pg_file_settings WHERE sourcefile ~ 'auto.conf'
    ORDER BY 1, 2
"""
OURS = f"^wide_{RUN}_"
OLD = f"wide_{RUN}_old"  # this role exists
NEW = f"wide_{RUN}_new"  # this role does not
CLERK = f"wide_{RUN}_clerk"


@pytest.fixture
def server_roles(project: Project) -> Iterator[Project]:
    """Create two roles on the project's server, and drop them at the end."""
    project.query(f"CREATE ROLE {OLD} PASSWORD 'secret'; CREATE ROLE {CLERK}")
    yield project
    for name in (NEW, OLD, CLERK):
        project.query(f"DROP ROLE IF EXISTS {name}")


def shared(project: Project) -> list[tuple[Any, ...]]:
    with psycopg.connect(project.url) as connection:
        return connection.execute(SHARED, {"ours": OURS}).fetchall()


def no_scratch_database_stays(project: Project) -> bool:
    mine = f"sqlmig_scratch_{os.getpid()}_%"
    return project.query("SELECT 1 FROM pg_database WHERE datname LIKE %s", mine) == []


GUARDED = (
    "DO $$ BEGIN IF to_regrole('{0}') IS NULL THEN CREATE ROLE {0}; END IF; END $$"
)
NO_TRANSACTION = "-- sqlmig: no-transaction\n"
# Statements that affect more than the database, and the message for each. {here} is the real database.
BEYOND = {
    "drop role": (f"DROP ROLE {OLD}", f"it drops role {OLD}"),
    "create role": (f"CREATE ROLE {NEW}", f"it creates role {NEW}"),
    "create user": (f"CREATE USER {NEW}", f"it creates role {NEW}"),
    "create role in DO": (
        f"DO $$ BEGIN CREATE ROLE {NEW}; END $$",
        f"it creates role {NEW}",
    ),
    "create role by EXECUTE": (
        f"DO $$ BEGIN EXECUTE 'CREATE ' || 'ROLE {NEW}'; END $$",
        f"it creates role {NEW}",
    ),
    "guarded, not there": (GUARDED.format(NEW), f"it creates role {NEW}"),
    "password": (
        f"ALTER ROLE {OLD} PASSWORD 'other'",
        "which the whole server would see",
    ),
    "role setting": (
        f"ALTER ROLE {OLD} SET work_mem = '1MB'",
        f"it makes setting of {OLD} in all databases",
    ),
    "database setting": (
        "ALTER DATABASE {here} SET work_mem = '1MB'",
        "it makes setting of all roles in database",
    ),
    "grant on a database": (
        f"GRANT CREATE ON DATABASE {{here}} TO {CLERK}",
        "it changes database",
    ),
    "owner of a database": (
        f"ALTER DATABASE {{here}} OWNER TO {CLERK}",
        "it changes database",
    ),
    "comment on a database": (
        "COMMENT ON DATABASE {here} IS 'x'",
        "it makes comment on database",
    ),
    "comment on a role": (f"COMMENT ON ROLE {OLD} IS 'x'", "it makes comment on role"),
    "membership": (
        f"GRANT {OLD} TO {CLERK}",
        f"it grants membership of {CLERK} in {OLD}",
    ),
    "rename a role": (
        f"ALTER ROLE {OLD} RENAME TO {NEW}",
        "which the whole server would see",
    ),
    "parameter": (
        f"GRANT SET ON PARAMETER log_statement TO {CLERK}",
        "it creates parameter log_statement",
    ),
    "subscription": (
        f"CREATE SUBSCRIPTION wide_{RUN} CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false)",
        "it creates subscription",
    ),
}


def texts(project: Project, statement: str) -> str:
    here = project.query("SELECT quote_ident(current_database())")[0][0]
    return statement.replace("{here}", here)


@pytest.mark.parametrize("kind", BEYOND)
@pytest.mark.parametrize(
    "where", ["up", "down", "no-transaction", "own transaction", "before --from"]
)
def test_server_wide_change_is_reported_and_rolled_back(
    server_roles: Project, kind: str, where: str
) -> None:
    project = server_roles
    statement, said = BEYOND[kind]
    statement = texts(project, statement)
    files = {
        "up_1_a": "CREATE TABLE a ();",
        "down_1_a": "DROP TABLE a;",
        "up_2_b": "SELECT 1;",
        "down_2_b": "SELECT 1;",
    }
    if where == "down":
        files["down_1_a"] = f"{statement}; DROP TABLE a;"
    elif where == "no-transaction":
        files["up_1_a"] = f"{NO_TRANSACTION}CREATE TABLE a ();\n{statement};"
    elif where == "own transaction":
        files["up_1_a"] = (
            f"{NO_TRANSACTION}BEGIN;\nCREATE TABLE a ();\n{statement};\nCOMMIT;"
        )
    else:
        files["up_1_a"] = f"CREATE TABLE a (); {statement};"
    project.write(**files)
    before = shared(project)
    arguments = ["--from", "2"] if where == "before --from" else []
    output = project.run("check", *arguments, code=1)
    words = output.out + output.err
    assert (
        "which the whole server would see; use a throwaway server: --scratch embedded:"
        in words
    )
    if where in ("up", "down", "before --from"):
        assert said in words
    assert shared(project) == before
    assert no_scratch_database_stays(project)
    if where != "before --from":
        assert "ok            2_b\n" in output.out  # check continues with the next file


WITHIN = {
    "guarded, there": GUARDED.format(OLD),
    "user mapping": "CREATE USER MAPPING FOR CURRENT_USER SERVER far",
    "grant and owner": f"CREATE TABLE t (); GRANT SELECT ON t TO {CLERK}; ALTER TABLE t OWNER TO {CLERK}",
    "a foreign key and a table that is dropped after writing": (
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE t (id int, CONSTRAINT k FOREIGN KEY (id) REFERENCES a);"
        " INSERT INTO a VALUES (1); INSERT INTO t VALUES (1); DROP TABLE t"
    ),
    "its own settings": (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database()); END $$"
    ),
    "default privileges": f"ALTER DEFAULT PRIVILEGES FOR ROLE {OLD} GRANT SELECT ON TABLES TO {CLERK}",
}


@pytest.mark.parametrize("kind", WITHIN)
@pytest.mark.parametrize(
    "head", ["", NO_TRANSACTION], ids=["transaction", "no-transaction"]
)
def test_change_within_the_database_passes(
    server_roles: Project, kind: str, head: str
) -> None:
    project = server_roles
    project.write(
        up_1_a="CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w;",
        down_1_a="DROP SERVER far; DROP FOREIGN DATA WRAPPER w;",
        up_2_b=f"{head}{WITHIN[kind]};",
    )
    before = shared(project)
    out = project.run("check", code=1).out
    assert "no-down       2_b" in out.splitlines()
    assert "whole server" not in out
    assert shared(project) == before


def test_no_transaction_file_keeps_password_of_guarded_role(
    server_roles: Project,
) -> None:
    project = server_roles
    project.write(
        up_1_a=f"{NO_TRANSACTION}{GUARDED.format(OLD)};",
        down_1_a=f"{NO_TRANSACTION}DROP ROLE IF EXISTS {OLD};",
    )
    before = shared(project)
    assert (
        f"DROP ROLE IF EXISTS {OLD.upper()}" in project.run("check", code=1).out.upper()
    )
    assert shared(project) == before


def test_throwaway_server_allows_server_wide_changes(project: Project) -> None:
    project.write(
        up_1_a="CREATE ROLE reader; ALTER ROLE reader SET work_mem = '1MB';",
        down_1_a="DROP ROLE reader;",
        up_2_b=f"{NO_TRANSACTION}CREATE ROLE writer;",
        down_2_b=f"{NO_TRANSACTION}DROP ROLE writer;",
    )
    throwaway = replace(project, url="embedded:")
    assert throwaway.run("check").out == "ok            1_a\nok            2_b\n"


def test_role_left_on_throwaway_server_is_reported(project: Project) -> None:
    project.write(up_1_a="CREATE ROLE reader;", down_1_a="SELECT 1;")
    throwaway = replace(project, url="embedded:")
    assert "left: role reader" in throwaway.run("check", code=1).out


@pytest.mark.parametrize("mode", ["", "-- sqlmig: no-transaction\n"])
def test_drift_skips_server_wide_statements(server_roles: Project, mode: str) -> None:
    project = server_roles
    ((database,),) = project.query("SELECT current_database()")
    statements = {
        "CREATE ROLE": f"CREATE ROLE {NEW}",
        f"GRANT {OLD}".upper(): f"GRANT {OLD} TO {NEW}",
        "ALTER ROLE": f"ALTER /* of all databases */ ROLE {OLD} SET work_mem = '1MB'",
        "ALTER DATABASE": f"ALTER DATABASE {database} SET work_mem = '2MB'",
        "COMMENT ON": f"COMMENT ON ROLE {OLD} IS 'old'",
    }
    project.write(
        up_1_a=f"{mode}CREATE TABLE a (); {'; '.join(statements.values())}; ALTER TABLE a OWNER TO {NEW}; "
        "CREATE TABLE b ();"
    )
    project.run("up")
    project.query(f"ALTER ROLE {OLD} RESET work_mem")
    before = shared(project)
    lines = project.run("drift").out.splitlines()
    for words, line in zip(statements, lines, strict=False):
        assert line.startswith(f"note  1_a.up.sql: {words} was not run on the")
    assert lines[len(statements) :] == ["nothing differs"]
    assert shared(project) == before
    project.query("DROP TABLE b")
    assert "missing  table public.b\n" in project.run("drift", code=1).out
    project.query("DROP TABLE a")


@pytest.mark.parametrize("mode", ["", NO_TRANSACTION])
def test_drift_skips_do_block_that_changes_the_server(
    server_roles: Project, mode: str
) -> None:
    project = server_roles
    project.write(
        up_1_a=f"{mode}CREATE TABLE a ();\nDO $$ BEGIN ALTER ROLE {OLD} SET work_mem = '1MB'; END $$;\n"
        "CREATE TABLE b ();"
    )
    project.run("up")
    before = shared(project)
    project.query(f"ALTER ROLE {OLD} RESET work_mem")
    changed = shared(project)
    assert changed != before
    assert project.run("drift").out == (
        "note  1_a.up.sql: a DO block was not run on the scratch database, because it changes more than this database\n"
        "nothing differs\n"
    )
    assert shared(project) == changed
    project.query("DROP TABLE b")
    assert "missing  table public.b\n" in project.run("drift", code=1).out


def test_check_works_while_template1_is_in_use(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();", down_1_a="DROP TABLE a;")
    with psycopg.connect(project.url, dbname="template1"):
        assert project.run("check").out == "ok            1_a\n"


def test_next_check_drops_database_whose_drop_was_interrupted(alone: Project) -> None:
    name = "sqlmig_scratch_1_00000000"
    alone.query(f"CREATE DATABASE {name}")
    alone.query("UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", name)
    alone.write(up_1_a="CREATE TABLE a ();", down_1_a="DROP TABLE a;")
    output = alone.run("check")
    assert output.out == "ok            1_a\n"
    assert output.err == f"dropped {name}, which a killed run had left\n"


def test_next_check_drops_scratch_database_of_killed_check(alone: Project) -> None:
    project = alone
    project.write(up_1_a="SELECT pg_sleep(60);")
    runner = project.fork("check")
    asleep = "SELECT datname FROM pg_stat_activity WHERE datname LIKE %s AND wait_event = 'PgSleep'"
    pattern = f"sqlmig_scratch_{runner.process.pid}_%"
    until(lambda: project.query(asleep, pattern), "the scratch database")
    ((name,),) = project.query(asleep, pattern)
    runner.send(signal.SIGKILL)
    runner.process.join()
    project.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
        name,
    )
    until(
        lambda: (
            not project.query("SELECT 1 FROM pg_stat_activity WHERE datname = %s", name)
        )
    )
    project.write(up_1_a="CREATE TABLE a ();", down_1_a="DROP TABLE a;")
    assert f"dropped {name}, which a killed run had left" in project.run("check").err
    assert project.query("SELECT 1 FROM pg_database WHERE datname = %s", name) == []


def test_scratch_database_of_running_check_is_not_dropped(project: Project) -> None:
    project.write(up_1_a="SELECT pg_sleep(2);", down_1_a="SELECT 1;")
    runner = project.fork("check")
    until(
        lambda: project.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname LIKE %s",
            f"sqlmig_scratch_{runner.process.pid}_%",
        )
    )
    second = replace(project, directory=project.directory.parent / "second")
    second.directory.mkdir()
    second.write(up_1_a="CREATE TABLE a ();", down_1_a="DROP TABLE a;")
    assert f"sqlmig_scratch_{runner.process.pid}_" not in second.run("check").err
    runner.ended()


@pytest.mark.parametrize("mode", ["", "-- sqlmig: no-transaction\n"])
@pytest.mark.parametrize(
    "hides",
    [
        "SET track_counts = off",
        "DO $$ BEGIN EXECUTE 'SET track_' || 'counts = off'; END $$",
    ],
)
def test_file_that_turns_off_track_counts_is_refused(
    server_roles: Project, hides: str, mode: str
) -> None:
    server_roles.write(
        up_1_x=f"{mode}{hides};\nDO $$ BEGIN CREATE ROLE {NEW}; END $$;",
        down_1_x=f"{mode}{hides};\nDO $$ BEGIN DROP ROLE {NEW}; END $$;",
    )
    before = shared(server_roles)
    assert "track_counts" in server_roles.run("check", code=1).out
    assert shared(server_roles) == before


def test_server_with_track_counts_off_is_refused(project: Project) -> None:
    uncounted = replace(
        project, url=make_conninfo(project.url, options="-c track_counts=off")
    )
    uncounted.write(up_1_x="SELECT 1", down_1_x="SELECT 1")
    error = uncounted.run("check", code=1).err
    assert "error: track_counts is off here" in error
    assert "--scratch embedded:" in error
    assert no_scratch_database_stays(project)


@pytest.mark.parametrize("command", ["check", "drift"])
def test_error_says_standby_cannot_hold_a_scratch_database(
    tmp_path: Path, command: str
) -> None:
    directory = tmp_path / "sql"
    directory.mkdir()
    data = tmp_path / "data"
    project = Project(directory, f"embedded:{data}")
    project.write(up_1_t="CREATE TABLE t ()", down_1_t="DROP TABLE t")
    project.run("up")
    (data / "standby.signal").touch()  # from now on it starts as a standby
    error = project.run(command, code=1).err
    assert error.splitlines()[-1] == (
        "error: this server is a standby, which takes no scratch database; connect to the primary, or name another server with --scratch"
    )
    assert "warning" not in error


def test_check_does_not_create_a_replication_slot(project: Project) -> None:
    slot = f"slot_{RUN}"
    project.write(
        up_1_a=f"SELECT pg_create_physical_replication_slot('{slot}');",
        down_1_a=f"SELECT pg_drop_replication_slot('{slot}');",
    )
    output = project.run("check", code=1).out
    assert (
        "1_a.up.sql:1:8: pg_create_physical_replication_slot() acts at once" in output
    )
    assert (
        project.query("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", slot)
        == []
    )


@pytest.mark.parametrize(
    "statement",
    [
        f"DO $$ BEGIN CREATE ROLE {NEW}; COMMIT; END $$;",
        f"DO $$ BEGIN EXECUTE 'CREATE' || ' ROLE {NEW}'; COMMIT; END $$;",
        "CALL makes_it();",
    ],
    ids=["written out", "put together", "called"],
)
def test_block_that_commits_by_itself_cannot_create_a_role(
    server_roles: Project, statement: str
) -> None:
    before = shared(server_roles)
    server_roles.write(
        up_1_p=f"CREATE PROCEDURE makes_it() LANGUAGE plpgsql AS 'BEGIN CREATE ROLE {NEW}; COMMIT; END';",
        down_1_p="DROP PROCEDURE makes_it;",
        up_2_x=f"{NO_TRANSACTION}{statement}",
        down_2_x="SELECT 1;",
    )
    assert "commits by itself" in server_roles.run("check", code=1).out
    assert shared(server_roles) == before


def test_a_block_that_commits_and_stays_within_its_database_is_checked(
    project: Project,
) -> None:
    project.write(
        up_1_t="CREATE TABLE t (n int);",
        down_1_t="DROP TABLE t;",
        up_2_x=f"{NO_TRANSACTION}DO $$ BEGIN INSERT INTO t VALUES (1); COMMIT; END $$;",
        down_2_x="DELETE FROM t;",
    )
    assert "ok            2_x" in project.run("check").out


@pytest.mark.parametrize(
    "statement",
    [
        f"{NO_TRANSACTION}BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'left_{RUN}';",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I IS_TEMPLATE true', current_database()); END $$;",
    ],
    ids=["prepared", "template"],
)
def test_a_scratch_database_is_dropped_whatever_a_file_did(
    project: Project, statement: str
) -> None:
    project.write(up_1_x=statement, down_1_x="SELECT 1;")
    project.run("check", code=None)
    assert no_scratch_database_stays(project)
    assert (
        project.query(f"SELECT gid FROM pg_prepared_xacts WHERE gid = 'left_{RUN}'")
        == []
    )


def test_gate_refuses_file_that_hides_its_effects(project: Project) -> None:
    project.write(
        up_1_t="CREATE TABLE t (n int); INSERT INTO t VALUES (1);",
        down_1_t="DROP TABLE t;",
        up_2_x="SET LOCAL track_counts = off; DELETE FROM t;",
        down_2_x="SELECT 1;",
    )
    thrown_away = replace(project, url="embedded:")
    output = thrown_away.run("check", "--fail-on", "losses,reads", code=1).out
    assert "refused: sets track_counts" in output


def test_update_is_not_a_loss(project: Project) -> None:
    """The manual explains why: every UPDATE replaces values, and sqlmig cannot know which of them matter."""
    project.write(
        up_1_t="CREATE TABLE t (n int); INSERT INTO t VALUES (1);",
        down_1_t="DROP TABLE t;",
        up_2_x="UPDATE t SET n = NULL;",
        down_2_x="-- sqlmig: irreversible: the values are gone",
    )
    assert "refused" not in project.run("check", "--fail-on", "losses").out


TERMINATED = "terminating connection due to administrator command"


def sessions(project: Project, condition: str) -> list[int]:
    """Return the processes of sqlmig's sessions that a condition is true for."""
    rows = project.query(
        f"SELECT pid FROM pg_stat_activity WHERE application_name ~ 'sqlmig' AND {condition}"
    )
    return [pid for (pid,) in rows]


def terminate(project: Project, processes: list[int]) -> None:
    assert processes
    project.query("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", processes)


def scratch_databases(project: Project) -> list[tuple[Any, ...]]:
    return project.query("SELECT 1 FROM pg_database WHERE datname ~ 'sqlmig_scratch_'")


def ended_while_asleep(project: Project, runner: Forked, what: str) -> str:
    """End the session of sqlmig that sleeps, and return the error that the runner then prints."""
    asleep = "wait_event = 'PgSleep'"
    until(lambda: sessions(project, asleep), what)
    terminate(project, sessions(project, asleep))
    shown = runner.ended(1)
    assert shown.startswith("error: ")
    assert TERMINATED in shown
    assert scratch_databases(project) == []
    return shown


def test_lost_connection_is_an_error_rather_than_a_verdict(project: Project) -> None:
    """The server may also end the idle session that made the scratch database."""
    project.write(
        up_1_a="SELECT pg_sleep(60);",
        down_1_a="SELECT 1;",
        up_2_b="SELECT 1;",
        down_2_b="SELECT 1;",
    )
    runner = project.fork("check")
    scratch = f"sqlmig_scratch_{runner.process.pid}_%"
    asleep = "SELECT 1 FROM pg_stat_activity WHERE datname LIKE %s AND wait_event = 'PgSleep'"
    until(lambda: project.query(asleep, scratch), "the file")
    project.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s OR datname LIKE %s",
        f"sqlmig: {scratch}",
        scratch,
    )
    shown = runner.ended(1)
    assert shown.startswith("error: ")
    assert TERMINATED in shown
    assert "2_b" not in shown
    assert (
        project.query("SELECT 1 FROM pg_database WHERE datname LIKE %s", scratch) == []
    )


def test_session_lost_while_it_drops_the_scratch_database_is_replaced(
    alone: Project,
) -> None:
    """The drop has no time limit, in the new session as in the first."""
    alone.write(
        up_1_a="SET LOCAL statement_timeout = 0; SELECT pg_sleep(60);",
        down_1_a="SELECT 1;",
    )
    hasty = make_conninfo(alone.url, options="-c statement_timeout=1s")
    runner = replace(alone, url=hasty).fork("check")
    until(lambda: sessions(alone, "wait_event = 'PgSleep'"), "the file")
    with psycopg.connect(alone.url) as blocker:
        blocker.execute("LOCK TABLE pg_database IN SHARE MODE")
        terminate(alone, sessions(alone, "wait_event = 'PgSleep'"))
        dropping = "query ~ 'DROP DATABASE' AND wait_event_type = 'Lock'"
        until(lambda: sessions(alone, dropping), "the DROP")
        terminate(alone, lost := sessions(alone, dropping))
        until(lambda: set(sessions(alone, dropping)) - set(lost), "the next DROP")
        blocker.execute("SELECT pg_sleep(1.2)")
    shown = runner.ended(1)
    assert shown.startswith("error: ")
    assert TERMINATED in shown
    assert "warning" not in shown
    assert scratch_databases(alone) == []


def test_session_lost_while_up_runs_again_is_no_verdict(alone: Project) -> None:
    """A file that moves a sequence runs up, down and up, each in its own transaction."""
    alone.write(
        up_1_a="CREATE TABLE runs (n int); CREATE SEQUENCE s;",
        down_1_a="DROP TABLE runs; DROP SEQUENCE s;",
        up_2_b="SELECT setval('s', 5);\n"
        "INSERT INTO runs VALUES (1);\n"
        "SELECT pg_sleep(60) FROM pg_sequences WHERE sequencename = 's2';",
        down_2_b="CREATE SEQUENCE IF NOT EXISTS s2; DELETE FROM runs;",
    )
    runner = alone.fork("check")
    shown = ended_while_asleep(alone, runner, "the second run of up")
    assert "2_b: " not in shown


def test_session_lost_while_a_query_is_planned_is_no_verdict(alone: Project) -> None:
    """The planner calls an immutable function."""
    alone.write(
        up_1_a="CREATE TABLE t (n int PRIMARY KEY);\n"
        "CREATE FUNCTION slow() RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN 1; END';",
        down_1_a="DROP FUNCTION slow(); DROP TABLE t;",
    )
    queries = alone.directory.parent / "queries.sql"
    queries.write_text("INSERT INTO t VALUES (slow()) ON CONFLICT (n) DO NOTHING;\n")
    runner = alone.fork("check", "--queries", str(queries))
    ended_while_asleep(alone, runner, "the planner")


def test_loss_of_the_session_that_makes_copies_is_reported_alone(
    alone: Project,
) -> None:
    alone.write(
        up_1_a=f"{NO_TRANSACTION}SELECT 1;\nSELECT pg_sleep(0.5);",
        down_1_a="SELECT 1;",
    )
    runner = alone.fork("check")
    until(lambda: sessions(alone, "wait_event = 'PgSleep'"), "the file")
    terminate(alone, sessions(alone, "application_name ~ 'sqlmig: sqlmig_scratch_'"))
    shown = runner.ended(1)
    assert re.fullmatch(f"error: .*{TERMINATED}\n", shown)
    assert scratch_databases(alone) == []


def test_lost_connection_is_no_failure_to_restart(alone: Project) -> None:
    """The third copy of the database is the one in which ``check`` stops the file and starts it again."""
    alone.write(
        up_1_a="CREATE TABLE t (n int);",
        down_1_a="DROP TABLE t;",
        up_2_b="-- sqlmig: repeat\n"
        "INSERT INTO t SELECT 1 FROM pg_sleep(60) WHERE current_database() ~ '_3$';",
        down_2_b="SELECT 1;",
    )
    runner = alone.fork("check")
    shown = ended_while_asleep(alone, runner, "the third copy")
    assert "cannot restart" not in shown
