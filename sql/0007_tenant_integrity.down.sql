-- Undoes 0007, in reverse order.

DROP TRIGGER withdraw_approval ON clinical_notes;
DROP TRIGGER keep_deleted ON session_recordings;
DROP TRIGGER keep_storage_path ON session_recordings;
DROP TRIGGER keep_document_path ON consent_records;
DROP TRIGGER keep_expired ON consent_records;
DROP TRIGGER keep_revoked ON consent_records;
DROP TRIGGER keep_grant ON consent_records;
DROP TRIGGER keep_id ON consent_records;
DROP TRIGGER keep_id ON wearable_data;
DROP TRIGGER keep_id ON session_recordings;
DROP TRIGGER keep_id ON clinical_notes;
DROP TRIGGER keep_id ON sessions;
DROP TRIGGER keep_id ON patients;
DROP TRIGGER keep_id ON therapists;
DROP TRIGGER keep_id ON organizations;
DROP TRIGGER check_consent ON session_recordings;
DROP TRIGGER take_org_id ON session_recordings;
DROP TRIGGER take_org_id ON clinical_notes;
DROP TRIGGER take_org_id ON consent_records;
DROP TRIGGER take_org_id ON wearable_data;
DROP TRIGGER take_org_id ON sessions;
DROP FUNCTION withdraw_approval();
DROP FUNCTION refuse_change();
DROP FUNCTION check_recording_consent();
DROP FUNCTION take_org_id_of_session();
DROP FUNCTION take_org_id_of_patient();
