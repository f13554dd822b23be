-- Patient lookup by therapist
CREATE INDEX idx_patients_therapist ON patients(assigned_therapist_id);

-- Session queries
CREATE INDEX idx_sessions_therapist_date ON sessions(therapist_id, scheduled_at DESC);
CREATE INDEX idx_sessions_patient_date ON sessions(patient_id, scheduled_at DESC);

-- Wearable data time-series
CREATE INDEX idx_wearable_patient_time ON wearable_data(patient_id, recorded_at DESC);

-- Audit log queries
CREATE INDEX idx_audit_org_time ON audit_logs(org_id, created_at DESC);

-- Subscription tier validation
ALTER TABLE organizations ADD CONSTRAINT check_subscription_tier 
  CHECK (subscription_tier IN ('free', 'pro', 'biosync'));

-- Session status validation
ALTER TABLE sessions ADD CONSTRAINT check_session_status 
  CHECK (status IN ('scheduled', 'in_progress', 'completed', 'cancelled'));

-- Note type validation
ALTER TABLE clinical_notes ADD CONSTRAINT check_note_type 
  CHECK (note_type IN ('soap', 'dap', 'progress'));

CREATE OR REPLACE FUNCTION update_updated_at_column()
RETURNS TRIGGER AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END;
$$ language 'plpgsql';

-- Upcoming sessions view
CREATE VIEW upcoming_sessions AS
SELECT s.*, t.full_name as therapist_name, p.full_name as patient_name
FROM sessions s
JOIN therapists t ON s.therapist_id = t.id
JOIN patients p ON s.patient_id = p.id
WHERE s.scheduled_at > now() AND s.status = 'scheduled';

