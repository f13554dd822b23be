-- The effects of this transaction on the relations that existed before, since the last call: their state for the next
-- call, and the effects, as JSON. locks: the operations on a table that others must wait for. rewrites: how many bytes
-- of a table are rewritten. reads: the tables that are read in full. losses: the lost objects and rows, with the number
-- of rows (null if counted later). Indexes and owned sequences count for their table, a partition for its root.
WITH held AS MATERIALIZED (
    SELECT
        relation,
        max(CASE mode WHEN 'AccessExclusiveLock' THEN 2 ELSE 1 END) AS lock
    FROM pg_locks
    WHERE pid = pg_backend_pid()
        AND locktype = 'relation'
        AND mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
    GROUP BY relation
),
before AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset({before}) AS was (
        oid bigint,
        "table" text,
        own text,
        kind text,
        columns json,
        node bigint,
        size bigint,
        empty boolean,
        lock integer,
        read bigint,
        deleted bigint,
        inserted bigint,
        rows bigint
    )
),
now AS MATERIALIZED (  -- only what existed before, so a rehearsal of many files takes no longer for each
    SELECT
        relation.oid::bigint AS oid,
        CASE
            WHEN root.relnamespace = to_regnamespace({home_literal}) THEN quote_ident(root.relname)
            ELSE format('%s.%I', root.relnamespace::regnamespace, root.relname)
        END AS "table",
        CASE
            WHEN relation.relnamespace = to_regnamespace({home_literal}) THEN quote_ident(relation.relname)
            ELSE format('%s.%I', relation.relnamespace::regnamespace, relation.relname)
        END AS own,
        relation.relkind AS kind,
        CASE WHEN relation.relkind IN ('r', 'p', 'm') THEN (
            -- By number, because names change.
            SELECT coalesce(json_object_agg(attnum, quote_ident(attname) ORDER BY attnum), '{{}}')
            FROM pg_attribute
            WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
        ) END AS columns,
        pg_relation_filenode(relation.oid)::bigint AS node,
        -- Read the size only if we hold the lock. Otherwise this would wait for the locks of others.
        CASE
            WHEN held.lock IS DISTINCT FROM 2 THEN 0
            WHEN relation.relkind = 'i' THEN pg_relation_size(relation.oid)
            ELSE pg_table_size(relation.oid)
        END AS size,
        CASE held.lock
            WHEN 2 THEN pg_relation_size(relation.oid) = 0
            ELSE false
        END AS empty,
        coalesce(held.lock, 0) AS lock,
        CASE
            WHEN relation.relkind IN ('r', 'm') THEN pg_stat_get_xact_tuples_returned(relation.oid)
            ELSE 0
        END AS read,
        pg_stat_get_xact_tuples_deleted(relation.oid) AS deleted,
        pg_stat_get_xact_tuples_inserted(relation.oid) AS inserted,
        relation.reltuples::bigint AS rows
    FROM pg_class AS relation
    LEFT JOIN pg_index ON indexrelid = relation.oid
    LEFT JOIN pg_depend
        ON classid = 'pg_class'::regclass
        AND objid = relation.oid
        AND refclassid = 'pg_class'::regclass
        AND relation.relkind = 'S'
        AND deptype IN ('a', 'i')
    CROSS JOIN LATERAL coalesce(indrelid, refobjid, relation.oid) AS own (oid)
    JOIN pg_class AS root ON root.oid = coalesce(pg_partition_root(own.oid), own.oid)
    LEFT JOIN held ON held.relation = relation.oid
    WHERE relation.relkind IN ('r', 'p', 'm', 'v', 'f', 'i', 'I', 'S')
        AND relation.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
        AND root.relname <> 'schema_migrations'
        AND ({before} IS NULL OR relation.oid IN (SELECT before.oid FROM before))
        AND (
            NOT {only_schema}
            OR relation.relnamespace IN (to_regnamespace({home_literal}), to_regnamespace('public'))
        )
),
pairs AS (
    SELECT
        before.*,
        now.oid IS NULL AS gone,
        now.columns AS has,
        coalesce(now.lock, 2) AS locks,
        now.size AS bytes,
        now.node <> before.node AS is_new,
        -- A rewrite reads, and inserts nothing by itself. TRUNCATE reads nothing.
        now.node <> before.node
            AND (
                now.empty
                OR (before.kind = 'r' AND now.read = before.read AND now.inserted > before.inserted)
            ) AS emptied,
        -- It was read, and rows were inserted: a rewrite, or a TRUNCATE after a read. Only the row count can decide.
        now.node <> before.node
            AND NOT now.empty
            AND before.kind = 'r'
            AND now.read > before.read
            AND now.inserted > before.inserted AS uncertain,
        now.inserted - before.inserted - (now.deleted - before.deleted) AS added,
        -- Fewer rows mean that the scan stopped early.
        now.read - before.read > greatest(1, before.rows / 2) AS reads,
        now.deleted - before.deleted AS deletes
    FROM before
    LEFT JOIN now USING (oid)
),
emptied AS (
    SELECT own FROM pairs WHERE emptied
),
effects AS (
    SELECT
        "table",
        max(locks) FILTER (WHERE locks > lock) AS lock,
        sum(bytes) FILTER (
            WHERE is_new
                AND own NOT IN (SELECT own FROM emptied)
                AND "table" NOT IN (SELECT own FROM emptied)
        ) AS rewrites,
        bool_or(reads) AS reads
    FROM pairs
    GROUP BY "table"
),
dropped AS (
    SELECT oid, own, "table", key::int AS number, value AS name
    FROM pairs
    CROSS JOIN json_each_text(columns)
    WHERE has IS NOT NULL AND has ->> key IS NULL
),
losses (kind, "table", columns, relation, rows) AS (
    -- A table that was dropped, but not a partition of a table that was dropped too.
    SELECT 'table', own, ARRAY[]::text[], oid, NULL::bigint
    FROM pairs
    WHERE columns IS NOT NULL
        AND has IS NULL
        AND (own = "table" OR "table" NOT IN (SELECT "table" FROM pairs WHERE own = "table" AND gone))
    UNION ALL
    SELECT 'all rows', own, ARRAY[]::text[], oid, NULL
    FROM pairs
    WHERE has IS NOT NULL AND own IN (SELECT own FROM emptied)
    UNION ALL
    SELECT 'rows', own, ARRAY[]::text[], NULL, deletes
    FROM pairs
    WHERE has IS NOT NULL
        AND own NOT IN (SELECT own FROM emptied)
        AND deletes > 0
    UNION ALL
    -- Columns. For a partition, only the columns that its root did not lose.
    SELECT 'columns', own, array_agg(name ORDER BY number), oid, NULL
    FROM dropped
    WHERE own = "table"
        OR name NOT IN (SELECT name FROM dropped AS root WHERE root.own = dropped."table")
    GROUP BY own, oid
)
SELECT
    (
        SELECT coalesce(json_agg(now), '[]')::text
        FROM now
    ),
    json_build_object(
        'locks', (
            SELECT coalesce(
                json_object_agg(
                    "table", CASE lock WHEN 2 THEN 'reads and writes' ELSE 'writes' END ORDER BY "table"
                ),
                '{{}}'
            )
            FROM effects
            WHERE lock > 0
        ),
        'rewrites', (
            SELECT coalesce(json_object_agg("table", rewrites ORDER BY "table"), '{{}}')
            FROM effects
            WHERE rewrites > 0
        ),
        'reads', (
            SELECT coalesce(json_agg("table" ORDER BY "table"), '[]')
            FROM effects
            WHERE reads
        ),
        'losses', (
            SELECT coalesce(
                json_agg(
                    json_build_object(
                        'kind', kind, 'table', "table", 'columns', columns, 'relation', relation, 'rows', rows
                    )
                    ORDER BY kind = 'table', "table"
                ),
                '[]'
            )
            FROM losses
        ),
        'uncertain', (
            SELECT coalesce(
                json_agg(json_build_object('table', own, 'relation', oid, 'added', added)), '[]'
            )
            FROM pairs
            WHERE uncertain
        )
    )
