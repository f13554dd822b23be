-- Each organization sees and writes its own rows alone, over Supabase's Data API and wherever else row level security applies.

-- The tenant: app_metadata.org_id of the token, which only the server can set (users can edit user_metadata). Null where it
-- is missing or no uuid, and then nothing is seen.
CREATE FUNCTION private.current_org_id() RETURNS uuid
LANGUAGE sql
STABLE
SET search_path = ''
AS $$
    SELECT CASE WHEN claim ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN claim::uuid END
    FROM (
        SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb -> 'app_metadata' ->> 'org_id'
    ) AS token (claim)
$$;

REVOKE EXECUTE ON FUNCTION private.current_org_id() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION update_updated_at_column() FROM PUBLIC;

-- The policies below ask for a tenant's patients; this index alone answers.
CREATE INDEX idx_patients_org ON patients (org_id, id);

-- The helper is wrapped in a SELECT, so that it runs once a query. What has no org_id belongs to whom its
-- parent belongs: the parent's own policy decides.

CREATE POLICY tenant_select ON organizations
    FOR SELECT
    USING (id = (SELECT private.current_org_id()));

CREATE POLICY tenant_select ON therapists
    FOR SELECT
    USING (org_id = (SELECT private.current_org_id()));

CREATE POLICY tenant_select ON patients
    FOR SELECT
    USING (org_id = (SELECT private.current_org_id()));

CREATE POLICY tenant_insert ON patients
    FOR INSERT
    WITH CHECK (org_id = (SELECT private.current_org_id()));

CREATE POLICY tenant_update ON patients
    FOR UPDATE
    USING (org_id = (SELECT private.current_org_id()))
    WITH CHECK (org_id = (SELECT private.current_org_id()));

-- 0007 sees to it that the patient is of the therapist's organization. What is written names both, so that no key tells
-- whether a foreign id exists.
CREATE POLICY tenant_select ON sessions
    FOR SELECT
    USING (EXISTS (SELECT FROM therapists WHERE therapists.id = therapist_id));

CREATE POLICY tenant_insert ON sessions
    FOR INSERT
    WITH CHECK (
        EXISTS (SELECT FROM therapists WHERE therapists.id = therapist_id)
        AND EXISTS (SELECT FROM patients WHERE patients.id = patient_id)
    );

CREATE POLICY tenant_update ON sessions
    FOR UPDATE
    USING (EXISTS (SELECT FROM therapists WHERE therapists.id = therapist_id))
    WITH CHECK (
        EXISTS (SELECT FROM therapists WHERE therapists.id = therapist_id)
        AND EXISTS (SELECT FROM patients WHERE patients.id = patient_id)
    );

CREATE POLICY tenant_select ON clinical_notes
    FOR SELECT
    USING (EXISTS (SELECT FROM sessions WHERE sessions.id = session_id));

CREATE POLICY tenant_insert ON clinical_notes
    FOR INSERT
    WITH CHECK (EXISTS (SELECT FROM sessions WHERE sessions.id = session_id));

CREATE POLICY tenant_update ON clinical_notes
    FOR UPDATE
    USING (EXISTS (SELECT FROM sessions WHERE sessions.id = session_id))
    WITH CHECK (EXISTS (SELECT FROM sessions WHERE sessions.id = session_id));

CREATE POLICY tenant_select ON session_recordings
    FOR SELECT
    USING (EXISTS (SELECT FROM sessions WHERE sessions.id = session_id));

CREATE POLICY tenant_insert ON session_recordings
    FOR INSERT
    WITH CHECK (
        EXISTS (SELECT FROM sessions WHERE sessions.id = session_id)
        AND (consent_record_id IS NULL OR EXISTS (SELECT FROM consent_records WHERE consent_records.id = consent_record_id))
    );

CREATE POLICY tenant_update ON session_recordings
    FOR UPDATE
    USING (
        EXISTS (SELECT FROM sessions WHERE sessions.id = session_id)
        AND (consent_record_id IS NULL OR EXISTS (SELECT FROM consent_records WHERE consent_records.id = consent_record_id))
    )
    WITH CHECK (
        EXISTS (SELECT FROM sessions WHERE sessions.id = session_id)
        AND (consent_record_id IS NULL OR EXISTS (SELECT FROM consent_records WHERE consent_records.id = consent_record_id))
    );

CREATE POLICY tenant_select ON wearable_data
    FOR SELECT
    USING (EXISTS (SELECT FROM patients WHERE patients.id = patient_id));

CREATE POLICY tenant_insert ON wearable_data
    FOR INSERT
    WITH CHECK (EXISTS (SELECT FROM patients WHERE patients.id = patient_id));

CREATE POLICY tenant_select ON consent_records
    FOR SELECT
    USING (EXISTS (SELECT FROM patients WHERE patients.id = patient_id));

CREATE POLICY tenant_insert ON consent_records
    FOR INSERT
    WITH CHECK (EXISTS (SELECT FROM patients WHERE patients.id = patient_id));

CREATE POLICY tenant_update ON consent_records
    FOR UPDATE
    USING (EXISTS (SELECT FROM patients WHERE patients.id = patient_id))
    WITH CHECK (EXISTS (SELECT FROM patients WHERE patients.id = patient_id));

CREATE POLICY tenant_select ON audit_logs
    FOR SELECT
    USING (org_id = (SELECT private.current_org_id()));

-- Exactly these privileges, whatever the project granted by default; policies do not stop TRUNCATE.
DO $$
DECLARE
    api_role text;
BEGIN
    FOR api_role IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role') LOOP
        EXECUTE format(
            'REVOKE ALL ON organizations, therapists, patients, sessions, clinical_notes, session_recordings,
                wearable_data, consent_records, audit_logs, upcoming_sessions FROM %I',
            api_role
        );
        EXECUTE format('REVOKE ALL ON FUNCTION update_updated_at_column() FROM %I', api_role);
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN
        GRANT SELECT ON organizations, therapists, audit_logs, upcoming_sessions TO authenticated;
        GRANT SELECT, INSERT, UPDATE ON patients, sessions, clinical_notes, session_recordings, consent_records
            TO authenticated;
        GRANT SELECT, INSERT ON wearable_data TO authenticated;
        GRANT EXECUTE ON FUNCTION private.current_org_id() TO authenticated;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT ALL ON organizations, therapists, patients, sessions, clinical_notes, session_recordings, wearable_data,
            consent_records TO service_role;
        GRANT SELECT, INSERT ON audit_logs TO service_role;
        GRANT SELECT ON upcoming_sessions TO service_role;
    END IF;
END;
$$;
