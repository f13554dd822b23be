-- How the tables refer to one another, and what a delete takes with it.

ALTER TABLE therapists ADD CONSTRAINT therapists_org_id_fkey
    FOREIGN KEY (org_id) REFERENCES organizations (id)
    ON DELETE CASCADE;

ALTER TABLE patients ADD CONSTRAINT patients_org_id_fkey
    FOREIGN KEY (org_id) REFERENCES organizations (id)
    ON DELETE CASCADE;

-- A patient outlives a therapist.
ALTER TABLE patients ADD CONSTRAINT patients_assigned_therapist_id_fkey
    FOREIGN KEY (assigned_therapist_id) REFERENCES therapists (id)
    ON DELETE SET NULL;

-- One therapist's removal must not erase clinical records. Checked at commit only: an organization's cascade
-- reaches its therapists before its patients' sessions.
ALTER TABLE sessions ADD CONSTRAINT sessions_therapist_id_fkey
    FOREIGN KEY (therapist_id) REFERENCES therapists (id)
    ON DELETE NO ACTION
    DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE sessions ADD CONSTRAINT sessions_patient_id_fkey
    FOREIGN KEY (patient_id) REFERENCES patients (id)
    ON DELETE CASCADE;

ALTER TABLE clinical_notes ADD CONSTRAINT clinical_notes_session_id_fkey
    FOREIGN KEY (session_id) REFERENCES sessions (id)
    ON DELETE CASCADE;

ALTER TABLE session_recordings ADD CONSTRAINT session_recordings_session_id_fkey
    FOREIGN KEY (session_id) REFERENCES sessions (id)
    ON DELETE CASCADE;

ALTER TABLE session_recordings ADD CONSTRAINT session_recordings_consent_record_id_fkey
    FOREIGN KEY (consent_record_id) REFERENCES consent_records (id)
    ON DELETE SET NULL;

ALTER TABLE wearable_data ADD CONSTRAINT wearable_data_patient_id_fkey
    FOREIGN KEY (patient_id) REFERENCES patients (id)
    ON DELETE CASCADE;

ALTER TABLE consent_records ADD CONSTRAINT consent_records_patient_id_fkey
    FOREIGN KEY (patient_id) REFERENCES patients (id)
    ON DELETE CASCADE;

-- The trail outlives the organization.
ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_org_id_fkey
    FOREIGN KEY (org_id) REFERENCES organizations (id)
    ON DELETE SET NULL;
