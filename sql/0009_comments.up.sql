-- The meaning of every object, with units and formats, and a note on personal data. The dashboard, the API's
-- documentation and other tools show these comments.

COMMENT ON TABLE organizations IS 'A clinic or practice: the tenant to which everything else belongs.';
COMMENT ON COLUMN organizations.id IS 'Primary key, a random UUID.';
COMMENT ON COLUMN organizations.name IS 'The name under which it works.';
COMMENT ON COLUMN organizations.subscription_tier IS 'What it pays for: free, pro or biosync.';
COMMENT ON COLUMN organizations.settings IS 'Its preferences, a JSON object; no personal data.';
COMMENT ON COLUMN organizations.created_at IS 'When the row was written (UTC instant).';
COMMENT ON COLUMN organizations.updated_at IS 'When the row was last changed; a trigger sets it.';

COMMENT ON TABLE therapists IS 'A person who treats patients for one organization. Personal data.';
COMMENT ON COLUMN therapists.id IS 'Primary key, a random UUID.';
COMMENT ON COLUMN therapists.org_id IS 'The organization. If you give none: org_id of the token.';
COMMENT ON COLUMN therapists.email IS 'Work e-mail address, not blank, unique in the organization, upper and lower case being the same. Personal data.';
COMMENT ON COLUMN therapists.full_name IS 'Name as patients see it. Personal data.';
COMMENT ON COLUMN therapists.license_number IS 'Number of the licence to practise, in the form of the register. Personal data.';
COMMENT ON COLUMN therapists.specialization IS 'Field of work, free text.';
COMMENT ON COLUMN therapists.created_at IS 'When the row was written (UTC instant).';
COMMENT ON COLUMN therapists.updated_at IS 'When the row was last changed; a trigger sets it.';

COMMENT ON TABLE patients IS 'A person in treatment with one organization. Personal health data.';
COMMENT ON COLUMN patients.id IS 'Primary key, a random UUID.';
COMMENT ON COLUMN patients.org_id IS 'The organization. If you give none: org_id of the token.';
COMMENT ON COLUMN patients.assigned_therapist_id IS 'The therapist in charge, of the same organization; null when there is none. Personal health data.';
COMMENT ON COLUMN patients.full_name IS 'Legal name. Personal health data, as who is in treatment.';
COMMENT ON COLUMN patients.phone IS 'Phone number, E.164 (+919876543210). Personal data.';
COMMENT ON COLUMN patients.abha_id IS 'Ayushman Bharat Health Account number: 14 digits without dashes (two spellings would be two ids). Unique in the organization. Personal data.';
COMMENT ON COLUMN patients.demographics IS 'Age, gender, language and the like, a JSON object. Personal data.';
COMMENT ON COLUMN patients.created_at IS 'When the row was written (UTC instant).';
COMMENT ON COLUMN patients.updated_at IS 'When the row was last changed; a trigger sets it.';

COMMENT ON TABLE sessions IS 'A therapy session of one patient with one therapist, both of one organization. Personal health data.';
COMMENT ON COLUMN sessions.id IS 'Primary key, a random UUID.';
COMMENT ON COLUMN sessions.org_id IS 'The organization of its patient. If you give none: org_id of the token or, without a token, the patient''s organization.';
COMMENT ON COLUMN sessions.therapist_id IS 'Who conducts it.';
COMMENT ON COLUMN sessions.patient_id IS 'Who attends it. Personal health data.';
COMMENT ON COLUMN sessions.scheduled_at IS 'When it begins (UTC instant). Personal health data.';
COMMENT ON COLUMN sessions.status IS 'scheduled, in_progress, completed or cancelled. Personal health data.';
COMMENT ON COLUMN sessions.duration_minutes IS 'How long it lasted or is to last, in minutes; null if not known. Personal health data.';
COMMENT ON COLUMN sessions.created_at IS 'When the row was written (UTC instant).';
COMMENT ON COLUMN sessions.updated_at IS 'When the row was last changed; a trigger sets it.';

COMMENT ON TABLE clinical_notes IS 'A note about a session. Personal health data.';
COMMENT ON COLUMN clinical_notes.id IS 'Primary key, a random UUID.';
COMMENT ON COLUMN clinical_notes.org_id IS 'The organization of its session. If you give none: org_id of the token or, without a token, the session''s organization.';
COMMENT ON COLUMN clinical_notes.session_id IS 'The session; the note goes when it goes.';
COMMENT ON COLUMN clinical_notes.note_type IS 'The form of the note: soap, dap or progress. Personal health data.';
COMMENT ON COLUMN clinical_notes.content IS 'The note, a JSON object with the parts of its form. Personal health data.';
COMMENT ON COLUMN clinical_notes.ai_generated_summary IS 'A summary that a model wrote; no one has checked it unless approved_by_therapist. Personal health data.';
COMMENT ON COLUMN clinical_notes.approved_by_therapist IS 'Whether the therapist has read and approved the note in its present form: changing content, note_type or ai_generated_summary takes the approval back.';
COMMENT ON COLUMN clinical_notes.created_at IS 'When the row was written (UTC instant).';
COMMENT ON COLUMN clinical_notes.updated_at IS 'When the row was last changed; a trigger sets it.';

COMMENT ON TABLE session_recordings IS 'A recording of a session: the path of its file, and the consent for it. Personal health data.';
COMMENT ON COLUMN session_recordings.id IS 'Primary key, a random UUID.';
COMMENT ON COLUMN session_recordings.org_id IS 'The organization of its session. If you give none: org_id of the token or, without a token, the session''s organization.';
COMMENT ON COLUMN session_recordings.session_id IS 'The session; the row goes when it goes, the file in Storage does not.';
COMMENT ON COLUMN session_recordings.consent_record_id IS 'The consent that it rests on: from the same patient, for recording, in force at recorded_at when the recording was written; null for none, or if the consent was deleted. Personal health data.';
COMMENT ON COLUMN session_recordings.storage_path IS 'The path of the file in a private bucket, ORG_ID/…, never a URL; null until the upload is done. Once set it stays, and may be set to null when deleted_at is set. Personal health data.';
COMMENT ON COLUMN session_recordings.media_type IS 'MIME type, for example audio/ogg.';
COMMENT ON COLUMN session_recordings.duration_seconds IS 'Length in seconds.';
COMMENT ON COLUMN session_recordings.size_bytes IS 'Size of the file in bytes.';
COMMENT ON COLUMN session_recordings.recorded_at IS 'When the recording began (UTC instant). Personal health data.';
COMMENT ON COLUMN session_recordings.expires_at IS 'When the file is to be erased (UTC instant); null for no date.';
COMMENT ON COLUMN session_recordings.deleted_at IS 'When the file was erased (UTC instant); the row stays as evidence. Once set it stays.';
COMMENT ON COLUMN session_recordings.created_at IS 'When the row was written (UTC instant).';
COMMENT ON COLUMN session_recordings.updated_at IS 'When the row was last changed; a trigger sets it.';

COMMENT ON TABLE wearable_data IS 'A measurement by a patient''s wearable device. Signed-in users only add rows. Personal health data.';
COMMENT ON COLUMN wearable_data.id IS 'Primary key within the organization: a random UUID, or a UUIDv5 of the measurement, so that a second upload adds nothing.';
COMMENT ON COLUMN wearable_data.org_id IS 'The organization of its patient. If you give none: org_id of the token or, without a token, the patient''s organization.';
COMMENT ON COLUMN wearable_data.patient_id IS 'The patient who was measured. Personal health data.';
COMMENT ON COLUMN wearable_data.data_type IS 'The kind of measurement, for example heart_rate, hrv, sleep or steps. Personal health data.';
COMMENT ON COLUMN wearable_data.metrics IS 'The values with their units, a JSON object. Personal health data.';
COMMENT ON COLUMN wearable_data.recorded_at IS 'When the device measured (UTC instant). Personal health data.';

COMMENT ON TABLE consent_records IS 'A consent that a patient, or a guardian, gave. Active from granted_at until expires_at or revoked_at. Personal health data.';
COMMENT ON COLUMN consent_records.id IS 'Primary key, a random UUID.';
COMMENT ON COLUMN consent_records.org_id IS 'The organization of its patient. If you give none: org_id of the token or, without a token, the patient''s organization.';
COMMENT ON COLUMN consent_records.patient_id IS 'The patient who gives the consent. Personal health data.';
COMMENT ON COLUMN consent_records.purpose IS 'What for: treatment, recording, ai_processing, wearable_data or data_sharing. A patient has at most one consent without an end for each. Personal health data.';
COMMENT ON COLUMN consent_records.notice_version IS 'Version of the privacy notice that was shown; it stays.';
COMMENT ON COLUMN consent_records.granted_at IS 'When it was given (UTC instant), at most five minutes ahead; it stays. Personal health data.';
COMMENT ON COLUMN consent_records.expires_at IS 'When it ends by itself, after granted_at (UTC instant); null for no date. It may move to an earlier time while it is in the future. To renew a consent, add a new row. Personal health data.';
COMMENT ON COLUMN consent_records.revoked_at IS 'When it was, or will be, taken back, not before granted_at (UTC instant); null if it was not. It may move to an earlier time while it is in the future. Personal health data.';
COMMENT ON COLUMN consent_records.granted_by IS 'The guardian who gave it; null if the patient did. It stays. Personal data.';
COMMENT ON COLUMN consent_records.document_path IS 'The path of the signed form in a private bucket, ORG_ID/…, never a URL; null for none. Once set it stays. Personal health data.';
COMMENT ON COLUMN consent_records.created_at IS 'When the row was written (UTC instant).';
COMMENT ON COLUMN consent_records.updated_at IS 'When the row was last changed; a trigger sets it.';

COMMENT ON TABLE audit_logs IS 'Who did what, when. Rows are only ever added, and stay when the organization is deleted. Personal data.';
COMMENT ON COLUMN audit_logs.id IS 'Primary key, a random UUID.';
COMMENT ON COLUMN audit_logs.org_id IS 'The organization; null when it was deleted or for the platform''s own acts.';
COMMENT ON COLUMN audit_logs.organization_id IS 'The organization, also when it was deleted; a trigger fills it in.';
COMMENT ON COLUMN audit_logs.organization_name IS 'The name of the organization when the row was written; a trigger fills it in.';
COMMENT ON COLUMN audit_logs.actor_id IS 'Who acted: the user id (sub) of the token; null if it is missing or no UUID. Rows that a trigger wrote then have the database role in details. No foreign key, so that it stays. Personal data.';
COMMENT ON COLUMN audit_logs.action IS 'INSERT, UPDATE or DELETE if a trigger wrote the row; merge if merge_patients did; login, read, export and the like if the server did.';
COMMENT ON COLUMN audit_logs.table_name IS 'The table that it was done to; null for none.';
COMMENT ON COLUMN audit_logs.record_id IS 'The id of the row that it was done to; null for none. Personal data.';
COMMENT ON COLUMN audit_logs.details IS 'A JSON object, never clinical text. changed: the names of the columns that an UPDATE changed, without updated_at. into: the patient that a merge kept. role: the database role, if no user is known.';
COMMENT ON COLUMN audit_logs.ip_address IS 'Where the request came from: cf-connecting-ip, else the first of x-forwarded-for. Evidence only on hosted Supabase, where Cloudflare sets cf-connecting-ip; elsewhere the client can write both. Personal data.';
COMMENT ON COLUMN audit_logs.user_agent IS 'The program, with the name that the client sends. Personal data.';
COMMENT ON COLUMN audit_logs.created_at IS 'When the row was written (UTC instant): the server''s time, whatever the writer says.';

COMMENT ON VIEW upcoming_sessions IS 'Scheduled sessions to come, with the names of the therapist and the patient. Each caller sees what the policies let through: that needs security_invoker = true, which CREATE OR REPLACE VIEW drops unless you repeat it (see sql/GUIDE.md, Your next column). Personal health data.';
COMMENT ON COLUMN upcoming_sessions.id IS 'Primary key, a random UUID.';
COMMENT ON COLUMN upcoming_sessions.org_id IS 'The organization.';
COMMENT ON COLUMN upcoming_sessions.therapist_id IS 'Who conducts it.';
COMMENT ON COLUMN upcoming_sessions.patient_id IS 'Who attends it. Personal health data.';
COMMENT ON COLUMN upcoming_sessions.scheduled_at IS 'When it begins (UTC instant). Personal health data.';
COMMENT ON COLUMN upcoming_sessions.status IS 'scheduled, in_progress, completed or cancelled. Personal health data.';
COMMENT ON COLUMN upcoming_sessions.duration_minutes IS 'How long it lasted or is to last, in minutes; null if not known. Personal health data.';
COMMENT ON COLUMN upcoming_sessions.created_at IS 'When the row was written (UTC instant).';
COMMENT ON COLUMN upcoming_sessions.updated_at IS 'When the row was last changed; a trigger sets it.';
COMMENT ON COLUMN upcoming_sessions.therapist_name IS 'Full name of the therapist. Personal data.';
COMMENT ON COLUMN upcoming_sessions.patient_name IS 'Full name of the patient. Personal health data.';

COMMENT ON FUNCTION current_org_id() IS 'The tenant of the request: app_metadata.org_id of the token, null if it is missing or not a uuid.';
COMMENT ON FUNCTION update_updated_at_column() IS 'Trigger: sets updated_at to the time of the transaction.';
COMMENT ON FUNCTION take_org_id_of_patient() IS 'Trigger: a row without org_id takes its patient''s.';
COMMENT ON FUNCTION take_org_id_of_session() IS 'Trigger: a row without org_id takes its session''s.';
COMMENT ON FUNCTION check_recording_consent() IS 'Trigger: a recording''s consent must be the patient''s, for recording, and in force when it was recorded.';
COMMENT ON FUNCTION refuse_change() IS 'Trigger: refuses a change; its argument is the error message.';
COMMENT ON FUNCTION keep_patient() IS 'Trigger: refuses to move a row to another patient, except in a merge of the two.';
COMMENT ON FUNCTION withdraw_approval() IS 'Trigger: takes the approval of a note back when its text or its type changes.';
COMMENT ON FUNCTION stamp_audit_log() IS 'Trigger: sets the time of a row of the audit log, and its organization''s id and name from org_id.';
COMMENT ON FUNCTION keep_audit_log() IS 'Trigger: refuses to change or remove rows of the audit log.';
COMMENT ON FUNCTION merge_patients(uuid, uuid, uuid) IS 'Merges two records of one patient: what refers to the duplicate moves to the one that is kept, and the duplicate is deleted. actor: the user who asked for it.';
COMMENT ON FUNCTION write_audit_log() IS 'Trigger: adds a row to the audit log for each row that a statement added, changed or deleted.';
