-- What a value may be: the specification's three checks, then ours.

-- Subscription tier validation
ALTER TABLE organizations ADD CONSTRAINT check_subscription_tier 
  CHECK (subscription_tier IN ('free', 'pro', 'biosync'));

-- Session status validation
ALTER TABLE sessions ADD CONSTRAINT check_session_status 
  CHECK (status IN ('scheduled', 'in_progress', 'completed', 'cancelled'));

-- Note type validation
ALTER TABLE clinical_notes ADD CONSTRAINT check_note_type 
  CHECK (note_type IN ('soap', 'dap', 'progress'));

ALTER TABLE sessions ADD CONSTRAINT check_session_duration
    CHECK (duration_minutes > 0);

ALTER TABLE session_recordings ADD CONSTRAINT check_recording_storage_path
    CHECK (storage_path NOT LIKE '%://%');

ALTER TABLE session_recordings ADD CONSTRAINT check_recording_duration
    CHECK (duration_seconds >= 0);

ALTER TABLE session_recordings ADD CONSTRAINT check_recording_size
    CHECK (size_bytes >= 0);

ALTER TABLE consent_records ADD CONSTRAINT check_consent_purpose
    CHECK (purpose IN ('treatment', 'recording', 'ai_processing', 'wearable_data', 'data_sharing'));

ALTER TABLE consent_records ADD CONSTRAINT check_consent_revoked_after_granted
    CHECK (revoked_at >= granted_at);
