-- The statements about the ledger, each under its title. A statement that begins with SELECT CASE is a check: when it
-- fails it casts a text to int, and the server raises an error. A DO block would be clearer, but takes twice as long.

-- %% lock
-- The transaction holds the lock until it ends. If another holds it, the statement fails at once; it never waits. So a
-- pooler cannot leak it, a killed runner cannot leave it, and CREATE INDEX CONCURRENTLY never waits for it.
SELECT CASE WHEN pg_catalog.pg_try_advisory_xact_lock({key}) THEN '1' ELSE 'another runner is at work' END::int;

-- %% lock_before_a_snapshot
-- Behind a BEGIN with an isolation level of its own the next query takes the snapshot, before it has the lock. LOCK TABLE
-- takes none, and sees to it that nothing is written in between. It waits for a runner's COMMIT at most.
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
-- The newest version is what it was when the run was planned. max(version) would take the planner longer.
SELECT CASE WHEN (SELECT version FROM {table} ORDER BY version DESC LIMIT 1) IS NOT DISTINCT FROM {newest}
THEN '1' ELSE 'the ledger has changed' END::int;

-- %% guard_between
-- For an out-of-order file: the version is still not recorded.
SELECT CASE WHEN NOT EXISTS (SELECT FROM {table} WHERE version = {version})
THEN '1' ELSE 'the ledger has changed' END::int;

-- %% own_guard
-- A file itself has not changed the ledger: none of its rows is gone, and none is of this transaction. The age of a row
-- of this transaction is 0, or less where a subtransaction wrote it.
SELECT CASE WHEN (SELECT count(*) FROM {table}) >= {count}
    AND NOT EXISTS (SELECT FROM {table} WHERE pg_catalog.age(xmin) <= 0)
THEN '1' ELSE 'the file has changed the ledger' END::int;

-- %% insert
INSERT INTO {table} (version, name, checksum, down) VALUES ({version}, {name}, {checksum}, {down})

-- %% delete
DELETE FROM {table} WHERE version = {version}

-- %% update
UPDATE {table} SET name = {name}, checksum = {checksum}, down = {down} WHERE version = {version}

-- %% copies
SELECT version, down FROM {table} WHERE down IS NOT NULL AND version IN ({versions})

-- %% path_first
SELECT set_config('search_path', concat_ws(', ', {schema_literal}, nullif(current_setting('search_path'), '')), {local});

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
-- Closed to everyone but its owner from the first moment. Where it is there already this takes no lock on it. Row level
-- security is for Supabase and PostgREST, which have the role anon; elsewhere it would break a backup by pg_read_all_data.
DO {quote}
DECLARE
    grantee oid;
BEGIN
    IF pg_catalog.to_regclass({literal}) IS NOT NULL THEN
        RETURN;
    END IF;

    CREATE TABLE {table} (
        version bigint NOT NULL,
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(),
        down text,
        CONSTRAINT sqlmig_schema_migrations_pkey PRIMARY KEY (version)
    );
    COMMENT ON TABLE {table} IS 'The migrations applied to this database, written by sqlmig alone.';
    COMMENT ON COLUMN {table}.version IS 'The number that the file''s name begins with.';
    COMMENT ON COLUMN {table}.name IS 'The rest of the file''s name.';
    COMMENT ON COLUMN {table}.checksum IS 'SHA-256 of the up file, line endings normalised, in hexadecimal.';
    COMMENT ON COLUMN {table}.applied_at IS 'When its transaction began.';
    COMMENT ON COLUMN {table}.down IS 'The down file, as it was then: a way back where the files have none any more.';

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

-- %% read
-- AT TIME ZONE makes a timestamp of a timestamptz, and the other way round: so the types tell whether the table is ours.
SELECT current_setting('citus.version', true);
BEGIN READ ONLY;
SET LOCAL row_security = off;
SET LOCAL lock_timeout = '10s';
SET LOCAL DateStyle = ISO;
{rows} ORDER BY 1, 2;
COMMIT;

-- %% rows
SELECT {number} AS number, version, name, checksum, applied_at AT TIME ZONE 'UTC', down IS NOT NULL FROM {table}

-- %% is_ours
-- By its columns, with pg_class AS c; null where there is none.
(
    SELECT array_agg(attname || ' ' || format_type(atttypid, atttypmod) ORDER BY attnum)
    FROM pg_attribute
    WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
) = ARRAY['version bigint', 'name text', 'checksum text', 'applied_at timestamp with time zone', 'down text']

-- %% schemas
-- The schemas whose names fit, and whether each has a ledger of ours.
SELECT nspname::text, coalesce((SELECT {is_ours} FROM pg_class AS c WHERE relname = 'schema_migrations' AND relnamespace = s.oid), false)
FROM pg_namespace AS s
WHERE nspname ~ {pattern} AND nspname !~ '^(pg_|information_schema$)'
ORDER BY 1;

-- %% owners
SELECT string_agg(DISTINCT relowner::regrole::text, ', ')
FROM pg_class
WHERE relname = 'schema_migrations' AND relkind IN ('r', 'p') AND NOT has_table_privilege(oid, 'INSERT')

-- %% holders
-- Who holds the lock, or works on for a runner that is gone. Sent without parameters: with them the portal would stay
-- open, and its snapshot stall CREATE INDEX CONCURRENTLY.
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

-- %% blockers
-- Who holds the lock that our transaction waits for, which is the one with the runners' lock (a pooler does not tell our
-- process's number). Of the query only what stands before the first quote is shown, as a password may follow.
SELECT CASE
    WHEN blocker = 0 THEN 'a prepared transaction (pg_prepared_xacts)'
    WHEN state IS NULL THEN format('process %s (only a member of pg_read_all_stats may see more of it)', blocker)
    ELSE format(
        'process %s (%s), %s since %s, its %s query: %s',
        blocker,
        coalesce(nullif(application_name, ''), backend_type),
        state,
        to_char(CASE state WHEN 'active' THEN query_start ELSE state_change END, 'HH24:MI:SS'),
        CASE state WHEN 'active' THEN 'present' ELSE 'last' END,
        shown || CASE WHEN shown = query THEN '' ELSE '…' END
    )
END
FROM (
    SELECT DISTINCT unnest(pg_blocking_pids(pid)) AS blocker
    FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid::bigint << 32 | objid::bigint = {key} AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS blocking
LEFT JOIN pg_stat_activity ON pid = blocker
CROSS JOIN LATERAL left(regexp_replace(split_part(split_part(query, '''', 1), '$', 1), '\s+', ' ', 'g'), 70) AS shown
ORDER BY blocker;

-- %% progress
-- How far an index is (https://www.postgresql.org/docs/current/progress-reporting.html).
SELECT coalesce(coalesce(
        100 * nullif(tuples_done, 0) / nullif(tuples_total, 0), 100 * blocks_done / nullif(blocks_total, 0)
    ) || ' % of ', '')
    || lower(command) || coalesce(' on ' || (SELECT oid::regclass::text FROM pg_class WHERE oid = relid), '')
    || ', ' || replace(phase, 'building index: ', '')
FROM pg_stat_progress_create_index AS progress JOIN pg_stat_activity USING (pid)
WHERE (pid = {pid} OR application_name = '{worker}') AND progress.datname = current_database();

-- %% open_tables
-- What anybody can reach over Supabase's Data API, but for what an extension brought.
SELECT c.oid::regclass::text
FROM pg_class AS c
WHERE relkind IN ('r', 'p')
    AND NOT relrowsecurity
    AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
    AND has_schema_privilege(to_regrole('anon'), relnamespace, 'USAGE')
    AND has_table_privilege(to_regrole('anon'), c.oid, 'SELECT, INSERT, UPDATE, DELETE')
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
ORDER BY 1;

-- %% strange
-- Whose a table of the ledger's name is, by its columns, and how to take over. Its rows are read as JSON, as only the names
-- of their columns are known. It is left untouched.
WITH foreign_table AS (
    SELECT string_agg(attname, ' ' ORDER BY attnum) AS columns
    FROM pg_attribute
    WHERE attrelid = {literal}::regclass AND attnum > 0 AND NOT attisdropped
), newest AS (
    SELECT
        coalesce(max((row ->> 'version')::numeric) FILTER (WHERE row ->> 'version' ~ '^[0-9]+$'), 0) AS version,
        bool_or(row ->> 'dirty' = 'true') AS is_dirty
    FROM {table} AS ledger, to_jsonb(ledger) AS row
)
SELECT {schema_name} || '.schema_migrations is ' || CASE columns
        WHEN 'version dirty' THEN 'the ledger of golang-migrate'
        WHEN 'version' THEN 'the ledger of dbmate or Rails'
        WHEN 'version inserted_at' THEN 'the ledger of Ecto'
        ELSE 'not sqlmig''s ledger'
    END || ', and was left untouched' || CASE
        WHEN ' ' || columns || ' ' NOT LIKE '% version %' THEN '; give another schema with --schema'
        WHEN is_dirty THEN
            '. Version ' || version || ' is dirty, which may be half applied: mend it, and take the mark off, first'
        ELSE '. To take over:
  ALTER TABLE ' || {literal} || ' RENAME TO schema_migrations_before_sqlmig;
  sqlmig ' || CASE version WHEN 0 THEN 'up' ELSE 'stamp ' || version END || {option} || '
Or give another schema with --schema'
    END
FROM foreign_table, newest;

-- %% refuse_other_tool
-- Where there is no ledger of ours: whose ledger of another name there is, and how to take over.
DO {quote}
DECLARE
    ledger record;
    newest numeric;
    way text;
BEGIN
    SELECT tool, {schema_literal} || '.' || table_name AS table_name INTO ledger
    FROM (
        VALUES
            ('sqlx', '_sqlx_migrations'),
            ('goose', 'goose_db_version'),
            ('Flyway', 'flyway_schema_history'),
            ('sql-migrate', 'gorp_migrations'),
            ('Alembic', 'alembic_version'),
            ('Prisma', '_prisma_migrations'),
            ('Django', 'django_migrations'),
            ('node-pg-migrate', 'pgmigrations')
    ) AS known (tool, table_name)
    WHERE to_regclass({schema_literal} || '.' || table_name) IS NOT NULL
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    IF ledger.tool = 'sqlx' THEN
        EXECUTE 'SELECT coalesce(max(version), 0) FROM ' || ledger.table_name INTO newest;
        way := 'sqlmig stamp ' || newest || {option};
    ELSIF ledger.tool IN ('goose', 'Flyway', 'sql-migrate') THEN
        way := '`sqlmig import DIR` makes pairs of its files, and says which `sqlmig stamp` follows';
    ELSE
        way := 'write what is there into a first file (pg_dump --schema-only does), then `sqlmig stamp` its version';
    END IF;
    RAISE EXCEPTION 'this database is kept by % (%); to take over: %', ledger.tool, ledger.table_name, way
        USING HINT = 'To use both, give sqlmig a schema of its own with --schema.';
END
{quote};
