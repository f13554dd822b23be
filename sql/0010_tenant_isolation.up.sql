-- Each organization sees and writes its own rows alone, over Supabase's Data API and wherever else row level security applies.

-- One form for every table, which an index answers. The helper is wrapped in a SELECT, so that it runs once a query. On Citus,
-- which refuses policies that hold a subquery, there are none: the tables stay closed to all but their owner.
DO $$
DECLARE
    secured text;
    commands text[];
    command text;
    is_own text;
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        RAISE NOTICE 'no policies are made on Citus: the tables are open to their owner alone (see sql/GUIDE.md)';
        RETURN;
    END IF;
    FOR secured, commands IN VALUES
        ('organizations', ARRAY['SELECT']),
        ('therapists', ARRAY['SELECT']),
        ('patients', ARRAY['SELECT', 'INSERT', 'UPDATE']),
        ('sessions', ARRAY['SELECT', 'INSERT', 'UPDATE']),
        ('clinical_notes', ARRAY['SELECT', 'INSERT', 'UPDATE']),
        ('session_recordings', ARRAY['SELECT', 'INSERT', 'UPDATE']),
        ('wearable_data', ARRAY['SELECT', 'INSERT']),
        ('consent_records', ARRAY['SELECT', 'INSERT', 'UPDATE']),
        ('audit_logs', ARRAY['SELECT'])
    LOOP
        is_own := CASE secured WHEN 'organizations' THEN 'id' ELSE 'org_id' END || ' = (SELECT current_org_id())';
        FOREACH command IN ARRAY commands LOOP
            EXECUTE format('CREATE POLICY %I ON %I FOR %s', 'tenant_' || lower(command), secured, command)
                || CASE WHEN command <> 'INSERT' THEN format(' USING (%s)', is_own) ELSE '' END
                || CASE WHEN command <> 'SELECT' THEN format(' WITH CHECK (%s)', is_own) ELSE '' END;
            EXECUTE format(
                'COMMENT ON POLICY %I ON %I IS %L', 'tenant_' || lower(command), secured,
                'The rows of the organization that the token names.'
            );
        END LOOP;
    END LOOP;
END;
$$;

-- A signed-in user writes what a person edits and nothing that is evidence: neither when a row was written nor whose it is,
-- and of a consent only its end. Never ALL: with TRIGGER a role hangs its own function on a table, and a cascade runs it as
-- the owner.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN
        GRANT EXECUTE ON FUNCTION current_org_id() TO authenticated;
        GRANT SELECT ON organizations, therapists, patients, sessions, clinical_notes, session_recordings, wearable_data,
            consent_records, audit_logs, upcoming_sessions TO authenticated;
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
    END IF;
END;
$$;
