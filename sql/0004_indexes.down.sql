-- Undoes 0004, in reverse order.

DROP INDEX idx_consent_records_open;
DROP INDEX idx_session_recordings_path;
DROP INDEX idx_patients_org_abha;
DROP INDEX idx_therapists_org_email;
DROP INDEX idx_consent_records_org_patient;
DROP INDEX idx_session_recordings_org_consent;
DROP INDEX idx_session_recordings_org_session;
DROP INDEX idx_clinical_notes_org_session;
DROP INDEX idx_sessions_org_patient_date;
DROP INDEX idx_sessions_org_therapist_date;
DROP INDEX idx_patients_org_therapist;
DROP INDEX idx_audit_org_record;
DROP INDEX idx_wearable_org_time;
DROP INDEX idx_session_recordings_org_time;
DROP INDEX idx_clinical_notes_org_time;
DROP INDEX idx_sessions_org_date;
DROP INDEX idx_audit_org_time;
DROP INDEX idx_wearable_patient_time;
DROP INDEX idx_sessions_patient_date;
DROP INDEX idx_sessions_therapist_date;
DROP INDEX idx_patients_therapist;
