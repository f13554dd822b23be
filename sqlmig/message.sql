-- The lock is the transaction's own, so that a pooler cannot leak it and a killed runner cannot leave it; nobody waits for it
-- within a statement, which would stall CREATE INDEX CONCURRENTLY elsewhere.
SET LOCAL lock_timeout = {lock_timeout};
LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE NOWAIT;
-- An error unless the ledger is as expected; a DO block would say so more plainly, and take twice as long.
SELECT CASE WHEN (SELECT max(version) FROM {table}) IS NOT DISTINCT FROM {newest}{also} THEN '1' ELSE 'the ledger has moved on' END::int;
-- %%
-- What the script set must not outlive it. DISCARD ALL would do, but not within a transaction.
RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL;
CLOSE ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES;
-- %%
DO $sqlmig$
DECLARE
    prepared text;
BEGIN
    FOR prepared IN SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql LOOP
        EXECUTE pg_catalog.format('DEALLOCATE %I', prepared);
    END LOOP;
END
$sqlmig$;
