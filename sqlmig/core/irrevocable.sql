-- Functions and tables of this database that act beyond it when they are called or written to. The functions of PostgreSQL
-- itself have smaller numbers than 16384.

-- %% functions
SELECT proname::text FROM pg_proc WHERE oid >= 16384 AND prokind IN ('f', 'p') AND prosrc ~* {pattern}
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e')

-- %% callers
SELECT proname::text FROM pg_proc WHERE oid >= 16384 AND prosrc ~* {names}

-- %% tables
-- Foreign tables of other wrappers than postgres_fdw, which rolls back with us, and file_fdw, which writes nothing.
SELECT relname::text
FROM pg_foreign_table
JOIN pg_class ON pg_class.oid = ftrelid
JOIN pg_foreign_server ON pg_foreign_server.oid = ftserver
JOIN pg_foreign_data_wrapper ON pg_foreign_data_wrapper.oid = srvfdw
WHERE fdwname NOT IN ('postgres_fdw', 'file_fdw')

-- %% sequences
SELECT relname::text FROM pg_class WHERE relkind = 'S'

-- %% triggers
SELECT relname::text
FROM pg_trigger
JOIN pg_class ON pg_class.oid = tgrelid
JOIN pg_proc ON pg_proc.oid = tgfoid
WHERE proname IN ({names})
