-- Changes to objects that belong to PostgreSQL or to an extension: privileges that differ from those in pg_init_privs,
-- owners, and comments.
SELECT
    'privileges',
    'on ' || pg_describe_object(listed.class, listed.oid, listed.number),
    jsonb_build_object(
        'owner', listed.owner::regrole,
        'grants', (
            SELECT array_agg(a::text ORDER BY a::text)
            FROM unnest(coalesce(listed.acl, listed.fallback)) AS a
        )
    ),
    NULL
FROM (
    SELECT
        'pg_namespace'::regclass AS class,
        oid,
        0 AS number,
        nspowner AS owner,
        nspacl AS acl,
        acldefault('n', nspowner) AS fallback
    FROM pg_namespace
    WHERE nspname <> 'public'
    UNION ALL
    SELECT 'pg_class'::regclass, oid, 0, relowner, relacl, acldefault('r', relowner)
    FROM pg_class
    WHERE relkind NOT IN ('i', 'I', 't')
    UNION ALL
    SELECT 'pg_class'::regclass, attrelid, attnum, NULL, attacl, '{}'
    FROM pg_attribute
    WHERE attacl IS NOT NULL
    UNION ALL
    SELECT 'pg_proc'::regclass, oid, 0, proowner, proacl, acldefault('f', proowner)
    FROM pg_proc
    UNION ALL
    SELECT 'pg_type'::regclass, oid, 0, typowner, typacl, acldefault('T', typowner)
    FROM pg_type
    WHERE typrelid = 0
        AND typelem = 0
    UNION ALL
    SELECT 'pg_language'::regclass, oid, 0, lanowner, lanacl, acldefault('l', lanowner)
    FROM pg_language
    UNION ALL
    SELECT 'pg_foreign_data_wrapper'::regclass, oid, 0, fdwowner, fdwacl, acldefault('F', fdwowner)
    FROM pg_foreign_data_wrapper
    UNION ALL
    SELECT 'pg_foreign_server'::regclass, oid, 0, srvowner, srvacl, acldefault('S', srvowner)
    FROM pg_foreign_server
) AS listed
LEFT JOIN pg_init_privs AS init
    ON init.classoid = listed.class
        AND init.objoid = listed.oid
        AND init.objsubid = listed.number
LEFT JOIN pg_depend AS member
    ON member.classid = listed.class
        AND member.objid = listed.oid
        AND member.deptype = 'e'
LEFT JOIN pg_extension AS extension ON extension.oid = member.refobjid
WHERE (listed.oid < 16384 OR extension.oid IS NOT NULL)
    AND (
        listed.owner <> coalesce(extension.extowner, 10)
        OR (
            listed.acl IS DISTINCT FROM init.initprivs
            AND NOT (
                coalesce(listed.acl, listed.fallback) @> coalesce(init.initprivs, listed.fallback)
                AND coalesce(listed.acl, listed.fallback) <@ coalesce(init.initprivs, listed.fallback)
            )
        )
    )
UNION ALL
SELECT
    'comment',
    'on ' || pg_describe_object(classoid, objoid, objsubid),
    jsonb_build_object('comment', description),
    NULL
FROM pg_description
WHERE objsubid < 0
    OR (
        classoid = 'pg_rewrite'::regclass  -- the rule that defines a view
        AND EXISTS (SELECT FROM pg_rewrite WHERE pg_rewrite.oid = objoid AND rulename = '_RETURN')
    )
UNION ALL
SELECT
    -- There are thousands of them, so there is one row per catalog, which shows that something changed.
    -- A sum of hashes does not depend on the order, so nothing has to be sorted.
    'comments of PostgreSQL or an extension',
    'in ' || classoid::regclass,
    jsonb_build_object('digest', sum(hashtextextended(concat_ws(' ', name, objsubid, description), 0))::text),
    NULL
FROM pg_description
-- An object of an extension has another number in each database.
CROSS JOIN LATERAL (
    SELECT CASE WHEN objoid < 16384 THEN objoid::text ELSE pg_describe_object(classoid, objoid, 0) END
) AS object (name)
WHERE objsubid >= 0
    AND (
        objoid < 16384
        OR EXISTS (SELECT FROM owned WHERE owned.classid = pg_description.classoid AND owned.objid = objoid)
    )
    AND NOT (classoid = 'pg_namespace'::regclass AND objoid = 'public'::regnamespace)
GROUP BY classoid
