-- Undoes 0010: nothing says what anything means.

COMMENT ON FUNCTION private.keep_audit_log() IS NULL;
COMMENT ON FUNCTION private.name_organization() IS NULL;
COMMENT ON FUNCTION private.current_org_id() IS NULL;
COMMENT ON FUNCTION private.check_session_organization() IS NULL;
COMMENT ON FUNCTION private.refuse_id_again() IS NULL;
COMMENT ON FUNCTION private.keep_organization() IS NULL;
COMMENT ON FUNCTION update_updated_at_column() IS NULL;

COMMENT ON COLUMN upcoming_sessions.patient_name IS NULL;
COMMENT ON COLUMN upcoming_sessions.therapist_name IS NULL;
COMMENT ON COLUMN upcoming_sessions.updated_at IS NULL;
COMMENT ON COLUMN upcoming_sessions.created_at IS NULL;
COMMENT ON COLUMN upcoming_sessions.duration_minutes IS NULL;
COMMENT ON COLUMN upcoming_sessions.status IS NULL;
COMMENT ON COLUMN upcoming_sessions.scheduled_at IS NULL;
COMMENT ON COLUMN upcoming_sessions.patient_id IS NULL;
COMMENT ON COLUMN upcoming_sessions.therapist_id IS NULL;
COMMENT ON COLUMN upcoming_sessions.id IS NULL;
COMMENT ON VIEW upcoming_sessions IS NULL;

COMMENT ON COLUMN audit_logs.created_at IS NULL;
COMMENT ON COLUMN audit_logs.user_agent IS NULL;
COMMENT ON COLUMN audit_logs.ip_address IS NULL;
COMMENT ON COLUMN audit_logs.details IS NULL;
COMMENT ON COLUMN audit_logs.record_id IS NULL;
COMMENT ON COLUMN audit_logs.table_name IS NULL;
COMMENT ON COLUMN audit_logs.action IS NULL;
COMMENT ON COLUMN audit_logs.actor_id IS NULL;
COMMENT ON COLUMN audit_logs.organization_name IS NULL;
COMMENT ON COLUMN audit_logs.org_id IS NULL;
COMMENT ON COLUMN audit_logs.id IS NULL;
COMMENT ON TABLE audit_logs IS NULL;

COMMENT ON COLUMN consent_records.updated_at IS NULL;
COMMENT ON COLUMN consent_records.created_at IS NULL;
COMMENT ON COLUMN consent_records.document_path IS NULL;
COMMENT ON COLUMN consent_records.granted_by IS NULL;
COMMENT ON COLUMN consent_records.revoked_at IS NULL;
COMMENT ON COLUMN consent_records.expires_at IS NULL;
COMMENT ON COLUMN consent_records.granted_at IS NULL;
COMMENT ON COLUMN consent_records.notice_version IS NULL;
COMMENT ON COLUMN consent_records.purpose IS NULL;
COMMENT ON COLUMN consent_records.patient_id IS NULL;
COMMENT ON COLUMN consent_records.id IS NULL;
COMMENT ON TABLE consent_records IS NULL;

COMMENT ON COLUMN wearable_data.recorded_at IS NULL;
COMMENT ON COLUMN wearable_data.metrics IS NULL;
COMMENT ON COLUMN wearable_data.data_type IS NULL;
COMMENT ON COLUMN wearable_data.patient_id IS NULL;
COMMENT ON COLUMN wearable_data.id IS NULL;
COMMENT ON TABLE wearable_data IS NULL;

COMMENT ON COLUMN session_recordings.updated_at IS NULL;
COMMENT ON COLUMN session_recordings.created_at IS NULL;
COMMENT ON COLUMN session_recordings.deleted_at IS NULL;
COMMENT ON COLUMN session_recordings.expires_at IS NULL;
COMMENT ON COLUMN session_recordings.recorded_at IS NULL;
COMMENT ON COLUMN session_recordings.size_bytes IS NULL;
COMMENT ON COLUMN session_recordings.duration_seconds IS NULL;
COMMENT ON COLUMN session_recordings.media_type IS NULL;
COMMENT ON COLUMN session_recordings.storage_path IS NULL;
COMMENT ON COLUMN session_recordings.consent_record_id IS NULL;
COMMENT ON COLUMN session_recordings.session_id IS NULL;
COMMENT ON COLUMN session_recordings.id IS NULL;
COMMENT ON TABLE session_recordings IS NULL;

COMMENT ON COLUMN clinical_notes.updated_at IS NULL;
COMMENT ON COLUMN clinical_notes.created_at IS NULL;
COMMENT ON COLUMN clinical_notes.approved_by_therapist IS NULL;
COMMENT ON COLUMN clinical_notes.ai_generated_summary IS NULL;
COMMENT ON COLUMN clinical_notes.content IS NULL;
COMMENT ON COLUMN clinical_notes.note_type IS NULL;
COMMENT ON COLUMN clinical_notes.session_id IS NULL;
COMMENT ON COLUMN clinical_notes.id IS NULL;
COMMENT ON TABLE clinical_notes IS NULL;

COMMENT ON COLUMN sessions.updated_at IS NULL;
COMMENT ON COLUMN sessions.created_at IS NULL;
COMMENT ON COLUMN sessions.duration_minutes IS NULL;
COMMENT ON COLUMN sessions.status IS NULL;
COMMENT ON COLUMN sessions.scheduled_at IS NULL;
COMMENT ON COLUMN sessions.patient_id IS NULL;
COMMENT ON COLUMN sessions.therapist_id IS NULL;
COMMENT ON COLUMN sessions.id IS NULL;
COMMENT ON TABLE sessions IS NULL;

COMMENT ON COLUMN patients.updated_at IS NULL;
COMMENT ON COLUMN patients.created_at IS NULL;
COMMENT ON COLUMN patients.demographics IS NULL;
COMMENT ON COLUMN patients.abha_id IS NULL;
COMMENT ON COLUMN patients.phone IS NULL;
COMMENT ON COLUMN patients.full_name IS NULL;
COMMENT ON COLUMN patients.assigned_therapist_id IS NULL;
COMMENT ON COLUMN patients.org_id IS NULL;
COMMENT ON COLUMN patients.id IS NULL;
COMMENT ON TABLE patients IS NULL;

COMMENT ON COLUMN therapists.updated_at IS NULL;
COMMENT ON COLUMN therapists.created_at IS NULL;
COMMENT ON COLUMN therapists.specialization IS NULL;
COMMENT ON COLUMN therapists.license_number IS NULL;
COMMENT ON COLUMN therapists.full_name IS NULL;
COMMENT ON COLUMN therapists.email IS NULL;
COMMENT ON COLUMN therapists.org_id IS NULL;
COMMENT ON COLUMN therapists.id IS NULL;
COMMENT ON TABLE therapists IS NULL;

COMMENT ON COLUMN organizations.updated_at IS NULL;
COMMENT ON COLUMN organizations.created_at IS NULL;
COMMENT ON COLUMN organizations.settings IS NULL;
COMMENT ON COLUMN organizations.subscription_tier IS NULL;
COMMENT ON COLUMN organizations.name IS NULL;
COMMENT ON COLUMN organizations.id IS NULL;
COMMENT ON TABLE organizations IS NULL;

COMMENT ON SCHEMA private IS NULL;
