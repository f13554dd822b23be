-- Objects that belong to a table: constraints, indexes, triggers, rules, policies and statistics.
SELECT
    'constraint',
    format('%s.%I', coalesce(r.name, t.name), conname),
    jsonb_build_object(
        'definition', pg_get_constraintdef(con.oid),
        'local', conislocal,
        'comment', obj_description(con.oid, 'pg_constraint')
    ),
    coalesce(r.nspname, t.nspname)
FROM pg_constraint AS con
LEFT JOIN relations AS r ON r.oid = conrelid
LEFT JOIN types AS t ON t.oid = contypid
WHERE contype NOT IN ('t', 'n') AND coalesce(r.oid, t.oid) IS NOT NULL
UNION ALL
SELECT
    'index',
    r.name,
    jsonb_build_object(
        'table', indrelid::regclass,
        'definition', pg_get_indexdef(indexrelid),
        'tablespace', (SELECT spcname FROM pg_tablespace WHERE pg_tablespace.oid = reltablespace),
        'attached to', (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = indexrelid),
        'valid', indisvalid,
        'clustered', indisclustered,
        'options', (SELECT array_agg(o ORDER BY o) FROM unnest(reloptions) AS o),
        'replica identity', indisreplident,
        'depends on extension', (
            SELECT extensions
            FROM depending
            WHERE classid = 'pg_class'::regclass
                AND objid = indexrelid
        ),
        'comment', obj_description(indexrelid, 'pg_class'),
        'statistics', (
            SELECT array_agg(nullif(attstattarget::int, -1) ORDER BY attnum)
            FROM pg_attribute
            WHERE attrelid = indexrelid
        )
    ),
    nspname
FROM pg_index
JOIN relations AS r ON r.oid = indexrelid
UNION ALL
SELECT
    'trigger',
    format('%s.%I', name, tgname),
    jsonb_build_object(
        'definition', pg_get_triggerdef(t.oid),
        'enabled', tgenabled,
        'depends on extension', (
            SELECT extensions
            FROM depending
            WHERE classid = 'pg_trigger'::regclass
                AND objid = t.oid
        ),
        'comment', obj_description(t.oid, 'pg_trigger')
    ),
    nspname
FROM pg_trigger AS t
JOIN all_relations AS r ON r.oid = tgrelid
WHERE NOT tgisinternal
UNION ALL
SELECT
    'rule',
    format('%s.%I', name, rulename),
    jsonb_build_object(
        'definition', pg_get_ruledef(w.oid),
        'enabled', ev_enabled,
        'comment', obj_description(w.oid, 'pg_rewrite')
    ),
    nspname
FROM pg_rewrite AS w
JOIN all_relations AS r ON r.oid = ev_class
WHERE rulename <> '_RETURN'
UNION ALL
SELECT
    'policy',
    format('%s.%I', name, polname),
    jsonb_build_object(
        'command', polcmd,
        'permissive', polpermissive,
        'roles', (SELECT array_agg(x::regrole::text ORDER BY x::regrole::text) FROM unnest(polroles) AS x),
        'using', pg_get_expr(polqual, polrelid),
        'with check', pg_get_expr(polwithcheck, polrelid),
        'comment', obj_description(p.oid, 'pg_policy')
    ),
    nspname
FROM pg_policy AS p
JOIN all_relations AS r ON r.oid = polrelid
UNION ALL
SELECT
    'statistics',
    format('%I.%I', s.nspname, stxname),
    jsonb_build_object(
        'definition', pg_get_statisticsobjdef(x.oid),
        'target', nullif(stxstattarget::int, -1),
        'owner', stxowner::regrole,
        'comment', obj_description(x.oid, 'pg_statistic_ext')
    ),
    nspname
FROM pg_statistic_ext AS x
JOIN schemas AS s ON s.oid = stxnamespace
