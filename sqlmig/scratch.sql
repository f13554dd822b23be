-- What gives a scratch database the settings of this one: whether it is said within the scratch database, and the statement.
SELECT false, format('ALTER DATABASE {name} SET %I FROM CURRENT', split_part(said.setting, '=', 1))
FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS said (setting)
    LEFT JOIN pg_settings ON lower(pg_settings.name) = lower(split_part(said.setting, '=', 1))
WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND setrole IN (0, session_user::regrole)
    AND coalesce(context, 'user') = 'user' AND said.setting NOT LIKE 'default_transaction_read_only=%'
-- %%
-- And what this one does to every new object. Not for check: what a file granted here would stand there before it runs.
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
SELECT true, format('GRANT %s ON SCHEMA %I TO %s', privilege_type, nspname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
FROM pg_namespace CROSS JOIN aclexplode(nspacl)
WHERE nspname IN ('public', {schema_name})
-- %%
-- Before PostgreSQL 16 a role that inherits nothing may not use what it has as the database's owner.
DO $$
DECLARE
    owner text := current_user;
BEGIN
    IF (
        SELECT nspowner::regrole::text = 'pg_database_owner' AND NOT has_schema_privilege(oid, 'CREATE')
        FROM pg_namespace
        WHERE nspname = 'public'
    ) THEN
        SET ROLE pg_database_owner;
        EXECUTE format('GRANT ALL ON SCHEMA public TO %I WITH GRANT OPTION', owner);
        RESET ROLE;
    END IF;
END
$$;
-- %%
SELECT '{name}', count(*)::text, count(*) FILTER (WHERE age(xmin) <= (SELECT age(pg_current_xact_id()::xid))) FROM {name}
-- %%
SELECT '{name}', md5(string_agg(v::text, ' ' ORDER BY v::text)), 0 FROM {name} AS v
