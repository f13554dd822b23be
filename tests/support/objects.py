"""A database with one object of each kind, and statements that each create another."""

from __future__ import annotations

BASE = """
    CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'a', n int);
    CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN age AS int CHECK (VALUE > 0); CREATE SEQUENCE s;
    CREATE VIEW w AS SELECT id FROM t; CREATE MATERIALIZED VIEW m AS SELECT id FROM t;
    CREATE FUNCTION f(i int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION g(); CREATE INDEX i ON t (v);
    CREATE TYPE pair AS (a int, b int); CREATE TABLE first (a int); CREATE TABLE second (a int);
    CREATE TABLE child (a int) INHERITS (first); CREATE TABLE refers (id int REFERENCES t); CREATE TABLE typed OF pair;
    CREATE TEXT SEARCH CONFIGURATION words (COPY = english);
    CREATE TEXT SEARCH DICTIONARY dull (TEMPLATE = simple);
    CREATE FOREIGN DATA WRAPPER wrap; CREATE SERVER far FOREIGN DATA WRAPPER wrap;
    CREATE POLICY y ON t USING (true); COMMENT ON TABLE t IS 'base';
"""


# The up file, and the message of the finding if its down file does nothing. {x} is the name of what it creates.
_LEFT = {
    "table": ("CREATE TABLE {x} ()", "left: table public.{x}"),
    "column": ("ALTER TABLE t ADD COLUMN {x} int", "left: column public.t.{x}"),
    "constraint": (
        "ALTER TABLE t ADD CONSTRAINT {x} CHECK (n > 0)",
        "left: constraint public.t.{x}",
    ),
    "index": ("CREATE INDEX {x} ON t (n)", "left: index public.{x}"),
    "view": ("CREATE VIEW {x} AS SELECT 1 AS a", "left: view public.{x}"),
    "materialized view": (
        "CREATE MATERIALIZED VIEW {x} AS SELECT 1 AS a",
        "left: materialized view public.{x}",
    ),
    "function": (
        "CREATE FUNCTION {x}(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "left: function public.{x}(a integer)",
    ),
    "procedure": (
        "CREATE PROCEDURE {x}() LANGUAGE sql AS 'SELECT 1'",
        "left: procedure public.{x}()",
    ),
    "aggregate": (
        "CREATE AGGREGATE {x} (int) (SFUNC = int4pl, STYPE = int)",
        "left: aggregate public.{x}(integer)",
    ),
    "trigger": (
        "CREATE TRIGGER {x} BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION g()",
        "left: trigger public.t.{x}",
    ),
    "event trigger": (
        "CREATE EVENT TRIGGER {x} ON sql_drop EXECUTE FUNCTION e()",
        "left: event trigger {x}",
    ),
    "type": ("CREATE TYPE {x} AS (a int)", "left: composite type public.{x}"),
    "range": ("CREATE TYPE {x} AS RANGE (SUBTYPE = int)", "left: type public.{x}"),
    "enum": ("CREATE TYPE {x} AS ENUM ('a')", "left: enum public.{x}"),
    "enum value": (
        "ALTER TYPE mood ADD VALUE 'so so' BEFORE 'bad'",
        'changed: enum public.mood: values was ["good", "bad"], is ["good", "so so", "bad"]',
    ),
    "domain": ("CREATE DOMAIN {x} AS int", "left: domain public.{x}"),
    "domain constraint": (
        "ALTER DOMAIN age ADD CONSTRAINT {x} CHECK (VALUE < 200)",
        "left: constraint public.age.{x}",
    ),
    "sequence": ("CREATE SEQUENCE {x}", "left: sequence public.{x}"),
    "sequence settings": (
        "ALTER SEQUENCE s INCREMENT 5",
        "changed: sequence settings of public.s: seqincrement was 1, is 5",
    ),
    "schema": ("CREATE SCHEMA {x}", "left: schema {x}"),
    "extension": (
        "COMMENT ON EXTENSION plpgsql IS 'x'",
        "changed: extension plpgsql: comment was",
    ),
    "lost extension": ("DROP EXTENSION plpgsql CASCADE", "lost: extension plpgsql"),
    "rule": (
        "CREATE RULE {x} AS ON DELETE TO t DO INSTEAD NOTHING",
        "left: rule public.t.{x}",
    ),
    "policy": ("CREATE POLICY {x} ON t USING (true)", "left: policy public.t.{x}"),
    "changed policy": (
        "ALTER POLICY y ON t USING (id > 0)",
        "changed: policy public.t.y: using was",
    ),
    "row level security": (
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "changed: table public.t: row level security was false, is true",
    ),
    "forced security": (
        "ALTER TABLE t FORCE ROW LEVEL SECURITY",
        "changed: table public.t: forced row level security was false, is true",
    ),
    "grant": (
        "GRANT SELECT ON t TO PUBLIC",
        "changed: table public.t: PUBLIC may now SELECT",
    ),
    "column grant": (
        "GRANT SELECT (v) ON t TO PUBLIC",
        "changed: column public.t.v: PUBLIC may now SELECT",
    ),
    "function grant": (
        "REVOKE EXECUTE ON FUNCTION f FROM PUBLIC",
        "changed: function public.f(i integer): PUBLIC may no longer EXECUTE",
    ),
    "schema grant": (
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "changed: schema public: PUBLIC may now CREATE",
    ),
    "default privileges": (
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        "left: default privileges of",
    ),
    "owner": (
        "ALTER TABLE t OWNER TO pg_monitor",
        'changed: table public.t: owner was "postgres", is "pg_monitor"',
    ),
    "comment": (
        "COMMENT ON COLUMN t.v IS 'x'",
        'changed: column public.t.v: comment was null, is "x"',
    ),
    "table comment": (
        "COMMENT ON TABLE t IS 'x'",
        'changed: table public.t: comment was "base", is "x"',
    ),
    "publication": ("CREATE PUBLICATION {x} FOR TABLE t", "left: publication {x}"),
    "statistics": (
        "CREATE STATISTICS {x} ON id, n FROM t",
        "left: statistics public.{x}",
    ),
    "column type": (
        "ALTER TABLE t ALTER COLUMN n TYPE bigint",
        'changed: column public.t.n: type was "integer", is "bigint"',
    ),
    "not null": (
        "ALTER TABLE t ALTER COLUMN n SET NOT NULL",
        "changed: column public.t.n: not null was false, is true",
    ),
    "default": (
        "ALTER TABLE t ALTER COLUMN v SET DEFAULT 'b'",
        "changed: column public.t.v: default was",
    ),
    "identity": (
        "ALTER TABLE t ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY",
        'changed: column public.t.id: identity was "", is "a"',
    ),
    "generated": (
        "ALTER TABLE t ADD COLUMN {x} int GENERATED ALWAYS AS (n + 1) STORED",
        "left: column public.t.{x}",
    ),
    "collation": (
        'ALTER TABLE t ALTER COLUMN v TYPE text COLLATE "C"',
        "changed: column public.t.v: collation was",
    ),
    "storage": (
        "ALTER TABLE t ALTER COLUMN v SET STORAGE EXTERNAL",
        'changed: column public.t.v: storage was "x", is "e"',
    ),
    "view definition": (
        "CREATE OR REPLACE VIEW w AS SELECT id FROM t WHERE id > 1",
        "changed: view public.w: definition was",
    ),
    "view option": (
        "ALTER VIEW w SET (security_invoker = true)",
        "changed: view public.w: options was null",
    ),
    "function body": (
        "CREATE OR REPLACE FUNCTION f(i int) RETURNS int LANGUAGE sql AS 'SELECT 2'",
        "changed: function public.f(i integer): definition was",
    ),
    "function setting": (
        "ALTER FUNCTION f SET search_path = ''",
        "changed: function public.f(i integer): definition was",
    ),
    "disabled trigger": (
        "ALTER TABLE t DISABLE TRIGGER g",
        'changed: trigger public.t.g: enabled was "O", is "D"',
    ),
    "operator": (
        "CREATE OPERATOR ## (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)",
        "left: operator public.##(integer,integer)",
    ),
    "lost table": ("DROP MATERIALIZED VIEW m", "lost: materialized view public.m"),
    "lost index": ("DROP INDEX i", "lost: index public.i"),
    "lost column": ("ALTER TABLE t DROP COLUMN n", "lost: column public.t.n"),
    "composite type comment": (
        "COMMENT ON TYPE pair IS 'x'",
        'changed: composite type public.pair: comment was null, is "x"',
    ),
    "composite type grant": (
        "REVOKE USAGE ON TYPE pair FROM PUBLIC",
        "changed: composite type public.pair: PUBLIC may no longer USAGE",
    ),
    "second parent": (
        "ALTER TABLE child INHERIT second",
        "changed: table public.child: parents was",
    ),
    "disabled foreign key": (
        "ALTER TABLE refers DISABLE TRIGGER ALL",
        "changed: table public.refers: foreign keys off was",
    ),
    "no typed table": (
        "ALTER TABLE typed NOT OF",
        "changed: table public.typed: of type was",
    ),
    "text search mapping": (
        "ALTER TEXT SEARCH CONFIGURATION words ALTER MAPPING FOR word WITH simple",
        "changed: text search configuration",
    ),
    "text search options": (
        "ALTER TEXT SEARCH DICTIONARY dull (ACCEPT = false)",
        "changed: text search dictionary",
    ),
    "database setting": (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = %L', current_database(), '64kB'); END $$",
        "left: settings of all roles",
    ),
    "user mapping": (
        "CREATE USER MAPPING FOR CURRENT_USER SERVER far OPTIONS (a 'b')",
        "left: user mapping postgres on far",
    ),
    "owned sequence": (
        "ALTER SEQUENCE s OWNED BY t.n",
        'changed: sequence settings of public.s: owned by was null, is "public.t.n"',
    ),
    "column options": (
        "ALTER TABLE t ALTER COLUMN n SET (n_distinct = 5)",
        'changed: column public.t.n: options was null, is ["n_distinct=5"]',
    ),
    "toast option": (
        "ALTER TABLE t SET (toast.autovacuum_enabled = false)",
        "changed: table public.t: toast options was null",
    ),
    "server grant": (
        "GRANT USAGE ON FOREIGN SERVER far TO PUBLIC",
        "changed: server far: PUBLIC may now USAGE",
    ),
    "wrapper grant": (
        "GRANT USAGE ON FOREIGN DATA WRAPPER wrap TO PUBLIC",
        "changed: foreign-data wrapper wrap: PUBLIC may now USAGE",
    ),
    "index statistics": (
        "CREATE INDEX e ON t ((id + n)); ALTER INDEX e ALTER COLUMN 1 SET STATISTICS 99",
        "left: index public.e",
    ),
    "partition": (
        "CREATE TABLE {x} (a int) PARTITION BY LIST (a); CREATE TABLE {x}1 PARTITION OF {x} DEFAULT",
        "left: table public.{x}1",
    ),
}

# These hide or prevent changes of other kinds, so each is made in its own database.
ALONE = ("default privileges", "lost column", "lost extension", "owner")
TOGETHER = tuple(kind for kind in _LEFT if kind not in ALONE)


def left(kind: str, number: int = 0) -> tuple[str, str]:
    """Return an up file that creates or changes a kind of object, and what `check` says if its down file does nothing.

    number: a different one, up to 99, for each kind in a database. No name is the beginning of another.
    """
    text, words = _LEFT[kind]
    name = f"x{number:02}"
    return text.format(x=name), words.format(x=name)
