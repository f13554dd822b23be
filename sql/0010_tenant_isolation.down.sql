-- Undoes 0010, in reverse order: without a policy and without a privilege nobody comes in but the owner.

DO $$
DECLARE
    api_role text;
BEGIN
    FOR api_role IN SELECT rolname FROM pg_roles WHERE rolname IN ('authenticated', 'service_role') LOOP
        EXECUTE format(
            'REVOKE ALL ON organizations, therapists, patients, sessions, clinical_notes, session_recordings,
                wearable_data, consent_records, audit_logs, upcoming_sessions FROM %I',
            api_role
        );
        EXECUTE format('REVOKE ALL ON FUNCTION current_org_id() FROM %I', api_role);
    END LOOP;
END;
$$;

DO $$
DECLARE
    secured text;
    command text;
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        RETURN;
    END IF;
    FOR secured, command IN VALUES
        ('audit_logs', 'select'),
        ('consent_records', 'update'), ('consent_records', 'insert'), ('consent_records', 'select'),
        ('wearable_data', 'insert'), ('wearable_data', 'select'),
        ('session_recordings', 'update'), ('session_recordings', 'insert'), ('session_recordings', 'select'),
        ('clinical_notes', 'update'), ('clinical_notes', 'insert'), ('clinical_notes', 'select'),
        ('sessions', 'update'), ('sessions', 'insert'), ('sessions', 'select'),
        ('patients', 'update'), ('patients', 'insert'), ('patients', 'select'),
        ('therapists', 'select'),
        ('organizations', 'select')
    LOOP
        EXECUTE format('DROP POLICY %I ON %I', 'tenant_' || command, secured);
    END LOOP;
END;
$$;
