-- Queries that find what a file changes in the catalogs that all databases of the server share.

-- %% shared_catalogs
-- The catalogs that all databases share. pg_shdepend is left out: it has rows about objects within a database.
SELECT oid::text
FROM pg_class
WHERE relisshared
    AND relkind = 'r'
    AND oid <> 'pg_shdepend'::regclass;

-- %% changes
-- How many rows this transaction wrote in each of them. The counts only grow, even if a savepoint is rolled back.
-- The lock of a writer is counted, too: a file may turn off track_counts for a moment.
SELECT
    shared::text,
    (
        pg_stat_get_xact_tuples_inserted(shared)
        + pg_stat_get_xact_tuples_updated(shared)
        + pg_stat_get_xact_tuples_deleted(shared)
        + count(pid)
    )::bigint
FROM unnest('{{{catalogs}}}'::regclass[]) AS shared
LEFT JOIN pg_locks
    ON relation = shared
    AND pid = pg_backend_pid()
    AND mode = 'RowExclusiveLock'
GROUP BY shared
UNION ALL
SELECT 'not counted', (current_setting('track_counts') = 'off')::int
UNION ALL
SELECT 'has foreign tables', EXISTS (SELECT FROM pg_foreign_table)::int
UNION ALL
-- INSERT, UPDATE and DELETE take the first lock, TRUNCATE and DDL take the second. A relation that is not in the
-- catalog was dropped by this transaction, and may have been a foreign table.
SELECT kind, number
FROM (
    SELECT
        count(*) FILTER (WHERE mode = 'RowExclusiveLock' AND relkind = 'f') AS written,
        count(*) FILTER (WHERE mode = 'RowExclusiveLock' AND pg_class.oid IS NULL) AS dropped,
        count(*) FILTER (WHERE mode = 'AccessExclusiveLock' AND relkind = 'f') AS locked
    FROM pg_locks
    LEFT JOIN pg_class ON pg_class.oid = relation
    WHERE pid = pg_backend_pid()
        AND locktype = 'relation'
) AS locks
CROSS JOIN LATERAL (
    VALUES
        ('foreign tables', written),
        ('dropped after writing', dropped),
        ('locked foreign tables', locked)
) AS kinds (kind, number);

-- %% has_foreign_tables
SELECT EXISTS (SELECT FROM pg_foreign_table);

-- %% prepared
-- The prepared transactions of this database.
SELECT gid
FROM pg_prepared_xacts
WHERE database = current_database()
ORDER BY 1;

-- %% sources
-- The sources of the functions and procedures that have one of these names.
SELECT coalesce(prosrc, '')
FROM pg_proc
WHERE oid >= 16384
    AND proname IN ({names});

-- %% objects
-- The objects that the server's databases share: the kind, the name, and the state as text. Objects that belong only to
-- the scratch database are left out.
SELECT 'role', rolname::text, to_jsonb(r) - '{{oid,rolconfig}}'::text[]
FROM pg_roles AS r
UNION ALL
SELECT
    'membership',
    format('of %s in %s', member::regrole, roleid::regrole),
    to_jsonb(m) - '{{oid,roleid,member}}'::text[]
FROM pg_auth_members AS m
UNION ALL
SELECT
    'setting',
    format(
        'of %s in %s',
        CASE setrole WHEN 0 THEN 'all roles' ELSE setrole::regrole::text END,
        CASE setdatabase
            WHEN 0 THEN 'all databases'
            ELSE 'database ' || (SELECT quote_ident(datname) FROM pg_database WHERE oid = setdatabase)
        END
    ),
    to_jsonb(setconfig)
FROM pg_db_role_setting
WHERE setdatabase IS DISTINCT FROM (SELECT oid FROM pg_database WHERE datname = {scratch})
UNION ALL
SELECT 'database', quote_ident(datname), to_jsonb(d) - '{{oid,datfrozenxid,datminmxid,datcollversion}}'::text[]
FROM pg_database AS d
WHERE datname <> {scratch}
UNION ALL
SELECT 'tablespace', quote_ident(spcname), to_jsonb(t) - 'oid'
FROM pg_tablespace AS t
UNION ALL
SELECT 'subscription', quote_ident(subname), to_jsonb(subenabled)
FROM pg_subscription
UNION ALL
SELECT 'parameter', parname, to_jsonb(paracl)
FROM pg_parameter_acl
UNION ALL
SELECT
    'comment',
    'on ' || pg_describe_object(classoid, objoid, 0),
    to_jsonb(description)
FROM pg_shdescription
WHERE classoid <> 'pg_database'::regclass
    OR objoid <> (SELECT oid FROM pg_database WHERE datname = {scratch})
UNION ALL
SELECT
    'security label',
    'on ' || pg_describe_object(classoid, objoid, 0),
    to_jsonb(label)
FROM pg_shseclabel;
