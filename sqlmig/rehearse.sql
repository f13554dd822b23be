-- Every relation that a file may lock, rewrite, read or drop, with the table that it counts for (an index and an owned
-- sequence count for theirs, a partition for its root), and what this transaction has done to it so far.
WITH held AS MATERIALIZED (
    SELECT relation, max(CASE mode WHEN 'AccessExclusiveLock' THEN 2 ELSE 1 END) AS lock
    FROM pg_locks
    WHERE pid = pg_backend_pid() AND locktype = 'relation'
        AND mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
    GROUP BY relation
)
SELECT
    relation.oid::bigint,
    CASE WHEN root.relnamespace = to_regnamespace({schema_literal}) THEN quote_ident(root.relname)
        ELSE format('%s.%I', root.relnamespace::regnamespace, root.relname) END AS "table",
    CASE WHEN relation.relnamespace = to_regnamespace({schema_literal}) THEN quote_ident(relation.relname)
        ELSE format('%s.%I', relation.relnamespace::regnamespace, relation.relname) END AS own,
    format('%s.%I', relation.relnamespace::regnamespace, relation.relname) AS name,
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
