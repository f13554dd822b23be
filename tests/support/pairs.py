"""Pairs of an up file and its down file, each with the message of the finding if the down file does nothing."""

from __future__ import annotations

from typing import NamedTuple

BASE = """
    CREATE SCHEMA ext; CREATE TABLE ext.member (a int);
    ALTER EXTENSION plpgsql ADD SCHEMA ext; ALTER EXTENSION plpgsql ADD TABLE ext.member;
    CREATE TABLE t (a int NOT NULL); CREATE DOMAIN d AS int NOT NULL; CREATE VIEW w AS SELECT a FROM t;
    CREATE MATERIALIZED VIEW m AS SELECT a FROM t; CREATE SEQUENCE s; CREATE SEQUENCE restarts;
    CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER stamp BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION g();
    CREATE TABLE first (a int); CREATE TABLE second (a int);
    CREATE TABLE child () INHERITS (first); CREATE TABLE grandchild () INHERITS (first, second);
    CREATE FOREIGN DATA WRAPPER wrap; CREATE FOREIGN DATA WRAPPER other_wrap;
    CREATE SERVER near FOREIGN DATA WRAPPER wrap; CREATE SERVER far FOREIGN DATA WRAPPER wrap;
    CREATE SERVER lone TYPE 'old' VERSION '1' FOREIGN DATA WRAPPER wrap;
    CREATE FOREIGN TABLE remote (a int) SERVER near;
    CREATE TABLE parted (a int) PARTITION BY LIST (a); CREATE TABLE part PARTITION OF parted DEFAULT;
    CREATE INDEX parted_i ON ONLY parted (a); CREATE INDEX part_i ON part (a);
    CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int);
    CREATE TYPE span AS RANGE (SUBTYPE = float8);
    CREATE TYPE base; CREATE FUNCTION base_in(cstring) RETURNS base LANGUAGE internal IMMUTABLE STRICT AS 'textin';
    CREATE FUNCTION base_out(base) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
    CREATE FUNCTION base_send(base) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'textsend';
    CREATE TYPE base (INPUT = base_in, OUTPUT = base_out, STORAGE = extended);
    CREATE TEXT SEARCH PARSER splits (
        START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype
    );
    CREATE TEXT SEARCH TEMPLATE plain (LEXIZE = dsimple_lexize);
    CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = pg_catalog.simple);
    SELECT lo_create(4711);
"""


class Pair(NamedTuple):
    """An up file, its exact down file, and the message of the finding if the down file does nothing."""

    up: str
    down: str
    words: str
    since: int = 15


PAIRS = {
    # Privileges and comments on objects of PostgreSQL or of an extension
    "grant on a system function": Pair(
        "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO PUBLIC",
        "REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM PUBLIC",
        "left: privileges on function pg_read_file(text)",
    ),
    "revoke on a system function": Pair(
        "REVOKE EXECUTE ON FUNCTION pg_sleep(float8) FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION pg_sleep(float8) TO PUBLIC",
        "left: privileges on function pg_sleep(double precision)",
    ),
    "grant on a system table": Pair(
        "GRANT SELECT ON pg_authid TO PUBLIC",
        "REVOKE SELECT ON pg_authid FROM PUBLIC",
        "left: privileges on table pg_authid",
    ),
    "grant on a system column": Pair(
        "GRANT SELECT (rolpassword) ON pg_authid TO PUBLIC",
        "REVOKE SELECT (rolpassword) ON pg_authid FROM PUBLIC",
        "left: privileges on column rolpassword of table pg_authid",
    ),
    "grant on pg_catalog": Pair(
        "GRANT CREATE ON SCHEMA pg_catalog TO PUBLIC",
        "REVOKE CREATE ON SCHEMA pg_catalog FROM PUBLIC",
        "left: privileges on schema pg_catalog",
    ),
    "revoke on a language": Pair(
        "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
        "GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC",
        "left: privileges on language plpgsql",
    ),
    "a language's owner": Pair(
        "ALTER LANGUAGE plpgsql OWNER TO pg_monitor",
        "ALTER LANGUAGE plpgsql OWNER TO CURRENT_USER",
        "changed: privileges on language plpgsql: owner was",
    ),
    "revoke on an extension's function": Pair(
        "REVOKE EXECUTE ON FUNCTION plpgsql_validator(oid) FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION plpgsql_validator(oid) TO PUBLIC",
        "left: privileges on function plpgsql_validator(oid)",
    ),
    "grant on an extension's schema": Pair(
        "GRANT USAGE ON SCHEMA ext TO PUBLIC",
        "REVOKE USAGE ON SCHEMA ext FROM PUBLIC",
        "left: privileges on schema ext",
    ),
    "comment on a system function": Pair(
        "COMMENT ON FUNCTION plpgsql_validator(oid) IS 'x'",
        "COMMENT ON FUNCTION plpgsql_validator(oid) IS NULL",
        "changed: comments of PostgreSQL or an extension in pg_proc",
    ),
    # Objects in the same schema as an extension's
    "table in an extension's schema": Pair(
        "CREATE TABLE ext.mine (a int)", "DROP TABLE ext.mine", "left: table ext.mine"
    ),
    "trigger on an extension's table": Pair(
        "CREATE TRIGGER x BEFORE INSERT ON ext.member FOR EACH ROW EXECUTE FUNCTION g()",
        "DROP TRIGGER x ON ext.member",
        "left: trigger ext.member.x",
    ),
    "policy on an extension's table": Pair(
        "CREATE POLICY x ON ext.member USING (true)",
        "DROP POLICY x ON ext.member",
        "left: policy ext.member.x",
    ),
    # Foreign data
    "a foreign table's server": Pair(
        "DROP FOREIGN TABLE remote; CREATE FOREIGN TABLE remote (a int) SERVER far",
        "DROP FOREIGN TABLE remote; CREATE FOREIGN TABLE remote (a int) SERVER near",
        'changed: foreign table public.remote: foreign server was "near", is "far"',
    ),
    "a server's type": Pair(
        "DROP SERVER lone; CREATE SERVER lone TYPE 'new' VERSION '1' FOREIGN DATA WRAPPER wrap",
        "DROP SERVER lone; CREATE SERVER lone TYPE 'old' VERSION '1' FOREIGN DATA WRAPPER wrap",
        'changed: server lone: type was "old", is "new"',
    ),
    "a server's version": Pair(
        "ALTER SERVER far VERSION '2'",
        "DROP FOREIGN TABLE remote; DROP SERVER far; CREATE SERVER far FOREIGN DATA WRAPPER wrap;"
        " CREATE FOREIGN TABLE remote (a int) SERVER far",
        'changed: server far: version was null, is "2"',
    ),
    "a server's wrapper": Pair(
        "DROP SERVER lone; CREATE SERVER lone TYPE 'new' VERSION '1' FOREIGN DATA WRAPPER other_wrap",
        "DROP SERVER lone; CREATE SERVER lone TYPE 'new' VERSION '1' FOREIGN DATA WRAPPER wrap",
        'changed: server lone: wrapper was "wrap", is "other_wrap"',
    ),
    "a wrapper's validator": Pair(
        "ALTER FOREIGN DATA WRAPPER wrap VALIDATOR postgresql_fdw_validator",
        "ALTER FOREIGN DATA WRAPPER wrap NO VALIDATOR",
        "changed: foreign-data wrapper wrap: validator was null",
    ),
    # Not-null constraints
    "a not-null constraint's name": Pair(
        "ALTER TABLE t RENAME CONSTRAINT t_a_not_null TO x",
        "ALTER TABLE t RENAME CONSTRAINT x TO t_a_not_null",
        'changed: column public.t.a: not-null name was "t_a_not_null", is "x"',
        since=18,
    ),
    "a not-null constraint's comment": Pair(
        "COMMENT ON CONSTRAINT x ON t IS 'why'",
        "COMMENT ON CONSTRAINT x ON t IS NULL",
        'changed: column public.t.a: not-null comment was null, is "why"',
        since=18,
    ),
    "a domain's not-null constraint": Pair(
        "ALTER DOMAIN d RENAME CONSTRAINT d_not_null TO x",
        "ALTER DOMAIN d RENAME CONSTRAINT x TO d_not_null",
        'changed: domain public.d: not-null name was "d_not_null", is "x"',
        since=17,
    ),
    # Tables, views and indexes
    "an index that is attached": Pair(
        "ALTER INDEX parted_i ATTACH PARTITION part_i",
        "DROP INDEX parted_i; CREATE INDEX parted_i ON ONLY parted (a); CREATE INDEX part_i ON part (a)",
        "changed: index public.part_i: attached to was null",
    ),
    "revoke on a row type": Pair(
        "REVOKE USAGE ON TYPE t FROM PUBLIC",
        "GRANT USAGE ON TYPE t TO PUBLIC",
        "changed: table public.t: row type: PUBLIC may no longer USAGE",
    ),
    "a materialized view without its rows": Pair(
        "REFRESH MATERIALIZED VIEW m WITH NO DATA",
        "REFRESH MATERIALIZED VIEW m",
        "changed: materialized view public.m: filled was true, is false",
    ),
    "comment on a system column": Pair(
        "COMMENT ON COLUMN t.ctid IS 'x'",
        "COMMENT ON COLUMN t.ctid IS NULL",
        "left: comment on column ctid of table public.t",
    ),
    "comment on a view's rule": Pair(
        "COMMENT ON RULE \"_RETURN\" ON w IS 'x'",
        'COMMENT ON RULE "_RETURN" ON w IS NULL',
        "left: comment on rule _RETURN on view public.w",
    ),
    "a sequence's value": Pair(
        "SELECT setval('s', 100)",
        "SELECT setval('s', 1, false)",
        'changed: sequence public.s: value was "1, not yet used", is "100"',
    ),
    "a sequence that starts again": Pair(
        "ALTER SEQUENCE restarts RESTART WITH 7",
        "ALTER SEQUENCE restarts RESTART",
        'changed: sequence public.restarts: value was "1, not yet used", is "7, not yet used"',
    ),
    # Functions and types
    "an aggregate's PARALLEL": Pair(
        "CREATE OR REPLACE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int, PARALLEL = safe)",
        "CREATE OR REPLACE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int)",
        'changed: aggregate public.total(integer): parallel was "u", is "s"',
    ),
    "an aggregate's initial value": Pair(
        "CREATE OR REPLACE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int, PARALLEL = safe, INITCOND = '1')",
        "CREATE OR REPLACE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int, PARALLEL = safe)",
        'changed: aggregate public.total(integer): agginitval was null, is "1"',
    ),
    "a transform": Pair(
        "CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal))",
        "DROP TRANSFORM FOR int LANGUAGE sql",
        "left: transform for integer language sql",
    ),
    "a range's difference": Pair(
        "DROP TYPE span; CREATE TYPE span AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi)",
        "DROP TYPE span; CREATE TYPE span AS RANGE (SUBTYPE = float8)",
        'changed: type public.span: difference was "-", is "float8mi"',
    ),
    "a base type's storage": Pair(
        "ALTER TYPE base SET (STORAGE = external)",
        "ALTER TYPE base SET (STORAGE = extended)",
        'changed: type public.base: storage was "x", is "e"',
    ),
    "a base type's send": Pair(
        "ALTER TYPE base SET (SEND = base_send)",
        "ALTER TYPE base SET (SEND = NONE)",
        'changed: type public.base: send was "-", is "public.base_send"',
    ),
    "a shell type": Pair(
        "CREATE TYPE shell", "DROP TYPE shell", "left: type public.shell"
    ),
    "a base type with elements": Pair(
        "CREATE TYPE listed; CREATE FUNCTION listed_in(cstring) RETURNS listed LANGUAGE internal STRICT AS 'int8in';"
        " CREATE FUNCTION listed_out(listed) RETURNS cstring LANGUAGE internal STRICT AS 'int8out';"
        " CREATE TYPE listed (INPUT = listed_in, OUTPUT = listed_out, ELEMENT = int4, INTERNALLENGTH = 8)",
        "DROP TYPE listed CASCADE",
        "left: type public.listed",
    ),
    # Text search and large objects
    "a parser's function": Pair(
        "DROP TEXT SEARCH PARSER splits; CREATE TEXT SEARCH PARSER splits (START = prsd_start,"
        " GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline)",
        "DROP TEXT SEARCH PARSER splits; CREATE TEXT SEARCH PARSER splits (START = prsd_start,"
        " GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)",
        "changed: text search parser public.splits: prsheadline was",
    ),
    "a dictionary's template": Pair(
        "DROP TEXT SEARCH DICTIONARY words; CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = plain)",
        "DROP TEXT SEARCH DICTIONARY words; CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = pg_catalog.simple)",
        'changed: text search dictionary public.words: template was "simple", is "plain"',
    ),
    "a template's function": Pair(
        "DROP TEXT SEARCH DICTIONARY words; DROP TEXT SEARCH TEMPLATE plain; CREATE TEXT SEARCH TEMPLATE plain"
        " (INIT = dsimple_init, LEXIZE = dsimple_lexize); CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = plain)",
        "DROP TEXT SEARCH DICTIONARY words; DROP TEXT SEARCH TEMPLATE plain; CREATE TEXT SEARCH TEMPLATE plain"
        " (LEXIZE = dsimple_lexize); CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = plain)",
        "changed: text search template public.plain: tmplinit was",
    ),
    "a large object": Pair(
        "SELECT lo_create(4712)", "SELECT lo_unlink(4712)", "left: large object 4712"
    ),
    "comment on a large object": Pair(
        "COMMENT ON LARGE OBJECT 4711 IS 'x'",
        "COMMENT ON LARGE OBJECT 4711 IS NULL",
        'changed: large object 4711: comment was null, is "x"',
    ),
    # What an extension takes along when it is dropped
    "a function that depends on an extension": Pair(
        "ALTER FUNCTION g() DEPENDS ON EXTENSION plpgsql",
        "ALTER FUNCTION g() NO DEPENDS ON EXTENSION plpgsql",
        'changed: function public.g(): depends on extension was null, is ["plpgsql"]',
    ),
    "an index that depends on an extension": Pair(
        "ALTER INDEX parted_i DEPENDS ON EXTENSION plpgsql",
        "ALTER INDEX parted_i NO DEPENDS ON EXTENSION plpgsql",
        'changed: index public.parted_i: depends on extension was null, is ["plpgsql"]',
    ),
    "a materialized view that depends on an extension": Pair(
        "ALTER MATERIALIZED VIEW m DEPENDS ON EXTENSION plpgsql",
        "ALTER MATERIALIZED VIEW m NO DEPENDS ON EXTENSION plpgsql",
        'changed: materialized view public.m: depends on extension was null, is ["plpgsql"]',
    ),
    "a trigger that depends on an extension": Pair(
        "ALTER TRIGGER stamp ON t DEPENDS ON EXTENSION plpgsql",
        "ALTER TRIGGER stamp ON t NO DEPENDS ON EXTENSION plpgsql",
        'changed: trigger public.t.stamp: depends on extension was null, is ["plpgsql"]',
    ),
    # The database itself
    "comment on the database": Pair(
        "DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), 'x'); END $$",
        "DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS NULL', current_database()); END $$",
        'changed: database itself: comment was null, is "x"',
    ),
    "grant on the database": Pair(
        "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO PUBLIC', current_database()); END $$",
        "DO $$ BEGIN EXECUTE format('REVOKE CREATE ON DATABASE %I FROM PUBLIC', current_database()); END $$",
        "changed: database itself: PUBLIC may now CREATE",
    ),
}

# Differences that no SQL can restore, or that do not matter: the text of the note.
NOTED = {
    "the order of parents": (
        "ALTER TABLE grandchild NO INHERIT first",
        "ALTER TABLE grandchild INHERIT first",
        "table public.grandchild: its parents are in another order",
    ),
    "a column turned local": (
        "ALTER TABLE child NO INHERIT first",
        "ALTER TABLE child INHERIT first",
        "column public.child.a: local was false, is true, which counts only when a parent drops it",
    ),
}
