-- Rows for `sqlmig check`: two organizations, with and without each optional value. No other command runs this file.

INSERT INTO organizations (id, name, subscription_tier, settings)
VALUES
    ('00000000-0000-4000-8000-0000000000a1', 'Asha Clinic', 'biosync', '{"locale": "en-IN"}'),
    ('00000000-0000-4000-8000-0000000000b1', 'Berg Practice', 'free', '{}');

INSERT INTO therapists (id, org_id, email, full_name, license_number, specialization)
VALUES
    ('00000000-0000-4000-8000-0000000000a2', '00000000-0000-4000-8000-0000000000a1', 'rao@example.org', 'Dr. Rao',
        'MH-1', 'trauma'),
    ('00000000-0000-4000-8000-0000000000b2', '00000000-0000-4000-8000-0000000000b1', NULL, 'Dr. Berg', NULL, NULL);

INSERT INTO patients (id, org_id, assigned_therapist_id, full_name, phone, abha_id, demographics)
VALUES
    ('00000000-0000-4000-8000-0000000000a3', '00000000-0000-4000-8000-0000000000a1',
        '00000000-0000-4000-8000-0000000000a2', 'Meera', '+91 1', '91-1', '{"born": 1990}'),
    ('00000000-0000-4000-8000-0000000000b3', '00000000-0000-4000-8000-0000000000b1', NULL, 'Ole', NULL, NULL, '{}');

INSERT INTO sessions (id, org_id, therapist_id, patient_id, scheduled_at, status, duration_minutes)
VALUES
    ('00000000-0000-4000-8000-0000000000a4', '00000000-0000-4000-8000-0000000000a1',
        '00000000-0000-4000-8000-0000000000a2', '00000000-0000-4000-8000-0000000000a3', '2030-01-01 10:00+00',
        'scheduled', NULL),
    ('00000000-0000-4000-8000-0000000000b4', '00000000-0000-4000-8000-0000000000b1',
        '00000000-0000-4000-8000-0000000000b2', '00000000-0000-4000-8000-0000000000b3', '2020-01-01 10:00+00',
        'completed', 50);

INSERT INTO clinical_notes (org_id, session_id, note_type, content, ai_generated_summary, approved_by_therapist)
VALUES
    ('00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-0000000000a4', 'soap', '{}', NULL, false),
    ('00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000b4', 'dap', '{"data": "calm"}',
        'Slept well.', true);

INSERT INTO consent_records (id, org_id, patient_id, purpose, notice_version, granted_at, expires_at, granted_by)
VALUES
    ('00000000-0000-4000-8000-0000000000a5', '00000000-0000-4000-8000-0000000000a1',
        '00000000-0000-4000-8000-0000000000a3', 'recording', '1.0', '2025-01-01 00:00+00', NULL, 'her mother'),
    ('00000000-0000-4000-8000-0000000000b5', '00000000-0000-4000-8000-0000000000b1',
        '00000000-0000-4000-8000-0000000000b3', 'treatment', NULL, '2020-01-01 00:00+00', '2021-01-01 00:00+00', NULL);

INSERT INTO session_recordings (org_id, session_id, consent_record_id, storage_path, media_type, duration_seconds, size_bytes)
VALUES
    ('00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-0000000000a4',
        '00000000-0000-4000-8000-0000000000a5',
        '00000000-0000-4000-8000-0000000000a1/recordings/1.webm', 'audio/webm', 3000, 1000000);

INSERT INTO wearable_data (org_id, patient_id, data_type, metrics, recorded_at)
VALUES
    ('00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-0000000000a3', 'hrv', '{"rmssd": 42}',
        '2026-01-01 08:00+00'),
    ('00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000b3', 'sleep', '{}',
        '2026-01-01 08:00+00');

INSERT INTO audit_logs (org_id, action, table_name, record_id, details)
VALUES
    ('00000000-0000-4000-8000-0000000000a1', 'login', NULL, NULL, '{}'),
    (NULL, 'delete', 'organizations', '00000000-0000-4000-8000-0000000000c1', '{"name": "gone"}');
