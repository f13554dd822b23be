-- The statements about the ledger, each under its title. They run on a search path of pg_catalog alone. A statement that
-- begins with SELECT CASE is a check: when it fails it casts a text to int, and the server raises an error. A DO block
-- would be clearer, but takes twice as long.

-- %% lock
-- The transaction holds the lock until it ends. If another transaction holds it, the statement fails and does not wait. So
-- a pooler cannot leak it, a killed runner cannot leave it, and CREATE INDEX CONCURRENTLY never waits for it.
SELECT CASE WHEN pg_catalog.pg_try_advisory_xact_lock({key}) THEN '1' ELSE 'another runner is at work' END::int;

-- %% lock_before_a_snapshot
-- After a BEGIN with its own isolation level, the next query takes the snapshot before it has the lock. LOCK TABLE takes no
-- snapshot, and keeps others from writing in between. At most it waits for the COMMIT of a runner.
SET LOCAL lock_timeout = {lock_timeout};
LOCK TABLE {table} IN SHARE MODE;

-- %% no_orphan
-- A killed runner's lock is gone at once. The statement of its no-transaction file may still run.
SELECT CASE WHEN NOT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE application_name = '{worker}' AND state = 'active' AND datname = current_database() AND pid <> pg_backend_pid()
) THEN '1' ELSE 'another runner''s statement is at work' END::int;

-- %% missing
SELECT CASE WHEN pg_catalog.to_regclass({literal}) IS NULL THEN '1' ELSE 'there is a ledger by now' END::int;

-- %% guard
-- The table is the same as when it was read, and so is its newest version. The lock keeps the table from being replaced.
-- max(version) would take the planner longer.
LOCK TABLE {table} IN ACCESS SHARE MODE;
SELECT CASE WHEN {identity} = {known_identity} THEN '1' ELSE 'the ledger has changed' END::int
FROM pg_class AS c
WHERE c.oid = to_regclass({literal});
SELECT CASE WHEN (SELECT version FROM {table} ORDER BY version DESC LIMIT 1) IS NOT DISTINCT FROM {newest}
THEN '1' ELSE 'the ledger has changed' END::int;

-- %% guard_of_record
-- Before our row is written: while the file ran, neither the file nor another session has replaced the table, or has given
-- it anything that would run or refuse. The lock keeps it so.
SET LOCAL lock_timeout = {lock_timeout};
LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE;
SELECT CASE
    WHEN relkind = 'r' AND NOT relhasrules AND relchecks = 0 AND relowner = {owner}
        AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid)
    THEN '1'
    ELSE 'the ledger has changed'
END::int
FROM pg_class AS c
WHERE c.oid = to_regclass({literal});

-- %% we_own_it
(SELECT oid FROM pg_roles WHERE rolname = current_user)

-- %% guard_between
-- For an out-of-order file: the version is still not recorded.
SELECT CASE WHEN NOT EXISTS (SELECT FROM {table} WHERE version = {version})
THEN '1' ELSE 'the ledger has changed' END::int;

-- %% own_guard
-- The file did not change the ledger: none of its rows is gone, and none was written by this transaction. The age of a
-- row of this transaction is 0, or less if a subtransaction wrote it. A rehearsal has written rows in this transaction.
SELECT CASE WHEN count(*) >= {count}
    AND count(*) FILTER (WHERE age(xmin) <= 0 AND version <> ALL ('{{{rehearsed}}}'::bigint[])) = 0
THEN '1' ELSE 'the file has changed the ledger' END::int
FROM {table};

-- %% own_guard_by_count
-- On Citus the ledger may be a distributed table. Its rows have no xmin.
SELECT CASE WHEN (SELECT count(*) FROM {table}) >= {count} THEN '1' ELSE 'the file has changed the ledger' END::int;

-- %% insert
INSERT INTO {table} (version, name, checksum, applied_at, down) VALUES ({version}, {name}, {checksum}, now(), {down})

-- %% insert_with_duration
INSERT INTO {table} (version, name, checksum, applied_at, down, duration)
VALUES ({version}, {name}, {checksum}, now(), {down}, {duration})

-- %% delete
DELETE FROM {table} WHERE version = {version}

-- %% update
UPDATE {table} SET name = {name}, checksum = {checksum}, down = {down} WHERE version = {version}

-- %% copies
SELECT version, down FROM {table} WHERE down IS NOT NULL AND version IN ({versions})

-- %% schema
-- CREATE SCHEMA IF NOT EXISTS needs the privilege to create one even when the schema exists.
DO {quote}
BEGIN
    IF to_regnamespace({schema_literal}) IS NULL THEN
        CREATE SCHEMA {schema};
        RAISE {level} 'created the schema %', {schema_literal};
    END IF;
END
{quote};

-- %% definition
-- Only its owner may use it, from the first moment. Row level security is for Supabase and PostgREST, which have the role
-- anon; elsewhere it would break a backup by pg_read_all_data. If the table exists by now, somebody else has made it, and
-- CREATE TABLE fails.
DO {quote}
DECLARE
    grantee oid;
BEGIN
    {unless_it_exists}
    CREATE TABLE {table} (
        version bigint NOT NULL,
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(),
        down text,
        applied_by name NOT NULL DEFAULT session_user,
        duration interval,
        CONSTRAINT sqlmig_schema_migrations_pkey PRIMARY KEY (version)
    );
    COMMENT ON TABLE {table} IS 'The migrations applied to this database, written by sqlmig alone.';
    COMMENT ON COLUMN {table}.version IS 'The number that the file''s name begins with.';
    COMMENT ON COLUMN {table}.name IS 'The rest of the file''s name.';
    COMMENT ON COLUMN {table}.checksum IS 'SHA-256 of the up file, line endings normalised, in hexadecimal.';
    COMMENT ON COLUMN {table}.applied_at IS 'When its transaction began.';
    COMMENT ON COLUMN {table}.down IS 'The down file, as it was then: a way back if the release with the file is gone.';
    COMMENT ON COLUMN {table}.applied_by IS 'The role that connected.';
    COMMENT ON COLUMN {table}.duration IS 'How long the file ran. Null for a version that was stamped.';

    IF pg_catalog.to_regrole('anon') IS NOT NULL THEN
        ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
        CREATE POLICY nobody ON {table} USING (false);
    END IF;
    FOR grantee IN
        SELECT DISTINCT acl.grantee
        FROM pg_catalog.pg_class, pg_catalog.aclexplode(relacl) AS acl
        WHERE pg_class.oid = {literal}::pg_catalog.regclass AND acl.grantee <> relowner
    LOOP
        EXECUTE pg_catalog.format(
            'REVOKE ALL ON TABLE %s FROM %s',
            {literal},
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::pg_catalog.regrole::text END
        );
    END LOOP;
END
{quote};

-- %% unless_it_exists
IF pg_catalog.to_regclass({literal}) IS NOT NULL THEN
        RETURN;
    END IF;

-- %% read
-- AT TIME ZONE turns a timestamptz into a timestamp, and a timestamp into a timestamptz: so the types show whether the table
-- is ours. Another table is refused before its rows are read: a view of another role, for example, would run its code as us.
-- The lock keeps the table from being replaced in between.
SELECT pg_catalog.current_setting('citus.version', true), pg_catalog.current_setting('search_path'),
    pg_catalog.current_schema();
BEGIN READ ONLY;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL row_security = off;
SET LOCAL lock_timeout = '10s';
SET LOCAL DateStyle = ISO;
LOCK TABLE {tables} IN ACCESS SHARE MODE;
SELECT set_config('row_security', 'on', true)
FROM unnest(ARRAY[{literals}]) AS named (name)
JOIN pg_class AS c ON c.oid = to_regclass(named.name)
HAVING bool_and({shows_all_rows});
SELECT {identity}, {has_duration}, CASE WHEN {is_ours} THEN '1' ELSE 'this is not our ledger' END::int
FROM unnest(ARRAY[{literals}]) WITH ORDINALITY AS named (name, number)
JOIN pg_class AS c ON c.oid = to_regclass(named.name)
ORDER BY number;
{rows} ORDER BY 1, 2;
{unfinished}COMMIT;

-- %% unfinished
-- What a migration has begun and not finished, in any schema: as text, or as a version that the ledger's comment names.
SELECT 0 AS number, words, NULL::bigint AS version
FROM (
    SELECT
        'constraint ' || quote_ident(conname) || ' of '
            || coalesce(nullif(conrelid, 0)::regclass::text, contypid::regtype::text)
            || CASE WHEN to_jsonb(k) ->> 'conenforced' = 'false' THEN ' is NOT ENFORCED' ELSE ' is NOT VALID' END,
        connamespace
    FROM pg_constraint AS k
    WHERE (NOT convalidated OR to_jsonb(k) ->> 'conenforced' = 'false') AND conparentid = 0
    UNION ALL
    SELECT 'index ' || indexrelid::regclass || ' of ' || indrelid::regclass || ' is INVALID', relnamespace
    FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid
    WHERE NOT indisvalid AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index)
) AS object (words, namespace)
JOIN pg_namespace ON pg_namespace.oid = namespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
UNION ALL
SELECT number - 1, NULL, substring(obj_description(to_regclass(name), 'pg_class') FROM 'Begun and not finished: (\d+)')::bigint
FROM unnest(ARRAY[{literals}]) WITH ORDINALITY AS named (name, number)
ORDER BY 1, 2;

-- %% note
-- In the comment of the ledger: which file that repeats has begun, after its first run, and nothing when it is finished. A
-- comment that is not ours stays. Only the owner may comment; without the note, `status` cannot know.
DO {quote}
DECLARE
    usual CONSTANT text := 'The migrations applied to this database, written by sqlmig alone.';
    present CONSTANT text := coalesce(obj_description({literal}::regclass, 'pg_class'), usual);
BEGIN
    IF present <> usual || {note} AND starts_with(present, usual) THEN
        EXECUTE format('COMMENT ON TABLE {table} IS %L', usual || {note});
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;
END
{quote};

-- %% shows_all_rows
-- With pg_class AS c: row level security is on, and a policy lets this role read every row. Then it need not be off. No
-- policy for this role runs code.
(
    c.relrowsecurity
    AND COALESCE(
        (
            SELECT bool_or(qual = 'true') AND bool_and(polpermissive AND qual IN ('true', 'false'))
            FROM pg_policy
            CROSS JOIN LATERAL pg_get_expr(polqual, polrelid) AS qual
            WHERE polrelid = c.oid
                AND polcmd IN ('r', '*')
                AND (0 = ANY (polroles) OR EXISTS (SELECT FROM unnest(polroles) AS r WHERE pg_has_role(r, 'USAGE')))
        ),
        false
    )
)

-- %% rows
-- An older ledger lacks the last two columns. Then the names mean those of the first FROM item.
SELECT
    {number} AS number, version, name, checksum, applied_at AT TIME ZONE 'UTC', has_down,
    ledger.applied_by::text, extract(epoch FROM ledger.duration::text::interval)::float8
FROM (SELECT NULL::text AS applied_by, NULL::text AS duration) AS absent
CROSS JOIN LATERAL (
    SELECT version, name, checksum, applied_at, down IS NOT NULL AS has_down, applied_by, duration FROM {table}
) AS ledger

-- %% has_duration
-- With pg_class AS c: whether it has the columns that tell who and how long. 1186 is interval.
EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'duration' AND atttypid = 1186 AND NOT attisdropped
)

-- %% runs_no_code
-- With pg_class AS c: a plain table. Neither reading it nor writing to it runs code that somebody has put there: it has no
-- trigger (a foreign key has some), rule, CHECK, inheritance, index expression, statistics expression, generated column,
-- or type of a kind that could. The planner runs such expressions, so even a SELECT would.
(
    c.relkind = 'r'
    AND NOT c.relhasrules
    AND c.relchecks = 0
    AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid)
    AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid OR inhrelid = c.oid)
    AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND (indexprs IS NOT NULL OR indpred IS NOT NULL))
    AND NOT EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = c.oid)
    AND NOT EXISTS (
        SELECT
        FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
            AND (atttypid >= 16384 OR attgenerated <> '')
    )
)

-- %% has_plain_defaults
-- With pg_class AS c: its defaults are constants, or now(), which has the number 1299, or session_user and the like.
NOT EXISTS (
    SELECT
    FROM pg_attrdef
    WHERE adrelid = c.oid AND adbin::text !~ '^{{(CONST|FUNCEXPR :funcid 1299|SQLVALUEFUNCTION) '
)

-- %% is_ours
({has_our_columns} AND {has_trusted_owner} AND {runs_no_code} AND {has_plain_defaults})

-- %% has_our_columns
-- 20 is bigint, 25 is text, 1184 is timestamptz.
(
    SELECT array_agg(attname || ' ' || atttypid ORDER BY attnum)
    FROM pg_attribute
    WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
) @> ARRAY['version 20', 'name 25', 'checksum 25', 'applied_at 1184', 'down 25']

-- %% has_trusted_owner
-- The table belongs to the runner, to a role that the runner is a member of, to the owner of the database, or to a
-- superuser. Its down files may be run: so others could run code with the rights of the runner. For a superuser pg_has_role is always true, so the memberships are read.
c.relowner IN (
    WITH RECURSIVE trusted (oid) AS (
        SELECT oid FROM pg_roles WHERE rolname IN (current_user, session_user)
        UNION
        SELECT roleid FROM pg_auth_members JOIN trusted ON member = trusted.oid
    )
    SELECT oid FROM trusted
    UNION ALL
    SELECT oid FROM pg_roles WHERE rolsuper OR rolname = 'pg_database_owner'
    UNION ALL
    SELECT datdba FROM pg_database WHERE datname = current_database()
)

-- %% current_identity
SELECT {identity} AS sqlmig_identity FROM pg_class AS c WHERE c.oid = to_regclass({literal})

-- %% identity
-- With pg_class AS c: a text that changes when the table is replaced, or gets a trigger, rule, CHECK, owner or default.
concat_ws(
    ' ', c.oid, c.relowner, c.relkind, c.relnatts, c.relchecks, c.relhasrules, c.relhastriggers, c.xmin,
    (SELECT string_agg(d.oid::text, ' ' ORDER BY d.oid) FROM pg_attrdef AS d WHERE d.adrelid = c.oid)
)

-- %% schemas
-- The schemas with a matching name, and whether each has a ledger of ours.
SELECT nspname::text, coalesce((SELECT {is_ours} FROM pg_class AS c WHERE relname = 'schema_migrations' AND relnamespace = s.oid), false)
FROM pg_namespace AS s
WHERE nspname ~ {pattern} AND nspname !~ '^(pg_|information_schema$)'
ORDER BY 1;

-- %% owners
SELECT string_agg(DISTINCT relowner::regrole::text, ', ')
FROM pg_class
WHERE relname = 'schema_migrations' AND relkind IN ('r', 'p') AND NOT has_table_privilege(oid, 'INSERT')

-- %% lock_owners
-- The processes that own the runner lock, or still work for a runner that is gone. It is sent without parameters: with
-- parameters the portal would stay open, and its snapshot would stall CREATE INDEX CONCURRENTLY.
SELECT coalesce(
    CASE WHEN pid IS NOT NULL THEN format('process %s (%s, at work since %s)', pid, coalesce(nullif(split_part(application_name, ' #', 1), ''), backend_type),
        coalesce(to_char(xact_start, 'HH24:MI:SS'), 'some time')) END,
    'a prepared transaction (pg_prepared_xacts)'
)
FROM (
    SELECT pid
    FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid::bigint << 32 | objid::bigint = {key} AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION
    SELECT pid FROM pg_stat_activity
    WHERE application_name = '{worker}' AND state = 'active' AND datname = current_database()
) AS held LEFT JOIN pg_stat_activity USING (pid)
WHERE pid IS DISTINCT FROM pg_backend_pid();
