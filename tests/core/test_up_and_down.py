"""Test `up` and `down`, and their output."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.project import Project


@pytest.fixture
def three(project: Project) -> Project:
    """Write three migrations that each create a table."""
    for n, name in enumerate("abc", 1):
        project.file(f"{n}_{name}.up.sql", f"CREATE TABLE {name} (id int);")
        project.file(f"{n}_{name}.down.sql", f"DROP TABLE {name};")
    return project


def test_up_applies_pending_files_oldest_first_and_prints_times(
    three: Project,
) -> None:
    lines = three.run("up").out.splitlines()
    labels = [re.sub(r"applied (\w+) \(\d+ ms\)", r"\1", line) for line in lines]
    assert labels == ["1_a", "2_b", "3_c"]
    assert three.tables() == {"a", "b", "c"}


def test_up_again_has_nothing_to_do(three: Project) -> None:
    three.run("up")
    assert three.run("up").out == "nothing to do\n"


@pytest.mark.parametrize(
    ("arguments", "tables"),
    [(("--to", "2"), "ab"), (("--steps", "1"), "a"), (("--steps", "9"), "abc")],
)
def test_up_stops_at_given_version_or_step(
    three: Project, arguments: tuple[str, ...], tables: str
) -> None:
    three.run("up", *arguments)
    assert three.tables() == set(tables)


@pytest.mark.parametrize(
    ("arguments", "tables"),
    [
        ((), "ab"),
        (("--steps", "2"), "a"),
        (("--steps", "3"), ""),
        (("--to", "1"), "a"),
        (("--to", "3"), "abc"),
        (("--to", "0"), ""),
        (("--all",), ""),
        (("--steps", "0"), "abc"),
        (("--yes",), "ab"),
    ],
)
def test_down_stops_at_given_version_or_step(
    three: Project, arguments: tuple[str, ...], tables: str
) -> None:
    three.run("up")
    three.run("down", *arguments)
    assert three.tables() == set(tables)


def test_down_reverts_newest_first_and_prints_times(three: Project) -> None:
    three.run("up")
    lines = three.run("down", "--all").out.splitlines()
    labels = [re.sub(r"reverted (\w+) \(\d+ ms\)", r"\1", line) for line in lines]
    assert labels == ["3_c", "2_b", "1_a"]


def test_down_to_0_keeps_a_version_0(project: Project) -> None:
    project.write(up_0_zero="CREATE TABLE zero ()", down_0_zero="DROP TABLE zero")
    project.write(up_1_one="CREATE TABLE one ()", down_1_one="DROP TABLE one")
    project.run("up")
    project.run("down", "--to", "0")
    assert project.tables() == {"zero"}


def test_down_with_nothing_applied_has_nothing_to_do(three: Project) -> None:
    assert three.run("down").out == "nothing to do\n"
    assert three.run("down", "--all").out == "nothing to do\n"


def test_down_beyond_the_start_reverts_nothing(three: Project) -> None:
    three.run("up")
    output = three.run("down", "--steps", "4", code=2)
    assert "cannot revert 4 versions: 3 applied; use --all" in output.err
    assert three.tables() == {"a", "b", "c"}


@pytest.mark.parametrize("command", ["up", "down"])
def test_unknown_version_is_a_usage_error(three: Project, command: str) -> None:
    three.run("up", "--to", "2")
    output = three.run(command, "--to", "7", code=2)
    assert "there is no version 7" in output.err
    assert three.tables() == {"a", "b"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "--to", "1", "--steps", "1"),
        ("down", "--all", "--to", "1"),
        ("up", "--steps", "-1"),
        ("down", "--to", "-1"),
        ("down", "--steps", "-2"),
        ("up", "--to", "one"),
        ("sideways",),
        ("up", "--sideways"),
        ("new",),
    ],
)
def test_wrong_command_line_exits_with_2_and_changes_nothing(
    three: Project, arguments: tuple[str, ...]
) -> None:
    three.run("up", "--to", "2")
    assert three.run(*arguments, code=2).err
    assert three.tables() == {"a", "b"}


def test_versions_are_numbers_of_any_width(project: Project) -> None:
    for version in ("10", "9", "0020240101120000", "9223372036854775807", "0"):
        project.file(f"{version}_x.up.sql", "SELECT 1")
    lines = project.run("up").out.split()
    found = [word for word in lines if word.endswith("_x")]
    assert found == [
        "0_x",
        "9_x",
        "10_x",
        "0020240101120000_x",
        "9223372036854775807_x",
    ]
    assert project.run("up").out == "nothing to do\n"


def test_ledger_has_one_row_for_each_applied_file(three: Project) -> None:
    three.run("up")
    rows = three.query(
        "SELECT version, name, length(checksum), applied_at <= now() FROM schema_migrations ORDER BY version"
    )
    assert rows == [(1, "a", 64, True), (2, "b", 64, True), (3, "c", 64, True)]
    three.run("down")
    assert three.query("SELECT max(version) FROM schema_migrations") == [(2,)]


def test_failing_file_is_rolled_back(three: Project) -> None:
    three.file(
        "2_b.up.sql",
        "CREATE TABLE b (id int);\nINSERT INTO b VALUES (1);\nSELECT * FROM nowhere;\n",
    )
    output = three.run("up", code=1)
    assert output.out.startswith("applied 1_a (")
    assert '2_b.up.sql:3:15: ERROR: relation "nowhere" does not exist' in output.err
    assert three.tables() == {"a"}
    assert three.states() == {1: "applied", 2: "pending", 3: "pending"}


def test_failing_down_file_is_rolled_back(three: Project) -> None:
    three.file("3_c.down.sql", "DROP TABLE c;\nDROP TABLE nowhere;\n")
    three.run("up")
    output = three.run("down", code=1)
    assert "3_c.down.sql:2:" in output.err
    assert three.tables() == {"a", "b", "c"}
    assert three.states() == {1: "applied", 2: "applied", 3: "applied"}


def test_down_needs_all_its_down_files_before_it_reverts_anything(
    three: Project,
) -> None:
    (three.directory / "1_a.down.sql").unlink()
    three.run("up")
    output = three.run("down", "--all", code=1)
    assert "nothing was reverted: there is no down file for 1_a" in output.err
    assert three.tables() == {"a", "b", "c"}


def test_up_and_down_are_paired_by_version_not_by_name(project: Project) -> None:
    project.file("1_add_a.up.sql", "CREATE TABLE a ()")
    project.file("01_drop_a.down.sql", "DROP TABLE a")
    project.run("up")
    assert project.run("down").out.startswith("reverted 1_add_a (")
    assert project.tables() == set()


@pytest.mark.parametrize(
    "text", ["", "-- only a comment", "/* only */ -- comments\n;;\n"]
)
def test_a_file_without_a_statement_is_applied_and_recorded(
    project: Project, text: str
) -> None:
    project.file("1_empty.up.sql", text)
    project.file("1_empty.down.sql", text)
    project.run("up")
    assert project.states() == {1: "applied"}
    project.run("down")
    assert project.states() == {1: "pending"}


def test_a_file_is_sent_as_it_is_written(project: Project) -> None:
    text = "%s %% :name {} $1 $$ \\n ${HOME} é 漢 \U0001f600"
    project.file(
        "1_t.up.sql", f"CREATE TABLE t (v text); INSERT INTO t VALUES ($q${text}$q$);"
    )
    project.run("up")
    assert project.query("SELECT v FROM t") == [(text,)]


def test_a_file_may_end_in_a_comment_or_without_a_semicolon(project: Project) -> None:
    project.file("1_t.up.sql", "CREATE TABLE t () -- the end")
    project.file("2_u.up.sql", "BEGIN; CREATE TABLE u (); COMMIT -- the end")
    project.run("up")
    assert project.tables() == {"t", "u"}
    assert project.states() == {1: "applied", 2: "applied"}


def test_schema_option_creates_schema_for_ledger_and_tables(
    three: Project,
) -> None:
    for _ in range(2):
        three.run("--schema", "Tenant 1", "up")
    assert three.query(
        "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('a', 'schema_migrations')"
    ) == [("Tenant 1",)]
    three.run("up")
    three.run("--schema", "Tenant 1", "down", "--all")
    assert three.states() == {1: "applied", 2: "applied", 3: "applied"}


def test_ledger_is_private_commented_and_in_public(three: Project) -> None:
    three.query('CREATE SCHEMA "postgres"')  # "$user" resolves to it
    three.run("up")
    assert three.query(
        "SELECT schemaname, rowsecurity FROM pg_tables WHERE tablename = 'schema_migrations'"
    ) == three.query("SELECT 'public', to_regrole('anon') IS NOT NULL")
    grantees = "SELECT DISTINCT grantee FROM information_schema.role_table_grants WHERE table_name = 'schema_migrations'"
    assert three.query(grantees) == three.query("SELECT current_user::text")
    without = "SELECT attname FROM pg_attribute WHERE attrelid = 'schema_migrations'::regclass AND attnum > 0"
    assert three.query(f"{without} AND col_description(attrelid, attnum) IS NULL") == []
    assert three.query(
        "SELECT obj_description('schema_migrations'::regclass) IS NOT NULL"
    ) == [(True,)]


def test_default_privileges_do_not_open_the_ledger(three: Project) -> None:
    three.query(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO PUBLIC, pg_monitor"
    )
    three.run("up")
    query = "SELECT relacl = acldefault('r', relowner) FROM pg_class WHERE relname = 'schema_migrations'"
    assert three.query(query) == [(True,)]


def test_ledger_of_another_tool_is_refused_and_left_untouched(three: Project) -> None:
    three.query(
        "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)"
    )
    for command in ("up", "status", "down"):
        output = three.run(command, code=1)
        assert (
            "public.schema_migrations is the ledger of golang-migrate, and was left untouched"
            in output.err
        )
    assert three.tables() == set()


def test_no_transaction_runs_statement_by_statement(project: Project) -> None:
    project.file("1_t.up.sql", "CREATE TABLE t (id int);")
    text = "-- sqlmig: no-transaction\nVACUUM t;\nCREATE INDEX CONCURRENTLY i ON t (id); BEGIN; INSERT INTO t VALUES (1); COMMIT"
    project.file("2_i.up.sql", text)
    project.run("up")
    assert project.query("SELECT indexname FROM pg_indexes WHERE tablename = 't'") == [
        ("i",)
    ]
    assert project.states() == {1: "applied", 2: "applied"}


def test_failing_no_transaction_file_reports_committed_statements(
    project: Project,
) -> None:
    project.file(
        "1_t.up.sql",
        "-- sqlmig: no-transaction\nCREATE TABLE t ();\nCREATE TABLE u (x nothing);\nCREATE TABLE v ();",
    )
    output = project.run("up", code=1)
    assert '1_t.up.sql:3:19: ERROR: type "nothing" does not exist' in output.err
    assert "1 of 3 statements was committed, 1 failed, 1 did not run" in output.err
    assert project.tables() == {"t"}
    assert project.states() == {1: "pending"}


def test_single_concurrently_statement_needs_no_directive(
    project: Project,
) -> None:
    project.file("1_t.up.sql", "CREATE TABLE t (id int);")
    project.file("2_i.up.sql", "-- why\nCREATE INDEX CONCURRENTLY i ON t (id);\n")
    project.file("2_i.down.sql", "DROP INDEX CONCURRENTLY i;\n")
    project.run("up")
    assert project.query("SELECT indexname FROM pg_indexes WHERE tablename = 't'") == [
        ("i",)
    ]
    project.run("down")
    assert project.query("SELECT indexname FROM pg_indexes WHERE tablename = 't'") == []


def test_error_suggests_no_transaction_directive(project: Project) -> None:
    project.file("1_v.up.sql", "SELECT 1;\nVACUUM;\n")
    output = project.run("up", code=1)
    assert (
        "1_v.up.sql:2:1: ERROR: VACUUM cannot run inside a transaction block"
        in output.err
    )
    assert (
        "put “-- sqlmig: no-transaction” on a line before the first statement"
        in output.err
    )


def test_version_applied_under_another_name_is_reported(
    project: Project,
) -> None:
    project.write(up_12_reminder_notes="CREATE TABLE a ()")
    project.run("up")
    (project.directory / "12_reminder_notes.up.sql").rename(
        project.directory / "13_reminder_notes.up.sql"
    )
    project.write(up_12_reminders="CREATE TABLE b ()")
    error = project.run("up", code=1).err
    assert (
        "12_reminders: version 12 was applied as reminder_notes, which is another migration: if you renumbered that file"
        in error
    )
    assert project.tables() == {"a"}
