-- Undoes 0010, in reverse order. Without policies and privileges only the owner reaches the tables.

DO $$
DECLARE
    api_role text;
BEGIN
    FOR api_role IN SELECT rolname FROM pg_roles WHERE rolname IN ('authenticated', 'service_role') LOOP
        EXECUTE pg_catalog.format(
            'REVOKE ALL ON organizations, therapists, patients, sessions, clinical_notes, session_recordings,
                wearable_data, consent_records, audit_logs, upcoming_sessions FROM %I',
            api_role
        );
        EXECUTE pg_catalog.format(
            'REVOKE ALL ON FUNCTION current_org_id(), merge_patients(uuid, uuid, uuid) FROM %I',
            api_role
        );
    END LOOP;
END;
$$;

DROP POLICY tenant_select ON audit_logs;
DROP POLICY tenant_update ON consent_records;
DROP POLICY tenant_insert ON consent_records;
DROP POLICY tenant_select ON consent_records;
DROP POLICY tenant_insert ON wearable_data;
DROP POLICY tenant_select ON wearable_data;
DROP POLICY tenant_update ON session_recordings;
DROP POLICY tenant_insert ON session_recordings;
DROP POLICY tenant_select ON session_recordings;
DROP POLICY tenant_update ON clinical_notes;
DROP POLICY tenant_insert ON clinical_notes;
DROP POLICY tenant_select ON clinical_notes;
DROP POLICY tenant_update ON sessions;
DROP POLICY tenant_insert ON sessions;
DROP POLICY tenant_select ON sessions;
DROP POLICY tenant_update ON patients;
DROP POLICY tenant_insert ON patients;
DROP POLICY tenant_select ON patients;
DROP POLICY tenant_select ON therapists;
DROP POLICY tenant_select ON organizations;
