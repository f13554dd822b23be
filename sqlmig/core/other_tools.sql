-- The ledgers of other tools, and tables of other roles in the place of our ledger.

-- %% table
-- A table of the ledger's name: its kind, its columns, its owner, whether the owner is trusted, and whether its rows can be
-- read without running code of another role: it is a plain table of built-in types, without row level security for us.
SELECT
    relkind::text,
    (
        SELECT coalesce(string_agg(attname, ' ' ORDER BY attnum), '')
        FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    ),
    pg_get_userbyid(relowner)::text,
    {has_our_columns},
    {has_trusted_owner},
    {can_be_read}
FROM pg_class AS c
WHERE oid = to_regclass({literal})

-- %% can_be_read
-- With pg_class AS c: reading it runs no code of another role.
({runs_no_code} AND {has_trusted_owner})

-- %% locked
-- Before a table is read: it is still the same table, and still runs no code. The lock keeps it from being replaced.
LOCK TABLE {table} IN ACCESS SHARE MODE;
SELECT CASE WHEN {can_be_read} THEN '1' ELSE 'it is another table by now' END::int
FROM pg_class AS c
WHERE oid = to_regclass({literal});

-- %% newest
-- The newest version, and whether one of them is dirty. The rows are read as JSON, because only the names of their columns
-- are known.
SELECT
    coalesce(max((row ->> 'version')::numeric) FILTER (WHERE row ->> 'version' ~ '^[0-9]+$'), 0)::text,
    coalesce(bool_or(row ->> 'dirty' = 'true'), false)
FROM {table} AS ledger, to_jsonb(ledger) AS row

-- %% known_tables
-- The tables in a schema with the name of another tool's ledger.
SELECT relname::text, {can_be_read}
FROM pg_class AS c JOIN pg_namespace AS s ON s.oid = relnamespace
WHERE nspname = {schema_name} AND relname IN ({names}) AND relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY 1

-- %% plain_table
-- A table by its number: its name with its schema, and whether it can be read.
SELECT format('%I.%I', nspname, relname), {can_be_read}
FROM pg_class AS c JOIN pg_namespace AS s ON s.oid = relnamespace
WHERE c.oid = {oid}

-- %% objects
-- Tables, views and functions in the ledger's schema and the files' schema that no extension owns, and whether one is the
-- ledger.
SELECT kind || ' ' || name, class = 'pg_class'::regclass AND oid IS NOT DISTINCT FROM to_regclass({literal})
FROM (
    SELECT
        1 AS place,
        CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind,
        quote_ident(relname) AS name, 'pg_class'::regclass AS class, c.oid
    FROM pg_class AS c
    WHERE relnamespace IN (to_regnamespace({ledger_schema}), to_regnamespace({first_schema}))
        AND relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION ALL
    SELECT 2, 'function', quote_ident(proname), 'pg_proc'::regclass, p.oid
    FROM pg_proc AS p
    -- A platform has functions of its own for its event triggers.
    WHERE pronamespace IN (to_regnamespace({ledger_schema}), to_regnamespace({first_schema})) AND prorettype <> 'event_trigger'::regtype
) AS found
WHERE NOT EXISTS (SELECT FROM pg_depend WHERE classid = class AND objid = oid AND deptype = 'e')
ORDER BY place, name
