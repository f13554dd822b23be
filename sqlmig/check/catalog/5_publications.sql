-- Publications and user mappings.
SELECT
    'publication',
    pubname,
    to_jsonb(p) - 'oid' - 'pubowner' || jsonb_build_object(
        'owner', pubowner::regrole,
        'comment', obj_description(oid, 'pg_publication'),
        'tables', (
            SELECT array_agg(
                format(
                    '%s%s %s %s',
                    CASE to_jsonb(r) ->> 'prexcept' WHEN 'true' THEN 'all but ' END,  -- since PostgreSQL 19
                    prrelid::regclass,
                    (
                        SELECT array_agg(attname ORDER BY attname)
                        FROM pg_attribute
                        WHERE attrelid = prrelid AND attnum = ANY (prattrs::int2[])
                    ),
                    pg_get_expr(prqual, prrelid)
                )
                ORDER BY prrelid::regclass::text
            )
            FROM pg_publication_rel AS r
            WHERE prpubid = p.oid
        ),
        'schemas', (
            SELECT array_agg(pnnspid::regnamespace::text ORDER BY pnnspid::regnamespace::text)
            FROM pg_publication_namespace
            WHERE pnpubid = p.oid
        )
    ),
    NULL
FROM pg_publication AS p
UNION ALL
SELECT
    'user mapping',
    format('%I on %I', usename, srvname),
    jsonb_build_object(
        'options', (SELECT array_agg(o ORDER BY o) FROM unnest(umoptions) AS o)
    ),
    NULL
FROM pg_user_mappings
