-- Functions, procedures, aggregates, event triggers, and types.
SELECT
    CASE prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
    name,
    jsonb_build_object(
        'owner', proowner::regrole,
        'grants', (
            SELECT array_agg(a::text ORDER BY a::text)
            FROM unnest(coalesce(proacl, acldefault('f', proowner))) AS a
        ),
        'definition', CASE
            WHEN prokind = 'a' THEN (
                SELECT (
                    to_jsonb(a)
                    || jsonb_build_object(
                        'aggtranstype', aggtranstype::regtype,
                        'aggmtranstype', aggmtranstype::regtype,
                        'aggsortop', aggsortop::regoperator
                    )
                )::text
                FROM pg_aggregate AS a
                WHERE aggfnoid = functions.oid
            )
            ELSE pg_get_functiondef(oid)
        END,
        'comment', obj_description(oid, 'pg_proc')
    ),
    nspname
FROM functions
UNION ALL
SELECT
    'event trigger',
    evtname,
    jsonb_build_object(
        'owner', evtowner::regrole,
        'event', evtevent,
        'function', evtfoid::regprocedure,
        'enabled', evtenabled,
        'tags', evttags,
        'comment', obj_description(oid, 'pg_event_trigger')
    ),
    NULL
FROM pg_event_trigger
UNION ALL
SELECT
    CASE typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' ELSE 'type' END,
    name,
    jsonb_build_object(
        'owner', typowner::regrole,
        'grants', (
            SELECT array_agg(a::text ORDER BY a::text)
            FROM unnest(coalesce(typacl, acldefault('T', typowner))) AS a
        ),
        'values', (
            SELECT array_agg(enumlabel ORDER BY enumsortorder)
            FROM pg_enum
            WHERE enumtypid = types.oid
        ),
        'type', CASE WHEN typtype = 'd' THEN format_type(typbasetype, typtypmod) END,
        'not null', typnotnull,
        'default', typdefault,
        'collation', nullif(typcollation, 0)::regcollation,
        'subtype', (SELECT rngsubtype::regtype FROM pg_range WHERE rngtypid = types.oid),
        'comment', obj_description(oid, 'pg_type')
    ),
    nspname
FROM types
