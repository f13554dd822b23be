"""`script` prints SQL to paste. A second paste does nothing, and the ledger always agrees with the database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from sqlmig.cli import command
from tests.support.pasting import paste
from tests.support.project import LOCK, RUN, SQL, Project
from tests.support.waits import GO, WAITS, at_the_wait, tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def owner(project: Project) -> Iterator[Project]:
    """Yield the project, connected as an ordinary role that owns the database, like on Supabase."""
    role = f"owner_{RUN}"
    (name,) = project.query("SELECT current_database()")[0]
    project.query(f'CREATE ROLE {role}; ALTER DATABASE "{name}" OWNER TO {role}')
    yield replace(project, url=f"{project.url}&options=-c%20role%3D{role}")
    project.query(
        f'ALTER DATABASE "{name}" OWNER TO CURRENT_USER; REASSIGN OWNED BY {role} TO CURRENT_USER; DROP ROLE {role}'
    )


def printed(project: Project, *arguments: str) -> str:
    """Return the output of `script` without a database."""
    return (
        replace(project, url="postgresql://nobody@nowhere.invalid/none")
        .run("script", *arguments)
        .out
    )


@pytest.mark.parametrize("before", ["empty", "half", "complete"])
@pytest.mark.parametrize(
    "ours", [False, True], ids=["tables", "the project's own schema"]
)
def test_paste_applies_pending_files_and_second_paste_does_nothing(
    owner: Project, before: str, *, ours: bool
) -> None:
    project = replace(owner, directory=SQL) if ours else owner
    if not ours:
        tables(project, 6)
    count = len(list(project.directory.glob("*.up.sql")))
    done = {"empty": 0, "half": 3, "complete": count}[before]
    project.run("up", "--steps", str(done))
    text = printed(project)
    first = paste(project, text)
    assert [row[2] for row in first] == ["applied before"] * done + ["applied now"] * (
        count - done
    )
    names = project.tables()
    assert [row[2] for row in paste(project, text)] == ["applied before"] * count
    assert project.tables() == names
    assert project.run("up").out == "nothing to do\n"
    assert set(project.states().values()) == {"applied"}
    project.run("down", "--all")
    assert project.tables() == set()


def test_pasted_script_creates_same_ledger_as_runner(project: Project) -> None:
    query = """
        SELECT relrowsecurity, relacl::text, (SELECT array_agg(polname || pg_get_expr(polqual, polrelid)) FROM pg_policy WHERE polrelid = c.oid),
            (SELECT array_agg(format('%s %s %s %s', attname, atttypid, attnotnull, col_description(c.oid, attnum)) ORDER BY attnum)
            FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0)
        FROM pg_class c WHERE relname = 'schema_migrations'
    """
    tables(project, 1)
    paste(project, printed(project))
    pasted = project.query(query)
    project.query("DROP TABLE schema_migrations; DROP TABLE t1")
    project.run("up")
    assert project.query(query) == pasted


def test_script_fails_and_does_nothing_if_applied_file_has_changed(
    project: Project,
) -> None:
    tables(project, 3)
    project.run("up", "--to", "1")
    project.file("0001_t.up.sql", "CREATE TABLE changed ();")
    with pytest.raises(
        psycopg.errors.RaiseException, match="0001_t: changed since it was applied"
    ):
        paste(project, printed(project))
    assert project.tables() == {"t1"}


def test_script_refuses_what_up_refuses(project: Project) -> None:
    tables(project, 3)
    project.run("up")
    project.file("0000_early.up.sql", "CREATE TABLE early ();")
    with pytest.raises(
        psycopg.errors.RaiseException,
        match="0000_early: pending, but older than the newest applied",
    ):
        paste(project, printed(project))
    (project.directory / "0000_early.up.sql").unlink()
    (project.directory / "0002_t.up.sql").unlink()
    (project.directory / "0002_t.down.sql").unlink()
    with pytest.raises(
        psycopg.errors.RaiseException, match="2_t: applied, but not among the files"
    ):
        paste(project, printed(project))


def test_failing_file_leaves_nothing_behind(project: Project) -> None:
    tables(project, 2)
    project.file("0003_x.up.sql", "CREATE TABLE x (); SELECT nothing;")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        paste(project, printed(project))
    assert project.query(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    ) == [(0,)]


def test_from_and_to_limit_script_to_a_range(project: Project) -> None:
    tables(project, 4)
    with pytest.raises(
        psycopg.errors.RaiseException,
        match="0001_t: not applied, and not in this script",
    ):
        paste(project, printed(project, "--from", "3"))
    paste(project, printed(project, "--to", "2"))
    assert project.tables() == {"t1", "t2"}
    assert [
        row[0] for row in paste(project, printed(project, "--from", "3", "--to", "3"))
    ] == [3]
    assert project.states() == {1: "applied", 2: "applied", 3: "applied", 4: "pending"}


def test_down_script_reverts_and_second_paste_does_nothing(project: Project) -> None:
    tables(project, 4)
    project.run("up")
    with pytest.raises(
        psycopg.errors.RaiseException,
        match="0004_t: applied later, and must be reverted first",
    ):
        paste(project, printed(project, "--down", "--to", "2"))
    for _ in range(2):
        assert [
            row[2] for row in paste(project, printed(project, "--down", "--from", "3"))
        ] == ["not applied"] * 2
        assert project.states() == {
            1: "applied",
            2: "applied",
            3: "pending",
            4: "pending",
        }
    paste(project, printed(project, "--down"))
    assert project.tables() == set()


def test_named_schema_holds_ledger_and_tables(project: Project) -> None:
    tables(project, 2)
    url = replace(project, url="x")
    text = url.run("--schema", "my tenant", "script").out
    for _ in range(2):
        paste(project, text)
    assert project.query(
        "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('t1', 't2', 'schema_migrations')"
    ) == [("my tenant",)]
    assert project.run("--schema", "my tenant", "up").out == "nothing to do\n"


def test_any_file_text_survives_pasting(project: Project) -> None:
    text = "%s $$ $file$ $sqlmig$ ' \\ é {} -- /* "
    project.file(
        "1_it's.up.sql",
        f"CREATE TABLE t (v text);\nINSERT INTO t VALUES ($q${text}$q$), ($f$$sqlmig1$$f$); -- end",
    )
    project.file("2_empty.up.sql", "-- nothing")
    project.file(
        "3_begin.up.sql",
        "BEGIN; SET search_path = ''; CREATE TABLE public.u (); COMMIT;",
    )
    project.file("4_after.up.sql", "CREATE TABLE w ();")
    paste(project, printed(project))
    assert {(text,), ("$sqlmig1$",)} == set(project.query("SELECT v FROM t"))
    assert project.run("up").out == "nothing to do\n"


def test_file_with_select_into_is_refused(project: Project) -> None:
    project.file(
        "1_x.up.sql",
        "INSERT INTO t SELECT 1;\nWITH a AS (SELECT 1 AS x) SELECT x INTO made FROM a;",
    )
    error = project.run("script", code=1).err
    assert (
        "1_x.up.sql:2:1: no script can do SELECT … INTO; write CREATE TABLE … AS SELECT"
        in error
    )


@pytest.mark.parametrize(
    "schema", ["{x}", "{table}", "a\"b'c %s $$", "$sqlmig$; CREATE TABLE evil (); --"]
)
def test_any_schema_name_survives_pasting(project: Project, schema: str) -> None:
    tables(project, 1)
    for _ in range(2):
        paste(project, project.run("--schema", schema, "script").out)
    assert project.run("--schema", schema, "up").out == "nothing to do\n"
    assert project.tables() == {"t1"}


def test_file_name_is_never_run_as_sql(project: Project) -> None:
    project.file("1_$sqlmig$; CREATE TABLE evil (); --.up.sql", "CREATE TABLE t1 ()")
    project.file(
        "2_$file$ \u0085 it's {x}.up.sql".replace(" \u0085", ""), "CREATE TABLE t2 ()"
    )
    for _ in range(2):
        paste(project, printed(project))
    assert project.tables() == {"t1", "t2"}
    assert project.run("up").out == "nothing to do\n"


ISOLATION = "CREATE TABLE seen AS SELECT current_setting('transaction_isolation') AS v"


@pytest.mark.parametrize(
    "text",
    [
        f"BEGIN ISOLATION LEVEL SERIALIZABLE; {ISOLATION}; COMMIT",
        f"-- why\nSET TRANSACTION ISOLATION LEVEL SERIALIZABLE; -- c\n{ISOLATION}",
        f"BEGIN; -- b\nSET TRANSACTION ISOLATION LEVEL SERIALIZABLE;\n{ISOLATION};\nCOMMIT",
    ],
)
def test_serializable_file_stays_serializable_when_pasted_or_rehearsed(
    project: Project, text: str
) -> None:
    project.file("1_x.up.sql", text)
    project.file("1_x.down.sql", "DROP TABLE seen")
    check = "DO $$ BEGIN IF current_setting('transaction_isolation') <> 'serializable' THEN RAISE 'it is not'; END IF; END $$"
    project.file("2_x.up.sql", f"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; {check}")
    project.file("2_x.down.sql", f"BEGIN ISOLATION LEVEL SERIALIZABLE; {check}; COMMIT")
    assert {line.split()[0] for line in project.run("check").out.splitlines()} == {"ok"}
    refused = project.run("script", code=1).err
    assert (
        "1_x.up.sql: sets a transaction mode of its own, which other files cannot share. Print it alone, with --from 1"
        in refused
    )
    for _ in range(2):
        paste(project, printed(project, "--from", "1", "--to", "1"))
    assert project.query("SELECT v FROM seen") == [("serializable",)]
    assert project.run("up", "--dry-run").out.startswith("would apply 2_x")
    for _ in range(2):
        paste(project, printed(project, "--from", "2"))
    assert project.run("up").out == "nothing to do\n"
    assert project.run("down", "--all", "--dry-run").out.startswith("would revert 2_x")


def test_dry_run_skips_file_that_cannot_set_its_transaction_mode(
    project: Project,
) -> None:
    tables(project, 1)
    project.file(
        "0002_x.up.sql", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT 1"
    )
    assert (
        "not rehearsed 0002_x: it sets a transaction mode of its own"
        in project.run("up", "--dry-run").out
    )


@pytest.mark.parametrize(
    "text",
    [
        "SET TRANSACTION READ WRITE",
        "SET TRANSACTION READ WRITE -- c",
        "BEGIN; COMMIT -- c",
    ],
)
def test_file_that_only_opens_a_transaction_can_be_pasted_and_reverted(
    project: Project, text: str
) -> None:
    project.write(up_1_x=text, down_1_x=text)
    for _ in range(2):
        paste(project, printed(project))
    assert project.run("up").out == "nothing to do\n"
    assert "would revert 1_x" in project.run("down", "--dry-run").out
    project.run("down")
    project.run("up")
    project.run("check")


def test_down_script_reverts_even_if_up_file_has_changed(
    project: Project,
) -> None:
    tables(project, 2)
    project.run("up")
    project.file("0002_t.up.sql", "SELECT 'edited'")
    paste(project, printed(project, "--down", "--from", "2"))
    assert project.tables() == {"t1"}


def test_script_stops_with_a_message_while_runner_is_at_work(project: Project) -> None:
    tables(project, 1)
    with psycopg.connect(project.url) as other:
        other.execute(LOCK)
        with pytest.raises(
            psycopg.errors.RaiseException,
            match="nothing was done, because sqlmig is at work",
        ):
            paste(project, printed(project))
    assert project.query(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    ) == [(0,)]


def test_no_transaction_file_is_refused_with_instructions(
    project: Project,
) -> None:
    tables(project, 1)
    project.file("2_i.up.sql", "CREATE INDEX CONCURRENTLY i ON t1 (id)")
    output = project.run("script", code=1)
    assert output.out == ""
    assert "2_i.up.sql: runs outside a transaction" in output.err
    assert "sqlmig stamp 2" in output.err


def test_warns_about_open_or_ungranted_tables_and_oversized_script(
    project: Project,
) -> None:
    project.file(
        "1_t.up.sql",
        'CREATE TABLE open (); CREATE TABLE "shut" (); ALTER TABLE "shut" ENABLE ROW LEVEL SECURITY;',
    )
    output = project.run("script")
    first, second = output.err.splitlines()
    assert first.startswith("warning: open without row level security: on Supabase")
    assert second.startswith(
        'warning: "shut", open granted to nobody: since 30 October 2026'
    )
    assert project.run("--schema", "my-app", "script").err == output.err
    assert "schema_migrations" not in output.err
    project.file("2_t.up.sql", f"SELECT '{'x' * 1_000_000}'")
    assert (
        "the Supabase SQL editor takes 980,000: print parts with --from and --to"
        in project.run("script").err
    )


@pytest.mark.parametrize(
    "grant",
    [
        "GRANT SELECT ON a, public.b TO anon",
        "GRANT UPDATE (n), SELECT ON TABLE a, b TO anon",
        "DO $$BEGIN GRANT SELECT ON a,\n  b TO anon; END$$",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO anon",
        "DO $$BEGIN EXECUTE format('GRANT SELECT ON %I TO anon', 'a'); END$$",
    ],
)
def test_no_warning_about_table_with_a_grant(project: Project, grant: str) -> None:
    project.file(
        "1_t.up.sql",
        "CREATE TABLE a (n int); ALTER TABLE a ENABLE ROW LEVEL SECURITY;"
        f"CREATE TABLE {'public.b' if 'public.b' in grant else 'b'} ();"
        f"ALTER TABLE {'public.b' if 'public.b' in grant else 'b'} ENABLE ROW LEVEL SECURITY;{grant};",
    )
    assert project.run("script").err == ""


def test_warns_about_enum_value_used_too_early(project: Project) -> None:
    project.write(
        up_1_type="CREATE TYPE mood AS ENUM ('sad');",
        up_2_value="ALTER TYPE mood ADD VALUE IF NOT EXISTS 'happy';",
        up_3_use="CREATE TABLE t (m mood DEFAULT 'happy');",
    )
    error = project.run("script").err
    assert "warning: 3_use says 'happy', which 2_value adds to an enum" in error
    assert "--to 2" in error
    paste(project, printed(project, "--to", "1"))
    with pytest.raises(psycopg.errors.UnsafeNewEnumValueUsage):
        paste(project, printed(project))
    assert project.tables() == set()
    paste(project, printed(project, "--to", "2"))
    rest = project.run("script", "--from", "3")
    assert "happy" not in rest.err
    paste(project, rest.out)
    assert project.tables() == {"t"}


def test_status_does_not_wait_for_pasted_script_if_ledger_exists(
    project: Project,
) -> None:
    tables(project, 1)
    project.run("up")
    project.write(up_2_long=WAITS)
    text = printed(project)
    with ThreadPoolExecutor() as pool:
        pasted = pool.submit(paste, project, text)
        at_the_wait(project, project.query("SELECT current_database()")[0][0])
        states = project.states()
        held = project.query(
            "SELECT DISTINCT mode FROM pg_locks WHERE relation = 'schema_migrations'::regclass"
        )
        with psycopg.connect(project.url, application_name=GO):
            pasted.result()
    assert states == {1: "applied", 2: "pending"}
    assert ("AccessShareLock",) in held
    assert ("AccessExclusiveLock",) not in held


def test_project_script_has_no_warnings(therapyflow: Project) -> None:
    assert therapyflow.run("script").err == ""


def test_project_script_has_no_select_into(
    therapyflow: Project,
) -> None:
    assert " INTO " not in therapyflow.run("script").out.replace("INSERT INTO", "")


def test_script_needs_no_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1_x.up.sql").write_text("SELECT 1")
    assert command(["--dir", str(tmp_path), "script"]) == 0
    assert capsys.readouterr().out.startswith("-- Made by sqlmig.")


@pytest.mark.parametrize(
    "arguments",
    [("--from", "9"), ("--to", "9"), ("--from", "2", "--to", "1"), ("--to", "x")],
)
def test_invalid_range_is_a_usage_error(
    project: Project, arguments: tuple[str, ...]
) -> None:
    tables(project, 2)
    assert project.run("script", *arguments, code=2).out == ""


def test_down_script_fails_if_down_file_is_missing_or_irreversible(
    project: Project,
) -> None:
    project.write(
        up_1_a="SELECT 1", up_2_b="SELECT 1", down_2_b="-- sqlmig: irreversible, gone"
    )
    assert (
        "there is no down file for 1_a"
        in project.run("script", "--down", "--to", "1", code=1).err
    )
    assert (
        "irreversible: gone"
        in project.run("script", "--down", "--from", "2", code=1).err
    )


def test_error_in_pasted_script_names_the_file(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();", up_2_b="CREATE TABLE b ();")
    project.query("CREATE TABLE b ()")
    with pytest.raises(psycopg.errors.DuplicateTable) as error:
        paste(project, project.run("script").out)
    assert "-- 2_b\n" in str(error.value)
    assert project.tables() == {"b"}


def test_pasted_script_says_how_to_handle_an_edited_file(project: Project) -> None:
    project.write(up_1_a="CREATE TABLE a ();")
    project.run("up")
    project.write(up_1_a="CREATE TABLE a (n int);")
    with pytest.raises(psycopg.errors.RaiseException, match="restore the file"):
        paste(project, project.run("script").out)
