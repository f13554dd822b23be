-- Undoes 0008, in reverse order. The audit rows stay.

DROP TRIGGER audit_truncate ON consent_records;
DROP TRIGGER audit_truncate ON session_recordings;
DROP TRIGGER audit_truncate ON clinical_notes;
DROP TRIGGER audit_truncate ON sessions;
DROP TRIGGER audit_truncate ON patients;
DROP TRIGGER audit_truncate ON therapists;
DROP TRIGGER audit_truncate ON organizations;

DROP TRIGGER audit_delete ON consent_records;
DROP TRIGGER audit_update ON consent_records;
DROP TRIGGER audit_insert ON consent_records;
DROP TRIGGER audit_delete ON session_recordings;
DROP TRIGGER audit_update ON session_recordings;
DROP TRIGGER audit_insert ON session_recordings;
DROP TRIGGER audit_delete ON clinical_notes;
DROP TRIGGER audit_update ON clinical_notes;
DROP TRIGGER audit_insert ON clinical_notes;
DROP TRIGGER audit_delete ON sessions;
DROP TRIGGER audit_update ON sessions;
DROP TRIGGER audit_insert ON sessions;
DROP TRIGGER audit_delete ON patients;
DROP TRIGGER audit_update ON patients;
DROP TRIGGER audit_insert ON patients;
DROP TRIGGER audit_delete ON therapists;
DROP TRIGGER audit_update ON therapists;
DROP TRIGGER audit_insert ON therapists;
DROP TRIGGER audit_delete ON organizations;
DROP TRIGGER audit_update ON organizations;
DROP TRIGGER audit_insert ON organizations;

DROP TRIGGER keep_whole ON audit_logs;
DROP TRIGGER keep ON audit_logs;
DROP TRIGGER refuse_forged ON audit_logs;
DROP TRIGGER stamp ON audit_logs;
DROP INDEX idx_audit_deleted_organization;
DROP FUNCTION merge_patients(uuid, uuid, uuid);
DROP FUNCTION write_audit_log();
DROP FUNCTION keep_audit_log();
DROP FUNCTION stamp_audit_log();
