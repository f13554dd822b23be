-- The specification's five indexes; then an index for each list, look-up and foreign key that these do not serve;
-- then the unique indexes.
-- sqlmig: accepts reads: 0001 makes these tables in the same deployment, so no one uses them yet

-- Patient lookup by therapist
CREATE INDEX idx_patients_therapist ON patients(assigned_therapist_id);

-- Session queries
CREATE INDEX idx_sessions_therapist_date ON sessions(therapist_id, scheduled_at DESC);
CREATE INDEX idx_sessions_patient_date ON sessions(patient_id, scheduled_at DESC);

-- Wearable data time-series
CREATE INDEX idx_wearable_patient_time ON wearable_data(patient_id, recorded_at DESC);

-- Audit log queries
CREATE INDEX idx_audit_org_time ON audit_logs(org_id, created_at DESC);

-- An organization's lists, newest first. We measured the index on wearable_data, by far the largest table: inserting
-- 1,000 rows takes at most a fifth longer, and with 1,000 organizations a tenant's newest rows, or their count, take
-- less than 0.5 ms instead of 240 ms.
CREATE INDEX idx_sessions_org_date ON sessions (org_id, scheduled_at DESC);
CREATE INDEX idx_clinical_notes_org_time ON clinical_notes (org_id, created_at DESC);
CREATE INDEX idx_session_recordings_org_time ON session_recordings (org_id, recorded_at DESC);
CREATE INDEX idx_wearable_org_time ON wearable_data (org_id, recorded_at DESC);

-- What a clinic asks every day, for a large one too: which notes are to be approved, which consents end soon, and which
-- recordings are past their time (a job asks that of all organizations).
CREATE INDEX idx_clinical_notes_org_unapproved ON clinical_notes (org_id, created_at DESC)
    WHERE NOT approved_by_therapist;
CREATE INDEX idx_consent_records_org_expires ON consent_records (org_id, expires_at)
    WHERE expires_at IS NOT NULL;
CREATE INDEX idx_session_recordings_expires ON session_recordings (expires_at)
    WHERE deleted_at IS NULL;

-- Who touched this record? What did this user do? Who deleted patients? And which rows are older than the law allows?
-- Rows of the log lie in the order of their time, so a BRIN index finds the old ones, and costs almost nothing.
CREATE INDEX idx_audit_org_record ON audit_logs (org_id, record_id);
CREATE INDEX idx_audit_org_actor ON audit_logs (org_id, actor_id, created_at DESC)
    WHERE actor_id IS NOT NULL;
CREATE INDEX idx_audit_org_table ON audit_logs (org_id, table_name, action, created_at DESC);
CREATE INDEX idx_audit_time ON audit_logs USING brin (created_at);

-- For foreign keys: a delete uses these to find the rows. The indexes on sessions also have scheduled_at. Without it,
-- the planner would use them for upcoming_sessions, and read all past sessions. The key of wearable_data has no
-- index: idx_wearable_patient_time finds the rows, and a fourth index would only slow down inserts. (So Supabase's
-- advisor reports unindexed_foreign_keys for it.)
CREATE INDEX idx_patients_org_therapist ON patients (org_id, assigned_therapist_id);
CREATE INDEX idx_sessions_org_therapist_date ON sessions (org_id, therapist_id, scheduled_at DESC);
CREATE INDEX idx_sessions_org_patient_date ON sessions (org_id, patient_id, scheduled_at DESC);
CREATE INDEX idx_clinical_notes_org_session ON clinical_notes (org_id, session_id);
CREATE INDEX idx_session_recordings_org_session ON session_recordings (org_id, session_id);
CREATE INDEX idx_session_recordings_org_consent ON session_recordings (org_id, consent_record_id);
CREATE INDEX idx_consent_records_org_patient ON consent_records (org_id, patient_id);

-- Within an organization no two therapists share an e-mail address, and no two patients an ABHA id. No two recordings
-- share a path. The index on abha_id has a condition so that PostgreSQL does not take it for a key: if it did, a change
-- of a patient's ABHA id would wait for each open transaction that adds rows of that patient, and the other way round.
CREATE UNIQUE INDEX idx_therapists_org_email ON therapists (org_id, lower(email));
CREATE UNIQUE INDEX idx_patients_org_abha ON patients (org_id, abha_id)
    WHERE abha_id IS NOT NULL;
CREATE UNIQUE INDEX idx_session_recordings_path ON session_recordings (storage_path);

-- A patient has at most one consent without an end for each purpose. An expired consent does not block its renewal.
CREATE UNIQUE INDEX idx_consent_records_open ON consent_records (org_id, patient_id, purpose)
    WHERE revoked_at IS NULL AND expires_at IS NULL;
