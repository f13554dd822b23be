-- Settings of a file must not reach the next file. DISCARD ALL would do, but not within a transaction.
-- %% settings
RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL;
-- %% session
CLOSE ALL; UNLISTEN *; DISCARD TEMP; DISCARD SEQUENCES;
SELECT pg_catalog.pg_advisory_unlock_all();
-- %% prepared
DO $sqlmig$
DECLARE
    prepared text;
BEGIN
    FOR prepared IN SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql LOOP
        EXECUTE pg_catalog.format('DEALLOCATE %I', prepared);
    END LOOP;
END
$sqlmig$;
