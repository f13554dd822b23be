-- Queries on the database that a scratch database stands for: what the scratch database takes over from it.

-- %% options
-- The options of CREATE DATABASE for its encoding and its locale, and for the encoding alone. On the same server,
-- CREATE DATABASE fails without COLLATION_VERSION if the operating system's collations have changed since template0 was
-- made.
SELECT
    concat_ws(
        ' ',
        encoding_option,
        'LC_COLLATE ' || quote_literal(datcollate),
        'LC_CTYPE ' || quote_literal(datctype),
        'LOCALE_PROVIDER ' || CASE provider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' WHEN 'c' THEN 'libc' END,
        CASE provider WHEN 'i' THEN 'ICU_LOCALE ' WHEN 'b' THEN 'BUILTIN_LOCALE ' END || quote_literal(locale),
        'ICU_RULES ' || quote_literal(details ->> 'daticurules')
    ),
    'COLLATION_VERSION ' || quote_literal(details ->> 'datcollversion'),
    encoding_option
FROM pg_database
CROSS JOIN to_jsonb(pg_database) AS details
CROSS JOIN LATERAL (
    SELECT
        'ENCODING ' || quote_literal(pg_encoding_to_char(encoding)) AS encoding_option,
        details ->> 'datlocprovider' AS provider,
        coalesce(details ->> 'datlocale', details ->> 'daticulocale') AS locale
) AS parts
WHERE datname = current_database()

-- %% owner
SELECT pg_get_userbyid(datdba)::text
FROM pg_database
WHERE datname = current_database()

-- %% settings
-- The settings of ALTER DATABASE and ALTER ROLE, the strongest last. On the same server, those of the role alone take
-- effect by themselves. The connection that makes the scratch database must not have the time limits.
SELECT name, substr(given, length(name) + 2)
FROM pg_db_role_setting
CROSS JOIN unnest(setconfig) AS given
CROSS JOIN LATERAL split_part(given, '=', 1) AS name
LEFT JOIN pg_settings USING (name)
WHERE setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
    AND (
        setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
        OR (setdatabase = 0 AND {is_elsewhere})
    )
    AND coalesce(context, 'user') = 'user'
    AND lower(name) NOT IN (
        'default_transaction_read_only', 'idle_session_timeout', 'role', 'search_path', 'statement_timeout'
    )
ORDER BY setrole <> 0, setdatabase <> 0

-- %% schemas
-- The schemas that unqualified names lead to, and a role that keeps its rights there.
SELECT nspname::text, pg_get_userbyid(owner)::text
FROM pg_namespace
CROSS JOIN LATERAL (
    SELECT CASE nspowner::regrole::text WHEN 'pg_database_owner' THEN datdba ELSE nspowner END AS owner
    FROM pg_database
    WHERE datname = current_database()
) AS owners
WHERE nspname = ANY ({schemas})
    AND nspname !~ '^pg_'
    AND nspname <> 'information_schema'

-- %% privileges
-- The statements that copy the default privileges, and the grants on schemas. `check` does not use them: a privilege
-- that a file granted here would exist there before the file runs. The ledger's owner also owns the files' objects. On
-- the scratch database, the role that runs the files takes its place.
SELECT
    concat_ws(
        '; ',
        CASE defaclnamespace
            WHEN 0 THEN format('%s REVOKE ALL ON %s FROM PUBLIC, %s', altered, objects, role)
        END,
        (
            SELECT string_agg(
                format(
                    '%s GRANT %s ON %s TO %s%s',
                    altered,
                    privilege_type,
                    objects,
                    CASE grantee
                        WHEN 0 THEN 'PUBLIC'
                        WHEN defaclrole THEN role
                        ELSE grantee::regrole::text
                    END,
                    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END
                ),
                '; '
            )
            FROM aclexplode(defaclacl)
        )
    )
FROM pg_default_acl
LEFT JOIN pg_namespace AS s ON s.oid = defaclnamespace
JOIN (
    VALUES
        ('r', 'TABLES'),
        ('S', 'SEQUENCES'),
        ('f', 'ROUTINES'),
        ('T', 'TYPES'),
        ('n', 'SCHEMAS'),
        ('L', 'LARGE OBJECTS')
) AS kinds (kind, objects) ON kind = defaclobjtype::text
CROSS JOIN LATERAL pg_get_userbyid(defaclrole) AS altered_role
CROSS JOIN LATERAL quote_ident(CASE altered_role WHEN {owner} THEN {runner} ELSE altered_role END) AS role
CROSS JOIN LATERAL format(
    'ALTER DEFAULT PRIVILEGES FOR ROLE %s%s', role, ' IN SCHEMA ' || quote_ident(nspname)
) AS altered
WHERE coalesce(nspname, 'public') = ANY ({schemas})
    AND (
        altered_role = {owner}
        OR (altered_role <> {runner} AND ({is_elsewhere} OR pg_has_role(defaclrole, 'USAGE')))
    )
UNION ALL
SELECT
    format(
        'GRANT %s ON SCHEMA %I TO %s',
        privilege_type,
        nspname,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
    )
FROM pg_namespace
CROSS JOIN aclexplode(nspacl)
WHERE nspname = ANY ({schemas})
    AND nspname !~ '^pg_'
    AND nspname <> 'information_schema'

-- %% extensions
SELECT extname, nspname
FROM pg_extension
JOIN pg_namespace AS s ON s.oid = extnamespace
WHERE extname <> 'plpgsql'
ORDER BY pg_extension.oid

-- %% roles
-- The statements that create the server's roles, and then their memberships.
SELECT format(
    'CREATE ROLE %I %s',
    rolname,
    concat_ws(
        ' ',
        CASE WHEN rolsuper THEN 'SUPERUSER' END,
        CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
        CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
        CASE WHEN rolcreatedb THEN 'CREATEDB' END,
        CASE WHEN NOT rolinherit THEN 'NOINHERIT' END
    )
)
FROM pg_roles
WHERE rolname !~ '^pg_'
UNION ALL
SELECT format('GRANT %s TO %s', roleid::regrole, member::regrole)
FROM pg_auth_members
ORDER BY 1

-- %% known
-- What has one of these names: the kind, and the name with its schema. A member of an extension stands for the extension.
SELECT 'extension', extname::text
FROM pg_extension
WHERE extname = ANY ({names})
UNION
SELECT 'schema', quote_ident(nspname)
FROM pg_namespace
WHERE nspname = ANY ({names})
UNION
SELECT 'role', quote_ident(rolname)
FROM pg_roles
WHERE rolname = ANY ({names})
UNION
SELECT
    coalesce(CASE WHEN extname IS NOT NULL THEN 'extension' END, kind),
    coalesce(extname, format('%I.%I', nspname, name))
FROM (
    SELECT 'pg_class'::regclass AS catalog, oid, 'relation' AS kind, relname AS name, relnamespace AS namespace
    FROM pg_class
    UNION ALL
    SELECT 'pg_proc'::regclass, oid, 'function', proname, pronamespace
    FROM pg_proc
    UNION ALL
    SELECT 'pg_type'::regclass, oid, 'type', typname, typnamespace
    FROM pg_type
    WHERE typrelid = 0
        AND typelem = 0
) AS objects
JOIN pg_namespace AS s ON s.oid = namespace
LEFT JOIN pg_depend AS d ON d.classid = catalog AND d.objid = objects.oid AND d.deptype = 'e'
LEFT JOIN pg_extension AS e ON e.oid = d.refobjid
WHERE name = ANY ({names})
    AND nspname <> 'pg_catalog'
    AND (nspname = ANY ({names}) OR nspname = ANY ({path}))

-- %% schemas_with
-- The schemas that have relations or functions of these kinds and names in place of a schema's, and how many.
SELECT nspname, count(DISTINCT name)
FROM (
    SELECT
        relnamespace AS namespace,
        quote_ident(relname) AS name,
        CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind
    FROM pg_class
    WHERE relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL
    SELECT pronamespace, quote_ident(proname), 'function'
    FROM pg_proc
) AS objects
JOIN pg_namespace AS s ON s.oid = namespace
WHERE format('%s %I.%s', kind, {schema}, name) IN ({names})
GROUP BY nspname
