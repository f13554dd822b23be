-- What gives a scratch database what this one does to every new object: whether it is said within the scratch database,
-- and the statement.
SELECT false, format('ALTER DATABASE {name} SET %I FROM CURRENT', split_part(said.setting, '=', 1))
FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS said (setting)
    LEFT JOIN pg_settings ON lower(pg_settings.name) = lower(split_part(said.setting, '=', 1))
WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND setrole IN (0, session_user::regrole)
    AND coalesce(context, 'user') = 'user' AND said.setting NOT LIKE 'default_transaction_read_only=%'
UNION ALL
SELECT true, concat_ws('; ',
    CASE defaclnamespace WHEN 0 THEN format('%s REVOKE ALL ON %s FROM PUBLIC, %s', altered, objects, defaclrole::regrole) END,
    (
        SELECT string_agg(format('%s GRANT %s ON %s TO %s%s', altered, privilege_type, objects,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END), '; ')
        FROM aclexplode(defaclacl)
    ))
FROM pg_default_acl
    LEFT JOIN pg_namespace AS s ON s.oid = defaclnamespace
    JOIN (VALUES ('r', 'TABLES'), ('S', 'SEQUENCES'), ('f', 'ROUTINES'), ('T', 'TYPES'), ('n', 'SCHEMAS'), ('L', 'LARGE OBJECTS'))
        AS kinds (kind, objects) ON kind = defaclobjtype::text
    CROSS JOIN LATERAL format('ALTER DEFAULT PRIVILEGES FOR ROLE %s%s', defaclrole::regrole, ' IN SCHEMA ' || quote_ident(nspname))
        AS altered
WHERE coalesce(nspname, 'public') IN ('public', {schema_name})
    AND pg_has_role(defaclrole, 'USAGE')
UNION ALL
-- Before PostgreSQL 16 a role that inherits nothing has none of what it may do as the database's owner.
SELECT true, format('%sGRANT %s ON SCHEMA %I TO %s; RESET ROLE',
    CASE nspowner::regrole::text WHEN 'pg_database_owner' THEN 'SET ROLE pg_database_owner; ' END,
    privilege_type, nspname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
FROM pg_namespace CROSS JOIN aclexplode(nspacl)
WHERE nspname IN ('public', {schema_name})
-- %%
SELECT '{name}', count(*)::text, count(*) FILTER (WHERE age(xmin) <= (SELECT age(pg_current_xact_id()::xid))) FROM {name}
-- %%
SELECT '{name}', md5(string_agg(v::text, ' ' ORDER BY v::text)), 0 FROM {name} AS v
