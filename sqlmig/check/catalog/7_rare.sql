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
        'parser', (SELECT prsname FROM pg_ts_parser WHERE pg_ts_parser.oid = cfgparser),
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
        'template', (SELECT tmplname FROM pg_ts_template WHERE pg_ts_template.oid = dicttemplate),
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
        'wrapper', (SELECT fdwname FROM pg_foreign_data_wrapper WHERE pg_foreign_data_wrapper.oid = srvfdw),
        'type', srvtype,
        'version', srvversion,
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
        'handler', nullif(fdwhandler, 0)::regprocedure,
        'validator', nullif(fdwvalidator, 0)::regprocedure,
        'connection', nullif((to_jsonb(w) ->> 'fdwconnection')::oid, 0)::regprocedure,  -- since PostgreSQL 19
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
    jsonb_build_object(
        'owner', lanowner::regrole,
        'grants', (
            SELECT array_agg(a::text ORDER BY a::text)
            FROM unnest(coalesce(lanacl, acldefault('l', lanowner))) AS a
        ),
        'trusted', lanpltrusted,
        'handler', nullif(lanplcallfoid, 0)::regprocedure,
        'inline', nullif(laninline, 0)::regprocedure,
        'validator', nullif(lanvalidator, 0)::regprocedure,
        'comment', others.comment
    ),
    others.schema
FROM others
JOIN pg_language AS l ON l.oid = others.oid
WHERE class = 'pg_language'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    jsonb_build_object('handler', amhandler, 'type', amtype, 'comment', others.comment),
    others.schema
FROM others
JOIN pg_am AS m ON m.oid = others.oid
WHERE class = 'pg_am'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    to_jsonb(t) - '{oid,tmplnamespace}'::text[] || jsonb_build_object('comment', others.comment),
    others.schema
FROM others
JOIN pg_ts_template AS t ON t.oid = others.oid
WHERE class = 'pg_ts_template'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    to_jsonb(p) - '{oid,prsnamespace}'::text[] || jsonb_build_object('comment', others.comment),
    others.schema
FROM others
JOIN pg_ts_parser AS p ON p.oid = others.oid
WHERE class = 'pg_ts_parser'::regclass
UNION ALL
SELECT
    others.kind,
    others.name,
    jsonb_build_object(
        'from SQL', nullif(trffromsql, 0)::regprocedure,
        'to SQL', nullif(trftosql, 0)::regprocedure,
        'comment', others.comment
    ),
    others.schema
FROM others
JOIN pg_transform AS t ON t.oid = others.oid
WHERE class = 'pg_transform'::regclass
UNION ALL
SELECT
    'large object',
    m.oid::text,
    jsonb_build_object(
        'owner', lomowner::regrole,
        'grants', (
            SELECT array_agg(a::text ORDER BY a::text)
            FROM unnest(coalesce(lomacl, acldefault('L', lomowner))) AS a
        ),
        'comment', obj_description(m.oid, 'pg_largeobject')
    ),
    NULL
FROM pg_largeobject_metadata AS m
UNION ALL
SELECT
    'security label',
    format('of %s on %s', provider, pg_describe_object(classoid, objoid, objsubid)),
    jsonb_build_object('label', label),
    NULL
FROM pg_seclabel
