-- Property graphs.
SELECT
    'property graph',
    name,
    jsonb_build_object(
        'owner', relowner::regrole,
        'grants', (
            SELECT array_agg(a::text ORDER BY a::text)
            FROM unnest(coalesce(relacl, acldefault('r', relowner))) AS a
        ),
        'comment', obj_description(oid, 'pg_class'),
        'definition', pg_get_propgraphdef(oid)
    ),
    nspname
FROM relations
WHERE relkind = 'g'
