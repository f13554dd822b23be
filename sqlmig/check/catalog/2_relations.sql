-- Tables, views, sequences, composite types, and their columns.
SELECT
    CASE relkind
        WHEN 'r' THEN 'table'
        WHEN 'p' THEN 'table'
        WHEN 'v' THEN 'view'
        WHEN 'm' THEN 'materialized view'
        WHEN 'S' THEN 'sequence'
        WHEN 'f' THEN 'foreign table'
        ELSE 'composite type'
    END,
    name,
    jsonb_build_object(
        'columns', (
            SELECT array_agg(attname ORDER BY attnum)
            FROM pg_attribute
            WHERE attrelid = relations.oid AND attnum > 0 AND NOT attisdropped
        ),
        'owner', relowner::regrole,
        'depends on extension', (
            SELECT extensions
            FROM depending
            WHERE classid = 'pg_class'::regclass
                AND objid = relations.oid
        ),
        'grants', (
            SELECT array_agg(a::text ORDER BY a::text)
            FROM unnest(
                CASE relkind
                    WHEN 'c' THEN (
                        SELECT coalesce(typacl, acldefault('T', typowner))
                        FROM pg_type
                        WHERE pg_type.oid = relations.reltype
                    )
                    WHEN 'S' THEN coalesce(relacl, acldefault('s', relowner))
                    ELSE coalesce(relacl, acldefault('r', relowner))
                END
            ) a
        ),
        'comment', coalesce(obj_description(oid, 'pg_class'), obj_description(reltype, 'pg_type')),
        'row level security', relrowsecurity,
        'forced row level security', relforcerowsecurity,
        'options', (SELECT array_agg(o ORDER BY o) FROM unnest(reloptions) AS o),
        'persistence', relpersistence,
        'toast options', (
            SELECT array_agg(o ORDER BY o)
            FROM pg_class AS t, unnest(t.reloptions) AS o
            WHERE t.oid = relations.reltoastrelid
        ),
        'replica identity', relreplident,
        'access method', (SELECT amname FROM pg_am WHERE pg_am.oid = relam),
        'tablespace', (SELECT spcname FROM pg_tablespace WHERE pg_tablespace.oid = reltablespace),
        'parents', (
            SELECT array_agg(inhparent::regclass::text ORDER BY inhparent::regclass::text)
            FROM pg_inherits
            WHERE inhrelid = relations.oid
        ),
        'order of parents', (
            SELECT array_agg(inhparent::regclass::text ORDER BY inhseqno)
            FROM pg_inherits
            WHERE inhrelid = relations.oid
        ),
        'detach pending', (SELECT bool_or(inhdetachpending) FROM pg_inherits WHERE inhrelid = relations.oid),
        'filled', relispopulated,
        'row type grants', (
            SELECT array_agg(a::text ORDER BY a::text)
            FROM pg_type
            CROSS JOIN unnest(coalesce(typacl, acldefault('T', typowner))) AS a
            WHERE pg_type.oid = relations.reltype
                AND relkind <> 'c'
        ),
        'foreign server', (
            SELECT srvname
            FROM pg_foreign_table
            JOIN pg_foreign_server ON pg_foreign_server.oid = ftserver
            WHERE ftrelid = relations.oid
        ),
        'of type', nullif(reloftype, 0)::regtype,
        'foreign options', (
            SELECT array_agg(o ORDER BY o)
            FROM pg_foreign_table, unnest(ftoptions) AS o
            WHERE ftrelid = relations.oid
        ),
        'foreign keys off', (
            SELECT array_agg(DISTINCT conname::text)
            FROM pg_trigger
            JOIN pg_constraint con ON con.oid = tgconstraint
            WHERE tgrelid = relations.oid AND tgisinternal AND tgenabled <> 'O'
        ),
        'partition bound', pg_get_expr(relpartbound, oid),
        'partition key', CASE relkind WHEN 'p' THEN pg_get_partkeydef(oid) END,
        'definition', CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) END
    ),
    nspname
FROM relations
WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
UNION ALL
SELECT
    'column',
    format('%s.%I', name, attname),
    jsonb_build_object(
        'type', format_type(atttypid, atttypmod),
        'not null', attnotnull,
        'not-null constraint', (  -- since PostgreSQL 18
            SELECT jsonb_build_object(
                'not-null name', conname,
                'not-null comment', obj_description(con.oid, 'pg_constraint'),
                'not-null validated', convalidated,
                'not-null no inherit', connoinherit
            )
            FROM pg_constraint AS con
            WHERE conrelid = attrelid
                AND contype = 'n'
                AND conkey[1] = attnum
        ),
        'default', pg_get_expr(adbin, adrelid),
        'identity', attidentity,
        'generated', attgenerated,
        'collation', nullif(attcollation, 0)::regcollation,
        'storage', attstorage,
        'compression', attcompression,
        'statistics', nullif(attstattarget::int, -1),
        'options', (SELECT array_agg(o ORDER BY o) FROM unnest(attoptions) AS o WHERE o !~ '^pg_'),
        'foreign options', (SELECT array_agg(o ORDER BY o) FROM unnest(attfdwoptions) AS o),
        'grants', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(attacl) AS a),
        'comment', col_description(attrelid, attnum),
        'local', attislocal
    ),
    nspname
FROM pg_attribute
JOIN relations AS r ON r.oid = attrelid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
UNION ALL
SELECT
    'sequence settings of',
    name,
    to_jsonb(s) - '{seqrelid,seqtypid}'::text[] || jsonb_build_object(
        'type', seqtypid::regtype,
        'owned by', (
            SELECT format('%s.%I', refobjid::regclass, attname)
            FROM pg_depend
            JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
            WHERE classid = 'pg_class'::regclass
                AND objid = seqrelid
                AND deptype IN ('a', 'i')
                AND refobjsubid > 0
        )
    ),
    nspname
FROM pg_sequence AS s
JOIN relations ON relations.oid = seqrelid
