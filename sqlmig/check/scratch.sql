-- Queries on a scratch database, and statements that prepare it.

-- %% left_over
-- Our scratch databases that no session uses or is creating. The creating session has the name in its application_name.
SELECT datname::text
FROM pg_database
WHERE datname ~ '^{prefix}[0-9]+_[0-9a-f]{{8}}(_[0-9]+)?$'
    AND pg_has_role(datdba, 'USAGE')
    AND NOT EXISTS (
        SELECT
        FROM pg_stat_activity
        WHERE pg_stat_activity.datname = pg_database.datname
            OR application_name = left('{owner}' || substring(pg_database.datname FROM '^{prefix}[0-9]+_[0-9a-f]{{8}}'), 63)
    )
ORDER BY 1

-- %% end_sessions
-- The sessions of a scratch database that our role may end.
SELECT count(pg_terminate_backend(pid))
FROM pg_stat_activity
WHERE datname = {name} AND usename = current_user AND pid <> pg_backend_pid();

-- %% exists
SELECT 1
FROM pg_database
WHERE datname = {name}

-- %% template
-- A database that must not be a template before it can be dropped. An invalid one has -2 connections.
SELECT 1
FROM pg_database
WHERE datname = {name}
    AND datistemplate
    AND datconnlimit <> -2

-- %% other_owner
-- The owner of a database, if this role does not have its rights.
SELECT pg_get_userbyid(datdba)::text
FROM pg_database
WHERE datname = {name}
    AND NOT pg_has_role(datdba, 'USAGE')

-- %% prepared
-- The prepared transactions that files left in a scratch database.
SELECT gid
FROM pg_prepared_xacts
WHERE database = {name}

-- %% own_public
-- Before PostgreSQL 16, a role with NOINHERIT cannot use the privileges that it has as the database's owner.
DO $$
DECLARE
    owner text := current_user;
BEGIN
    IF (
        SELECT nspowner::regrole::text = 'pg_database_owner' AND NOT has_schema_privilege(oid, 'CREATE')
        FROM pg_namespace
        WHERE nspname = 'public'
    ) THEN
        SET ROLE pg_database_owner;
        EXECUTE format('GRANT ALL ON SCHEMA public TO %I WITH GRANT OPTION', owner);
        RESET ROLE;
    END IF;
END
$$;

-- %% count_rows
-- How many rows a catalog has, and how many of them this transaction wrote.
SELECT
    '{view}',
    count(*)::text,
    count(*) FILTER (WHERE age(xmin) <= (SELECT age(pg_current_xact_id()::xid)))
FROM pg_catalog.{name}

-- %% count_rows_of_view
-- A view's rows have no xmin, so their text is compared.
SELECT '{view}', md5(string_agg(v::text, ' ' ORDER BY v::text)), 0 FROM pg_catalog.{view} AS v

-- %% own_rows
-- Whether any row of a catalog is from this transaction.
SELECT 1 FROM pg_catalog.{name} WHERE age(xmin) <= (SELECT age(pg_current_xact_id()::xid)) LIMIT 1

-- %% written
-- How many rows of each catalog this transaction inserted, updated and deleted, perhaps with those of the previous one.
SELECT
    number,
    pg_stat_get_xact_tuples_inserted(relation),
    pg_stat_get_xact_tuples_updated(relation),
    pg_stat_get_xact_tuples_deleted(relation)
FROM unnest(ARRAY[{names}]::regclass[]) WITH ORDINALITY AS named (relation, number)
UNION ALL
-- The first row: whether there is a function that may abort a subtransaction, whose rows are counted, too.
SELECT 0, count(*), 0, 0
FROM pg_proc
WHERE oid >= 16384
    AND (
        prosrc ~* '\m(exception|execute)\M'
        OR prolang NOT IN (SELECT oid FROM pg_language WHERE lanname IN ('sql', 'plpgsql', 'internal', 'c'))
    )
ORDER BY number

-- %% tables_with_rows
-- The tables that files created: the name, the FROM item, the columns, the columns of the primary key, and whether row
-- level security applies to this role. A partition's rows count for its root. The rows of a table that inherits from
-- another table count only for itself.
SELECT
    CASE nspname WHEN {schema} THEN quote_ident(relname) ELSE format('%I.%I', nspname, relname) END,
    CASE relkind WHEN 'r' THEN 'ONLY ' ELSE '' END || format('%I.%I', nspname, relname),
    ARRAY(
        SELECT attname::text
        FROM pg_attribute
        WHERE attrelid = c.oid
            AND attnum > 0
            AND NOT attisdropped
        ORDER BY attnum
    ),
    ARRAY(
        SELECT attname::text
        FROM pg_index
        JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
        WHERE indrelid = c.oid
            AND indisprimary
        ORDER BY attnum
    ),
    row_security_active(c.oid)
FROM pg_class AS c
JOIN pg_namespace AS s ON s.oid = relnamespace
WHERE relkind IN ('r', 'p')
    AND NOT relispartition
    AND relpersistence <> 't'
    AND nspname !~ '^(pg_|information_schema$)'
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
ORDER BY 1;

-- %% sequences
-- The position of each sequence. If the sequence counts down, the sign is reversed.
SELECT
    CASE schemaname WHEN {schema} THEN quote_ident(sequencename) ELSE format('%I.%I', schemaname, sequencename) END,
    coalesce(last_value * sign(increment_by), 0)::bigint
FROM pg_sequences
WHERE schemaname !~ '^(pg_|information_schema$)';

-- %% touched
-- The effects of the open transaction on the tables that existed before, with numbers up to a limit: the kind (null if
-- the table was dropped), the lock that others wait for (1: to write, 2: also to read), whether its file is new, how
-- many full scans began, how many indexes it has, whether it has pages, and how many rows were deleted. Files and
-- relations get their numbers from the same counter.
SELECT
    held.relation::bigint,
    c.relkind::text,
    held.lock,
    coalesce(c.relfilenode::bigint > {newest}, false),
    coalesce(pg_stat_get_xact_numscans(c.oid), 0),
    (SELECT count(*) FROM pg_index WHERE indrelid = c.oid),
    -- Read the size only if no other session can access the table.
    CASE WHEN held.lock = 2 AND c.relkind = 'r' THEN pg_relation_size(c.oid) > 0 ELSE false END,
    coalesce(pg_stat_get_xact_tuples_deleted(c.oid), 0)
FROM (
    SELECT
        relation,
        max(CASE
            WHEN mode = 'AccessExclusiveLock' THEN 2
            WHEN mode IN ('ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock') THEN 1
            ELSE 0
        END) AS lock
    FROM pg_locks
    WHERE pid = pg_backend_pid()
        AND locktype = 'relation'
        AND relation >= 16384
        AND relation <= {newest}
    GROUP BY relation
) AS held
LEFT JOIN pg_class AS c ON c.oid = held.relation
WHERE c.oid IS NULL
    OR c.relkind IN ('r', 'p', 'm');

-- %% newest
-- The largest number of a relation or of its file.
SELECT greatest(
    (SELECT max(oid)::bigint FROM pg_class),
    (SELECT max(relfilenode)::bigint FROM pg_class WHERE reltablespace = 0)
);

-- %% columns
-- The roots, names and columns of the tables that are newer than a number, and of some other tables.
SELECT
    c.oid::bigint,
    coalesce(pg_partition_root(c.oid), c.oid)::bigint,
    CASE
        WHEN relnamespace = to_regnamespace({schema_name}) THEN quote_ident(relname)
        ELSE format('%s.%I', relnamespace::regnamespace, relname)
    END,
    (
        SELECT json_object_agg(attnum, quote_ident(attname))
        FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    )
FROM pg_class AS c
WHERE relkind IN ('r', 'p', 'm')
    AND (c.oid > {newest} OR c.oid = ANY ('{{{touched}}}'::oid[]));
