"""sqlmig does not rehearse or check what a rollback cannot undo: slots, other databases, files, other sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.project import RUN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.project import Project

SLOT = f"slot_beyond_{RUN}"
_SLOTS = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{SLOT}'"


@pytest.fixture
def with_slot(project: Project) -> Iterator[Project]:
    """Yield the project with a replication slot, and drop the slot at the end."""
    project.query(f"SELECT pg_create_physical_replication_slot('{SLOT}')")
    yield project
    project.query(
        f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{SLOT}'"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_drop_replication_slot('§');",
        "SELECT 1;\nSELECT Pg_Catalog.PG_DROP_REPLICATION_SLOT /* c */ ('§');",
        "DO $$ BEGIN PERFORM pg_drop_replication_slot('§'); END $$;",
        "DO $$ BEGIN EXECUTE 'SELECT pg_drop_replication_slot(''§'')'; END $$;",
        "SELECT drop_it();",
        "INSERT INTO watched VALUES (1);",
        "SELECT calls_the_caller();",
    ],
)
def test_a_rehearsal_does_not_drop_a_slot(with_slot: Project, statement: str) -> None:
    statement = statement.replace("§", SLOT)
    with_slot.write(
        up_1_made="""
            CREATE FUNCTION drop_it() RETURNS void LANGUAGE sql AS 'SELECT pg_drop_replication_slot(''§'')';
            CREATE FUNCTION calls_it() RETURNS void LANGUAGE sql AS 'SELECT drop_it()';
            CREATE FUNCTION calls_the_caller() RETURNS void LANGUAGE sql AS 'SELECT calls_it()';
            CREATE FUNCTION on_insert() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM drop_it(); RETURN NEW; END';
            CREATE TABLE watched (n int);
            CREATE TRIGGER t BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION on_insert();
        """.replace("§", SLOT),
        up_2_x="CREATE TABLE x ();",
        down_2_x=f"DROP TABLE x; {statement}",
        up_3_y=statement,
    )
    with_slot.run("up", "--to", "2")
    output = with_slot.run("up", "--dry-run").out
    assert "not rehearsed 3_y: " in output
    assert "3_y.up.sql:" in output
    assert "which a rollback does not undo" in output
    assert with_slot.query(_SLOTS) == [(1,)]
    error = with_slot.run("down", code=1).err
    assert "which a rollback does not undo" in error
    assert with_slot.query(_SLOTS) == [(1,)]
    with_slot.run("down", "--yes")
    assert with_slot.query(_SLOTS) == [(0,)]


@pytest.mark.parametrize(
    "statement",
    [
        "-- pg_drop_replication_slot('§')\nSELECT 1;",
        "COMMENT ON TABLE t IS 'see pg_drop_replication_slot()';",
        "GRANT EXECUTE ON FUNCTION pg_drop_replication_slot(name) TO PUBLIC;",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'SELECT pg_drop_replication_slot(''§'')';",
        "CREATE TABLE copy (\"to\" text DEFAULT 'x');",
    ],
)
def test_file_that_only_mentions_slot_function_is_rehearsed(
    with_slot: Project, statement: str
) -> None:
    with_slot.write(up_1_t="CREATE TABLE t ();", up_2_x=statement)
    assert "not rehearsed" not in with_slot.run("up", "--dry-run").out


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO '{file}';",
        "DO $$ BEGIN COPY (SELECT 1) TO '{file}'; END $$;",
        "COPY (SELECT 1) TO PROGRAM 'cat > {file}';",
        "DO $$ BEGIN EXECUTE 'COPY (SELECT 1) TO ''{file}'''; END $$;",
        "SELECT lo_export(lo_from_bytea(0, 'x'), '{file}');",
    ],
)
def test_rehearsal_and_check_write_no_file_on_server(
    project: Project, tmp_path: Path, statement: str
) -> None:
    tmp_path.chmod(0o777)
    file = tmp_path / "written"
    project.write(up_1_x=statement.format(file=file), down_1_x="SELECT 1;")
    assert "not rehearsed 1_x" in project.run("up", "--dry-run").out
    assert "which a rollback does not undo" in project.run("check", code=1).out
    assert "which a rollback does not undo" in project.run("script").err
    assert not file.exists()


def test_rehearsal_does_not_set_existing_sequence(project: Project) -> None:
    project.write(
        up_1_t="CREATE SEQUENCE s;",
        down_1_t="DROP SEQUENCE s;",
        up_2_x="SELECT setval('s', 100);",
        down_2_x="SELECT setval('s', 200);",
    )
    assert "not rehearsed" not in project.run("up", "--dry-run").out
    project.run("up", "--to", "1")
    assert "not rehearsed 2_x" in project.run("up", "--dry-run").out
    assert project.query("SELECT last_value FROM s") == [(1,)]
    project.run("up")
    assert "setval() sets a sequence" in project.run("down", code=1).err
    assert project.query("SELECT last_value FROM s") == [(100,)]


def _needs(project: Project, extension: str) -> None:
    found = project.query(
        "SELECT 1 FROM pg_available_extensions WHERE name = %s", extension
    )
    if not found:
        pytest.skip(f"this server has no {extension}")


@pytest.fixture
def remote(project: Project) -> str:
    """Return statements that create a foreign table for the table ``real`` in the same database."""
    _needs(project, "postgres_fdw")
    project.query("CREATE SCHEMA far; CREATE TABLE far.real (n int)")
    ((host, port, name),) = project.query(
        "SELECT split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database()"
    )
    return f"""
        CREATE EXTENSION postgres_fdw;
        CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{host}', port '{port}', dbname '{name}');
        CREATE USER MAPPING FOR CURRENT_USER SERVER far OPTIONS (user 'postgres', password_required 'false');
        CREATE FOREIGN TABLE near (n int) SERVER far OPTIONS (schema_name 'far', table_name 'real');
    """


@pytest.mark.parametrize("directive", ["", "-- sqlmig: no-transaction\n"])
def test_check_drift_and_dry_run_write_no_row_to_foreign_table(
    project: Project, remote: str, directive: str
) -> None:
    undo = "DROP EXTENSION postgres_fdw CASCADE;"
    project.write(
        up_1_far=remote,
        down_1_far=undo,
        up_2_rows=f"{directive}INSERT INTO near VALUES (1);",
        down_2_rows=f"{directive}DELETE FROM near;",
    )
    output = project.run("check", code=1).out
    assert "writes to a foreign table" in output
    assert "ok            1_far" in output
    assert project.query("SELECT count(*) FROM far.real") == [(0,)]
    project.run("up")
    assert "2_rows.up.sql: INSERT INTO was not run on the scratch" in (
        project.run("drift").out
    )
    assert project.query("SELECT count(*) FROM far.real") == [(1,)]
    project.run("down", "--dry-run")
    assert project.query("SELECT count(*) FROM far.real") == [(1,)]


def test_check_and_rehearsal_send_nothing_through_dblink(project: Project) -> None:
    _needs(project, "dblink")
    project.query("CREATE SCHEMA far; CREATE TABLE far.real (n int)")
    send = "SELECT dblink_exec('dbname=' || current_database(), 'INSERT INTO far.real VALUES (1)');"
    project.write(
        up_1_e="CREATE EXTENSION dblink;",
        down_1_e="DROP EXTENSION dblink;",
        up_2_x=send,
        down_2_x=send,
    )
    assert "dblink_exec() acts at once" in project.run("check", code=1).out
    project.run("up", "--to", "1")
    assert "not rehearsed 2_x" in project.run("up", "--dry-run").out
    assert project.query("SELECT count(*) FROM far.real") == [(0,)]


@pytest.fixture
def narrow(project: Project) -> Iterator[Project]:
    """Yield the project as the owner of a table with forced row level security, who sees one row of three."""
    role = f"narrow_{RUN}"
    ((name,),) = project.query("SELECT quote_ident(current_database())")
    project.query(
        f"CREATE ROLE {role} CREATEDB; GRANT CREATE ON DATABASE {name} TO {role}; GRANT ALL ON SCHEMA public TO {role}"
    )
    from dataclasses import replace

    yield replace(project, url=f"{project.url}&options=-c%20role%3D{role}")
    project.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


NARROW_TABLE = """
    CREATE TABLE t (id int PRIMARY KEY, n int);
    INSERT INTO t VALUES (1, 1), (2, 2), (3, 3);
    ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY one ON t USING (id = 1);
"""


@pytest.mark.parametrize(
    "down",
    [
        "CREATE TEMP TABLE c AS SELECT * FROM t; TRUNCATE t; INSERT INTO t SELECT * FROM c;",
        "DROP TABLE t;",
        "TRUNCATE t;",
    ],
)
def test_down_does_not_silently_lose_hidden_rows(narrow: Project, down: str) -> None:
    narrow.write(
        up_1_t=NARROW_TABLE,
        up_2_x="CREATE TABLE x ();",
        down_2_x=f"DROP TABLE x; {down}",
    )
    narrow.run("up")
    assert (
        "may lose rows of t: row level security hides some"
        in narrow.run("down", "--dry-run").out
    )
    assert "row level security" in narrow.run("down", code=1).err
    assert narrow.states() == {1: "applied", 2: "applied"}


def test_check_sees_hidden_rows(narrow: Project) -> None:
    narrow.write(
        up_1_t=NARROW_TABLE,
        down_1_t="DROP TABLE t;",
        up_2_x="CREATE TABLE x ();",
        down_2_x="DROP TABLE x; ALTER TABLE t DISABLE ROW LEVEL SECURITY; UPDATE t SET n = 7 WHERE id = 2; ALTER TABLE t ENABLE ROW LEVEL SECURITY;",
    )
    narrow.file("2_x.rows.sql", "INSERT INTO x DEFAULT VALUES;")
    output = narrow.run("check", code=1).out
    assert "changed: n of t (1 row)" in output


def test_up_warns_if_row_security_may_hide_rows_from_update_or_delete(
    narrow: Project,
) -> None:
    narrow.write(
        up_1_t=NARROW_TABLE,
        up_2_x="UPDATE t SET n = 0;",
        up_3_y="DO $$ BEGIN DELETE FROM t; END $$;",
        up_4_z="CREATE TABLE z (); INSERT INTO t VALUES (1, 1);",
    )
    narrow.run("up", "--to", "1")
    error = narrow.run("up", "--to", "2").err
    assert "warning: 2_x: row level security applied to t" in error
    assert "warning: 3_y: row level security" in narrow.run("up", "--to", "3").err


@pytest.mark.parametrize(
    "statement",
    [
        "PREPARE p AS SELECT pg_drop_replication_slot('§'); EXECUTE p;",
        "CREATE FUNCTION mk() RETURNS void LANGUAGE sql AS 'SELECT pg_drop_replication_slot(''§'')'; SELECT mk();",
        "SELECT \"pg_drop_replication_slot\"('§');",
    ],
)
def test_indirect_slot_drop_is_detected(with_slot: Project, statement: str) -> None:
    statement = statement.replace("§", SLOT)
    with_slot.write(up_1_x=statement, down_1_x="SELECT 1;")
    assert "not rehearsed 1_x" in with_slot.run("up", "--dry-run").out
    assert "which a rollback does not undo" in with_slot.run("check", code=1).out
    assert with_slot.query(_SLOTS) == [(1,)]


def test_slot_drop_in_function_of_earlier_file_is_detected(with_slot: Project) -> None:
    with_slot.write(
        up_1_f=f"CREATE FUNCTION mk() RETURNS void LANGUAGE sql AS 'SELECT pg_drop_replication_slot(''{SLOT}'')';",
        up_2_x="SELECT mk();",
    )
    assert "not rehearsed 2_x" in with_slot.run("up", "--dry-run").out
    assert with_slot.query(_SLOTS) == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT setval('s', 99);",
        "SET search_path = app; SELECT setval('s', 99);",
        "SELECT setval('app.s', 99);",
        "SELECT bump();",
        "SELECT setval(c.oid, 99) FROM pg_class AS c WHERE relname = 's';",
    ],
)
def test_rehearsal_detects_setval_however_it_is_called(
    project: Project, statement: str
) -> None:
    project.query(
        "CREATE SCHEMA app; CREATE SEQUENCE app.s; CREATE SCHEMA f;"
        "CREATE FUNCTION public.bump() RETURNS bigint LANGUAGE sql AS 'SELECT setval(''app.s'', 99)'"
    )
    project.write(up_1_x=statement)
    for options in ((), ("--schema", "app")):
        output = project.run("up", "--dry-run", *options).out
        assert "not rehearsed 1_x" in output
    assert project.query("SELECT last_value FROM app.s") == [(1,)]


@pytest.mark.parametrize(
    "body",
    [
        "TRUNCATE near;",
        "INSERT INTO near VALUES (9); DROP EXTENSION postgres_fdw CASCADE;",
    ],
)
def test_check_stops_truncate_and_insert_on_foreign_table(
    project: Project, remote: str, body: str
) -> None:
    project.query("INSERT INTO far.real VALUES (1)")
    project.write(up_1_far=f"{remote} {body}")
    assert "writes to a foreign table" in project.run("check", code=1).out
    assert project.query("SELECT n FROM far.real") == [(1,)]


@pytest.mark.parametrize(
    "copies",
    [
        "CREATE TABLE u AS SELECT * FROM t;",
        "CREATE TABLE u (id int, n int); INSERT INTO u SELECT * FROM t;",
    ],
)
def test_up_warns_if_row_security_may_hide_rows_from_copy(
    narrow: Project, copies: str
) -> None:
    narrow.write(up_1_t=NARROW_TABLE, up_2_u=copies)
    assert "warning: 2_u: row level security applied to t" in narrow.run("up").err
