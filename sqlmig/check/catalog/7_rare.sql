-- Collations, conversions, text search, foreign data, languages and access methods.
SELECT
    others.kind,
    others.name,
    to_jsonb(c) - '{oid,collnamespace,collversion,collowner}'::text[] || jsonb_build_object(
        'owner', collowner::regrole,
        'comment', others.comment
    ),
    others.schema
FROM others
JOIN pg_collation AS c ON c.oid = others.oid
WHERE class = 'pg_collation'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    to_jsonb(c) - '{oid,connamespace,conowner}'::text[] || jsonb_build_object(
        'owner', conowner::regrole,
        'comment', others.comment
    ),
    others.schema
FROM others
JOIN pg_conversion AS c ON c.oid = others.oid
WHERE class = 'pg_conversion'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    jsonb_build_object(
        'owner', cfgowner::regrole,
        'mappings', (
            SELECT jsonb_agg(
                concat_ws(' ', maptokentype, mapseqno, mapdict::regdictionary)
                ORDER BY maptokentype, mapseqno
            )
            FROM pg_ts_config_map
            WHERE mapcfg = c.oid
        ),
        'comment', others.comment
    ),
    others.schema
FROM others
JOIN pg_ts_config AS c ON c.oid = others.oid
WHERE class = 'pg_ts_config'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    jsonb_build_object(
        'owner', dictowner::regrole,
        'options', dictinitoption,
        'comment', others.comment
    ),
    others.schema
FROM others
JOIN pg_ts_dict AS d ON d.oid = others.oid
WHERE class = 'pg_ts_dict'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    jsonb_build_object(
        'owner', srvowner::regrole,
        'options', (SELECT array_agg(x ORDER BY x) FROM unnest(srvoptions) AS x),
        'grants', (
            SELECT array_agg(a::text ORDER BY a::text)
            FROM unnest(coalesce(srvacl, acldefault('S', srvowner))) AS a
        ),
        'comment', others.comment
    ),
    others.schema
FROM others
JOIN pg_foreign_server AS s ON s.oid = others.oid
WHERE class = 'pg_foreign_server'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    jsonb_build_object(
        'owner', fdwowner::regrole,
        'options', (SELECT array_agg(x ORDER BY x) FROM unnest(fdwoptions) AS x),
        'grants', (
            SELECT array_agg(a::text ORDER BY a::text)
            FROM unnest(coalesce(fdwacl, acldefault('F', fdwowner))) AS a
        ),
        'comment', others.comment
    ),
    others.schema
FROM others
JOIN pg_foreign_data_wrapper AS w ON w.oid = others.oid
WHERE class = 'pg_foreign_data_wrapper'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    jsonb_build_object('comment', others.comment),
    others.schema
FROM others
WHERE class IN (
    'pg_language'::regclass,
    'pg_am'::regclass,
    'pg_ts_template'::regclass,
    'pg_ts_parser'::regclass
)
