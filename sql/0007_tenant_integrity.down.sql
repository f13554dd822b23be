-- Undoes 0007: nothing but the policies keeps organizations apart.

DROP TRIGGER check_session_organization ON sessions;
DROP TRIGGER refuse_id_again ON patients;
DROP TRIGGER refuse_id_again ON therapists;
DROP TRIGGER keep_organization ON patients;
DROP TRIGGER keep_organization ON therapists;
DROP FUNCTION private.check_session_organization();
DROP FUNCTION private.refuse_id_again();
DROP FUNCTION private.keep_organization();
DROP INDEX idx_patients_org_therapist;
ALTER TABLE patients DROP CONSTRAINT patients_assigned_therapist_id_fkey;
ALTER TABLE patients ADD CONSTRAINT patients_assigned_therapist_id_fkey
    FOREIGN KEY (assigned_therapist_id) REFERENCES therapists (id)
    ON DELETE SET NULL;
ALTER TABLE therapists DROP CONSTRAINT therapists_org_id_id_key;
DROP SCHEMA private;
