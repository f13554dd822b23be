-- The specification's five indexes, one for every other foreign key, and what must be unique.

-- Patient lookup by therapist
CREATE INDEX idx_patients_therapist ON patients(assigned_therapist_id);

-- Session queries
CREATE INDEX idx_sessions_therapist_date ON sessions(therapist_id, scheduled_at DESC);
CREATE INDEX idx_sessions_patient_date ON sessions(patient_id, scheduled_at DESC);

-- Wearable data time-series
CREATE INDEX idx_wearable_patient_time ON wearable_data(patient_id, recorded_at DESC);

-- Audit log queries
CREATE INDEX idx_audit_org_time ON audit_logs(org_id, created_at DESC);

-- Every other foreign key: a delete looks its rows up here. Those of therapists and patients to their organization
-- lead the two unique indexes below.
CREATE INDEX idx_clinical_notes_session ON clinical_notes (session_id);
CREATE INDEX idx_session_recordings_session ON session_recordings (session_id);
CREATE INDEX idx_session_recordings_consent ON session_recordings (consent_record_id);
CREATE INDEX idx_consent_records_patient ON consent_records (patient_id);

-- One therapist an e-mail address, one patient an ABHA id, in one organization.
CREATE UNIQUE INDEX idx_therapists_org_email ON therapists (org_id, lower(email));
CREATE UNIQUE INDEX idx_patients_org_abha ON patients (org_id, abha_id);

CREATE UNIQUE INDEX idx_session_recordings_path ON session_recordings (storage_path);

-- One consent open per patient and purpose.
CREATE UNIQUE INDEX idx_consent_records_open ON consent_records (patient_id, purpose)
    WHERE revoked_at IS NULL;
