-- Everything that a migration can create or change in this database, except objects of PostgreSQL or of an extension. A
-- row is an object: its kind, its name, its properties, and its schema if it has one. The other numbered files are
-- joined by UNION ALL, and use the names defined here.
WITH owned AS (  -- the objects of an extension
    SELECT classid, objid
    FROM pg_depend
    WHERE deptype = 'e'
),
depending AS (  -- what an extension takes along when it is dropped
    SELECT classid, objid, array_agg(extname ORDER BY extname) AS extensions
    FROM pg_depend
    JOIN pg_extension ON pg_extension.oid = refobjid
    WHERE deptype = 'x'
        AND refclassid = 'pg_extension'::regclass
    GROUP BY 1, 2
),
schemas AS (
    SELECT
        oid,
        nspname,
        nspowner,
        nspacl,
        EXISTS (SELECT FROM owned WHERE classid = 'pg_namespace'::regclass AND objid = oid) AS is_owned
    FROM pg_namespace
    WHERE nspname !~ '^pg_'
        AND nspname <> 'information_schema'
),
all_relations AS (  -- also an extension's, because a migration may add a trigger to them
    SELECT
        c.*,
        nspname,
        format('%I.%I', nspname, relname) AS name,
        EXISTS (SELECT FROM owned WHERE classid = 'pg_class'::regclass AND objid = c.oid) AS is_owned
    FROM pg_class AS c
    JOIN schemas AS s ON s.oid = relnamespace
),
relations AS (
    SELECT *
    FROM all_relations
    WHERE NOT is_owned
),
functions AS (
    SELECT
        p.*,
        nspname,
        format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(p.oid)) AS name
    FROM pg_proc AS p
    JOIN schemas AS s ON s.oid = pronamespace
    WHERE NOT EXISTS (SELECT FROM owned WHERE classid = 'pg_proc'::regclass AND objid = p.oid)
),
types AS (  -- without the row types of tables, and without the array types that come with a type
    SELECT t.*, nspname, format('%I.%I', nspname, typname) AS name
    FROM pg_type AS t
    JOIN schemas AS s ON s.oid = typnamespace
    WHERE (typtype IN ('e', 'd', 'r', 'b') OR (typtype = 'p' AND NOT typisdefined))
        AND NOT EXISTS (SELECT FROM pg_type AS element WHERE element.typarray = t.oid)
        AND NOT EXISTS (SELECT FROM owned WHERE classid = 'pg_type'::regclass AND objid = t.oid)
),
-- Objects of the rarer kinds, as PostgreSQL itself describes them. Numbers below 16384 are its own objects.
others AS (
    SELECT
        class,
        oid,
        split_part(described, ' ', 1) AS kind,
        substr(described, strpos(described, ' ') + 1) AS name,
        (pg_identify_object(class, oid, 0)).schema AS schema,
        obj_description(oid, class::regclass::name) AS comment
    FROM (
        SELECT 'pg_am'::regclass AS class, oid FROM pg_am
        UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast
        UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation
        UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
        UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
        UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
        UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language
        UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
        UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
        UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily
        UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
        UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict
        UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser
        UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template
        UNION ALL SELECT 'pg_transform'::regclass, oid FROM pg_transform
    ) AS listed
    CROSS JOIN LATERAL pg_describe_object(class, oid, 0) AS described
    WHERE oid >= 16384
        AND NOT EXISTS (SELECT FROM owned WHERE classid = class AND objid = oid)
)
