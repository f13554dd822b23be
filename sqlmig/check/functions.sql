-- The functions of the files, and the errors in them. These statements run on the search path of the files, on which
-- plpgsql_check looks names up, and a function that can be seen there is shown without its schema.

-- %% functions
-- Functions and procedures whose body is a text, without those of extensions. A body in BEGIN ATOMIC depends on what it
-- uses, so the server refuses to break it.
SELECT
    CASE prokind WHEN 'p' THEN 'procedure ' ELSE 'function ' END || p.oid::regprocedure::text,
    pg_catalog.pg_get_functiondef(p.oid),
    lanname = 'plpgsql'
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_language ON pg_language.oid = prolang
WHERE p.oid OPERATOR(pg_catalog.>=) 16384::oid
    AND prokind IN ('f', 'p')
    AND lanname IN ('sql', 'plpgsql')
    AND prosqlbody IS NULL
    AND pronamespace::regnamespace::text !~ '^pg_temp'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE classid = 'pg_proc'::regclass::oid AND objid = p.oid AND deptype = 'e')
ORDER BY 1;

-- %% has_plpgsql_check
SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = 'plpgsql_check';

-- %% home
SELECT pg_catalog.quote_ident(nspname)
FROM pg_catalog.pg_extension
JOIN pg_catalog.pg_namespace ON pg_namespace.oid = extnamespace
WHERE extname = 'plpgsql_check';

-- %% plpgsql_errors
-- A trigger function is checked for each table that it is on.
SELECT
    CASE prokind WHEN 'p' THEN 'procedure ' ELSE 'function ' END || p.oid::regprocedure::text,
    coalesce(pg_catalog.min('ERROR: ' || problem.message) FILTER (WHERE problem.level = 'error'), '')
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_language ON pg_language.oid = prolang
LEFT JOIN pg_catalog.pg_trigger AS t ON t.tgfoid = p.oid AND NOT t.tgisinternal AND t.tgparentid = 0::oid
LEFT JOIN LATERAL {home}.plpgsql_check_function_tb(
    p.oid, coalesce(t.tgrelid, 0::oid)::regclass, fatal_errors => true, other_warnings => false, performance_warnings => false,
    extra_warnings => false, oldtable => t.tgoldtable, newtable => t.tgnewtable
) AS problem ON true
WHERE p.oid OPERATOR(pg_catalog.>=) 16384::oid
    AND lanname = 'plpgsql'
    AND prokind IN ('f', 'p')
    AND (t.oid IS NOT NULL OR p.prorettype NOT IN ('trigger'::regtype::oid, 'event_trigger'::regtype::oid))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE classid = 'pg_proc'::regclass::oid AND objid = p.oid AND deptype = 'e')
GROUP BY 1;
