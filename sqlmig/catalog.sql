-- Everything that a migration can make or change in this database, but what belongs to PostgreSQL or an extension:
-- a row an object with its kind, its name, its properties and its schema, where it is in one.

WITH
owned AS (  -- what an extension brought along
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
),
schemas AS (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
        AND NOT EXISTS (SELECT FROM owned WHERE classid = 'pg_namespace'::regclass AND objid = oid)
),
relations AS (
    SELECT c.*, nspname, format('%I.%I', nspname, relname) AS name FROM pg_class c JOIN schemas s ON s.oid = relnamespace
    WHERE NOT EXISTS (SELECT FROM owned WHERE classid = 'pg_class'::regclass AND objid = c.oid)
),
functions AS (
    SELECT p.*, nspname, format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(p.oid)) AS name
    FROM pg_proc p JOIN schemas s ON s.oid = pronamespace
    WHERE NOT EXISTS (SELECT FROM owned WHERE classid = 'pg_proc'::regclass AND objid = p.oid)
),
types AS (  -- not the types of tables, nor of arrays
    SELECT t.*, nspname, format('%I.%I', nspname, typname) AS name FROM pg_type t JOIN schemas s ON s.oid = typnamespace
    WHERE typtype IN ('e', 'd', 'r', 'b') AND typelem = 0
        AND NOT EXISTS (SELECT FROM owned WHERE classid = 'pg_type'::regclass AND objid = t.oid)
)
SELECT 'schema' AS kind, nspname::text AS name, jsonb_build_object(
    'owner', nspowner::regrole, 'grants', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) a),
    'comment', obj_description(oid, 'pg_namespace')) AS properties, nspname::text AS schema
FROM schemas
UNION ALL
SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
    WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' ELSE 'composite type' END, name, jsonb_build_object(
    'columns', (SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = relations.oid AND attnum > 0 AND NOT attisdropped),
    'owner', relowner::regrole, 'grants', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(CASE relkind
        WHEN 'c' THEN (SELECT coalesce(typacl, acldefault('T', typowner)) FROM pg_type WHERE typrelid = relations.oid)
        ELSE coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) END) a),
    'comment', coalesce(obj_description(oid, 'pg_class'), obj_description(reltype, 'pg_type')), 'row level security', relrowsecurity,
    'forced row level security', relforcerowsecurity, 'options', (SELECT array_agg(o ORDER BY o) FROM unnest(reloptions) o), 'persistence', relpersistence,
    'toast options', (SELECT array_agg(o ORDER BY o) FROM pg_class AS t, unnest(t.reloptions) o WHERE t.oid = relations.reltoastrelid),
    'replica identity', relreplident, 'access method', (SELECT amname FROM pg_am WHERE pg_am.oid = relam),
    'tablespace', reltablespace, 'parents', (SELECT array_agg(inhparent::regclass::text ORDER BY inhparent::regclass::text) FROM pg_inherits WHERE inhrelid = relations.oid),
    'of type', nullif(reloftype, 0)::regtype, 'foreign options', (SELECT array_agg(o ORDER BY o) FROM pg_foreign_table, unnest(ftoptions) o WHERE ftrelid = relations.oid),
    'foreign keys off', (SELECT array_agg(DISTINCT conname::text) FROM pg_trigger JOIN pg_constraint con ON con.oid = tgconstraint
        WHERE tgrelid = relations.oid AND tgisinternal AND tgenabled <> 'O'),
    'partition bound', pg_get_expr(relpartbound, oid), 'partition key', CASE relkind WHEN 'p' THEN pg_get_partkeydef(oid) END,
    'definition', CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) END), nspname
FROM relations WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
UNION ALL
SELECT 'column', format('%s.%I', name, attname), jsonb_build_object(
    'type', format_type(atttypid, atttypmod), 'not null', attnotnull, 'not null but', (
        SELECT nullif(concat_ws(', ', CASE WHEN NOT convalidated THEN 'not valid' END, CASE WHEN connoinherit THEN 'no inherit' END), '')
        FROM pg_constraint WHERE conrelid = attrelid AND contype = 'n' AND conkey[1] = attnum), 'default', pg_get_expr(adbin, adrelid),
    'identity', attidentity, 'generated', attgenerated, 'collation', nullif(attcollation, 0)::regcollation,
    'storage', attstorage, 'compression', attcompression, 'statistics', nullif(attstattarget::int, -1), 'options', (SELECT array_agg(o ORDER BY o) FROM unnest(attoptions) o WHERE o !~ '^pg_'), 'foreign options', (SELECT array_agg(o ORDER BY o) FROM unnest(attfdwoptions) o),
    'grants', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(attacl) a), 'comment', col_description(attrelid, attnum)), nspname
FROM pg_attribute JOIN relations r ON r.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
UNION ALL
SELECT 'sequence settings of', name, to_jsonb(s) - 'seqrelid' || jsonb_build_object('owned by', (
    SELECT format('%s.%s', refobjid::regclass, refobjsubid) FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND objid = seqrelid AND deptype IN ('a', 'i') AND refobjsubid > 0)), nspname
FROM pg_sequence s JOIN relations ON relations.oid = seqrelid
UNION ALL
SELECT 'constraint', format('%s.%I', coalesce(r.name, t.name), conname), jsonb_build_object(
    'definition', pg_get_constraintdef(con.oid), 'comment', obj_description(con.oid, 'pg_constraint')), coalesce(r.nspname, t.nspname)
FROM pg_constraint con LEFT JOIN relations r ON r.oid = conrelid LEFT JOIN types t ON t.oid = contypid
WHERE contype NOT IN ('t', 'n') AND coalesce(r.oid, t.oid) IS NOT NULL
UNION ALL
SELECT 'index', r.name, jsonb_build_object(
    'definition', pg_get_indexdef(indexrelid), 'valid', indisvalid, 'clustered', indisclustered, 'options', (SELECT array_agg(o ORDER BY o) FROM unnest(reloptions) o),
    'replica identity', indisreplident, 'comment', obj_description(indexrelid, 'pg_class'),
    'statistics', (SELECT array_agg(nullif(attstattarget::int, -1) ORDER BY attnum) FROM pg_attribute WHERE attrelid = indexrelid)), nspname
FROM pg_index JOIN relations r ON r.oid = indexrelid
UNION ALL
SELECT CASE prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END, name, jsonb_build_object(
    'owner', proowner::regrole, 'grants', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(coalesce(proacl, acldefault('f', proowner))) a),
    'definition', CASE WHEN prokind = 'a' THEN (SELECT (to_jsonb(a) || jsonb_build_object('aggtranstype', aggtranstype::regtype,
        'aggmtranstype', aggmtranstype::regtype, 'aggsortop', aggsortop::regoperator))::text FROM pg_aggregate a WHERE aggfnoid = functions.oid)
        ELSE pg_get_functiondef(oid) END,
    'comment', obj_description(oid, 'pg_proc')), nspname
FROM functions
UNION ALL
SELECT 'trigger', format('%s.%I', name, tgname), jsonb_build_object(
    'definition', pg_get_triggerdef(t.oid), 'enabled', tgenabled, 'comment', obj_description(t.oid, 'pg_trigger')), nspname
FROM pg_trigger t JOIN relations r ON r.oid = tgrelid WHERE NOT tgisinternal
UNION ALL
SELECT 'event trigger', evtname, jsonb_build_object(
    'owner', evtowner::regrole, 'event', evtevent, 'function', evtfoid::regprocedure, 'enabled', evtenabled, 'tags', evttags,
    'comment', obj_description(oid, 'pg_event_trigger')), NULL
FROM pg_event_trigger
UNION ALL
SELECT CASE typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' ELSE 'type' END, name, jsonb_build_object(
    'owner', typowner::regrole, 'grants', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(coalesce(typacl, acldefault('T', typowner))) a),
    'values', (SELECT array_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = types.oid),
    'type', CASE WHEN typtype = 'd' THEN format_type(typbasetype, typtypmod) END, 'not null', typnotnull,
    'default', typdefault, 'collation', nullif(typcollation, 0)::regcollation,
    'subtype', (SELECT rngsubtype::regtype FROM pg_range WHERE rngtypid = types.oid),
    'comment', obj_description(oid, 'pg_type')), nspname
FROM types
UNION ALL
SELECT 'rule', format('%s.%I', name, rulename), jsonb_build_object(
    'definition', pg_get_ruledef(w.oid), 'enabled', ev_enabled, 'comment', obj_description(w.oid, 'pg_rewrite')), nspname
FROM pg_rewrite w JOIN relations r ON r.oid = ev_class WHERE rulename <> '_RETURN'
UNION ALL
SELECT 'policy', format('%s.%I', name, polname), jsonb_build_object(
    'command', polcmd, 'permissive', polpermissive, 'roles', (SELECT array_agg(x::regrole::text ORDER BY x::regrole::text) FROM unnest(polroles) x),
    'using', pg_get_expr(polqual, polrelid), 'with check', pg_get_expr(polwithcheck, polrelid),
    'comment', obj_description(p.oid, 'pg_policy')), nspname
FROM pg_policy p JOIN relations r ON r.oid = polrelid
UNION ALL
SELECT 'extension', extname, jsonb_build_object(
    'version', extversion, 'schema', extnamespace::regnamespace, 'owner', extowner::regrole,
    'comment', obj_description(oid, 'pg_extension')), NULL
FROM pg_extension
UNION ALL
SELECT 'default privileges', format('of %s in %s on %s', defaclrole::regrole, coalesce(nullif(defaclnamespace, 0)::regnamespace::text, 'all'),
    defaclobjtype), jsonb_build_object('grants', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(defaclacl) a)), NULL
FROM pg_default_acl
UNION ALL
SELECT 'publication', pubname, to_jsonb(p) - 'oid' - 'pubowner' || jsonb_build_object(
    'owner', pubowner::regrole, 'comment', obj_description(oid, 'pg_publication'),
    'tables', (SELECT array_agg(format('%s %s %s', prrelid::regclass, (SELECT array_agg(attname ORDER BY attname)
            FROM pg_attribute WHERE attrelid = prrelid AND attnum = ANY (prattrs::int2[])), pg_get_expr(prqual, prrelid)) ORDER BY prrelid::regclass::text)
        FROM pg_publication_rel WHERE prpubid = p.oid),
    'schemas', (SELECT array_agg(pnnspid::regnamespace::text ORDER BY pnnspid::regnamespace::text) FROM pg_publication_namespace WHERE pnpubid = p.oid)), NULL
FROM pg_publication p
UNION ALL
SELECT 'statistics', format('%I.%I', s.nspname, stxname), jsonb_build_object(
    'definition', pg_get_statisticsobjdef(x.oid), 'target', nullif(stxstattarget::int, -1), 'owner', stxowner::regrole, 'comment', obj_description(x.oid, 'pg_statistic_ext')), nspname
FROM pg_statistic_ext x JOIN schemas s ON s.oid = stxnamespace
UNION ALL
SELECT split_part(described, ' ', 1), substr(described, strpos(described, ' ') + 1), jsonb_build_object('comment', comment, 'details', details), schema
FROM (
    SELECT pg_describe_object(o.class, o.oid, 0) AS described, (pg_identify_object(o.class, o.oid, 0)).schema, (SELECT description FROM pg_description d
        WHERE d.classoid = o.class AND d.objoid = o.oid AND objsubid = 0) AS comment,
        CASE o.class
            WHEN 'pg_operator'::regclass THEN (SELECT jsonb_build_object('owner', oprowner::regrole, 'function', oprcode,
                'commutator', nullif(oprcom, 0)::regoperator, 'negator', nullif(oprnegate, 0)::regoperator,
                'restrict', oprrest, 'join', oprjoin, 'merges', oprcanmerge, 'hashes', oprcanhash) FROM pg_operator p WHERE p.oid = o.oid)
            WHEN 'pg_opclass'::regclass THEN (SELECT jsonb_build_object('owner', opcowner::regrole, 'default', opcdefault, 'type', opcintype::regtype,
                'stored', nullif(opckeytype, 0)::regtype) FROM pg_opclass c WHERE c.oid = o.oid)
            WHEN 'pg_opfamily'::regclass THEN (SELECT jsonb_build_object('owner', opfowner::regrole,
                'operators', (SELECT jsonb_agg(concat_ws(' ', amopstrategy, amopopr::regoperator) ORDER BY amopstrategy, amopopr::regoperator::text)
                    FROM pg_amop WHERE amopfamily = o.oid),
                'functions', (SELECT jsonb_agg(concat_ws(' ', amprocnum, amproc::regprocedure) ORDER BY amprocnum, amproc::regprocedure::text)
                    FROM pg_amproc WHERE amprocfamily = o.oid)) FROM pg_opfamily f WHERE f.oid = o.oid)
            WHEN 'pg_cast'::regclass THEN (SELECT jsonb_build_object('function', nullif(castfunc, 0)::regprocedure, 'context', castcontext,
                'method', castmethod) FROM pg_cast c WHERE c.oid = o.oid)
            WHEN 'pg_collation'::regclass THEN (SELECT to_jsonb(c) - '{oid,collnamespace,collversion}'::text[]
                || jsonb_build_object('collowner', collowner::regrole) FROM pg_collation c WHERE c.oid = o.oid)
            WHEN 'pg_conversion'::regclass THEN (SELECT to_jsonb(c) - '{oid,connamespace}'::text[]
                || jsonb_build_object('conowner', conowner::regrole) FROM pg_conversion c WHERE c.oid = o.oid)
            WHEN 'pg_ts_config'::regclass THEN (SELECT jsonb_build_object('owner', cfgowner::regrole, 'mappings', (
                SELECT jsonb_agg(concat_ws(' ', maptokentype, mapseqno, mapdict::regdictionary) ORDER BY maptokentype, mapseqno)
                FROM pg_ts_config_map WHERE mapcfg = o.oid)) FROM pg_ts_config c WHERE c.oid = o.oid)
            WHEN 'pg_ts_dict'::regclass THEN (SELECT jsonb_build_object('owner', dictowner::regrole, 'options', dictinitoption)
                FROM pg_ts_dict d WHERE d.oid = o.oid)
            WHEN 'pg_foreign_server'::regclass THEN (SELECT jsonb_build_object('owner', srvowner::regrole,
                'options', (SELECT array_agg(x ORDER BY x) FROM unnest(srvoptions) x),
                'grants', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(coalesce(srvacl, acldefault('S', srvowner))) a)) FROM pg_foreign_server s WHERE s.oid = o.oid)
            WHEN 'pg_foreign_data_wrapper'::regclass THEN (SELECT jsonb_build_object('owner', fdwowner::regrole,
                'options', (SELECT array_agg(x ORDER BY x) FROM unnest(fdwoptions) x),
                'grants', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(coalesce(fdwacl, acldefault('F', fdwowner))) a)) FROM pg_foreign_data_wrapper w WHERE w.oid = o.oid)
        END AS details
    FROM (
        SELECT 'pg_operator'::regclass AS class, oid FROM pg_operator UNION ALL
        SELECT 'pg_opclass'::regclass, oid FROM pg_opclass UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily UNION ALL
        SELECT 'pg_cast'::regclass, oid FROM pg_cast UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation UNION ALL
        SELECT 'pg_language'::regclass, oid FROM pg_language UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am UNION ALL
        SELECT 'pg_conversion'::regclass, oid FROM pg_conversion UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template UNION ALL
        SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict UNION ALL
        SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server UNION ALL
        SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
    ) o
    WHERE o.oid >= 16384 AND NOT EXISTS (SELECT FROM owned WHERE classid = o.class AND objid = o.oid)
) others
UNION ALL
SELECT 'user mapping', format('%I on %I', usename, srvname), jsonb_build_object(
    'options', (SELECT array_agg(o ORDER BY o) FROM unnest(umoptions) o)), NULL FROM pg_user_mappings
UNION ALL
SELECT 'settings of', coalesce(nullif(setrole, 0)::regrole::text, 'all roles'),
    jsonb_build_object('values', (SELECT array_agg(v ORDER BY v) FROM unnest(setconfig) v)), NULL
FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
