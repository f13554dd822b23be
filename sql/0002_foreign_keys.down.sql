-- Undoes 0002, in reverse order.

ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_org_id_fkey;
ALTER TABLE consent_records DROP CONSTRAINT consent_records_patient_id_fkey;
ALTER TABLE wearable_data DROP CONSTRAINT wearable_data_patient_id_fkey;
ALTER TABLE session_recordings DROP CONSTRAINT session_recordings_consent_record_id_fkey;
ALTER TABLE session_recordings DROP CONSTRAINT session_recordings_session_id_fkey;
ALTER TABLE clinical_notes DROP CONSTRAINT clinical_notes_session_id_fkey;
ALTER TABLE sessions DROP CONSTRAINT sessions_patient_id_fkey;
ALTER TABLE sessions DROP CONSTRAINT sessions_therapist_id_fkey;
ALTER TABLE patients DROP CONSTRAINT patients_assigned_therapist_id_fkey;
ALTER TABLE patients DROP CONSTRAINT patients_org_id_fkey;
ALTER TABLE therapists DROP CONSTRAINT therapists_org_id_fkey;
