-- The ledger: what is applied to this database. Closed to everyone but its owner from the first moment.

CREATE TABLE IF NOT EXISTS {table} (
    version bigint NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sqlmig_schema_migrations_pkey PRIMARY KEY (version)
) WITH (autovacuum_enabled = false);  -- else a runner meets autovacuum's lock, and waits
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
DO $sqlmig$
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
$sqlmig$;
COMMENT ON TABLE {table} IS 'The migrations applied to this database, written by sqlmig alone.';
COMMENT ON COLUMN {table}.version IS 'The number that the file''s name begins with.';
COMMENT ON COLUMN {table}.name IS 'The rest of the file''s name.';
COMMENT ON COLUMN {table}.checksum IS 'SHA-256 of the up file, line endings normalised, in hexadecimal.';
COMMENT ON COLUMN {table}.applied_at IS 'When its transaction began.';
