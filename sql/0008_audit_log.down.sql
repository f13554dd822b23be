-- Undoes 0008, in reverse order. The rows that were written stay.

DO $$
DECLARE
    audited text;
BEGIN
    FOREACH audited IN ARRAY ARRAY[
        'consent_records', 'session_recordings', 'clinical_notes', 'sessions', 'patients', 'therapists', 'organizations'
    ] LOOP
        EXECUTE format('DROP TRIGGER audit_delete ON %I', audited);
        EXECUTE format('DROP TRIGGER audit_update ON %I', audited);
        EXECUTE format('DROP TRIGGER audit_insert ON %I', audited);
    END LOOP;
END;
$$;

DROP TRIGGER keep_whole ON audit_logs;
DROP TRIGGER keep ON audit_logs;
DROP TRIGGER stamp ON audit_logs;
DROP INDEX idx_audit_deleted_organization;
DROP FUNCTION write_audit_log();
DROP FUNCTION keep_audit_log();
DROP FUNCTION stamp_audit_log();
