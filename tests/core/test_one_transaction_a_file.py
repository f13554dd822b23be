"""A file and its ledger row share one transaction, and nothing in the file can end or split it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.project import Project

# ¶ marks the place of the error.
STRAY = [
    ("CREATE TABLE a ();\n¶COMMIT;\nCREATE TABLE b ();", "COMMIT"),
    ("CREATE TABLE a (); ¶end;", "END"),
    ("CREATE TABLE a ();\r\n\t¶Rollback work", "ROLLBACK WORK"),
    ("¶ABORT", "ABORT"),
    ("¶SAVEPOINT s; RELEASE s", "SAVEPOINT S"),
    ("CREATE TABLE a (); ¶ROLLBACK TO s", "ROLLBACK TO S"),
    ("/* c */ ¶commit /* d */ and -- e\n chain", "COMMIT AND CHAIN"),
    ("¶PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"),
    ("¶COMMIT PREPARED 'x'", "COMMIT PREPARED"),
    ("SELECT 1; ¶BEGIN; SELECT 2; COMMIT", "BEGIN"),
    ("BEGIN; SELECT 1; ¶COMMIT; SELECT 2", "COMMIT"),
    ("BEGIN; SELECT 1; ¶COMMIT; BEGIN; SELECT 2; COMMIT", "COMMIT"),
    ("¶BEGIN; SELECT 1;", "BEGIN has no COMMIT as the last statement"),
    ("¶COMMIT; SELECT 1;", "COMMIT would end or split the transaction"),
    ("START TRANSACTION; SELECT 1; ¶ROLLBACK;", "ROLLBACK"),
    ("BEGIN; SELECT 1; ¶COMMIT AND CHAIN", "COMMIT AND CHAIN"),
    ("BEGIN; SELECT 1; ¶SAVEPOINT s; COMMIT", "SAVEPOINT S"),
    ("BEGIN; ¶BEGIN; COMMIT", "BEGIN"),
    ("SELECT E'\\''; ¶COMMIT; SELECT E'\\''", "COMMIT"),
    ("SELECT 'a\\'; ¶COMMIT; --'", "COMMIT"),
    ("SELECT type'\\'; ¶COMMIT; --'", "COMMIT"),
    ("SELECT a$b$; ¶COMMIT; SELECT a$b$", "COMMIT"),
    ("SELECT $1$; ¶COMMIT; --$1$", "COMMIT"),
    ("SELECT $a$ $A$ $a$; ¶COMMIT; --", "COMMIT"),
    ("SELECT 1 --\r; ¶COMMIT", "COMMIT"),
    ("/* /* */ */ ¶COMMIT; /* */", "COMMIT"),
    ("SELECT 'it''s'; ¶COMMIT", "COMMIT"),
    ("SELECT E'a' -- b\n 'c\\'; ' ; ¶COMMIT", "COMMIT"),
    ("CREATE VIEW v AS SELECT * FROM begin atomic; ¶COMMIT; END", "COMMIT"),
    (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END; ¶COMMIT",
        "COMMIT",
    ),
    (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1 AS end; SELECT 2; END; ¶COMMIT",
        "COMMIT",
    ),
    (
        "CREATE FUNCTION f(b boolean) RETURNS numeric LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN b THEN 0.5 END; END; ¶COMMIT; SELECT 1; END",
        "COMMIT",
    ),
    (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1 case; END; ¶COMMIT; END;",
        "COMMIT",
    ),
    ("DO LANGUAGE $$plpgsql$$E'BEGIN NULL; END --\\''; ¶COMMIT; --'", "COMMIT"),
    ("SELECT 1, $a$b$a$e'\\''; ¶COMMIT; --'", "COMMIT"),
    (
        "CREATE FUNCTION f(begin int, atomic int) RETURNS int LANGUAGE sql RETURN begin-atomic; ¶COMMIT; SELECT 1; END;",
        "COMMIT",
    ),
    (
        "CREATE FUNCTION f(begin int, atomic int) RETURNS int RETURN begin/atomic; ¶COMMIT; END;",
        "COMMIT",
    ),
    (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1 end; END; ¶COMMIT; END;",
        "COMMIT",
    ),
]

HARMLESS = {
    "string": "SELECT 'COMMIT; ', '; COMMIT;'",
    "escape string": "SELECT E'\\'; COMMIT; \\'', e'\\\\'",
    "continued escape string": "SELECT E'a'\n'\\'; COMMIT; '",
    "unicode string": "SELECT U&'\\0041; COMMIT; ', U&'d!0061' UESCAPE '!'",
    "bit string": "SELECT B'01', X'1F', N'; COMMIT;'",
    "quoted identifier": 'SELECT 1 AS "; COMMIT; ", 2 AS "a""; COMMIT; ", 3 AS U&"; COMMIT;"',
    "dollar quote": "SELECT $$; COMMIT; $$, $a$; COMMIT; $$ ; $a$, $é_1$; COMMIT;$é_1$",
    "line comment": "SELECT 1 -- ; COMMIT;\n",
    "nested comment": "SELECT 1 /* ; COMMIT; /* ; COMMIT; */ ; COMMIT; */",
    "plpgsql": "DO $$ BEGIN PERFORM 1; END; $$",
    "names": 'CREATE TABLE commit (rollback int, savepoint int); SELECT 1 AS commit, 2 "end"; DROP TABLE commit',
    "a dollar in a name": "CREATE TABLE a$b$ (c$$ int); DROP TABLE a$b$",
    "rule": "CREATE TABLE r (i int); CREATE RULE n AS ON INSERT TO r DO ALSO (SELECT 1; SELECT 2); DROP TABLE r",
    "atomic body": """CREATE FUNCTION f(i int) RETURNS int LANGUAGE sql
        BEGIN ATOMIC
            SELECT 1; SELECT CASE WHEN i > 0 THEN CASE i WHEN 1 THEN 2 END END; SELECT i AS "end";
        END; DROP FUNCTION f""",
    "decimals, quoted names and labels in a body": """CREATE FUNCTION f(i int) RETURNS numeric LANGUAGE sql
        BEGIN ATOMIC
            SELECT 1 AS "b"; SELECT CASE WHEN i > 0 THEN x."b" END FROM (SELECT 1 AS "b") x; SELECT 1 end; SELECT 1 case;
            SELECT CASE WHEN i > 0 THEN 0.5 END;
        END; DROP FUNCTION f""",
    "a name atomic in a body": """CREATE FUNCTION f() RETURNS int LANGUAGE sql
        BEGIN ATOMIC
            SELECT CASE WHEN true THEN atomic END FROM (SELECT 1 AS atomic) AS x; SELECT 2;
        END; DROP FUNCTION f""",
    "empty body": "CREATE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC END; DROP PROCEDURE p",
    "procedure": "CREATE OR REPLACE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC SELECT 1; END; DROP PROCEDURE p",
    "operators": "SELECT 1 - -1, 4 / 2, '{1}'::int[] @> '{1}', 2*/* c */3, '{}'::jsonb -> 'a' ->> 'b'",
    "prepared statement": "PREPARE p AS SELECT 1; EXECUTE p; DEALLOCATE p",
    "parameters of a transaction": "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT 1",
    "settings of a transaction": "SET LOCAL statement_timeout = '1min'; SET CONSTRAINTS ALL DEFERRED",
}

OUTER = [
    "BEGIN; {} COMMIT;",
    "begin transaction isolation level serializable, read write; {} end transaction;",
    "/* c */ START TRANSACTION; {} COMMIT WORK -- d",
    "BEGIN WORK; {} COMMIT AND NO CHAIN;\n\n-- end\n",
    "BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; {} END",
]


@pytest.mark.parametrize(
    ("marked", "words"), STRAY, ids=[marked for marked, _ in STRAY]
)
def test_stray_transaction_control_is_refused_before_anything_runs(
    project: Project, marked: str, words: str
) -> None:
    project.file("1_good.up.sql", "CREATE TABLE good ()")
    project.file("2_stray.up.sql", marked.replace("¶", ""))
    before = re.split(r"\r\n|\r|\n", marked.partition("¶")[0])
    error = project.run("up", code=1).err
    assert f"2_stray.up.sql:{len(before)}:{len(before[-1]) + 1}: {words}" in error
    assert (
        "put “-- sqlmig: no-transaction” on a line before the first statement" in error
    )
    assert project.query(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    ) == [(0,)]


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_keywords_in_quotes_comments_and_bodies_are_accepted(
    project: Project, text: str
) -> None:
    project.file("1_x.up.sql", f"{text};\nCREATE TABLE after ();")
    project.run("up")
    assert project.tables() == {"after"}
    assert project.states() == {1: "applied"}


def test_column_named_concurrently_stays_in_transaction(
    project: Project,
) -> None:
    project.file("1_x.up.sql", "CREATE VIEW v AS SELECT 1 AS concurrently")
    assert "would apply 1_x" in project.run("up", "--dry-run").out
    project.file("1_x.up.sql", "REINDEX (CONCURRENTLY) SCHEMA public")
    assert "not rehearsed 1_x" in project.run("up", "--dry-run").out


@pytest.mark.parametrize("outer", OUTER)
def test_outer_begin_and_commit_replace_runner_transaction(
    project: Project, outer: str
) -> None:
    project.file(
        "1_x.up.sql", outer.format("CREATE TABLE a (id int); INSERT INTO a VALUES (1);")
    )
    project.run("up")
    assert project.query("SELECT * FROM a") == [(1,)]
    assert project.states() == {1: "applied"}


@pytest.mark.parametrize("outer", OUTER)
def test_outer_begin_and_commit_are_atomic_with_the_ledger(
    project: Project, outer: str
) -> None:
    project.file("1_x.up.sql", outer.format("CREATE TABLE a (); SELECT 1 / 0;"))
    assert "division by zero" in project.run("up", code=1).err
    assert project.tables() == set()
    assert project.states() == {1: "pending"}


def test_isolation_level_of_outer_transaction_is_kept(project: Project) -> None:
    project.file(
        "1_x.up.sql",
        "BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE a AS SELECT current_setting('transaction_isolation') v; COMMIT",
    )
    project.file(
        "2_x.up.sql",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; INSERT INTO a SELECT current_setting('transaction_isolation')",
    )
    project.run("up")
    assert project.query("SELECT v FROM a") == [("serializable",), ("repeatable read",)]


def test_procedure_cannot_commit(project: Project) -> None:
    project.file(
        "1_p.up.sql",
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN CREATE TABLE a (); COMMIT; END'",
    )
    project.file("2_x.up.sql", "CREATE TABLE b ();\nCALL p();")
    error = project.run("up", code=1).err
    assert "2_x.up.sql:2:1: ERROR: invalid transaction termination" in error
    assert project.tables() == set()


def test_failed_deferred_constraint_is_reported_and_rolled_back(
    project: Project,
) -> None:
    project.file(
        "1_x.up.sql",
        "CREATE TABLE a (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED); INSERT INTO a VALUES (1), (1);",
    )
    error = project.run("up", code=1).err
    assert (
        "1_x.up.sql: at its end, when deferred constraints are checked: ERROR: duplicate key"
        in error
    )
    assert project.tables() == set()


def test_an_unfinished_statement_does_not_swallow_the_ledgers_row(
    project: Project,
) -> None:
    project.file("1_x.up.sql", "CREATE TABLE a ();\nSELECT (1 + \n")
    error = project.run("up", code=1).err
    assert "1_x.up.sql:2:12: ERROR: syntax error" in error
    assert project.tables() == set()


def test_standard_conforming_strings_off_is_refused(project: Project) -> None:
    (name,) = project.query("SELECT current_database()")[0]
    project.query(f'ALTER DATABASE "{name}" SET standard_conforming_strings = off')
    project.file("1_x.up.sql", "SELECT 'a\\'; COMMIT; --'")
    assert "standard_conforming_strings is off" in project.run("up", code=1).err
