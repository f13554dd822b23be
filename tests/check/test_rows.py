"""`check` keeps rows for all later versions, and a reverted version must leave them unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.project import Project

PATIENTS = {
    "1_patients.up.sql": "CREATE TABLE patients (id int PRIMARY KEY, name text, phone text);",
    "1_patients.down.sql": "DROP TABLE patients;",
    "1_patients.rows.sql": "INSERT INTO patients SELECT n, 'patient ' || n, CASE WHEN n > 1 THEN '0' || n END"
    " FROM generate_series(1, 4) AS n;",
}


def findings(project: Project, files: dict[str, str]) -> dict[int, dict[str, Any]]:
    """Write the files and return the findings of `check --json`, by version."""
    for name, text in files.items():
        project.file(name, text)
    output = project.run("check", "--json", code=1)
    return {finding["version"]: finding for finding in output.json()}


def second(up: str, down: str) -> dict[str, str]:
    """Return the patients' files and a second version."""
    return PATIENTS | {"2_x.up.sql": up, "2_x.down.sql": down}


@pytest.mark.parametrize(
    ("up", "down", "kind", "words"),
    [
        (  # a column comes back without its values
            "ALTER TABLE patients DROP phone;",
            "ALTER TABLE patients ADD phone text;",
            "changed",
            "phone of patients (3 rows)",
        ),
        (  # a table is dropped and created again
            "DROP TABLE patients;",
            "CREATE TABLE patients (id int PRIMARY KEY, name text, phone text);",
            "lost",
            "4 rows of patients",
        ),
        (  # two columns swap their values
            (
                "ALTER TABLE patients RENAME name TO n; ALTER TABLE patients RENAME phone TO name;"
                "ALTER TABLE patients RENAME n TO phone;"
            ),
            "SELECT 1;",
            "changed",
            "name, phone of patients (4 rows)",
        ),
        (  # rows that the down file does not delete
            "INSERT INTO patients SELECT max(id) + 1, 'new' FROM patients;",
            "SELECT 1;",
            "left",
            "1 row of patients",
        ),
        (  # the down file skips one row of four
            "UPDATE patients SET name = upper(name);",
            "UPDATE patients SET name = lower(name) WHERE id <> 3;",
            "changed",
            "name of patients (1 row)",
        ),
        (
            "CREATE TABLE b AS SELECT id, phone FROM patients; ALTER TABLE patients DROP phone;",
            "ALTER TABLE patients ADD phone text; UPDATE patients SET phone = b.phone FROM b WHERE b.id = 2; DROP TABLE b;",
            "changed",
            "phone of patients (3 rows)",
        ),
        (
            "DELETE FROM patients WHERE id > 2;",
            "INSERT INTO patients VALUES (3, 'patient 3', '03');",
            "lost",
            "1 row of patients",
        ),
    ],
)
def test_down_file_that_does_not_restore_rows_is_broken(
    project: Project, up: str, down: str, kind: str, words: str
) -> None:
    found = findings(project, second(up, down))
    assert found[2]["result"] == "broken"
    assert words in found[2][kind]
    assert found[1]["result"] == "ok"


@pytest.mark.parametrize(
    ("up", "said"),
    [
        (
            "ALTER TABLE patients ALTER phone SET NOT NULL;",
            'column "phone" of relation',
        ),
        (
            "CREATE UNIQUE INDEX u ON patients (left(name, 3));",
            "could not create unique",
        ),
        ("ALTER TABLE patients ADD CHECK (id < 4);", "is violated by some row"),
    ],
)
def test_up_file_that_existing_rows_violate_fails(
    project: Project, up: str, said: str
) -> None:
    found = findings(project, second(up, "SELECT 1;"))
    assert found[2]["result"] == "failed"
    assert said in "".join(found[2]["notes"])
    assert "2_x.up.sql:1:1" in "".join(found[2]["notes"])


@pytest.mark.parametrize(
    ("up", "down"),
    [
        (
            "ALTER TABLE patients RENAME name TO n;",
            "ALTER TABLE patients RENAME n TO name;",
        ),
        (
            "CREATE TABLE old AS SELECT id, phone FROM patients; ALTER TABLE patients DROP phone;",
            (
                "ALTER TABLE patients ADD phone text;"
                "UPDATE patients SET phone = old.phone FROM old WHERE old.id = patients.id; DROP TABLE old;"
            ),
        ),
        (
            "UPDATE patients SET name = upper(name);",
            "UPDATE patients SET name = lower(name);",
        ),
        ("-- sqlmig: no-transaction\nVACUUM patients;", "SELECT 1;"),
        ("INSERT INTO patients VALUES (7);", "DELETE FROM patients WHERE id = 7;"),
    ],
)
def test_versions_that_restore_their_rows_pass(
    project: Project, up: str, down: str
) -> None:
    for name, text in second(up, down).items():
        project.file(name, text)
    assert [row["result"] for row in project.run("check", "--json").json()] == [
        "ok"
    ] * 2


def test_one_wrong_row_in_a_thousand_is_found(project: Project) -> None:
    found = findings(
        project,
        {
            "1_t.up.sql": "CREATE TABLE t (n int, doubled bool DEFAULT false);",
            "1_t.down.sql": "DROP TABLE t;",
            "1_t.rows.sql": "INSERT INTO t SELECT generate_series(1, 1000);",
            "2_x.up.sql": "UPDATE t SET n = n * 2;",
            "2_x.down.sql": "UPDATE t SET n = CASE n WHEN 1998 THEN 0 ELSE n / 2 END;",
        },
    )
    assert found[2]["changed"] == ["n of t (1 row)"]


def test_enum_value_restored_without_its_rows_is_a_change(project: Project) -> None:
    found = findings(
        project,
        {
            "1_t.up.sql": "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE t (id int PRIMARY KEY, m mood);",
            "1_t.down.sql": "DROP TABLE t; DROP TYPE mood;",
            "1_t.rows.sql": "INSERT INTO t VALUES (1, 'a'), (2, 'b');",
            "2_x.up.sql": (
                "ALTER TYPE mood RENAME TO old; CREATE TYPE mood AS ENUM ('a');"
                "ALTER TABLE t ALTER m TYPE mood USING 'a'; DROP TYPE old;"
            ),
            "2_x.down.sql": (
                "ALTER TYPE mood RENAME TO new; CREATE TYPE mood AS ENUM ('a', 'b');"
                "ALTER TABLE t ALTER m TYPE mood USING m::text::mood; DROP TYPE new;"
            ),
        },
    )
    assert found[2]["changed"] == ["m of t (1 row)"]


def test_rows_are_compared_with_partitions_special_columns_and_rls(
    project: Project,
) -> None:
    files = {
        "1_t.up.sql": (
            "CREATE TABLE p (n int, at date, twice int GENERATED ALWAYS AS (n * 2) STORED) PARTITION BY RANGE (at);"
            "CREATE TABLE p_1 PARTITION OF p DEFAULT;"
            "CREATE TABLE i (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, j json, x xml, r int4range, f float);"
            "ALTER TABLE i ENABLE ROW LEVEL SECURITY;"
        ),
        "1_t.down.sql": "DROP TABLE p, i;",
        "1_t.rows.sql": (
            "INSERT INTO p (n, at) VALUES (1, '2026-01-01'), (1, '2026-01-01');"
            "INSERT INTO i (j, r, f) VALUES ('{\"a\": 1}', '[1,2)', 'NaN');"
        ),
        "2_x.up.sql": "CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');",
        "2_x.down.sql": "DROP TABLE p_2;",
        "3_y.up.sql": "DELETE FROM p_1 WHERE ctid = (SELECT min(ctid) FROM p_1); UPDATE i SET f = 1;",
        "3_y.down.sql": "SELECT 1;",
    }
    found = findings(project, files)
    assert found[2]["result"] == "ok"
    assert found[3]["lost"] == ["1 row of p"]
    assert found[3]["changed"] == ["f of i (1 row)"]


def test_rows_written_by_a_trigger_to_another_table_are_reported(
    project: Project,
) -> None:
    found = findings(
        project,
        {
            "1_t.up.sql": (
                "CREATE TABLE t (n int); CREATE TABLE log (n int);"
                "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN INSERT INTO log VALUES (new.n); RETURN new; END $$;"
                "CREATE TRIGGER t AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();"
            ),
            "1_t.down.sql": "DROP TABLE t, log; DROP FUNCTION f;",
            "1_t.rows.sql": "INSERT INTO t VALUES (1), (2);",
            "2_x.up.sql": "UPDATE t SET n = n + 10;",
            "2_x.down.sql": "UPDATE t SET n = n - 10;",
        },
    )
    assert found[2]["left"] == ["4 rows of log"]


def test_sequence_reset_by_the_down_file_is_reported(project: Project) -> None:
    found = findings(
        project,
        {
            "1_t.up.sql": "CREATE TABLE t (id serial PRIMARY KEY, n int);",
            "1_t.down.sql": "DROP TABLE t;",
            "1_t.rows.sql": "INSERT INTO t (n) VALUES (1), (2);",
            "2_x.up.sql": "CREATE TABLE k AS TABLE t; DROP TABLE t;",
            "2_x.down.sql": "CREATE TABLE t (id serial PRIMARY KEY, n int); INSERT INTO t TABLE k; DROP TABLE k;",
        },
    )
    assert found[2]["changed"] == ["next value of t_id_seq (1 row)"]


def test_losses_that_the_down_file_accepts_are_a_note(project: Project) -> None:
    for name, text in second(
        "ALTER TABLE patients DROP phone;",
        "-- sqlmig: accepts losses: nobody calls any more\nALTER TABLE patients ADD phone text;",
    ).items():
        project.file(name, text)
    (_, finding) = project.run("check", "--json").json()
    assert finding["result"] == "ok"
    assert "changed: phone of patients (3 rows)" in finding["notes"]
    assert "it accepts losses: nobody calls any more" in finding["notes"]


def test_failing_rows_file_is_reported_under_its_own_name(project: Project) -> None:
    found = findings(
        project,
        PATIENTS | {"1_patients.rows.sql": "\n  INSERT INTO nothing VALUES (1);"},
    )
    assert found[1]["result"] == "failed"
    assert "1_patients.rows.sql:2:15: ERROR" in found[1]["notes"][0]


def test_down_file_that_fails_on_rows_of_its_version_is_reported(
    project: Project,
) -> None:
    found = findings(
        project,
        second(
            "ALTER TABLE patients DROP CONSTRAINT patients_pkey;",
            "ALTER TABLE patients ADD CONSTRAINT patients_pkey PRIMARY KEY (id);",
        )
        | {"2_x.rows.sql": "INSERT INTO patients VALUES (1, 'twice');"},
    )
    assert found[2]["result"] == "failed"
    assert "with the rows of 2_x.rows.sql: " in found[2]["notes"][0]


def test_only_check_runs_a_rows_file(project: Project) -> None:
    for name, text in PATIENTS.items():
        project.file(name, text)
    project.run("up")
    assert project.query("SELECT count(*) FROM patients") == [(0,)]
    assert "generate_series" not in project.run("script").out
    assert project.run("drift").out == "nothing differs\n"
    project.run("down")


def test_rows_of_earlier_versions_are_present_with_from(project: Project) -> None:
    for name, text in second(
        "ALTER TABLE patients ALTER phone SET NOT NULL;", "SELECT 1;"
    ).items():
        project.file(name, text)
    assert "2_x" in project.run("check", "--from", "2", code=1).out


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"1_a.up.sql": "", "2_b.rows.sql": ""},
            "version 2 has a rows file but no up file",
        ),
        (
            {"1_a.up.sql": "", "1_b.rows.sql": "", "01_c.rows.sql": ""},
            "version 1 has another rows file",
        ),
    ],
)
def test_each_rows_file_needs_its_own_up_file(
    project: Project, files: dict[str, str], said: str
) -> None:
    for name, text in files.items():
        project.file(name, text)
    for command in ("check", "up", "status"):
        assert said in project.run(command, code=1).err


def test_new_creates_no_rows_file(project: Project) -> None:
    assert len(project.run("new", "x").out.splitlines()) == 2


@pytest.mark.parametrize(
    ("column", "value", "other"),
    [
        ("n numeric", "1.12345678901234567890", "1.1234567890123456"),
        ("a int[]", "'[0:1]={5,6}'", "'{5,6}'"),
        ("j jsonb", "'{\"a\": 1}'", "'{\"a\": 1.0}'"),
        ("j json", "'\"\\u0000\"'", "'1'"),
        ("t text", "'x'", "'y'"),
        ('"T t" bytea', "'\\x00'", "'\\x01'"),
        ("f float8", "0.1::float8", "0.10000000000000002"),
        ("d timestamptz", "'2026-01-01 00:00+00'", "'2026-01-01 00:00:00.000001+00'"),
    ],
)
def test_values_of_every_type_are_compared_exactly(
    project: Project, column: str, value: str, other: str
) -> None:
    name = column.rpartition(" ")[0]
    found = findings(
        project,
        {
            "1_m.up.sql": f"CREATE TABLE m (id int PRIMARY KEY, {column});",
            "1_m.down.sql": "DROP TABLE m;",
            "1_m.rows.sql": f"INSERT INTO m VALUES (1, {value});",
            "2_x.up.sql": f"UPDATE m SET {name} = NULL;",
            "2_x.down.sql": f"UPDATE m SET {name} = {other};",
        },
    )
    assert [change for change in found[2]["changed"] if change.endswith("of m (1 row)")]


def test_many_rows_without_a_key_are_compared_at_once(project: Project) -> None:
    found = findings(
        project,
        {
            "1_m.up.sql": "CREATE TABLE m (a int, b text);",
            "1_m.down.sql": "DROP TABLE m;",
            "1_m.rows.sql": "INSERT INTO m SELECT n, 'x' FROM generate_series(1, 20000) AS n;",
            "2_x.up.sql": "UPDATE m SET b = 'y';",
            "2_x.down.sql": "SELECT 1;",
        },
    )
    assert found[2]["changed"] == ["b of m (20,000 rows)"]


@pytest.mark.parametrize("options", [(), ("--schema", "Tenant")])
def test_table_names_are_printed_without_the_schema(
    project: Project, options: tuple[str, ...]
) -> None:
    for name, text in second("DELETE FROM patients;", "SELECT 1;").items():
        project.file(name, text)
    assert "lost: 4 rows of patients" in project.run(*options, "check", code=1).out
