"""Test tables of scripts: how sqlmig splits and runs them. ¶ marks the start of each statement."""

from __future__ import annotations

import pytest

from sqlmig.core.errors import ScanError
from sqlmig.core.lexer import read_statement
from sqlmig.core.sqlfile import DIRECTIVES, scan
from sqlmig.script import selects_into

# ¶ marks the start of each statement.
STATEMENTS = [
    "",
    " -- nothing\n /* nothing */ ;; ",
    "¶SELECT 1",
    "¶SELECT 1;¶SELECT 2; -- end\n",
    "-- why\n¶CREATE TABLE a ();\n\n/* b */ ¶INSERT INTO a VALUES (';', \";\"); ¶COMMENT ON TABLE a IS 'x;y'",
    "¶SELECT 'a;''b;' || $$;$$ || $x$ $$ ; $x$ || E'\\';' || U&';';¶SELECT 2",
    "¶INSERT INTO t VALUES (E'\\';'), ('\\'); ¶SELECT 2; --'",
    "¶INSERT INTO t VALUES (type'\\'); ¶SELECT 2; --'",
    "¶SELECT a$b$; ¶SELECT a$b$",
    "¶SELECT a1$b$; ¶SELECT a1$b$",
    "¶SELECT a$e'\\'; ¶SELECT 2; --'",
    "¶SELECT 1$a$;$a$; ¶SELECT 2",
    "¶SELECT $1$a$;$a$; ¶SELECT 2",
    "¶SELECT $$x$$E'\\';'; ¶SELECT 2",
    "¶SELECT $a$b$a$e'\\';'; ¶SELECT 2",
    "¶SELECT E'a' -- b\n 'c\\'; ' ; ¶SELECT 2",
    "¶SELECT E'a' 'c\\'; ¶SELECT 2; --'",
    "¶SELECT 1-- ;\n-1; ¶SELECT 1/2/* ; /* ; */ ; */;¶SELECT 3",
    "¶ALTER TABLE a ADD b int;;¶DROP TABLE a; ¶GRANT SELECT ON a TO b;",
    "¶CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2); ¶SELECT 3",
    "¶CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END; ¶SELECT 3",
    "¶CREATE OR REPLACE PROCEDURE f() BEGIN ATOMIC END; ¶SELECT 3",
    "¶CREATE FUNCTION f_1(a_b int) RETURNS int BEGIN ATOMIC SELECT 1 end; SELECT a_b; END; ¶SELECT 3",
    "¶CREATE FUNCTION f(begin int, atomic int) RETURNS int RETURN begin-atomic; ¶SELECT 1",
    "¶CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$; ¶SELECT 1",
    "¶DO $$ BEGIN NULL; END $$; ¶WITH a AS (SELECT 1) SELECT * FROM a; ¶VALUES (1)",
    "¶SELECT 'é漢;', \"é;\" é$é; ¶SELECT é$é",
    "\r¶SELECT 1 --;\r;¶SELECT 2",
]


@pytest.mark.parametrize("marked", STATEMENTS)
def test_statement_starts_match_the_server(marked: str) -> None:
    text = marked.replace("¶", "").encode()
    parts = marked.encode().split("¶".encode())
    expected = [sum(map(len, parts[: n + 1])) for n in range(len(parts) - 1)]
    assert list(scan(text).statement_starts) == expected


def test_very_long_statement_ends_at_its_semicolon() -> None:
    long = "INSERT INTO t VALUES " + ", ".join(
        ["('it''s', E'\\';', $$;$$, \"a;\", 1 - -1, 4 / 2)"] * 3000
    )
    assert list(scan(f"{long}; SELECT 2".encode()).statement_starts) == [
        0,
        len(long) + 2,
    ]


@pytest.mark.parametrize(
    ("text", "directive"),
    [
        ("-- sqlmig: no-transaction\nVACUUM", True),
        ("-- why\n  --sqlmig:no-transaction  \r\nVACUUM", True),
        ("/* a */\n-- sqlmig: no-transaction\nVACUUM", True),
        ("-- sqlmig: no-transaction", True),
        ("/*\n-- sqlmig: no-transaction\n*/ SELECT 1", False),
        ("SELECT $$\n-- sqlmig: no-transaction\n$$", False),
        ("SELECT '\n-- sqlmig: no-transaction\n'", False),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", True),
        ("create unique /* a */ index\nconcurrently i_1 on t$1 (a);", True),
        ("DROP INDEX CONCURRENTLY IF EXISTS a.b_c", True),
        ("REINDEX (CONCURRENTLY) TABLE t", True),
        ("REPACK (CONCURRENTLY) t", True),
        ("REPACK (ANALYZE, CONCURRENTLY) s.t USING INDEX i", True),
        ("REPACK t", False),
        ("ALTER TABLE a_b DETACH PARTITION c_d CONCURRENTLY", True),
        ("ALTER TABLE t RENAME TO concurrently", False),
        ("CREATE INDEX CONCURRENTLY i ON t (a); SELECT 1", False),
        ("CREATE INDEX i ON concurrently (a)", False),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", False),
    ],
)
def test_statements_that_run_outside_a_transaction(
    text: str, *, directive: bool
) -> None:
    assert scan(text.encode()).in_transaction is not directive


@pytest.mark.parametrize(
    ("text", "problem", "offset"),
    [
        ("-- a\n-- sqlmig: nothing\nSELECT 1", "unknown directive", 5),
        ("-- a\n-- sqlmig: repeat\nSELECT 1", "never changes one", 5),
        (
            "-- sqlmig: accepts reads: x\n-- sqlmig: accepts losses: y\nDROP TABLE t",
            "“accepts” is there twice",
            28,
        ),
        (
            "-- sqlmig: no-transaction\n-- sqlmig: repeat\nUPDATE t SET n = 1",
            "files that run in a transaction",
            26,
        ),
    ],
)
def test_invalid_directive_is_refused_with_its_offset(
    text: str, problem: str, offset: int
) -> None:
    with pytest.raises(ScanError) as error:
        scan(text.encode())
    assert problem in error.value.problem
    assert error.value.offset == offset


def test_the_message_names_each_directive() -> None:
    with pytest.raises(ScanError) as error:
        scan(b"-- sqlmig: nothing\nSELECT 1")
    for directive in DIRECTIVES:
        assert f"“-- sqlmig: {directive}”" in error.value.problem


@pytest.mark.parametrize(
    ("marked", "own_kind"),  # ¶ after its BEGIN, and before its own COMMIT
    [
        ("¶SELECT 1", False),
        ("BEGIN; ¶SELECT 1; ¶COMMIT", False),
        ("START TRANSACTION; ¶SELECT 1; ¶END WORK", False),
        ("BEGIN; ¶¶COMMIT", False),
        ("BEGIN WORK; SET TRANSACTION READ WRITE; ¶SELECT 1; ¶COMMIT -- end", True),
        ("begin isolation level serializable; ¶SELECT 1; ¶END", True),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; ¶SELECT 1", True),
        (
            "SET LOCAL transaction_isolation = 'serializable'; SET TRANSACTION DEFERRABLE; ¶SELECT 1",
            True,
        ),
        ("¶SET work_mem = '1MB'; SET TRANSACTION READ ONLY", False),
        ("¶SELECT 1; SET TRANSACTION READ ONLY", False),
        ("¶SET transaction_timeout = '1s'; SELECT 1", False),
        ("SET TRANSACTION READ ONLY; -- end¶", True),
        ("¶SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; SELECT 1", False),
    ],
)
def test_opening_and_commit_of_explicit_transaction(
    marked: str, *, own_kind: bool
) -> None:
    found = scan(marked.replace("¶", "").encode())
    opens, *closes = [part.encode() for part in marked.split("¶")][:-1]
    assert found.text[: found.opening_end] == opens
    assert found.text[: found.commit_start] == b"".join(
        [opens, *closes] if closes else []
    )
    assert found.has_own_mode is own_kind


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT a_b, c$d, 'x', \"y\" FROM (SELECT z) t", "select a_b c$d from t"),
        ("COPY a.b_c (d) FROM /* x */ STDIN", "copy a b_c from stdin"),
        ("É_é 1e5 x1", "É_é e5 x1"),
    ],
)
def test_read_statement_returns_unquoted_words(text: str, words: str) -> None:
    assert b" ".join(read_statement(text.encode(), 0)[0]).decode() == words


@pytest.mark.parametrize(
    "text",
    [
        "copy public.t (a) to stdout",
        "COPY (SELECT 1) TO STDOUT",
    ],
)
def test_copy_to_stdout_is_refused(text: str) -> None:
    with pytest.raises(ScanError, match="needs a client"):
        scan(text.encode())


@pytest.mark.parametrize(
    "text", ["COPY t FROM '/stdin'", "COPY t TO PROGRAM 'cat'", "COPY stdin FROM 'x'"]
)
def test_copy_with_file_or_program_is_accepted(text: str) -> None:
    assert len(scan(text.encode()).statement_starts) == 1


@pytest.mark.parametrize(
    ("text", "into"),
    [
        ("SELECT 1 AS a INTO made", True),
        ("WITH x AS (SELECT 1 AS a) SELECT a INTO made FROM x", True),
        ("(SELECT 1 AS a INTO made)", True),
        ("( -- in two\n(SELECT 1 AS a INTO made) UNION SELECT 2)", True),
        ("WITH x AS (SELECT 1 AS a) (SELECT a INTO made FROM x)", True),
        ("((VALUES (1)))", False),
        ("((", False),
        ("SELECT 1 AS into", False),
        ("INSERT INTO t SELECT 1", False),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT a FROM x", False),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", False),
        (
            "WITH x AS (SELECT 1) MERGE INTO t USING x ON true WHEN MATCHED THEN DELETE",
            False,
        ),
        ("SELECT 'into'; SELECT 1 INTO t", False),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN SELECT 1 INTO x; END'",
            False,
        ),
    ],
)
def test_select_into_is_detected(text: str, *, into: bool) -> None:
    assert selects_into(text.encode(), 0) is into


def test_prepare_statement_named_transaction_is_accepted() -> None:
    assert (
        len(
            scan(
                b"PREPARE transaction AS SELECT 1; EXECUTE transaction; DEALLOCATE transaction"
            ).statement_starts
        )
        == 3
    )
    with pytest.raises(ScanError, match="PREPARE TRANSACTION would end"):
        scan(b"PREPARE TRANSACTION 'x'")


@pytest.mark.parametrize(
    "text",
    [
        "/* a */ ¶-- sqlmig: no-transaction\nSELECT 1",
        "SELECT 1;\n¶-- sqlmig: no-transaction",
        "SELECT 1; ¶-- sqlmig: repeat\nSELECT 2",
        "-- sqlmig: no-transaction\nSELECT 1;\n  ¶--sqlmig: accepts reads: so",
    ],
)
def test_a_misplaced_directive_is_refused(text: str) -> None:
    with pytest.raises(ScanError, match="before the first statement") as error:
        scan(text.replace("¶", "").encode())
    assert error.value.offset == text.encode().index("¶".encode())
