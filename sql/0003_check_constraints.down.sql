-- Undoes 0003: any value may be written again.

ALTER TABLE consent_records DROP CONSTRAINT check_consent_revoked_after_granted;
ALTER TABLE consent_records DROP CONSTRAINT check_consent_purpose;
ALTER TABLE session_recordings DROP CONSTRAINT check_recording_size;
ALTER TABLE session_recordings DROP CONSTRAINT check_recording_duration;
ALTER TABLE session_recordings DROP CONSTRAINT check_recording_storage_path;
ALTER TABLE sessions DROP CONSTRAINT check_session_duration;
ALTER TABLE clinical_notes DROP CONSTRAINT check_note_type;
ALTER TABLE sessions DROP CONSTRAINT check_session_status;
ALTER TABLE organizations DROP CONSTRAINT check_subscription_tier;
