-- The sessions that hold a lock that our transaction waits for.

-- %% blockers
-- Our transaction is the transaction with the runner lock, because a pooler does not report the number of our process. Only
-- the beginning of the blocker's query is shown, up to the first sign that a value may follow: it may be a password.
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
        shown || CASE WHEN shown = query THEN '' ELSE '...' END
    )
END
FROM (
    SELECT DISTINCT unnest(pg_blocking_pids(pid)) AS blocker
    FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid::bigint << 32 | objid::bigint = {key} AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS blocking
LEFT JOIN pg_stat_activity ON pid = blocker
CROSS JOIN LATERAL left(
    regexp_replace(regexp_replace(query, '([''$=(;:@]|\m\d|--|/\*|\mto\M|\mpassword\M).*$', '', 'i'), '\s+', ' ', 'g'), 70
) AS shown
ORDER BY blocker;
