-- Each organization reads and writes only its own rows, through Supabase's Data API and wherever else row level
-- security applies.

-- All policies compare org_id, so that PostgreSQL can use an index. (SELECT current_org_id()) runs once for a query;
-- without the SELECT it would run once for each row. Citus refuses policies with a subquery, so leave this file out
-- there (see sql/GUIDE.md).
CREATE POLICY tenant_select ON organizations FOR SELECT
    USING (id = (SELECT current_org_id()));

CREATE POLICY tenant_select ON therapists FOR SELECT
    USING (org_id = (SELECT current_org_id()));

CREATE POLICY tenant_select ON patients FOR SELECT
    USING (org_id = (SELECT current_org_id()));
CREATE POLICY tenant_insert ON patients FOR INSERT
    WITH CHECK (org_id = (SELECT current_org_id()));
CREATE POLICY tenant_update ON patients FOR UPDATE
    USING (org_id = (SELECT current_org_id()))
    WITH CHECK (org_id = (SELECT current_org_id()));

CREATE POLICY tenant_select ON sessions FOR SELECT
    USING (org_id = (SELECT current_org_id()));
CREATE POLICY tenant_insert ON sessions FOR INSERT
    WITH CHECK (org_id = (SELECT current_org_id()));
CREATE POLICY tenant_update ON sessions FOR UPDATE
    USING (org_id = (SELECT current_org_id()))
    WITH CHECK (org_id = (SELECT current_org_id()));

CREATE POLICY tenant_select ON clinical_notes FOR SELECT
    USING (org_id = (SELECT current_org_id()));
CREATE POLICY tenant_insert ON clinical_notes FOR INSERT
    WITH CHECK (org_id = (SELECT current_org_id()));
CREATE POLICY tenant_update ON clinical_notes FOR UPDATE
    USING (org_id = (SELECT current_org_id()))
    WITH CHECK (org_id = (SELECT current_org_id()));

CREATE POLICY tenant_select ON session_recordings FOR SELECT
    USING (org_id = (SELECT current_org_id()));
CREATE POLICY tenant_insert ON session_recordings FOR INSERT
    WITH CHECK (org_id = (SELECT current_org_id()));
CREATE POLICY tenant_update ON session_recordings FOR UPDATE
    USING (org_id = (SELECT current_org_id()))
    WITH CHECK (org_id = (SELECT current_org_id()));

CREATE POLICY tenant_select ON wearable_data FOR SELECT
    USING (org_id = (SELECT current_org_id()));
CREATE POLICY tenant_insert ON wearable_data FOR INSERT
    WITH CHECK (org_id = (SELECT current_org_id()));

CREATE POLICY tenant_select ON consent_records FOR SELECT
    USING (org_id = (SELECT current_org_id()));
CREATE POLICY tenant_insert ON consent_records FOR INSERT
    WITH CHECK (org_id = (SELECT current_org_id()));
CREATE POLICY tenant_update ON consent_records FOR UPDATE
    USING (org_id = (SELECT current_org_id()))
    WITH CHECK (org_id = (SELECT current_org_id()));

CREATE POLICY tenant_select ON audit_logs FOR SELECT
    USING (org_id = (SELECT current_org_id()));

COMMENT ON POLICY tenant_select ON organizations IS 'An organization reads its own row.';
COMMENT ON POLICY tenant_select ON therapists IS 'An organization reads its own rows.';
COMMENT ON POLICY tenant_select ON patients IS 'An organization reads its own rows.';
COMMENT ON POLICY tenant_insert ON patients IS 'An organization adds rows of its own.';
COMMENT ON POLICY tenant_update ON patients IS 'An organization changes its own rows, which stay its own.';
COMMENT ON POLICY tenant_select ON sessions IS 'An organization reads its own rows.';
COMMENT ON POLICY tenant_insert ON sessions IS 'An organization adds rows of its own.';
COMMENT ON POLICY tenant_update ON sessions IS 'An organization changes its own rows, which stay its own.';
COMMENT ON POLICY tenant_select ON clinical_notes IS 'An organization reads its own rows.';
COMMENT ON POLICY tenant_insert ON clinical_notes IS 'An organization adds rows of its own.';
COMMENT ON POLICY tenant_update ON clinical_notes IS 'An organization changes its own rows, which stay its own.';
COMMENT ON POLICY tenant_select ON session_recordings IS 'An organization reads its own rows.';
COMMENT ON POLICY tenant_insert ON session_recordings IS 'An organization adds rows of its own.';
COMMENT ON POLICY tenant_update ON session_recordings IS 'An organization changes its own rows, which stay its own.';
COMMENT ON POLICY tenant_select ON wearable_data IS 'An organization reads its own rows.';
COMMENT ON POLICY tenant_insert ON wearable_data IS 'An organization adds rows of its own.';
COMMENT ON POLICY tenant_select ON consent_records IS 'An organization reads its own rows.';
COMMENT ON POLICY tenant_insert ON consent_records IS 'An organization adds rows of its own.';
COMMENT ON POLICY tenant_update ON consent_records IS 'An organization changes its own rows, which stay its own.';
COMMENT ON POLICY tenant_select ON audit_logs IS 'An organization reads its own rows.';

-- Signed-in users cannot set created_at and updated_at, and cannot move a row to another patient or session. In a
-- consent they can change only expires_at, revoked_at and document_path. Never GRANT ALL: it includes TRIGGER, and a
-- foreign key's cascade runs such a trigger with the owner's rights.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN
        GRANT EXECUTE ON FUNCTION current_org_id() TO authenticated;
        GRANT SELECT ON organizations, therapists, patients, sessions, clinical_notes, session_recordings,
            wearable_data, consent_records, audit_logs, upcoming_sessions TO authenticated;
        GRANT
            INSERT (id, org_id, assigned_therapist_id, full_name, phone, abha_id, demographics),
            UPDATE (assigned_therapist_id, full_name, phone, abha_id, demographics)
            ON patients TO authenticated;
        GRANT
            INSERT (id, org_id, therapist_id, patient_id, scheduled_at, status, duration_minutes),
            UPDATE (therapist_id, scheduled_at, status, duration_minutes)
            ON sessions TO authenticated;
        GRANT
            INSERT (id, org_id, session_id, note_type, content, ai_generated_summary, approved_by_therapist),
            UPDATE (note_type, content, ai_generated_summary, approved_by_therapist)
            ON clinical_notes TO authenticated;
        GRANT
            INSERT (
                id, org_id, session_id, consent_record_id, storage_path, media_type, duration_seconds, size_bytes,
                recorded_at, expires_at, deleted_at
            ),
            UPDATE (storage_path, media_type, duration_seconds, size_bytes, recorded_at, expires_at, deleted_at)
            ON session_recordings TO authenticated;
        GRANT INSERT ON wearable_data TO authenticated;
        GRANT
            INSERT (id, org_id, patient_id, purpose, notice_version, granted_at, expires_at, granted_by, document_path),
            UPDATE (expires_at, revoked_at, document_path)
            ON consent_records TO authenticated;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT EXECUTE ON FUNCTION current_org_id() TO service_role;
        GRANT SELECT, INSERT, UPDATE, DELETE ON organizations, therapists, patients, sessions, clinical_notes,
            session_recordings, wearable_data, consent_records TO service_role;
        GRANT SELECT, INSERT ON audit_logs TO service_role;
        GRANT SELECT ON upcoming_sessions TO service_role;
        GRANT EXECUTE ON FUNCTION merge_patients(uuid, uuid, uuid) TO service_role;
    END IF;
END;
$$;
