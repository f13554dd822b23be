"""The audit log accepts a column of any type and name: UPDATE works, and the log names the column if it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from tests.support.rows import organization

if TYPE_CHECKING:
    from tests.support.rows import Database

# Two different values for each type that a column can have.
VALUES = {
    "aclitem": ("pg_monitor=r/postgres", "pg_monitor=w/postgres"),
    "bit": ("1", "0"),
    "bool": ("t", "f"),
    "box": ("(0,0),(1,1)", "(0,0),(2,2)"),
    "bpchar": ("a", "b"),
    "bytea": (r"\x00", r"\x01"),
    "char": ("a", "b"),
    "cid": ("1", "2"),
    "cidr": ("10.0.0.0/8", "10.0.0.0/9"),
    "circle": ("<(0,0),1>", "<(0,0),2>"),
    "date": ("2030-01-01", "infinity"),
    "datemultirange": ("{[2030-01-01,2030-02-01)}", "{}"),
    "daterange": ("[2030-01-01,2030-02-01)", "empty"),
    "float4": ("1.5", "NaN"),
    "float8": ("0", "1e300"),
    "inet": ("10.0.0.1", "::1"),
    "int2": ("1", "2"),
    "int4": ("1", "2"),
    "int4multirange": ("{[1,2)}", "{}"),
    "int4range": ("[1,2)", "[1,3)"),
    "int8": ("1", "9007199254740993"),
    "int8multirange": ("{[1,2)}", "{}"),
    "int8range": ("[1,2)", "[1,3)"),
    "interval": ("1 day", "24 hours"),
    "json": ('{"a": 1}', '{"a": 2}'),
    "jsonb": ('{"a": 1}', '{"a": 1.0}'),
    "jsonpath": ("$.a", "$.b"),
    "line": ("{1,2,3}", "{1,2,4}"),
    "lseg": ("[(0,0),(1,1)]", "[(0,0),(2,2)]"),
    "macaddr": ("08:00:2b:01:02:03", "08:00:2b:01:02:04"),
    "macaddr8": ("08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03:04:06"),
    "money": ("1", "2"),
    "name": ("a", "b"),
    "numeric": ("1", "1.0"),
    "nummultirange": ("{[1,2)}", "{}"),
    "numrange": ("[1,2)", "[1,2]"),
    "oid": ("1", "2"),
    "oid8": ("1", "2"),
    "path": ("[(0,0),(1,1)]", "((0,0),(1,1))"),
    "pg_lsn": ("0/1", "0/2"),
    "pg_snapshot": ("10:20:10,14", "10:20:10,15"),
    "point": ("(1,2)", "(1,3)"),
    "polygon": ("((0,0),(1,1))", "((0,0),(2,2))"),
    "refcursor": ("a", "b"),
    "regclass": ("patients", "sessions"),
    "regcollation": ('"C"', '"POSIX"'),
    "regconfig": ("simple", "english"),
    "regdatabase": ("template0", "template1"),
    "regdictionary": ("simple", "english_stem"),
    "regnamespace": ("public", "pg_catalog"),
    "regoper": ("|/", "||/"),
    "regoperator": ("+(integer,integer)", "-(integer,integer)"),
    "regproc": ("version", "pg_backend_pid"),
    "regprocedure": ("version()", "pg_backend_pid()"),
    "regrole": ("pg_monitor", "pg_read_all_data"),
    "regtype": ("integer", "bigint"),
    "text": ("a", "b"),
    "tid": ("(0,1)", "(0,2)"),
    "time": ("10:00", "10:01"),
    "timestamp": ("2030-01-01 10:00", "infinity"),
    "timestamptz": ("2030-01-01 10:00+00", "-infinity"),
    "timetz": ("10:00+00", "10:00+01"),
    "tsmultirange": ("{[2030-01-01,2030-02-01)}", "{}"),
    "tsquery": ("a & b", "a | b"),
    "tsrange": ("[2030-01-01,2030-02-01)", "empty"),
    "tstzmultirange": ("{[2030-01-01,2030-02-01)}", "{}"),
    "tstzrange": ("[2030-01-01,2030-02-01)", "empty"),
    "tsvector": ("a b", "a c"),
    "txid_snapshot": ("10:20:10,14", "10:20:10,15"),
    "uuid": (
        "11111111-1111-4111-8111-111111111111",
        "22222222-2222-4222-8222-222222222222",
    ),
    "varbit": ("101", "10"),
    "varchar": ("a", "b"),
    "xid": ("1", "2"),
    "xid8": ("1", "2"),
    "xml": ("<a/>", "<b/>"),
}
# Types of the server's own catalogs. They do not accept any input.
WITHOUT_INPUT = {
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
}
TYPES = """
    SELECT typname FROM pg_type
    WHERE typtype IN ('b', 'r', 'm') AND typcategory <> 'A' AND typnamespace = 'pg_catalog'::regnamespace
"""
EXTENSIONS = {
    "hstore": ("a=>1", "a=>2"),
    "ltree": ("a.b", "a.c"),
    "citext": ("a", "b"),
    "cube": ("(1)", "(2)"),
}
EXTENSIONS["vector"] = ("[1,2]", "[1,3]")
# Names that the trigger function uses itself, and names that need quotes.
NAMES = "n o nth key value changed changes added old_row new_row audited actor claims headers address organization"
ODD_NAMES = [
    *NAMES.split(),
    "owner_column",
    "record",
    "details",
    "TG_OP",
    "Shoe size",
    "é",
    "new_rows",
    "null",
]


def added(database: Database) -> int:
    """Count the log rows about updates of patients."""
    query = "SELECT count(*) FROM audit_logs WHERE table_name = 'patients' AND action = 'UPDATE'"
    ((count,),) = database.execute(query).fetchall()
    return int(count)


def changed(database: Database) -> Any:
    """Return the changed columns in the newest of these rows in this transaction."""
    query = """
        SELECT details -> 'changed' FROM audit_logs WHERE table_name = 'patients' AND action = 'UPDATE'
        ORDER BY cmin::text::bigint DESC LIMIT 1
    """
    ((columns,),) = database.execute(query).fetchall()
    return columns


def trail_of(
    database: Database,
    column: str,
    type_name: sql.Composable,
    values: list[sql.Composable],
) -> None:
    """Add a column, set each value twice, and assert that the log reports each change once."""
    name = sql.Identifier(column)
    database.execute(
        sql.SQL("ALTER TABLE patients ADD COLUMN {} {}").format(name, type_name)
    )
    for value in [*values, sql.SQL("NULL")]:
        change = sql.SQL("UPDATE patients SET {} = {}").format(name, value)
        before = added(database)
        database.execute(change)
        assert added(database) == before + 1, f"{value.as_string()} was not logged"
        assert changed(database) == [column]
        database.execute(change)
        assert added(database) == before + 1, f"{value.as_string()} was logged twice"
        database.execute("UPDATE patients SET phone = phone || '1'")
        assert changed(database) == ["phone"]


def problem_of(database: Database, *arguments: Any) -> str:
    """Run trail_of, roll it back, and return its error message."""
    try:
        with database.transaction(force_rollback=True):
            database.execute("UPDATE patients SET phone = '1'")
            trail_of(database, *arguments)
    except (AssertionError, psycopg.Error) as error:
        return str(error).splitlines()[0]
    return ""


def test_column_of_any_built_in_type_is_audited(database: Database) -> None:
    organization(database)
    there = {name for (name,) in database.execute(TYPES)}
    assert there - set(VALUES) - WITHOUT_INPUT == set(), (
        "a new type: give it two values"
    )
    problems = {}
    for name in sorted(there & set(VALUES)):
        type_name = sql.Identifier("pg_catalog", name)
        values = [
            sql.SQL("{}::{}").format(sql.Literal(value), type_name)
            for value in VALUES[name]
        ]
        array = sql.SQL("{}[]").format(type_name)
        arrays = [sql.SQL("ARRAY[{}]").format(value) for value in values]
        problems[name] = problem_of(database, "c", type_name, values)
        problems[f"{name}[]"] = problem_of(database, "c", array, arrays)
    if "unsupported XML feature" in problems["xml"]:
        del problems["xml"], problems["xml[]"]
    assert {name: problem for name, problem in problems.items() if problem} == {}


def test_column_of_any_kind_of_user_defined_type_is_audited(database: Database) -> None:
    organization(database)
    database.execute("""
        CREATE SCHEMA extensions;
        CREATE DOMAIN extensions.document AS json;
        CREATE TYPE extensions.mood AS ENUM ('low', 'high');
        CREATE TYPE extensions.pair AS (a point, b json);
        CREATE TYPE extensions.span AS RANGE (subtype = time);
    """)
    kinds = {
        "document": ("'{}'", """'{"a": 1}'"""),
        "mood": ("'low'", "'high'"),
        "pair": ("""ROW('(1,2)', '{}')""", """ROW('(1,3)', '{}')"""),
        "span": ("'[10:00,11:00)'", "'[10:00,12:00)'"),
    }
    problems = {}
    for name, texts in kinds.items():
        type_name = sql.Identifier("extensions", name)
        values = [sql.SQL("{}::{}").format(sql.SQL(text), type_name) for text in texts]
        problems[name] = problem_of(database, "c", type_name, values)
    assert set(problems.values()) == {""}, problems


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_column_of_extension_type_in_separate_schema_is_audited(
    database: Database, extension: str
) -> None:
    query = "SELECT FROM pg_available_extensions WHERE name = %s"
    if not database.execute(query, [extension]).fetchall():
        pytest.skip(f"this server does not have the extension {extension}")
    organization(database)
    database.execute(
        f"CREATE SCHEMA extensions; CREATE EXTENSION {extension} SCHEMA extensions"
    )
    type_name = sql.Identifier("extensions", extension)
    values = [
        sql.SQL("{}::{}").format(sql.Literal(value), type_name)
        for value in EXTENSIONS[extension]
    ]
    assert problem_of(database, "c", type_name, values) == ""


@pytest.mark.parametrize("column", ODD_NAMES)
def test_column_with_any_name_is_audited(database: Database, column: str) -> None:
    organization(database)
    values: list[sql.Composable] = [sql.Literal("a"), sql.Literal("b")]
    assert problem_of(database, column, sql.SQL("text"), values) == ""
    database.execute(
        sql.SQL("ALTER TABLE patients ADD COLUMN {} text").format(
            sql.Identifier(column)
        )
    )
    organization(database, "Other")  # inserts and deletes work, too
    database.execute("DELETE FROM patients")


def test_tables_with_generated_and_dropped_columns_are_audited(
    database: Database,
) -> None:
    organization(database)
    database.execute("""
        ALTER TABLE patients ADD COLUMN gone text, ADD COLUMN size int, ADD COLUMN twice int GENERATED ALWAYS AS (size * 2) STORED;
        ALTER TABLE patients DROP COLUMN gone;
        UPDATE patients SET size = 7;
    """)
    assert changed(database) == ["size", "twice"]
    ((version,),) = database.execute(
        "SELECT current_setting('server_version_num')::int"
    ).fetchall()
    if version >= 180000:
        database.execute(
            "ALTER TABLE patients ADD COLUMN thrice int GENERATED ALWAYS AS (size * 3) VIRTUAL"
        )
        database.execute("UPDATE patients SET size = 8")
        assert {"size", "twice"} <= set(changed(database))
