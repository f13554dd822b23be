-- Undoes 0001, in reverse order.

DROP TABLE audit_logs;
DROP TABLE consent_records;
DROP TABLE wearable_data;
DROP TABLE session_recordings;
DROP TABLE clinical_notes;
DROP TABLE sessions;
DROP TABLE patients;
DROP TABLE therapists;
DROP TABLE organizations;
DROP FUNCTION current_org_id();
