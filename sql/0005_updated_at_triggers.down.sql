-- Undoes 0005. The column updated_at stays, with its values.

DROP TRIGGER set_updated_at ON consent_records;
DROP TRIGGER set_updated_at ON session_recordings;
DROP TRIGGER set_updated_at ON clinical_notes;
DROP TRIGGER set_updated_at ON sessions;
DROP TRIGGER set_updated_at ON patients;
DROP TRIGGER set_updated_at ON therapists;
DROP TRIGGER set_updated_at ON organizations;
DROP FUNCTION update_updated_at_column();
