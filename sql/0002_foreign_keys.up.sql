-- How the tables refer to one another, and what a delete also removes. Every key between two of an organization's
-- rows begins with org_id, so both rows always belong to the same organization, for every role and isolation level.
-- sqlmig: accepts reads: 0001 makes these tables in the same deployment, so no one uses them yet

ALTER TABLE therapists ADD CONSTRAINT therapists_org_id_fkey
    FOREIGN KEY (org_id) REFERENCES organizations (id)
    ON DELETE CASCADE;

ALTER TABLE patients ADD CONSTRAINT patients_org_id_fkey
    FOREIGN KEY (org_id) REFERENCES organizations (id)
    ON DELETE CASCADE;

-- A patient outlives a therapist.
ALTER TABLE patients ADD CONSTRAINT patients_assigned_therapist_id_fkey
    FOREIGN KEY (org_id, assigned_therapist_id) REFERENCES therapists (org_id, id)
    ON DELETE SET NULL (assigned_therapist_id);

-- Removing a therapist must not erase clinical records. The key is checked only at commit, because deleting an
-- organization removes its therapists before its patients' sessions.
ALTER TABLE sessions ADD CONSTRAINT sessions_therapist_id_fkey
    FOREIGN KEY (org_id, therapist_id) REFERENCES therapists (org_id, id)
    ON DELETE NO ACTION
    DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE sessions ADD CONSTRAINT sessions_patient_id_fkey
    FOREIGN KEY (org_id, patient_id) REFERENCES patients (org_id, id)
    ON DELETE CASCADE;

ALTER TABLE clinical_notes ADD CONSTRAINT clinical_notes_session_id_fkey
    FOREIGN KEY (org_id, session_id) REFERENCES sessions (org_id, id)
    ON DELETE CASCADE;

ALTER TABLE session_recordings ADD CONSTRAINT session_recordings_session_id_fkey
    FOREIGN KEY (org_id, session_id) REFERENCES sessions (org_id, id)
    ON DELETE CASCADE;

ALTER TABLE session_recordings ADD CONSTRAINT session_recordings_consent_record_id_fkey
    FOREIGN KEY (org_id, consent_record_id) REFERENCES consent_records (org_id, id)
    ON DELETE SET NULL (consent_record_id);

ALTER TABLE wearable_data ADD CONSTRAINT wearable_data_patient_id_fkey
    FOREIGN KEY (org_id, patient_id) REFERENCES patients (org_id, id)
    ON DELETE CASCADE;

ALTER TABLE consent_records ADD CONSTRAINT consent_records_patient_id_fkey
    FOREIGN KEY (org_id, patient_id) REFERENCES patients (org_id, id)
    ON DELETE CASCADE;

-- The audit log outlives the organization.
ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_org_id_fkey
    FOREIGN KEY (org_id) REFERENCES organizations (id)
    ON DELETE SET NULL;
