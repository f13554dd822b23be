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
        'definition', CASE WHEN prokind <> 'a' THEN pg_get_functiondef(oid) END,
        -- pg_get_functiondef takes no aggregates.
        'aggregate', CASE
            WHEN prokind = 'a' THEN jsonb_build_object(
                'arguments', pg_get_function_arguments(oid),
                'result', pg_get_function_result(oid),
                'parallel', proparallel,
                'volatility', provolatile,
                'strict', proisstrict,
                'leakproof', proleakproof,
                'security definer', prosecdef,
                'settings', proconfig
            ) || (
                SELECT to_jsonb(a) - '{aggfnoid,aggtranstype,aggmtranstype,aggsortop}'::text[] || jsonb_build_object(
                    'transition type', aggtranstype::regtype,
                    'moving transition type', nullif(aggmtranstype, 0)::regtype,
                    'sort operator', nullif(aggsortop, 0)::regoperator
                )
                FROM pg_aggregate AS a
                WHERE aggfnoid = functions.oid
            )
        END,
        'depends on extension', (
            SELECT extensions
            FROM depending
            WHERE classid = 'pg_proc'::regclass
                AND objid = functions.oid
        ),
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
        'does', (
            SELECT array_agg(what)
            FROM pg_proc
            JOIN (
                VALUES
                    ('row level security', 'enable\s+row\s+level\s+security'),
                    ('policies', 'create\s+policy'),
                    ('grants', '\m(grant|owner\s+to)\M'),
                    ('owner', '\mowner\s+to\M')
            ) AS actions (what, pattern) ON prosrc ~* pattern
            WHERE pg_proc.oid = evtfoid
        ),
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
        'not-null constraint', (  -- since PostgreSQL 17
            SELECT jsonb_build_object(
                'not-null name', conname,
                'not-null comment', obj_description(con.oid, 'pg_constraint')
            )
            FROM pg_constraint AS con
            WHERE contypid = types.oid
                AND contype = 'n'
        ),
        'default', typdefault,
        'collation', nullif(typcollation, 0)::regcollation,
        'range', (
            SELECT jsonb_build_object(
                'subtype', rngsubtype::regtype,
                'multirange', rngmultitypid::regtype,
                'collation', nullif(rngcollation, 0)::regcollation,
                'operator class', (
                    SELECT format('%I.%I', opcnamespace::regnamespace, opcname)
                    FROM pg_opclass
                    WHERE pg_opclass.oid = rngsubopc
                ),
                'canonical', rngcanonical,
                'difference', rngsubdiff
            )
            FROM pg_range
            WHERE rngtypid = types.oid
        ),
        'defined', typisdefined,
        'base', CASE
            WHEN typtype = 'b' THEN jsonb_build_object(
                'input', typinput,
                'output', typoutput,
                'receive', typreceive,
                'send', typsend,
                'modifier input', typmodin,
                'modifier output', typmodout,
                'analyze', typanalyze,
                'subscript', typsubscript,
                'length', typlen,
                'by value', typbyval,
                'alignment', typalign,
                'storage', typstorage,
                'category', typcategory,
                'preferred', typispreferred,
                'delimiter', typdelim,
                'element', nullif(typelem, 0)::regtype
            )
        END,
        'comment', obj_description(oid, 'pg_type')
    ),
    nspname
FROM types
