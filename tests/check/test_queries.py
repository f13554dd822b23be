"""`check --queries` names the version that breaks a statement of the application, and no other version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.project import RUN

if TYPE_CHECKING:
    from tests.support.project import Project

NO_DOWN = "-- sqlmig: irreversible, because the test needs no way back"
# Each change has a schema of its own with these objects.
SETUP = """
    CREATE SCHEMA {s};
    GRANT USAGE ON SCHEMA {s} TO {role};
    SET LOCAL search_path = {s};
    CREATE TYPE mood AS ENUM ('happy', 'sad');
    CREATE TABLE customers (
        id bigint PRIMARY KEY, email text UNIQUE, name text NOT NULL, tags text[], data jsonb, mood mood,
        age int, created_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE orders (
        id bigint PRIMARY KEY, customer_id bigint REFERENCES customers, total numeric, status text, placed_at date,
        CONSTRAINT one_a_day UNIQUE (customer_id, placed_at)
    );
    CREATE VIEW adults AS SELECT id, name, age FROM customers WHERE age >= 18;
    CREATE SEQUENCE numbers;
    CREATE FUNCTION total_of(customer bigint) RETURNS numeric LANGUAGE sql STABLE
        AS 'SELECT sum(total) FROM {s}.orders WHERE customer_id = customer';
    CREATE FUNCTION discount(amount numeric, percent numeric DEFAULT 10) RETURNS numeric LANGUAGE sql
        AS 'SELECT amount * percent / 100';
    CREATE FUNCTION label(what bigint) RETURNS text LANGUAGE sql AS $$SELECT 'number ' || what$$;
    CREATE FUNCTION label(what text) RETURNS text LANGUAGE sql AS 'SELECT what';
    CREATE FUNCTION rounded(what int) RETURNS int LANGUAGE sql AS 'SELECT what';
    CREATE FUNCTION newest(OUT id bigint, OUT total numeric) RETURNS SETOF record LANGUAGE sql
        AS 'SELECT id, total FROM {s}.orders ORDER BY placed_at DESC';
    CREATE AGGREGATE joined (text) (SFUNC = textcat, STYPE = text, INITCOND = '');
    GRANT SELECT ON ALL TABLES IN SCHEMA {s} TO {role};
    GRANT INSERT, UPDATE ON orders TO {role};
"""
QUERIES = {
    "by id": "SELECT id, email, name FROM customers WHERE id = $1",
    "join": (
        "SELECT c.name, o.total FROM customers AS c JOIN orders AS o ON o.customer_id = c.id WHERE placed_at > $1"
    ),
    "unqualified": "SELECT email, total FROM customers JOIN orders ON customer_id = customers.id",
    "sum": "WITH sums AS (SELECT customer_id, sum(total) AS total FROM orders GROUP BY 1) SELECT * FROM sums",
    "insert": "INSERT INTO orders (id, customer_id, total) VALUES ($1, $2, $3) RETURNING id, status",
    "upsert by column": (
        "INSERT INTO customers (id, email, name) VALUES ($1, $2, $3)\n"
        "ON CONFLICT (email) DO UPDATE SET name = EXCLUDED.name"
    ),
    "upsert by constraint": (
        "INSERT INTO orders (id, customer_id, placed_at) VALUES ($1, $2, $3) ON CONFLICT ON CONSTRAINT one_a_day DO NOTHING"
    ),
    "lateral": (
        "SELECT c.id, last.status FROM customers AS c CROSS JOIN LATERAL"
        " (SELECT status FROM orders WHERE customer_id = c.id ORDER BY placed_at DESC LIMIT 1) AS last"
    ),
    "array": "SELECT id FROM customers WHERE $1 = ANY (tags)",
    "json": "SELECT data ->> 'city' FROM customers WHERE data @> $1",
    "enum": "UPDATE customers SET mood = 'happy' WHERE mood = $1::mood",
    "status": "SELECT count(*) FROM orders WHERE status = 'open'",
    "view": "SELECT name, age FROM adults ORDER BY age",
    "update of view": "UPDATE adults SET name = $1 WHERE id = $2",
    "function": "SELECT total_of($1), label(id) FROM customers",
    "default": "SELECT discount(total) FROM orders",
    "overload": "SELECT rounded('5')",
    "set": "SELECT id, total FROM newest() LIMIT $1",
    "aggregate": "SELECT joined(name) FROM customers",
    "sequence": "SELECT nextval('numbers')",
    "delete": "DELETE FROM orders USING customers WHERE customer_id = customers.id AND age < $1",
}
# A change, and the statements that it breaks.
BREAKING = {
    "ALTER TABLE orders DROP COLUMN total": "join, unqualified, sum, insert, default",
    "ALTER TABLE orders RENAME COLUMN total TO amount": "join, unqualified, sum, insert, default",
    "ALTER TABLE orders ALTER COLUMN total TYPE text": "sum, default",
    "ALTER TABLE orders ALTER COLUMN total TYPE double precision": "default",
    "ALTER TABLE orders DROP COLUMN status": "insert, lateral, status",
    "CREATE TYPE state AS ENUM ('new', 'paid'); ALTER TABLE orders ALTER COLUMN status TYPE state USING status::state": "status",
    "ALTER TABLE orders DROP COLUMN placed_at": "join, upsert by constraint, lateral",
    "ALTER TABLE orders RENAME COLUMN customer_id TO buyer_id": (
        "join, unqualified, sum, insert, upsert by constraint, lateral, delete"
    ),
    "ALTER TABLE orders RENAME TO purchases": (
        "join, unqualified, sum, insert, upsert by constraint, lateral, status, default, delete"
    ),
    "DROP TABLE orders": (
        "join, unqualified, sum, insert, upsert by constraint, lateral, status, default, delete"
    ),
    "ALTER TABLE orders ADD COLUMN email text": "unqualified",
    "ALTER TABLE orders ADD COLUMN age int": "delete",
    "ALTER TABLE customers ADD COLUMN placed_at date": "join",
    "ALTER TABLE orders DROP CONSTRAINT one_a_day": "upsert by constraint",
    "ALTER TABLE orders RENAME CONSTRAINT one_a_day TO one_each_day": "upsert by constraint",
    "ALTER TABLE customers DROP CONSTRAINT customers_email_key": "upsert by column",
    "ALTER TABLE customers DROP CONSTRAINT customers_email_key; CREATE UNIQUE INDEX ON customers (lower(email))": (
        "upsert by column"
    ),
    "ALTER TABLE customers RENAME COLUMN email TO mail": "by id, unqualified, upsert by column",
    "ALTER TABLE customers ALTER COLUMN tags TYPE text USING tags[1]": "array",
    "ALTER TABLE customers ALTER COLUMN tags TYPE int[] USING NULL; ALTER TABLE customers RENAME tags TO labels": "array",
    "ALTER TABLE customers ALTER COLUMN data TYPE json": "json",
    "ALTER TABLE customers ALTER COLUMN data TYPE text": "json",
    "ALTER TYPE mood RENAME VALUE 'happy' TO 'glad'": "enum",
    "ALTER TYPE mood RENAME TO feeling": "enum",
    "ALTER TABLE customers ALTER COLUMN mood TYPE text; DROP TYPE mood": "enum",
    "DROP VIEW adults": "view, update of view",
    "DROP VIEW adults; CREATE VIEW adults AS SELECT id, age FROM customers": "view, update of view",
    "DROP VIEW adults; CREATE VIEW adults AS SELECT DISTINCT id, name, age FROM customers": "update of view",
    "ALTER VIEW adults RENAME TO grown_ups": "view, update of view",
    "DROP FUNCTION total_of": "function",
    "DROP FUNCTION total_of; CREATE FUNCTION total_of(customer bigint, since date) RETURNS numeric LANGUAGE sql AS 'SELECT 1'": (
        "function"
    ),
    "DROP FUNCTION label(bigint)": "function",
    "DROP FUNCTION discount; CREATE FUNCTION discount(amount numeric, percent numeric) RETURNS numeric LANGUAGE sql AS 'SELECT 1'": (
        "default"
    ),
    "CREATE FUNCTION rounded(what date) RETURNS int LANGUAGE sql AS 'SELECT 1'": "overload",
    "DROP FUNCTION newest; CREATE FUNCTION newest() RETURNS SETOF bigint LANGUAGE sql AS 'SELECT 1::bigint'": "set",
    "DROP AGGREGATE joined (text)": "aggregate",
    "DROP SEQUENCE numbers": "sequence",
    "ALTER SEQUENCE numbers RENAME TO counters": "sequence",
    "ALTER TABLE orders DROP COLUMN total; ALTER TABLE orders ADD COLUMN total numeric GENERATED ALWAYS AS (1) STORED": "insert",
    "ALTER TABLE orders ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY": "insert, upsert by constraint",
    "ALTER TABLE customers SET SCHEMA {other}": (
        "by id, join, unqualified, upsert by column, lateral, array, json, enum, function, aggregate, delete"
    ),
    "DO $$ BEGIN EXECUTE 'ALTER TABLE ' || 'customers RENAME age TO years'; END $$": "delete",
    "DROP SCHEMA {s} CASCADE": ", ".join(QUERIES),
    "REVOKE USAGE ON SCHEMA {s} FROM {role}": "as the role",
    "REVOKE SELECT ON orders FROM {role}": "as the role",
    "DROP TABLE orders CASCADE; CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, status text,"
    " placed_at date, CONSTRAINT one_a_day UNIQUE (customer_id, placed_at))": "as the role",
}
HARMLESS = (
    "ALTER TABLE orders ADD COLUMN note text",
    "ALTER TABLE customers ADD COLUMN city text NOT NULL DEFAULT ''",
    "ALTER TABLE orders ALTER COLUMN total TYPE numeric(12, 2)",
    "ALTER TABLE orders ALTER COLUMN status TYPE varchar(20)",
    "ALTER TABLE orders ALTER COLUMN status SET DEFAULT 'open'",
    "ALTER TABLE orders ALTER COLUMN total SET NOT NULL",
    "ALTER TABLE orders ADD CONSTRAINT positive CHECK (total > 0)",
    "ALTER TABLE customers RENAME CONSTRAINT customers_email_key TO one_email",
    "CREATE INDEX ON orders (placed_at)",
    "CREATE TABLE refunds (id bigint)",
    "CREATE TABLE IF NOT EXISTS refunds (id bigint); COMMENT ON TABLE refunds IS 'x'; CREATE INDEX ON refunds (id)",
    "CREATE VIEW minors AS SELECT * FROM customers WHERE age < 18",
    "CREATE OR REPLACE VIEW adults AS SELECT id, name, age, email FROM customers WHERE age >= 21",
    "CREATE FUNCTION label(what date) RETURNS text LANGUAGE sql AS 'SELECT what::text'",
    "CREATE OR REPLACE FUNCTION total_of(customer bigint) RETURNS numeric LANGUAGE sql AS 'SELECT 0::numeric'",
    "ALTER TYPE mood ADD VALUE 'calm'",
    "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
    "COMMENT ON TABLE orders IS 'x'",
    "GRANT DELETE ON orders TO {role}",
    "REVOKE UPDATE ON orders FROM {role}",
    "INSERT INTO customers (id, name) VALUES (1, 'x'); UPDATE customers SET age = 5; DELETE FROM customers",
    "CREATE TABLE {other}.customers (id bigint)",
    "ALTER TABLE customers ALTER COLUMN created_at TYPE date; ALTER TABLE customers DROP COLUMN created_at",
    "ALTER SEQUENCE numbers INCREMENT 5",
    "DO $$ BEGIN PERFORM 1; END $$",
    "DROP TABLE IF EXISTS nothing",
)
# Read with a role that has the privileges of this statement alone.
AS_THE_ROLE = "SELECT id, total FROM orders WHERE id = $1"


# The changes after which the query of the role fails for another reason: its table or column is gone.
GONE_FOR_THE_ROLE = (
    "ALTER TABLE orders DROP COLUMN total",
    "ALTER TABLE orders RENAME COLUMN total TO amount",
    "ALTER TABLE orders RENAME TO purchases",
    "DROP TABLE orders",
    "DROP SCHEMA {s} CASCADE",
)
CHANGES = [*BREAKING, *HARMLESS]
GROUPS = 6


def expected(change: str) -> set[str]:
    """Return the names of the statements that a change breaks."""
    names = BREAKING.get(change, "")
    broken = set(names.split(", ")) if names else set()
    if change in GONE_FOR_THE_ROLE:
        broken.add("as the role")
    return broken


def test_there_are_enough_cases() -> None:
    assert sum(len(expected(change)) for change in CHANGES) >= 100
    assert len(HARMLESS) * len(QUERIES) >= 100


@pytest.mark.parametrize("group", range(GROUPS))
def test_only_the_version_that_breaks_a_statement_is_reported(
    project: Project, group: int
) -> None:
    """Each change is a version, with a schema and statements of its own. It breaks these, and none of another schema."""
    changes = CHANGES[group::GROUPS]
    role = f"app_of_{RUN}_{group}"
    project.query(f"CREATE ROLE {role}")
    try:
        setup = ""
        text = ""
        cases: dict[int, tuple[str, str]] = {}
        for number, change in enumerate(changes, start=2):
            names = {"s": f"s{number}", "other": f"other{number}", "role": role}
            setup += SETUP.format(**names)
            begin = f"CREATE SCHEMA {names['other']};\nSET LOCAL search_path = {names['s']};\n"
            project.file(f"{number}_change.up.sql", begin + change.format(**names))
            project.file(f"{number}_change.down.sql", NO_DOWN)
            text += f"SET search_path = {names['s']};\n"
            for name, query in QUERIES.items():
                cases[text.count("\n") + 1] = (change, name)
                text += f"{query};\n"
            text += f"SET ROLE {role};\n"
            cases[text.count("\n") + 1] = (change, "as the role")
            text += f"{AS_THE_ROLE};\nRESET ROLE;\n"
        project.file("1_setup.up.sql", setup)
        project.file("1_setup.down.sql", NO_DOWN)
        queries = project.directory.parent / "queries.sql"
        queries.write_text(text)
        output = project.run("check", "--queries", str(queries), "--json")
    finally:
        project.query(f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert output.err == ""
    wrong = []
    for change, finding in zip(changes, json.loads(output.out)[1:], strict=True):
        assert finding["result"] == "irreversible", (change, finding["notes"])
        found = set()
        for words in finding["breaks"]:
            if words.startswith(f"{queries}:"):
                line = words.removeprefix(f"{queries}:").partition(":")[0]
                found.add(cases[int(line)])
        meant = {(change, name) for name in expected(change)}
        wrong += [f"missed: {case}" for case in meant - found]
        wrong += [f"false alarm: {case}" for case in found - meant]
    assert wrong == []


def test_files_without_statements_are_accepted(project: Project) -> None:
    project.write(up_1_a="-- nothing yet", up_2_b="CREATE TABLE b ()")
    queries = project.directory.parent / "queries.sql"
    queries.write_text("-- nothing yet\n")
    project.run("check", "--queries", str(queries), code=1)  # no down files
    queries.write_text("SELECT 1")
    findings = json.loads(
        project.run("check", "--queries", str(queries), "--json", code=1).out
    )
    assert {finding["result"] for finding in findings} == {"no-down"}
    project.run("squash", "2", "--yes")


def test_dollar_in_a_string_is_not_a_parameter(project: Project) -> None:
    role = f"app_of_{RUN}_dollar"
    project.query(f"CREATE ROLE {role}")
    try:
        project.write(
            up_1_a=f"CREATE TABLE t (id int, note text); GRANT SELECT ON t TO {role}",
            down_1_a=NO_DOWN,
            up_2_b=f"REVOKE SELECT ON t FROM {role}",
            down_2_b=NO_DOWN,
        )
        queries = project.directory.parent / "queries.sql"
        queries.write_text(
            f"SET ROLE {role};\nSELECT id FROM t WHERE id = $1 AND note = 'costs $5';\n"
            "SELECT id FROM t WHERE note = '$2000000000'; -- $3000000000\n"
        )
        output = project.run("check", "--queries", str(queries), "--json")
        assert len(json.loads(output.out)[1]["breaks"]) == 2
        assert output.err == ""
    finally:
        project.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_statements_copied_from_pg_stat_statements_are_checked(
    project: Project,
) -> None:
    project.write(
        up_1_a="CREATE TABLE t (id int, at timestamptz)",
        down_1_a=NO_DOWN,
        up_2_b="ALTER TABLE t DROP at",
        down_2_b=NO_DOWN,
    )
    queries = project.directory.parent / "queries.sql"
    queries.write_text(
        "SELECT id FROM t WHERE at > now() - interval $1 AND id IN ($2 /*, ... */) LIMIT $3;\n"
        "SELECT EXTRACT($1 FROM at), date $2 FROM t;\nBEGIN;\nCOMMIT;\nSELECT $1::int;\n"
    )
    output = project.run("check", "--queries", str(queries), "--json")
    assert output.err == ""
    assert len(json.loads(output.out)[1]["breaks"]) == 2
