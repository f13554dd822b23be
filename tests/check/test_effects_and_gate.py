"""`check` reports how a file affects the application, on empty and on full tables, and the gate stops such a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.project import Project

RESET = """
    DROP PUBLICATION IF EXISTS pub;
    DROP SCHEMA public CASCADE;
    CREATE SCHEMA public;
"""
BEFORE = """
    CREATE TABLE other (id int PRIMARY KEY);
    CREATE TABLE t (id int NOT NULL, n int, s varchar(10), u int, d timestamp, x text DEFAULT 'x', w varchar(10));
    ALTER TABLE t ADD CONSTRAINT t_pkey PRIMARY KEY (id);
    ALTER TABLE t ADD CONSTRAINT not_yet CHECK (n > 0) NOT VALID;
    ALTER TABLE t ADD CONSTRAINT far_not_yet FOREIGN KEY (u) REFERENCES other NOT VALID;
    ALTER TABLE t ADD CONSTRAINT proven CHECK (s IS NOT NULL);
    CREATE UNIQUE INDEX ui ON t (n, id);
    CREATE INDEX i ON t (n);
    CREATE VIEW v AS SELECT id FROM t;
    CREATE MATERIALIZED VIEW m AS SELECT id FROM t;
    CREATE TABLE p (n int NOT NULL, o int) PARTITION BY RANGE (n);
    CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (100);
    CREATE TABLE p_2 (n int NOT NULL, o int);
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
    CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
    CREATE POLICY y ON t USING (true);
    CREATE TYPE mood AS ENUM ('a');
    CREATE SEQUENCE q;
"""
FULL = """
    INSERT INTO other SELECT generate_series(1, 50);
    INSERT INTO t SELECT n, n, 's', n, now() FROM generate_series(1, 50) AS n;
    INSERT INTO p SELECT n FROM generate_series(1, 50) AS n;
    INSERT INTO p_2 SELECT n FROM generate_series(101, 150) AS n;
"""
BOTH = "reads and writes"
# A statement, the locks it takes, the tables it rewrites and the tables it reads in full, according to the manual
# (https://www.postgresql.org/docs/current/sql-altertable.html, explicit-locking.html).
STATEMENTS: list[tuple[str, dict[str, str], list[str], list[str]]] = [
    ("ALTER TABLE t ADD a int", {"t": BOTH}, [], []),
    ("ALTER TABLE t ADD a int DEFAULT 1", {"t": BOTH}, [], []),
    ("ALTER TABLE t ADD a int NOT NULL DEFAULT 1", {"t": BOTH}, [], []),
    ("ALTER TABLE t ADD a timestamptz DEFAULT now()", {"t": BOTH}, [], []),
    (
        "ALTER TABLE t ADD a timestamptz DEFAULT clock_timestamp()",
        {"t": BOTH},
        ["t"],
        ["t"],
    ),
    ("ALTER TABLE t ADD a uuid DEFAULT gen_random_uuid()", {"t": BOTH}, ["t"], ["t"]),
    (
        "ALTER TABLE t ADD a int GENERATED ALWAYS AS (n * 2) STORED",
        {"t": BOTH},
        ["t"],
        ["t"],
    ),
    ("ALTER TABLE t ADD a int GENERATED ALWAYS AS IDENTITY", {"t": BOTH}, ["t"], ["t"]),
    ("ALTER TABLE t ADD a serial", {"t": BOTH}, ["t"], ["t"]),
    ("ALTER TABLE t DROP x", {"t": BOTH}, [], []),
    ("ALTER TABLE t ALTER n TYPE bigint", {"t": BOTH}, ["t"], ["t"]),
    ("ALTER TABLE t ALTER w TYPE varchar(20)", {"t": BOTH}, [], []),
    ("ALTER TABLE t ALTER w TYPE text", {"t": BOTH}, [], []),
    ("ALTER TABLE t ALTER w TYPE varchar(5)", {"t": BOTH}, ["t"], ["t"]),
    ("ALTER TABLE t ALTER d TYPE date", {"t": BOTH}, ["t"], ["t"]),
    ("ALTER TABLE t ALTER n SET NOT NULL", {"t": BOTH}, [], ["t"]),
    ("ALTER TABLE t ALTER s SET NOT NULL", {"t": BOTH}, [], []),  # a CHECK proves it
    # The server verifies its CHECK again.
    ("ALTER TABLE t ALTER s TYPE text", {"t": BOTH}, [], ["t"]),
    ("ALTER TABLE t ALTER n SET DEFAULT 5", {"t": BOTH}, [], []),
    ("ALTER TABLE t ALTER x DROP DEFAULT", {"t": BOTH}, [], []),
    ("ALTER TABLE t ALTER n SET STATISTICS 10", {}, [], []),
    ("ALTER TABLE t ALTER x SET STORAGE EXTERNAL", {"t": BOTH}, [], []),
    ("ALTER TABLE t ADD CHECK (n > 0)", {"t": BOTH}, [], ["t"]),
    ("ALTER TABLE t ADD CHECK (n > 0) NOT VALID", {"t": BOTH}, [], []),
    ("ALTER TABLE t VALIDATE CONSTRAINT not_yet", {}, [], ["t"]),
    ("ALTER TABLE t DROP CONSTRAINT not_yet", {"t": BOTH}, [], []),
    ("ALTER TABLE t ADD UNIQUE (n)", {"t": BOTH}, [], ["t"]),
    ("ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX ui", {"t": BOTH}, [], []),
    (
        "ALTER TABLE t ADD FOREIGN KEY (n) REFERENCES other NOT VALID",
        {"t": "writes", "other": "writes"},
        [],
        [],
    ),
    ("ALTER TABLE t ALTER n RESET (n_distinct)", {}, [], []),
    ("ALTER TABLE t SET (fillfactor = 50)", {}, [], []),
    ("ALTER TABLE t SET (autovacuum_enabled = off)", {}, [], []),
    ("ALTER TABLE t SET UNLOGGED", {"t": BOTH}, ["t"], ["t"]),
    ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", {"t": BOTH}, [], []),
    ("ALTER TABLE t DISABLE TRIGGER g", {"t": "writes"}, [], []),
    ("ALTER TABLE t REPLICA IDENTITY FULL", {"t": BOTH}, [], []),
    ("ALTER TABLE t CLUSTER ON t_pkey", {}, [], []),
    ("ALTER TABLE t RENAME n TO nn", {"t": BOTH}, [], []),
    ("ALTER TABLE t RENAME CONSTRAINT proven TO p", {"t": BOTH}, [], []),
    ("ALTER TABLE t OWNER TO CURRENT_USER", {"t": BOTH}, [], []),
    ("CREATE INDEX ON t (u)", {"t": "writes"}, [], ["t"]),
    ("CREATE UNIQUE INDEX ON t (u)", {"t": "writes"}, [], ["t"]),
    ("CREATE INDEX ON p (n)", {"p": "writes"}, [], ["p"]),
    ("DROP INDEX i", {"t": BOTH}, [], []),
    ("ALTER INDEX i RENAME TO j", {}, [], []),
    ("REINDEX TABLE t", {"t": "writes"}, [], ["t"]),
    (
        "CREATE TRIGGER h AFTER INSERT ON t EXECUTE FUNCTION f()",
        {"t": "writes"},
        [],
        [],
    ),
    ("DROP TRIGGER g ON t", {"t": BOTH}, [], []),
    ("CREATE POLICY z ON t USING (true)", {"t": BOTH}, [], []),
    ("DROP POLICY y ON t", {"t": BOTH}, [], []),
    ("CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING", {"t": BOTH}, [], []),
    ("CREATE STATISTICS st ON n, u FROM t", {}, [], []),
    ("COMMENT ON TABLE t IS 'x'", {}, [], []),
    ("COMMENT ON COLUMN t.n IS 'x'", {}, [], []),
    ("GRANT SELECT ON t TO PUBLIC", {}, [], []),
    ("CREATE VIEW w AS TABLE t", {}, [], []),
    ("CREATE FUNCTION fn() RETURNS int LANGUAGE sql AS 'SELECT 1'", {}, [], []),
    ("CREATE TABLE new (id int PRIMARY KEY); CREATE INDEX ON new (id)", {}, [], []),
    ("CREATE TABLE new (t int REFERENCES t)", {"t": "writes"}, [], []),
    ("CREATE TABLE new (LIKE t)", {}, [], []),
    ("CREATE TABLE new () INHERITS (t)", {}, [], []),
    (
        "CREATE TABLE p_3 PARTITION OF p FOR VALUES FROM (200) TO (300)",
        {"p": BOTH},
        [],
        [],
    ),
    ("ALTER TABLE p DETACH PARTITION p_1", {"p": BOTH}, [], []),
    ("ALTER TABLE p ADD a int", {"p": BOTH}, [], []),
    ("ALTER TABLE p ALTER o TYPE bigint", {"p": BOTH}, ["p"], ["p"]),
    ("LOCK TABLE t IN SHARE MODE", {"t": "writes"}, [], []),
    ("LOCK TABLE t", {"t": BOTH}, [], []),
    ("LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE", {}, [], []),
    ("LOCK TABLE t IN ROW EXCLUSIVE MODE", {}, [], []),
    ("LOCK TABLE t IN EXCLUSIVE MODE", {"t": "writes"}, [], []),
    ("REFRESH MATERIALIZED VIEW m", {"m": BOTH}, ["m"], ["t"]),
    ("UPDATE t SET u = u", {}, [], ["t"]),
    ("DELETE FROM t", {}, [], ["t"]),
    ("INSERT INTO other VALUES (1000)", {}, [], []),
    ("ALTER TYPE mood ADD VALUE 'b'", {}, [], []),
    ("ALTER SEQUENCE q OWNED BY t.n", {}, [], []),
    ("ANALYZE t", {}, [], []),
    ("CLUSTER t USING t_pkey", {"t": BOTH}, ["t"], ["t"]),
    ("TRUNCATE t", {"t": BOTH}, [], []),
    ("DROP TABLE other CASCADE", {"t": BOTH, "other": BOTH}, [], []),
    ("DROP VIEW v", {}, [], []),
    ("ALTER VIEW v RENAME TO w", {}, [], []),
    (
        "DO $$BEGIN EXECUTE 'ALTER TABLE t ALTER n TYPE bigint'; END$$",
        {"t": BOTH},
        ["t"],
        ["t"],
    ),
    ("DO $$BEGIN NULL; END$$", {}, [], []),
    ("ALTER TABLE t ADD c mood DEFAULT 'a'", {"t": BOTH}, [], []),
    ("ALTER TABLE t ALTER n DROP DEFAULT", {"t": BOTH}, [], []),
    ("ALTER TABLE t ALTER id ADD GENERATED ALWAYS AS IDENTITY", {"t": BOTH}, [], []),
    (
        "ALTER TABLE t ADD CONSTRAINT e EXCLUDE USING btree (n WITH =)",
        {"t": BOTH},
        [],
        ["t"],
    ),
    ("ALTER TABLE t FORCE ROW LEVEL SECURITY", {"t": BOTH}, [], []),
    ("ALTER TABLE t ENABLE TRIGGER g", {"t": "writes"}, [], []),
    ("ALTER TRIGGER g ON t RENAME TO gg", {"t": BOTH}, [], []),
    ("ALTER POLICY y ON t USING (false)", {"t": BOTH}, [], []),
    ("ALTER INDEX i SET (fillfactor = 50)", {}, [], []),
    ("ALTER SEQUENCE q INCREMENT 5", {}, [], []),
    ("CREATE INDEX ON m (id)", {"m": "writes"}, [], ["m"]),
    ("CREATE UNIQUE INDEX ON p (n)", {"p": "writes"}, [], ["p"]),
    ("ALTER TABLE p_1 ADD CHECK (o > 0)", {"p": BOTH}, [], ["p"]),
    ("INSERT INTO t (id, s) SELECT id + 1000, 's' FROM other", {}, [], ["other"]),
    ("DROP FUNCTION f CASCADE", {"t": BOTH}, [], []),
    ("DROP TYPE mood", {}, [], []),
    ("REVOKE SELECT ON t FROM PUBLIC", {}, [], []),
    ("DROP INDEX ui, i", {"t": BOTH}, [], []),
    ("SELECT count(*) FROM other", {}, [], ["other"]),
    (
        "ALTER TABLE p ATTACH PARTITION p_2 FOR VALUES FROM (100) TO (200)",
        {"p_2": BOTH},
        [],
        ["p_2"],
    ),
    ("CREATE PUBLICATION pub FOR TABLE t", {}, [], []),
    (
        "ALTER TABLE other ADD a int; CREATE INDEX ON t (u)",
        {"other": BOTH, "t": "writes"},
        [],
        ["t"],
    ),
]


@pytest.mark.parametrize("rows", ["", FULL], ids=["empty", "full"])
def test_each_statement_has_the_effects_listed_in_the_manual(
    project: Project, rows: str
) -> None:
    """Everything runs at once: a version before each statement resets the database."""
    undo = "-- sqlmig: irreversible: a test"
    for number, (statement, *_) in enumerate(STATEMENTS):
        first = 2 * number + 1
        project.file(f"{first}_before.up.sql", f"{RESET}{BEFORE}{rows}")
        project.file(f"{first}_before.down.sql", undo)
        project.file(f"{first + 1}_x.up.sql", f"{statement};")
        project.file(f"{first + 1}_x.down.sql", undo)
    found = project.run("check", "--json", code=None).json()[1::2]

    wrong = []
    for (statement, *expected), finding in zip(STATEMENTS, found, strict=True):
        got = [finding["locks"], finding["rewrites"], finding["reads"]]
        if got != expected or finding["result"] == "failed":
            wrong.append((statement, *got, *finding["notes"]))
    assert not wrong, "\n".join(map(str, wrong))


def gate(
    project: Project, up: str, *options: str, code: int | None = 0
) -> tuple[dict[str, Any], str]:
    """Run check with the gate on a file for an existing table. Return the finding and the text on standard error."""
    project.file("1_t.up.sql", "CREATE TABLE t (id int PRIMARY KEY, n int);")
    project.file("1_t.down.sql", "DROP TABLE t;")
    project.file("2_x.up.sql", up)
    project.file("2_x.down.sql", "-- sqlmig: irreversible: a test")
    output = project.run(
        "check",
        *(options or ("--fail-on", "rewrites,reads,losses")),
        "--json",
        code=code,
    )
    return output.json()[1], output.err


@pytest.mark.parametrize(
    ("up", "refused"),
    [
        (
            "ALTER TABLE t ALTER n TYPE bigint;",
            ["rewrites t while others wait", "reads t while others wait"],
        ),
        ("ALTER TABLE t ALTER n SET NOT NULL;", ["reads t while others wait"]),
        ("CREATE INDEX ON t (n);", ["reads t while others wait"]),
        ("ALTER TABLE t DROP n;", ["loses n of t"]),
        ("DROP TABLE t;", ["loses table t"]),
        ("TRUNCATE t;", ["loses all rows of t"]),
    ],
)
def test_gate_refuses_blocking_and_lossy_statements(
    project: Project, up: str, refused: list[str]
) -> None:
    found, _ = gate(project, up, code=1)
    assert found["refused"] == refused
    assert found["result"] == "irreversible"


@pytest.mark.parametrize(
    "up",
    [
        "CREATE TABLE new (id int); CREATE INDEX ON new (id); ALTER TABLE new ALTER id TYPE bigint; DROP TABLE new;",
        "CREATE INDEX CONCURRENTLY i ON t (n);",
        "ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0) NOT VALID;",
        "ALTER TABLE t ADD a int DEFAULT 0;",
        "UPDATE t SET n = 0;",
        "-- sqlmig: accepts rewrites, reads: the table is small\nALTER TABLE t ALTER n TYPE bigint;",
        "-- sqlmig: accepts losses: nobody reads it\nALTER TABLE t DROP n;",
    ],
)
def test_gate_passes_harmless_statements(project: Project, up: str) -> None:
    found, _ = gate(project, up)
    assert found["refused"] == []


def test_validate_in_a_version_of_its_own_passes(project: Project) -> None:
    project.file("3_v.up.sql", "ALTER TABLE t VALIDATE CONSTRAINT c;")
    project.file("3_v.down.sql", "-- sqlmig: irreversible: a test")
    gate(project, "ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0) NOT VALID;")


def test_an_accepted_reason_is_printed(project: Project) -> None:
    found, _ = gate(
        project, "-- sqlmig: accepts reads: the table is small\nCREATE INDEX ON t (n);"
    )
    assert "it accepts reads: the table is small" in found["notes"]


def test_effects_are_reported_and_pass_without_the_gate(project: Project) -> None:
    found, _ = gate(
        project, "ALTER TABLE t ALTER n TYPE bigint, DROP id;", "--from", "1"
    )
    assert found["locks"] == {"t": BOTH}
    assert found["rewrites"] == ["t"]
    assert found["losses"] == ["id of t"]
    text = project.run("check").out
    assert "blocks reads and writes, rewrites it: t\n" in text
    assert "would lose id of t" in text


def test_tables_with_the_same_effect_share_a_line(project: Project) -> None:
    project.write(
        up_1_a="CREATE TABLE a (n int); CREATE TABLE b (n int); CREATE TABLE c (n int); CREATE TABLE d (n int);",
        up_2_b="CREATE INDEX ON b (n); CREATE INDEX ON d (n); CREATE INDEX ON a (n); ALTER TABLE c ADD m int;",
        down_1_a="DROP TABLE a, b, c, d;",
        down_2_b="DROP INDEX b_n_idx, d_n_idx, a_n_idx; ALTER TABLE c DROP m;",
    )
    lines = project.run("check").out.splitlines()
    assert [line.strip() for line in lines[2:]] == [
        "blocks reads and writes: c",
        "blocks writes, reads it whole: a, b, d",
    ]


@pytest.mark.parametrize("words", ["rewrite", "locks", "reads;losses"])
def test_unknown_fail_on_value_is_a_usage_error(project: Project, words: str) -> None:
    project.file("1_t.up.sql", "SELECT 1;")
    error = project.run("check", "--fail-on", words, code=2).err
    assert "--fail-on takes rewrites, reads, losses" in error


@pytest.mark.parametrize(
    "words",
    [
        "accepts",
        "accepts reads",
        "accepts: x",
        "accepts locks: x",
        "accepts reads, x: y",
    ],
)
def test_accepts_directive_needs_effect_and_reason(
    project: Project, words: str
) -> None:
    project.file("1_t.up.sql", f"-- sqlmig: {words}\nSELECT 1;")
    assert "“accepts” needs one or more of" in project.run("up", code=1).err


ANNOTATION = re.compile(r"^::error ([^:]*(?:%3A[^:]*)*)::(.*)$", re.MULTILINE)


def read_annotations(err: str) -> list[dict[str, str]]:
    """Parse annotations the way GitHub's runner does."""

    def plain(text: str) -> str:
        for code, char in (
            ("%2C", ","),
            ("%3A", ":"),
            ("%0A", "\n"),
            ("%0D", "\r"),
            ("%25", "%"),
        ):
            text = text.replace(code, char)
        return text

    found = []
    for properties, message in ANNOTATION.findall(err):
        fields = dict(part.split("=", 1) for part in properties.split(","))
        found.append(
            {name: plain(value) for name, value in fields.items()}
            | {"message": plain(message)}
        )
    return found


def test_findings_are_annotations_on_github(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.directory.parent))
    project.file("1_t.up.sql", "CREATE TABLE t (n int);")
    project.file("1_t.down.sql", "DROP TABLE t;")
    project.file(
        "2_a,b: 100%.up.sql", "CREATE TABLE a ();\nCREATE TABLE b ();\nSELECT nothing;"
    )
    project.file("2_a,b: 100%.down.sql", "DROP TABLE a;")
    project.file("3_left.up.sql", "CREATE TABLE c ();")
    project.file("3_left.down.sql", "SELECT 1;")
    project.file("4_type.up.sql", "ALTER TABLE t ALTER n TYPE bigint;")
    project.file("4_type.down.sql", "ALTER TABLE t ALTER n TYPE int;")
    output = project.run("check", "--fail-on", "rewrites", code=1)
    failed, left, gated = read_annotations(output.err)
    assert failed["file"] == "sql/2_a,b: 100%.up.sql"
    assert failed["line"] == "3"
    assert 'column "nothing" does not exist' in failed["message"]
    assert (left["file"], left["line"]) == ("sql/3_left.up.sql", "1")
    assert "left: table public.c" in left["message"]
    assert "refused: rewrites t while others wait" in gated["message"]
    monkeypatch.setenv("GITHUB_ACTIONS", "false")
    assert read_annotations(project.run("check", code=1).err) == []


def test_clustered_table_with_rows_is_rewritten_but_not_lost(
    project: Project,
) -> None:
    project.file("1_t.rows.sql", "INSERT INTO t SELECT generate_series(1, 5);")
    found, _ = gate(project, "CLUSTER t USING t_pkey;", code=1)
    assert found["losses"] == []
    assert found["rewrites"] == ["t"]


def test_drop_in_no_transaction_file_is_not_blamed_on_next_version(
    project: Project,
) -> None:
    project.file("3_x.up.sql", "ALTER TABLE t ADD c int;")
    project.file("3_x.down.sql", "-- sqlmig: irreversible: a test")
    found, _ = gate(project, "-- sqlmig: no-transaction\nALTER TABLE t DROP n;")
    assert "so what it does to the application was not traced" in found["notes"][-1]
