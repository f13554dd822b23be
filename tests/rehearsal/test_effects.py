"""A rehearsal reports the same locks, rewrites and reads of a statement as PostgreSQL's manual.

https://www.postgresql.org/docs/current/explicit-locking.html and the pages of ALTER TABLE and its like.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.project import Project
    from tests.support.servers import Server

BASE = """
    CREATE TABLE t (id int PRIMARY KEY, n int, s text, gone int);
    INSERT INTO t SELECT g, g, 'x', g FROM generate_series(1, 2000) AS g;
    CREATE INDEX t_n ON t (n);
    ALTER TABLE t ADD CONSTRAINT t_known CHECK (n > 0) NOT VALID;
    CREATE TABLE child (id int PRIMARY KEY, t_id int, up int REFERENCES t (id));
    INSERT INTO child SELECT g, g, g FROM generate_series(1, 500) AS g;
    ALTER TABLE child ADD CONSTRAINT child_t FOREIGN KEY (t_id) REFERENCES t (id) NOT VALID;
    CREATE TABLE part (id int, at date) PARTITION BY RANGE (at);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    INSERT INTO part SELECT g, '2026-01-02' FROM generate_series(1, 500) AS g;
    CREATE TABLE loose (id int, at date);
    INSERT INTO loose SELECT g, '2026-02-02' FROM generate_series(1, 500) AS g;
    CREATE VIEW v AS SELECT id FROM t;
    CREATE MATERIALIZED VIEW m AS SELECT id FROM t;
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
    CREATE TRIGGER known BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
    CREATE SCHEMA other; CREATE TABLE other.t (n int);
    CREATE SEQUENCE seq; CREATE SEQUENCE owned OWNED BY t.n; CREATE TYPE mood AS ENUM ('a');
    ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY known ON t USING (true);
    -- A vacuum in between would let the planner read the index of t instead of t.
    ALTER TABLE t SET (autovacuum_enabled = off); ALTER TABLE child SET (autovacuum_enabled = off);
    ANALYZE
"""
ALL, WRITES, READS = "blocks reads and writes", "blocks writes", "reads it whole"
CASES: dict[str, dict[str, str]] = {
    # these block nothing
    "CREATE TABLE a (n int); CREATE INDEX ON a (n); ALTER TABLE a ADD m int; DROP TABLE a": {},
    "CREATE VIEW w AS SELECT id FROM t": {},
    "CREATE TYPE color AS ENUM ('red')": {},
    "ALTER TYPE mood ADD VALUE 'b'": {},
    "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'": {},
    "GRANT SELECT ON t TO pg_monitor": {},
    "COMMENT ON TABLE t IS 'x'; COMMENT ON COLUMN t.n IS 'y'": {},
    "ALTER TABLE t ALTER n SET STATISTICS 200": {},
    "ALTER TABLE t SET (fillfactor = 90)": {},
    "INSERT INTO t (id) VALUES (0)": {},
    "UPDATE t SET n = 9 WHERE id = 7": {},
    "CREATE STATISTICS st ON n, s FROM t": {},
    "CREATE SEQUENCE other_seq": {},
    "SELECT nextval('seq')": {},
    "CREATE TABLE like_t (LIKE t INCLUDING ALL)": {},
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pg_monitor": {},
    # these read the whole table, and block nothing
    "ALTER TABLE t VALIDATE CONSTRAINT t_known": {"t": READS},
    "ALTER TABLE child VALIDATE CONSTRAINT child_t": {"child": READS, "t": READS},
    "UPDATE t SET n = n + 1": {"t": READS},
    "DELETE FROM t WHERE s = 'y'": {"t": READS},
    "CREATE TABLE copy AS SELECT * FROM t": {"t": READS},
    "CREATE MATERIALIZED VIEW mm AS SELECT * FROM t": {"t": READS},
    # these block writes
    "CREATE INDEX ON t (s)": {"t": f"{WRITES}, {READS}"},
    "CREATE UNIQUE INDEX ON t (n, s)": {"t": f"{WRITES}, {READS}"},
    "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()": {
        "t": WRITES
    },
    "ALTER TABLE child ADD FOREIGN KEY (t_id) REFERENCES t (id) NOT VALID": {
        "child": WRITES,
        "t": WRITES,
    },
    "ALTER TABLE child ADD FOREIGN KEY (t_id) REFERENCES t (id)": {
        "child": f"{WRITES}, {READS}",
        "t": f"{WRITES}, {READS}",
    },
    "ALTER TABLE t DISABLE TRIGGER known": {"t": WRITES},
    "LOCK TABLE t IN SHARE MODE": {"t": WRITES},
    "LOCK TABLE t IN EXCLUSIVE MODE": {"t": WRITES},
    "CREATE INDEX ON part (id)": {"part": f"{WRITES}, {READS}"},
    "ALTER SEQUENCE seq INCREMENT 2": {"seq": WRITES},
    # these block reads and writes
    "ALTER TABLE t ADD c int": {"t": ALL},
    "ALTER TABLE t ADD c int NOT NULL DEFAULT 7": {"t": ALL},
    "ALTER TABLE t ADD c timestamptz DEFAULT now()": {"t": ALL},
    "ALTER TABLE t DROP gone": {"t": ALL},
    "ALTER TABLE t RENAME TO u": {"t": ALL},
    "ALTER TABLE t RENAME n TO k": {"t": ALL},
    "ALTER TABLE t ALTER s SET DEFAULT 'x'": {"t": ALL},
    "ALTER TABLE t ALTER s DROP NOT NULL": {"t": ALL},
    "ALTER TABLE t ALTER s SET NOT NULL": {"t": f"{ALL}, {READS}"},
    "ALTER TABLE t ADD CHECK (n < 100000) NOT VALID": {"t": ALL},
    "ALTER TABLE t ADD CHECK (n < 100000)": {"t": f"{ALL}, {READS}"},
    "ALTER TABLE t DROP CONSTRAINT t_known": {"t": ALL},
    "ALTER TABLE t ADD UNIQUE (n)": {"t": f"{ALL}, {READS}"},
    "ALTER TABLE child DROP CONSTRAINT child_t": {"child": ALL, "t": ALL},
    "ALTER TABLE other.t RENAME TO x; ALTER TABLE t SET SCHEMA other": {
        "t": ALL,
        "other.t": ALL,
    },
    "ALTER TABLE t ENABLE ROW LEVEL SECURITY": {"t": ALL},
    "CREATE POLICY p ON t USING (n > 1)": {"t": ALL},
    "DROP POLICY known ON t": {"t": ALL},
    "DROP TRIGGER known ON t": {"t": ALL},
    "DROP INDEX t_n": {"t": ALL},
    "ALTER INDEX t_n RENAME TO t_k": {},
    "REINDEX INDEX t_n": {"t": f"{ALL}, rewrites, {READS}"},
    "DROP TABLE child": {"child": ALL, "t": ALL},
    "DROP VIEW v": {"v": ALL},
    "CREATE OR REPLACE VIEW v AS SELECT id FROM t WHERE id > 1": {"v": ALL},
    "ALTER VIEW v RENAME TO w": {"v": ALL},
    "TRUNCATE loose": {"loose": ALL},
    "LOCK TABLE t": {"t": ALL},
    "ALTER TABLE t OWNER TO pg_monitor": {"t": ALL},
    # these rewrite the table
    "ALTER TABLE t ALTER n TYPE bigint": {"t": f"{ALL}, rewrites"},
    "ALTER TABLE t ALTER s TYPE varchar(100)": {"t": f"{ALL}, rewrites"},
    "ALTER TABLE t ALTER s TYPE varchar": {"t": ALL},
    "ALTER TABLE t ADD c float DEFAULT random()": {"t": f"{ALL}, rewrites"},
    "ALTER TABLE t ADD c int GENERATED ALWAYS AS (n + 1) STORED": {
        "t": f"{ALL}, rewrites"
    },
    "ALTER TABLE t ADD c bigserial": {"t": f"{ALL}, rewrites"},
    "ALTER TABLE loose SET UNLOGGED": {"loose": f"{ALL}, rewrites"},
    "CLUSTER t USING t_n": {"t": f"{ALL}, rewrites"},
    "REFRESH MATERIALIZED VIEW m": {"m": f"{ALL}, rewrites", "t": READS},
    # a partition counts as its table
    "ALTER TABLE part ADD c int": {"part": ALL},
    "ALTER TABLE part DETACH PARTITION part_1": {"part": ALL},
    "ALTER TABLE part ATTACH PARTITION loose FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')": {
        "loose": f"{ALL}, {READS}"
    },
    "DROP TABLE part_1": {"part": ALL},
    "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')": {
        "part": ALL
    },
}


def effects(project: Project, *arguments: str) -> dict[str, str]:
    """Return the effects that a rehearsal reports for each table, without times and sizes."""
    lines = project.run(*arguments, "--dry-run").out.splitlines()
    plain = [
        re.sub(r" for up to [^,]*|(?<=rewrites) [^,]*", "", line[2:])
        for line in lines
        if line.startswith("  ")
    ]
    return dict(line.split(": ", 1) for line in plain)


@pytest.fixture(scope="module")
def base(server: Server) -> Iterator[str]:
    """Yield the name of a template. A copy of it costs less than the statements."""
    with server.unconnected("sqlmig_rehearsed") as name:
        with psycopg.connect(server.url_of(name)) as connection:
            connection.execute(BASE)
        yield name


@pytest.fixture
def tables(server: Server, base: str, tmp_path: Path) -> Iterator[Project]:
    """Yield an empty directory and a copy of the template."""
    with server.project(tmp_path, base) as made:
        yield made


@pytest.mark.parametrize("statement", CASES)
def test_rehearsal_reports_effects_of_statement(
    tables: Project, statement: str
) -> None:
    tables.write(up_1_x=f"{statement};")
    wanted = CASES[statement]
    found = effects(tables, "up")
    # A rewrite always reads the table, so the report does not mention it.
    assert found == {
        table: words.replace(f", rewrites, {READS}", ", rewrites")
        for table, words in wanted.items()
    }
    assert tables.query("SELECT count(*) FROM t") == [(2000,)]


def test_dry_run_omits_new_tables_and_reports_only_new_effects(
    tables: Project,
) -> None:
    tables.write(
        up_1_a="CREATE TABLE a (n int); CREATE INDEX ON t (s);",
        up_2_b="ALTER TABLE a ADD m int; ALTER TABLE t ADD x int;",
    )
    out = tables.run("up", "--dry-run").out
    shown = re.sub(r"\d+ ms", "", out).splitlines()
    assert shown == [
        "would apply 1_a ()",
        "  t: blocks writes for up to , reads it whole",
        "would apply 2_b ()",
        "  t: blocks reads and writes for up to ",
    ]


def test_down_dry_run_reports_effects(tables: Project) -> None:
    tables.write(up_1_a="ALTER TABLE t ADD x int;", down_1_a="ALTER TABLE t DROP x;")
    tables.run("up", "--allow-non-empty")
    assert effects(tables, "down") == {"t": ALL}


def test_renamed_column_and_table_are_not_reported_as_lost(tables: Project) -> None:
    tables.write(up_1_a="ALTER TABLE t RENAME n TO k; ALTER TABLE t RENAME TO u;")
    assert "would lose" not in tables.run("up", "--dry-run").out


def test_rehearsal_takes_no_locks_of_its_own(tables: Project) -> None:
    tables.write(up_1_a="ALTER TABLE child ADD x int;")
    with psycopg.connect(tables.url) as other:
        other.execute("LOCK TABLE t, other.t IN ACCESS EXCLUSIVE MODE")
        assert effects(tables, "up", "--lock-timeout", "1s", "--retries", "0") == {
            "child": ALL
        }


def losses(project: Project, text: str, *arguments: str) -> dict[str, int]:
    """Return the losses that a rehearsal of a file reports."""
    project.file("1_x.up.sql", text)
    lines = project.run("up", "--dry-run", *arguments).out.splitlines()
    found = [
        re.fullmatch(r"would lose (.*) \(([\d,]+) rows?\)", line) for line in lines
    ]
    return {match[1]: int(match[2].replace(",", "")) for match in found if match}


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("DROP TABLE child", {"child": 500}),
        ("DROP TABLE part", {"part": 500}),
        ("DROP TABLE part_1", {"part_1": 500}),
        ("ALTER TABLE part DROP id", {"id of part": 500}),
        (
            "ALTER TABLE part DROP id; DROP TABLE part_1",
            {"id of part": 500, "part_1": 500},
        ),
        ("TRUNCATE child", {"all rows of child": 500}),
        ("TRUNCATE other.t", {}),
        ("DELETE FROM child WHERE id <= 3", {"rows of child": 3}),
        ("DROP TABLE other.t", {"other.t": 0}),
        ("DROP MATERIALIZED VIEW m", {"m": 2000}),
        ("CREATE TABLE a (n int); INSERT INTO a VALUES (1); DROP TABLE a", {}),
        ("TRUNCATE child; INSERT INTO child VALUES (1)", {"all rows of child": 500}),
        ("ALTER TABLE child ALTER up TYPE bigint; INSERT INTO child VALUES (501)", {}),
        ("CLUSTER child USING child_pkey", {}),
        ("REFRESH MATERIALIZED VIEW m", {}),
        (
            "ALTER TABLE part DETACH PARTITION part_1; ALTER TABLE part_1 DROP id",
            {"id of part_1": 500},
        ),
    ],
)
def test_rehearsal_counts_rows_that_would_be_lost(
    tables: Project, text: str, lost: dict[str, int]
) -> None:
    tables.query(
        "ALTER TABLE child DROP CONSTRAINT child_t; ALTER TABLE child DROP CONSTRAINT child_up_fkey; REFRESH MATERIALIZED VIEW m"
    )
    assert losses(tables, text) == lost


def test_losses_are_counted_in_tables_renamed_by_earlier_file(
    project: Project,
) -> None:
    project.query(
        "CREATE TABLE a (n int); CREATE TABLE b (n int); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1), (2)"
    )
    project.file(
        "0_swap.up.sql",
        "ALTER TABLE a RENAME TO c; ALTER TABLE b RENAME TO a; ALTER TABLE c RENAME TO b;",
    )
    assert losses(project, "DROP TABLE a") == {"a": 2}
    project.file("0_swap.up.sql", "ALTER TABLE a RENAME TO c;")
    assert losses(project, "ALTER TABLE c DROP n") == {"n of c": 1}


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("TRUNCATE ONLY parent", {"all rows of parent": 1}),
        ("DROP TABLE parent CASCADE", {"parent": 1, "heir": 2}),
        ("ALTER TABLE ONLY parent DROP n", {"n of parent": 1}),
        ("ALTER TABLE parent DROP n", {"n of parent": 1, "n of heir": 2}),
    ],
)
def test_losses_of_inheriting_tables_are_counted_separately(
    project: Project, text: str, lost: dict[str, int]
) -> None:
    project.query("CREATE TABLE parent (n int); CREATE TABLE heir () INHERITS (parent)")
    project.query("INSERT INTO parent VALUES (1); INSERT INTO heir VALUES (1), (2)")
    assert losses(project, text) == lost


def test_losses_include_rows_hidden_by_row_security(tables: Project) -> None:
    tables.query(
        "ALTER TABLE child ENABLE ROW LEVEL SECURITY; ALTER TABLE child FORCE ROW LEVEL SECURITY"
    )
    assert losses(tables, "DROP TABLE child") == {"child": 500}


@pytest.mark.parametrize("schema", ["Odd-Name", "a b", "plain"])
def test_any_schema_name_can_be_rehearsed_without_public(
    project: Project, schema: str
) -> None:
    project.query("DROP SCHEMA public")
    project.file("0_t.up.sql", "CREATE TABLE t (n int); INSERT INTO t VALUES (1);")
    project.run("up", "--schema", schema)
    assert losses(project, "DROP TABLE t", "--schema", schema) == {"t": 1}


def test_rewrite_size_includes_toast_data(project: Project) -> None:
    project.query(
        "CREATE TABLE t (n int, s text); ALTER TABLE t ALTER s SET STORAGE EXTERNAL"
    )
    project.query(
        "INSERT INTO t SELECT g, repeat('x', 10000) FROM generate_series(1, 500) g"
    )
    project.write(up_1_a="ALTER TABLE t ALTER n TYPE bigint;")
    assert (
        project.run("up", "--dry-run", "--json").json()[0]["rewrites"]["t"] > 5_000_000
    )


def test_select_with_limit_is_not_reported_as_full_read(tables: Project) -> None:
    tables.write(up_1_a="SELECT 1 FROM t LIMIT 1;")
    assert effects(tables, "up") == {}
