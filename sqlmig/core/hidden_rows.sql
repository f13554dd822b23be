-- Tables in which row level security may hide rows from this role.

-- %% written
-- The tables that the open transaction has used: an INSERT, UPDATE or DELETE takes the first lock, reading takes the second.
SELECT string_agg(DISTINCT relname, ', ' ORDER BY relname) AS sqlmig_hidden_rows
FROM pg_locks
JOIN pg_class AS c ON c.oid = relation
WHERE pid = pg_backend_pid()
    AND locktype = 'relation'
    AND mode IN ('RowExclusiveLock', 'AccessShareLock')
    AND relkind IN ('r', 'p')
    AND relrowsecurity
    AND ({changes_role} OR row_security_active(c.oid))

-- %% named
-- The same for some tables.
SELECT string_agg(relname, ', ' ORDER BY relname)
FROM pg_class AS c
WHERE oid IN ({oids})
    AND relrowsecurity
    AND row_security_active(c.oid)
