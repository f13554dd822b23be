-- The INVALID indexes of this database that no session is building: the number, the name, and whether a statement of the
-- file names the index or its table. REINDEX works on a copy with a name that ends in _ccnew.
SELECT
    i.indexrelid::bigint,
    i.indexrelid::regclass::text,
    i.indexrelid = ANY (ARRAY[{indexes}]::oid[])
        OR (i.indrelid, regexp_replace(c.relname, '_cc(new|old)\d*$', '')) IN ({created}),
    i.indrelid = ANY (ARRAY[{tables}]::oid[])
        OR i.indrelid IN (SELECT indrelid FROM pg_index WHERE indexrelid = ANY (ARRAY[{indexes}]::oid[]))
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid
    AND c.relkind = 'i'
    AND NOT EXISTS (
        SELECT
        FROM pg_stat_progress_create_index AS progress
        WHERE progress.index_relid = i.indexrelid AND progress.datname = current_database()
    )
ORDER BY 2
