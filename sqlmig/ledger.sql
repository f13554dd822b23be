CREATE TABLE IF NOT EXISTS {table} (
    version bigint NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sqlmig_schema_migrations_pkey PRIMARY KEY (version)
);
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
DO {quote}
DECLARE
    grantee oid;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_policy WHERE polrelid = {literal}::pg_catalog.regclass) THEN
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
COMMENT ON TABLE {table} IS 'The migrations applied to this database, written by sqlmig alone.';
COMMENT ON COLUMN {table}.version IS 'The number that the file''s name begins with.';
COMMENT ON COLUMN {table}.name IS 'The rest of the file''s name.';
COMMENT ON COLUMN {table}.checksum IS 'SHA-256 of the up file, line endings normalised, in hexadecimal.';
COMMENT ON COLUMN {table}.applied_at IS 'When its transaction began.';
-- %%
SELECT pid, coalesce(nullif(split_part(application_name, ' #', 1), ''), backend_type), to_char(xact_start, 'HH24:MI:SS')
FROM (
    SELECT pid
    FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid::bigint << 32 | objid::bigint = {key} AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION
    {workers}
) AS held LEFT JOIN pg_stat_activity USING (pid)
WHERE pid IS DISTINCT FROM pg_backend_pid()
-- %%
SELECT pid FROM pg_stat_activity WHERE application_name = {} AND state = 'active' AND datname = current_database()
