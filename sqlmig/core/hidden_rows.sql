-- Tables of which row level security may hide rows from this role.

-- %% written
-- Those that the open transaction has written to. An INSERT, UPDATE or DELETE takes this lock.
SELECT string_agg(relname, ', ' ORDER BY relname) AS sqlmig_hidden_rows
FROM pg_locks
JOIN pg_class AS c ON c.oid = relation
WHERE pid = pg_backend_pid()
    AND locktype = 'relation'
    AND mode = 'RowExclusiveLock'
    AND relkind IN ('r', 'p')
    AND relrowsecurity
    AND row_security_active(c.oid)

-- %% named
-- Those of some tables.
SELECT string_agg(relname, ', ' ORDER BY relname)
FROM pg_class AS c
WHERE oid IN ({oids})
    AND relrowsecurity
    AND row_security_active(c.oid)
