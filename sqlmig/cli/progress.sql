-- %% progress
-- How far an index is (https://www.postgresql.org/docs/current/progress-reporting.html).
SELECT coalesce(coalesce(
        100 * nullif(tuples_done, 0) / nullif(tuples_total, 0), 100 * blocks_done / nullif(blocks_total, 0)
    ) || ' % of ', '')
    || lower(command) || coalesce(' on ' || (
        SELECT CASE nspname WHEN {home_name} THEN '' ELSE quote_ident(nspname) || '.' END || quote_ident(relname)
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE pg_class.oid = relid
    ), '')
    || ', ' || replace(phase, 'building index: ', '')
FROM pg_stat_progress_create_index AS progress JOIN pg_stat_activity USING (pid)
WHERE (pid = {pid} OR application_name = '{worker}') AND progress.datname = current_database();
