"""Check every table in the catalog, including future tables. A failure names the table and what it lacks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.project import SQL

if TYPE_CHECKING:
    from tests.supabase.conftest import Platform

RULES = """
    WITH tables AS (
        SELECT oid, relname, relrowsecurity, relacl, EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'org_id' AND NOT attisdropped
        ) AS is_owned
        FROM pg_class AS c
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
            AND relname <> 'schema_migrations'
    ),
    -- The two tables of sql/GROWTH.md that only a job and a trigger write are not audited.
    written_by_people AS (
        SELECT * FROM tables WHERE relname NOT IN ('wearable_hours', 'wearable_hours_changed')
    ),
    -- Columns that functions read by their name, when they are called.
    read_by_functions (function, relation, column_name) AS (
        VALUES
            ('stamp_audit_log', 'organizations', 'name'), ('write_audit_log', 'organizations', 'name'),
            ('take_org_id_of_patient', 'patients', 'org_id'), ('take_org_id_of_session', 'sessions', 'org_id'),
            ('check_recording_consent', 'sessions', 'patient_id'), ('check_recording_consent', 'consent_records', 'patient_id'),
            ('check_recording_consent', 'consent_records', 'purpose'), ('check_recording_consent', 'consent_records', 'granted_at'),
            ('check_recording_consent', 'consent_records', 'expires_at'), ('check_recording_consent', 'consent_records', 'revoked_at'),
            ('write_audit_log', 'audit_logs', 'org_id'), ('write_audit_log', 'audit_logs', 'organization_id'),
            ('write_audit_log', 'audit_logs', 'organization_name'), ('write_audit_log', 'audit_logs', 'actor_id'),
            ('write_audit_log', 'audit_logs', 'action'), ('write_audit_log', 'audit_logs', 'table_name'),
            ('write_audit_log', 'audit_logs', 'record_id'), ('write_audit_log', 'audit_logs', 'details'),
            ('write_audit_log', 'audit_logs', 'ip_address'), ('write_audit_log', 'audit_logs', 'user_agent'),
            ('merge_patients', 'patients', 'phone'), ('merge_patients', 'patients', 'abha_id'),
            ('merge_patients', 'patients', 'demographics'), ('merge_patients', 'patients', 'assigned_therapist_id')
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
    FROM written_by_people AS tables CROSS JOIN (VALUES ('INSERT', 4), ('UPDATE', 16), ('DELETE', 8)) AS events (event, bit)  -- include/catalog/pg_trigger.h
    WHERE is_owned AND relname NOT IN ('audit_logs', 'wearable_data')
        AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = tables.oid AND tgfoid = 'write_audit_log'::regproc AND tgtype::int & bit > 0)
    UNION ALL
    SELECT relname || ': org_id is not current_org_id() by default' FROM written_by_people AS tables JOIN pg_attribute ON attrelid = tables.oid AND attname = 'org_id'
    WHERE relname <> 'audit_logs'
        AND NOT EXISTS (SELECT FROM pg_attrdef WHERE adrelid = tables.oid AND adnum = attnum AND pg_get_expr(adbin, adrelid) = 'current_org_id()')
    UNION ALL
    SELECT format('%s: no index serves the foreign key %s', relname, conname)
    FROM tables JOIN pg_constraint ON conrelid = tables.oid AND contype = 'f'
    WHERE is_owned AND conparentid = 0 AND relname <> 'wearable_data' AND NOT EXISTS (
        SELECT FROM pg_index WHERE indrelid = conrelid AND (indkey::int2[])[0:cardinality(conkey) - 1] @> conkey
    )
    UNION ALL
    SELECT format('%s: authenticated may %s every column, also when a row was made; grant it by the column', relname, privilege_type)
    FROM tables CROSS JOIN aclexplode(relacl)
    WHERE grantee = 'authenticated'::regrole AND privilege_type IN ('INSERT', 'UPDATE') AND relname <> 'wearable_data'
    UNION ALL
    SELECT relname || ': nothing sets its updated_at' FROM tables JOIN pg_attribute ON attrelid = tables.oid AND attname = 'updated_at'
    WHERE NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = tables.oid AND tgfoid = 'update_updated_at_column'::regproc)
    UNION ALL
    SELECT format('%s: the permissive policy %s shows more than the organization''s own rows: AS RESTRICTIVE narrows', relname, polname)
    FROM tables JOIN pg_policy ON polrelid = tables.oid
    WHERE polpermissive AND NOT coalesce(pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) = format(
            '(%s = ( SELECT current_org_id() AS current_org_id))', CASE relname WHEN 'organizations' THEN 'id' ELSE 'org_id' END
        )
    UNION ALL
    SELECT format('%s: a partition, and row level security is off', relname) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relispartition AND NOT relrowsecurity
    UNION ALL
    SELECT DISTINCT format('%s: a partition, and %s may use it: the policies of its table do not hold for it', relname,
        CASE grantee WHEN 0 THEN 'everybody' ELSE grantee::regrole::text END)
    FROM pg_class CROSS JOIN aclexplode(relacl)
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relispartition AND grantee <> relowner
    UNION ALL
    SELECT relname || ': a view with its owner''s rights shows every tenant''s rows: security_invoker = true' FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'v' AND NOT coalesce(
            (SELECT option_value::bool FROM pg_options_to_table(reloptions) WHERE option_name = 'security_invoker'), false
        )
    UNION ALL
    SELECT DISTINCT format('%s: a materialized view has no policies, and %s may read it', relname,
        CASE grantee WHEN 0 THEN 'everybody' ELSE grantee::regrole::text END)
    FROM pg_class CROSS JOIN aclexplode(relacl)
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'm'
        AND grantee NOT IN (relowner, 'service_role'::regrole)
    UNION ALL
    SELECT format('%s(): SECURITY DEFINER passes all policies, and %s may call it', proname, rolname)
    FROM pg_proc CROSS JOIN pg_roles
    WHERE pronamespace = 'public'::regnamespace AND prosecdef AND rolname IN ('anon', 'authenticated')
        AND has_function_privilege(rolname, pg_proc.oid, 'EXECUTE')
    UNION ALL
    SELECT proname || '(): its search_path is the caller''s: SET search_path' FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting LIKE 'search_path=%')
    UNION ALL
    SELECT format('%s.%s: %s() reads it, and it is not there', relation, column_name, function) FROM read_by_functions
    WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = relation::regclass AND attname = column_name)
    ORDER BY 1
"""


def problems(platform: Platform) -> list[str]:
    return [problem for (problem,) in platform.owner.execute(RULES)]


def test_every_table_follows_all_rules(platform: Platform) -> None:
    found = problems(platform)
    assert not found, "\n".join(found)


def test_table_without_grant_is_reported(own_platform: Platform) -> None:
    own_platform.owner.execute(
        "CREATE TABLE not_granted (id int); REVOKE ALL ON not_granted FROM authenticated"
    )
    assert "not_granted: authenticated may not read it: a GRANT is missing" in problems(
        own_platform
    )


def test_every_missing_item_of_a_bare_table_is_reported(own_platform: Platform) -> None:
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


SPECIFICATION = (Path(__file__).parents[1] / "schema" / "specification.sql").read_text()
TRAPS = {
    "CREATE VIEW everybody AS SELECT * FROM patients": {
        "everybody: a view with its owner's rights shows every tenant's rows: security_invoker = true"
    },
    "CREATE MATERIALIZED VIEW lists AS SELECT * FROM patients": {
        f"lists: a materialized view has no policies, and {role} may read it"
        for role in ("anon", "authenticated")
    },
    "CREATE TABLE copied AS SELECT * FROM patients": {
        "copied: row level security is off",
        "copied: anon may SELECT, which is for authenticated and service_role alone",
    },
    "CREATE FUNCTION all_names() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT full_name FROM patients'": {
        "all_names(): SECURITY DEFINER passes all policies, and anon may call it",
        "all_names(): SECURITY DEFINER passes all policies, and authenticated may call it",
        "all_names(): its search_path is the caller's: SET search_path",
    },
    """
    CREATE TABLE measured (org_id uuid, recorded_at timestamptz) PARTITION BY RANGE (recorded_at);
    ALTER TABLE measured ENABLE ROW LEVEL SECURITY;
    CREATE TABLE measured_2027 PARTITION OF measured FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')
    """: {
        "measured_2027: a partition, and row level security is off",
        "measured_2027: a partition, and authenticated may use it: the policies of its table do not hold for it",
    },
    "CREATE POLICY only_hers ON patients FOR SELECT USING (assigned_therapist_id IS NOT NULL)": {
        "patients: the permissive policy only_hers shows more than the organization's own rows: AS RESTRICTIVE narrows"
    },
    SPECIFICATION[
        SPECIFICATION.index("CREATE OR REPLACE FUNCTION") : SPECIFICATION.index(
            "language 'plpgsql'"
        )
    ]
    + "language 'plpgsql'": {
        "update_updated_at_column(): its search_path is the caller's: SET search_path"
    },
    "ALTER TABLE organizations RENAME COLUMN name TO title": {
        "organizations.name: stamp_audit_log() reads it, and it is not there",
        "organizations.name: write_audit_log() reads it, and it is not there",
    },
}


@pytest.mark.parametrize("trap", TRAPS)
def test_unsafe_migration_is_reported(own_platform: Platform, trap: str) -> None:
    own_platform.owner.execute(trap.encode())
    assert TRAPS[trap] <= set(problems(own_platform))


def test_safe_alternatives_in_guide_raise_no_problems(own_platform: Platform) -> None:
    guide = (SQL / "GUIDE.md").read_text()
    (section,) = re.findall(
        r"^## Traps of the next migration\n(.*?)^## ", guide, re.MULTILINE | re.DOTALL
    )
    blocks = re.findall(r"^```sql\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        own_platform.owner.execute(block)
    assert problems(own_platform) == []


def test_functions_read_the_columns_listed_in_the_rule(
    own_platform: Platform,
) -> None:
    """Each name of the list is in the text of its function."""
    listed = re.findall(r"\('(\w+)', '(\w+)', '(\w+)'\)", RULES)
    assert len(listed) > 20
    for function, relation, column in listed:
        query = "SELECT prosrc FROM pg_proc WHERE proname = %s"
        ((text,),) = own_platform.owner.execute(query, [function]).fetchall()
        assert relation in text, (function, relation)
        assert re.search(rf"\b{column}\b", text), (function, column)
