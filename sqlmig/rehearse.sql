-- What this transaction has done to the relations that were there before, since the last time that it was asked: their state
-- for the next time, the effects (what is blocked and how many bytes are rewritten, by table, and the tables that are read
-- whole), and what is lost (what, of which relation, and how many rows, where they are not to be counted). An index and an owned sequence count for
-- their table, a partition for its root.
WITH held AS MATERIALIZED (
    SELECT relation, max(CASE mode WHEN 'AccessExclusiveLock' THEN 2 ELSE 1 END) AS lock
    FROM pg_locks
    WHERE pid = pg_backend_pid() AND locktype = 'relation'
        AND mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
    GROUP BY relation
), now AS MATERIALIZED (
    SELECT
        relation.oid::bigint AS oid,
        CASE WHEN root.relnamespace = to_regnamespace({schema_literal}) THEN quote_ident(root.relname)
            ELSE format('%s.%I', root.relnamespace::regnamespace, root.relname) END AS "table",
        CASE WHEN relation.relnamespace = to_regnamespace({schema_literal}) THEN quote_ident(relation.relname)
            ELSE format('%s.%I', relation.relnamespace::regnamespace, relation.relname) END AS own,
        relation.relkind AS kind,
        CASE WHEN relation.relkind IN ('r', 'p', 'm') THEN (  -- by their numbers, as names change
            SELECT coalesce(json_object_agg(attnum, quote_ident(attname) ORDER BY attnum), '{{}}') FROM pg_attribute
            WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
        ) END AS columns,
        pg_relation_filenode(relation.oid)::bigint AS node,
        -- Without the lock it would wait for others'.
        CASE held.lock WHEN 2 THEN CASE relation.relkind WHEN 'i' THEN pg_relation_size(relation.oid) ELSE pg_table_size(relation.oid) END ELSE 0 END AS size,
        CASE held.lock WHEN 2 THEN pg_relation_size(relation.oid) = 0 ELSE false END AS empty,
        coalesce(held.lock, 0) AS lock,
        CASE WHEN relation.relkind IN ('r', 'm') THEN pg_stat_get_xact_tuples_returned(relation.oid) ELSE 0 END AS read,
        pg_stat_get_xact_tuples_deleted(relation.oid) AS deleted,
        pg_stat_get_xact_tuples_inserted(relation.oid) AS inserted,
        relation.reltuples::bigint AS rows
    FROM pg_class AS relation
        LEFT JOIN pg_index ON indexrelid = relation.oid
        LEFT JOIN pg_depend ON classid = 'pg_class'::regclass AND objid = relation.oid AND refclassid = 'pg_class'::regclass
            AND relation.relkind = 'S' AND deptype IN ('a', 'i')
        CROSS JOIN LATERAL coalesce(indrelid, refobjid, relation.oid) AS own (oid)
        JOIN pg_class AS root ON root.oid = coalesce(pg_partition_root(own.oid), own.oid)
        LEFT JOIN held ON held.relation = relation.oid
    WHERE relation.relkind IN ('r', 'p', 'm', 'v', 'f', 'i', 'I', 'S')
        AND relation.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
        AND root.relname <> 'schema_migrations'
        AND (NOT {many} OR relation.relnamespace IN (to_regnamespace({schema_literal}), to_regnamespace('public')))
), before AS (
    SELECT * FROM json_to_recordset({before}) AS was (
        oid bigint, "table" text, own text, kind text, columns json, node bigint, size bigint, empty boolean,
        lock integer, read bigint, deleted bigint, inserted bigint, rows bigint
    )
), pairs AS (
    SELECT before.*, now.oid IS NULL AS gone, now.columns AS has, coalesce(now.lock, 2) AS locks,
        now.size AS bytes, now.node <> before.node AS is_new,
        -- A rewrite reads, and inserts nothing by itself.
        now.node <> before.node AND (now.empty OR (before.kind = 'r' AND now.read = before.read AND now.inserted > before.inserted)) AS emptied,
        now.read - before.read > greatest(1, before.rows / 2) AS reads,  -- else it stopped early
        now.deleted - before.deleted AS deletes
    FROM before LEFT JOIN now USING (oid)
), emptied AS (
    SELECT own FROM pairs WHERE emptied
), effects AS (
    SELECT "table", max(locks) FILTER (WHERE locks > lock) AS lock,
        sum(bytes) FILTER (WHERE is_new AND own NOT IN (SELECT own FROM emptied) AND "table" NOT IN (SELECT own FROM emptied)) AS rewrites,
        bool_or(reads) AS reads
    FROM pairs
    GROUP BY "table"
), dropped AS (
    SELECT oid, own, "table", key::int AS number, value AS name
    FROM pairs CROSS JOIN json_each_text(columns)
    WHERE has IS NOT NULL AND has ->> key IS NULL
), losses (what, oid, rows) AS (
    SELECT own, oid, NULL::bigint FROM pairs
    WHERE columns IS NOT NULL AND has IS NULL
        AND (own = "table" OR "table" NOT IN (SELECT "table" FROM pairs WHERE own = "table" AND gone))
    UNION ALL
    SELECT 'all rows of ' || own, oid, NULL FROM pairs WHERE has IS NOT NULL AND own IN (SELECT own FROM emptied)
    UNION ALL
    SELECT 'rows of ' || own, NULL, deletes FROM pairs
    WHERE has IS NOT NULL AND own NOT IN (SELECT own FROM emptied) AND deletes > 0
    UNION ALL
    SELECT string_agg(name, ', ' ORDER BY number) || ' of ' || own, oid, NULL
    FROM dropped
    WHERE own = "table" OR name NOT IN (SELECT name FROM dropped AS root WHERE root.own = dropped."table")
    GROUP BY own, oid
)
SELECT
    (SELECT coalesce(json_agg(now), '[]')::text FROM now WHERE {before} IS NULL OR oid IN (SELECT oid FROM before)),
    (SELECT json_build_object(
        'locks', coalesce(json_object_agg("table", CASE lock WHEN 2 THEN 'reads and writes' ELSE 'writes' END ORDER BY "table") FILTER (WHERE lock > 0), '{{}}'),
        'rewrites', coalesce(json_object_agg("table", rewrites ORDER BY "table") FILTER (WHERE rewrites > 0), '{{}}'),
        'reads', coalesce(json_agg("table" ORDER BY "table") FILTER (WHERE reads), '[]')
    ) FROM effects),
    (SELECT coalesce(json_agg(json_build_array(what, oid, rows) ORDER BY what), '[]') FROM losses)
