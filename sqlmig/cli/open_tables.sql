-- %% open_tables
-- The tables that anyone can reach over Supabase's Data API, without the tables of extensions.
SELECT CASE nspname WHEN {home_name} THEN '' ELSE quote_ident(nspname) || '.' END || quote_ident(relname)
FROM pg_class AS c JOIN pg_namespace AS s ON s.oid = relnamespace
WHERE relkind IN ('r', 'p')
    AND NOT relrowsecurity
    AND nspname !~ '^(pg_|information_schema)'
    AND has_schema_privilege(to_regrole('anon'), relnamespace, 'USAGE')
    AND has_table_privilege(to_regrole('anon'), c.oid, 'SELECT, INSERT, UPDATE, DELETE')
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
ORDER BY 1;
