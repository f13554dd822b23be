-- The columns of each table, both as one writes them in SQL.
SELECT attrelid::regclass::text, array_agg(quote_ident(attname::text) ORDER BY attnum)
FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
WHERE relkind IN ('r', 'p', 'm')
    AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
    AND attnum > 0
    AND NOT attisdropped
    AND relname <> 'schema_migrations'
GROUP BY 1
ORDER BY 1
