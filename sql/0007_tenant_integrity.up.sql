-- What belongs together belongs to one organization, for every role: policies can be bypassed, this cannot.

-- Nothing here is for the API; Supabase exposes no schema of this name.
CREATE SCHEMA private;

ALTER TABLE therapists ADD CONSTRAINT therapists_org_id_id_key
    UNIQUE (org_id, id);

-- The same name and one key only: a second one would tell by its name whether a foreign id exists.
ALTER TABLE patients DROP CONSTRAINT patients_assigned_therapist_id_fkey;
ALTER TABLE patients ADD CONSTRAINT patients_assigned_therapist_id_fkey
    FOREIGN KEY (org_id, assigned_therapist_id) REFERENCES therapists (org_id, id)
    ON DELETE SET NULL (assigned_therapist_id);

CREATE INDEX idx_patients_org_therapist ON patients (org_id, assigned_therapist_id);

-- Therapists and patients keep their id and their organization, and an id is not used again within the transaction
-- that removes it: sessions are checked when they are written, and must stay right.
CREATE FUNCTION private.keep_organization() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ''
AS $$
BEGIN
    IF NEW.id <> OLD.id OR NEW.org_id <> OLD.org_id THEN
        RAISE EXCEPTION 'a row of % keeps its id and its organization', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END;
$$;

CREATE FUNCTION private.refuse_id_again() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
    IF (TG_TABLE_NAME = 'therapists' AND EXISTS (SELECT FROM public.therapists WHERE id = OLD.id))
        OR (TG_TABLE_NAME = 'patients' AND EXISTS (SELECT FROM public.patients WHERE id = OLD.id))
    THEN
        RAISE EXCEPTION 'an id of % that was deleted cannot be used again at once', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END;
$$;

-- With its owner's rights, as it locks both people against being deleted meanwhile.
CREATE FUNCTION private.check_session_organization() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = ''
AS $$
DECLARE
    therapist_org uuid := (SELECT org_id FROM public.therapists WHERE id = NEW.therapist_id FOR KEY SHARE);
    patient_org uuid := (SELECT org_id FROM public.patients WHERE id = NEW.patient_id FOR KEY SHARE);
BEGIN
    IF therapist_org IS DISTINCT FROM patient_org OR therapist_org IS NULL THEN
        RAISE EXCEPTION 'the therapist and the patient of a session belong to one organization'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END;
$$;

REVOKE EXECUTE ON FUNCTION private.keep_organization() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION private.refuse_id_again() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION private.check_session_organization() FROM PUBLIC;

CREATE TRIGGER keep_organization
    BEFORE UPDATE ON therapists
    FOR EACH ROW EXECUTE FUNCTION private.keep_organization();

CREATE TRIGGER keep_organization
    BEFORE UPDATE ON patients
    FOR EACH ROW EXECUTE FUNCTION private.keep_organization();

CREATE CONSTRAINT TRIGGER refuse_id_again
    AFTER DELETE ON therapists
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION private.refuse_id_again();

CREATE CONSTRAINT TRIGGER refuse_id_again
    AFTER DELETE ON patients
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION private.refuse_id_again();

CREATE CONSTRAINT TRIGGER check_session_organization
    AFTER INSERT OR UPDATE OF therapist_id, patient_id ON sessions
    FOR EACH ROW EXECUTE FUNCTION private.check_session_organization();
