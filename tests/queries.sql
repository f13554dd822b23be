-- The statements that PostgREST sends for the supabase-js calls of sql/GUIDE.md and sql/GROWTH.md. `make check` and CI
-- prepare them after each version, and name the version that breaks one.

SET ROLE authenticated;

INSERT INTO patients (id, full_name) SELECT id, full_name FROM json_to_recordset($1) AS body (id uuid, full_name text);
UPDATE patients SET phone = body.phone FROM json_to_recordset($1) AS body (phone text) WHERE patients.id = $2;
INSERT INTO patients (id, full_name) SELECT id, full_name FROM json_to_recordset($1) AS body (id uuid, full_name text)
ON CONFLICT (id) DO NOTHING;
INSERT INTO sessions (patient_id, therapist_id, scheduled_at)
SELECT patient_id, therapist_id, scheduled_at
FROM json_to_recordset($1) AS body (patient_id uuid, therapist_id uuid, scheduled_at timestamptz);
SELECT s.id, s.scheduled_at, row_to_json(p.*) AS patients, row_to_json(t.*) AS therapists
FROM sessions AS s
LEFT JOIN LATERAL (SELECT full_name FROM patients WHERE id = s.patient_id AND org_id = s.org_id) AS p ON true
LEFT JOIN LATERAL (SELECT full_name FROM therapists WHERE id = s.therapist_id AND org_id = s.org_id) AS t ON true;
SELECT p.full_name, row_to_json(t.*) AS therapists
FROM patients AS p
LEFT JOIN LATERAL (SELECT full_name FROM therapists WHERE org_id = p.org_id AND id = p.assigned_therapist_id) AS t ON true;
UPDATE clinical_notes SET approved_by_therapist = true WHERE id = $1 AND updated_at = $2;
INSERT INTO wearable_data (id, patient_id, data_type, metrics, recorded_at)
SELECT id, patient_id, data_type, metrics, recorded_at
FROM json_to_recordset($1) AS body (id uuid, patient_id uuid, data_type text, metrics jsonb, recorded_at timestamptz)
ON CONFLICT (org_id, id) DO NOTHING;
UPDATE consent_records SET revoked_at = body.revoked_at
FROM json_to_recordset($1) AS body (revoked_at timestamptz)
WHERE consent_records.id = $2;
INSERT INTO session_recordings (session_id, consent_record_id)
SELECT session_id, consent_record_id FROM json_to_recordset($1) AS body (session_id uuid, consent_record_id uuid);
SELECT * FROM upcoming_sessions ORDER BY scheduled_at LIMIT $1;
SELECT id, storage_path FROM session_recordings WHERE expires_at < now() AND deleted_at IS NULL;
SELECT created_at, action, actor_id, details FROM audit_logs WHERE org_id = $1 AND record_id = $2;

SET ROLE service_role;

SELECT merge_patients($1, $2, $3);
INSERT INTO audit_logs (org_id, actor_id, action, table_name, record_id, ip_address) VALUES ($1, $2, $3, $4, $5, $6);
SELECT id FROM organizations WHERE name = $1;
DELETE FROM patients WHERE id = $1;
