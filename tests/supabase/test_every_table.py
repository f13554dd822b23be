"""Check every table in the catalog, including future tables. A failure names the table and what it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.supabase.conftest import Platform

RULES = """
    WITH tables AS (
        SELECT oid, relname, relrowsecurity, relacl, EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'org_id' AND NOT attisdropped
        ) AS is_owned
        FROM pg_class AS c
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'schema_migrations'
    )
    SELECT relname || ': row level security is off' FROM tables WHERE NOT relrowsecurity
    UNION ALL
    SELECT relname || ': no policy lets its organization read it' FROM tables
    WHERE NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = tables.oid AND polcmd IN ('r', '*'))
    UNION ALL
    SELECT format('%s: %s may %s, which is for authenticated and service_role alone', relname,
        CASE grantee WHEN 0 THEN 'everybody' ELSE grantee::regrole::text END, privilege_type)
    FROM tables CROSS JOIN aclexplode(relacl)
    WHERE grantee = 0 OR grantee = 'anon'::regrole OR (grantee = 'authenticated'::regrole AND privilege_type IN ('DELETE', 'TRUNCATE'))
    UNION ALL
    SELECT relname || ': authenticated may not read it: a GRANT is missing' FROM tables
    WHERE NOT has_any_column_privilege('authenticated', oid, 'SELECT')
    UNION ALL
    SELECT relname || ': no primary key' FROM tables
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = tables.oid AND contype = 'p')
    UNION ALL
    SELECT relname || ': no index begins with org_id' FROM tables
    WHERE is_owned AND NOT EXISTS (
        SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE indrelid = tables.oid AND attname = 'org_id'
    )
    UNION ALL
    SELECT format('%s: the foreign key %s: its first column is not org_id', relname, conname)
    FROM tables JOIN pg_constraint ON conrelid = tables.oid AND contype = 'f' JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
    WHERE is_owned AND attname <> 'org_id' AND confrelid <> 'organizations'::regclass
        AND NOT EXISTS (  -- the specification's own key, with a composite one beside it
            SELECT FROM pg_constraint AS second JOIN pg_attribute AS first ON first.attrelid = second.conrelid AND first.attnum = second.conkey[1]
            WHERE second.conrelid = pg_constraint.conrelid AND second.contype = 'f' AND second.confrelid = pg_constraint.confrelid
                AND first.attname = 'org_id' AND second.conkey @> pg_constraint.conkey
        )
    UNION ALL
    SELECT format('%s: no trigger writes a row''s %s to the audit log', relname, event)
    FROM tables CROSS JOIN (VALUES ('INSERT', 4), ('UPDATE', 16), ('DELETE', 8)) AS events (event, bit)  -- include/catalog/pg_trigger.h
    WHERE is_owned AND relname NOT IN ('audit_logs', 'wearable_data')
        AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = tables.oid AND tgfoid = 'write_audit_log'::regproc AND tgtype::int & bit > 0)
    UNION ALL
    SELECT relname || ': org_id is not current_org_id() by default' FROM tables JOIN pg_attribute ON attrelid = tables.oid AND attname = 'org_id'
    WHERE relname <> 'audit_logs'
        AND NOT EXISTS (SELECT FROM pg_attrdef WHERE adrelid = tables.oid AND adnum = attnum AND pg_get_expr(adbin, adrelid) = 'current_org_id()')
    UNION ALL
    SELECT format('%s: no index serves the foreign key %s', relname, conname)
    FROM tables JOIN pg_constraint ON conrelid = tables.oid AND contype = 'f'
    WHERE is_owned AND relname <> 'wearable_data' AND NOT EXISTS (
        SELECT FROM pg_index WHERE indrelid = conrelid AND (indkey::int2[])[0:cardinality(conkey) - 1] @> conkey
    )
    UNION ALL
    SELECT format('%s: authenticated may %s every column, also when a row was made; grant it by the column', relname, privilege_type)
    FROM tables CROSS JOIN aclexplode(relacl)
    WHERE grantee = 'authenticated'::regrole AND privilege_type IN ('INSERT', 'UPDATE') AND relname <> 'wearable_data'
    UNION ALL
    SELECT relname || ': nothing sets its updated_at' FROM tables JOIN pg_attribute ON attrelid = tables.oid AND attname = 'updated_at'
    WHERE NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = tables.oid AND tgfoid = 'update_updated_at_column'::regproc)
    ORDER BY 1
"""


def problems(platform: Platform) -> list[str]:
    return [problem for (problem,) in platform.owner.execute(RULES)]


def test_every_table_has_what_a_table_must_have(platform: Platform) -> None:
    found = problems(platform)
    assert not found, "\n".join(found)


def test_a_table_without_a_grant_is_told_so(own_platform: Platform) -> None:
    own_platform.owner.execute(
        "CREATE TABLE not_granted (id int); REVOKE ALL ON not_granted FROM authenticated"
    )
    assert "not_granted: authenticated may not read it: a GRANT is missing" in problems(
        own_platform
    )


def test_a_table_that_lacks_it_all_is_told_so(own_platform: Platform) -> None:
    own_platform.owner.execute("""
        CREATE TABLE lacking_it_all (org_id uuid, patient_id uuid REFERENCES patients, updated_at timestamptz);
        GRANT DELETE ON lacking_it_all TO authenticated;
    """)
    assert [
        problem for problem in problems(own_platform) if " may " not in problem
    ] == [
        "lacking_it_all: no index begins with org_id",
        "lacking_it_all: no index serves the foreign key lacking_it_all_patient_id_fkey",
        "lacking_it_all: no policy lets its organization read it",
        "lacking_it_all: no primary key",
        "lacking_it_all: no trigger writes a row's DELETE to the audit log",
        "lacking_it_all: no trigger writes a row's INSERT to the audit log",
        "lacking_it_all: no trigger writes a row's UPDATE to the audit log",
        "lacking_it_all: nothing sets its updated_at",
        "lacking_it_all: org_id is not current_org_id() by default",
        "lacking_it_all: row level security is off",
        "lacking_it_all: the foreign key lacking_it_all_patient_id_fkey: its first column is not org_id",
    ]
    told = "lacking_it_all: {} may DELETE, which is for authenticated and service_role alone"
    assert {told.format("anon"), told.format("authenticated")} <= set(
        problems(own_platform)
    )
