-- Schemas, extensions, default privileges, and settings of the database.
SELECT
    'schema' AS kind,
    nspname::text AS name,
    jsonb_build_object(
        'owner', nspowner::regrole,
        'grants', (
            SELECT array_agg(a::text ORDER BY a::text)
            FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) AS a
        ),
        'comment', obj_description(oid, 'pg_namespace')
    ) AS properties,
    nspname::text AS schema
FROM schemas
WHERE NOT is_owned
UNION ALL
SELECT
    'extension',
    extname,
    jsonb_build_object(
        'version', extversion,
        'schema', extnamespace::regnamespace,
        'owner', extowner::regrole,
        'comment', obj_description(oid, 'pg_extension')
    ),
    NULL
FROM pg_extension
UNION ALL
SELECT
    'database',
    'itself',
    jsonb_build_object(
        'owner', datdba::regrole,
        'grants', (
            SELECT array_agg(a::text ORDER BY a::text)
            FROM unnest(coalesce(datacl, acldefault('d', datdba))) AS a
        ),
        'comment', shobj_description(oid, 'pg_database')
    ),
    NULL
FROM pg_database
WHERE datname = current_database()
UNION ALL
SELECT
    'default privileges',
    format(
        'of %s in %s on %s',
        defaclrole::regrole,
        coalesce(nullif(defaclnamespace, 0)::regnamespace::text, 'all'),
        defaclobjtype
    ),
    jsonb_build_object(
        'grants', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(defaclacl) AS a)
    ),
    NULL
FROM pg_default_acl
UNION ALL
SELECT
    'settings of',
    coalesce(nullif(setrole, 0)::regrole::text, 'all roles'),
    jsonb_build_object(
        'values', (SELECT array_agg(v ORDER BY v) FROM unnest(setconfig) AS v)
    ),
    NULL
FROM pg_db_role_setting
WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
