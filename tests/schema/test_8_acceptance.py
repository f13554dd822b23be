"""The criteria "Migration files version controlled" and "Rollback scripts prepared", and the format of the files."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.project import RUN, SQL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.project import Project

UPS = sorted(SQL.glob("*.up.sql"))
DOWNS = sorted(SQL.glob("*.down.sql"))

CATALOG = """
    SELECT 'relation', c.oid::regclass::text, relkind::text, relrowsecurity::text, reloptions::text, relacl::text,
           obj_description(c.oid, 'pg_class')
    FROM pg_class c WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)')
    UNION ALL
    SELECT 'column', attrelid::regclass || '.' || attname, format_type(atttypid, atttypmod), attnotnull::text, attnum::text,
           pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped
        AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)')
    UNION ALL
    SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid), condeferred::text, NULL, NULL, NULL
    FROM pg_constraint
    WHERE connamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)')
    UNION ALL
    SELECT 'index', indexname, indexdef, NULL, NULL, NULL, NULL FROM pg_indexes WHERE schemaname !~ '^pg_'
    UNION ALL
    SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid), proacl::text, NULL, NULL, obj_description(oid, 'pg_proc')
    FROM pg_proc WHERE pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)')
    UNION ALL
    SELECT 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid), NULL, NULL, NULL, NULL
    FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT 'policy', tablename || '.' || policyname, cmd, qual, with_check, roles::text, permissive FROM pg_policies
    UNION ALL
    SELECT 'schema', nspname, nspacl::text, NULL, NULL, NULL, NULL FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)'
    UNION ALL
    SELECT 'type', oid::regtype::text, NULL, NULL, NULL, NULL, NULL FROM pg_type
    WHERE typnamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)')
    ORDER BY 1, 2, 3
"""


def of_the_ledger(row: tuple[Any, ...]) -> bool:
    return (
        row[1].partition(".")[0].startswith("schema_migrations")
        or "schema_migrations" in row[1]
    )


def test_the_files_are_version_controlled() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "."], cwd=SQL, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {path.name for path in [*UPS, *DOWNS]} - set(tracked) == set(), (
        "not in git: run `git add sql`"
    )


def test_every_up_file_has_a_down_file() -> None:
    assert [path.name.replace(".up.", ".") for path in UPS] == [
        path.name.replace(".down.", ".") for path in DOWNS
    ]


def test_catalog_is_unchanged_after_reverting_each_file_and_reapplying(
    therapyflow: Project,
) -> None:
    therapyflow.run("up")
    first = therapyflow.query(CATALOG)
    for path in reversed(UPS):
        assert therapyflow.run("down").out.startswith(
            f"reverted {path.name.removesuffix('.up.sql')} ("
        )
    assert [
        row
        for row in therapyflow.query(CATALOG)
        if not of_the_ledger(row) and row[0] != "schema"
    ] == []
    therapyflow.run("up")
    assert therapyflow.query(CATALOG) == first


def test_last_down_leaves_only_the_ledger(therapyflow: Project) -> None:
    therapyflow.run("up", "--steps", "0")
    before = therapyflow.query(CATALOG)
    therapyflow.run("up")
    therapyflow.run("down", "--all")
    assert [
        row for row in therapyflow.query(CATALOG) if not of_the_ledger(row)
    ] == before
    assert therapyflow.query("SELECT count(*) FROM schema_migrations") == [(0,)]


def test_ordinary_owner_can_run_each_up_file_as_one_message(
    therapyflow: Project,
) -> None:
    owner, name = f"owner_{RUN}", f"pasted_{RUN}"
    therapyflow.query(f"CREATE ROLE {owner} LOGIN PASSWORD 'x'")
    try:
        therapyflow.query(f"CREATE DATABASE {name} OWNER {owner}")
        with psycopg.connect(
            therapyflow.url, dbname=name, autocommit=True
        ) as connection:
            connection.execute(f"SET SESSION AUTHORIZATION {owner}")
            for path in UPS[:10]:
                assert connection.pgconn.exec_(path.read_bytes()).error_message == b""
            assert connection.execute(
                "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
            ).fetchone() == (9,)
            for path in reversed(DOWNS[:10]):
                assert connection.pgconn.exec_(path.read_bytes()).error_message == b""
    finally:
        therapyflow.query(f"DROP DATABASE IF EXISTS {name}")
        therapyflow.query(f"DROP ROLE {owner}")


@pytest.mark.parametrize("path", [*UPS, *DOWNS], ids=lambda path: str(path.name))
def test_file_starts_with_comment_stating_its_purpose(path: Path) -> None:
    assert re.match(r"-- [A-Z][^\n]*(\n-- [^\n]*)*\.\n", path.read_text())


@pytest.mark.parametrize("path", [*UPS, *DOWNS], ids=lambda path: str(path.name))
def test_file_avoids_clauses_that_hide_unexpected_state(path: Path) -> None:
    code = re.sub(r"--.*", "", path.read_text())
    assert not re.search(r"\bIF (NOT )?EXISTS\b(?! \()", code)
    assert path in UPS or "CASCADE" not in code
    assert not re.search(r"\bSELECT\b[^;]*\bINTO\b", code)


def test_every_policy_and_trigger_is_a_plain_statement_in_a_file(
    therapyflow: Project,
) -> None:
    text = "\n".join(path.read_text() for path in UPS)
    therapyflow.run("up")
    policies = therapyflow.query(
        "SELECT policyname, tablename FROM pg_policies WHERE tablename <> 'schema_migrations'"
    )
    found = re.findall(r"^CREATE POLICY (\w+) ON (\w+) FOR", text, re.MULTILINE)
    assert sorted(found) == sorted(policies)
    assert len(found) >= 20
    triggers = therapyflow.query(
        "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
    )
    found = re.findall(
        r"^CREATE TRIGGER (\w+)\n    (?:BEFORE|AFTER) [A-Z_a-z, ]*?ON (\w+)",
        text,
        re.MULTILINE,
    )
    assert sorted(found) == sorted(triggers)


@pytest.mark.parametrize("path", [*UPS, *DOWNS], ids=lambda path: str(path.name))
def test_no_do_block_creates_a_policy_or_trigger(path: Path) -> None:
    for block in re.findall(
        r"^DO \$\$.*?^\$\$;", path.read_text(), re.MULTILINE | re.DOTALL
    ):
        assert not re.search(r"\b(POLICY|TRIGGER)\b", block)


def test_file_that_creates_a_table_enables_row_level_security_on_it() -> None:
    for path in UPS:
        text = path.read_text()
        for table in re.findall(r"CREATE TABLE (\S+)", text):
            assert f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;" in text
