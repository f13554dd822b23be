-- What keys and checks cannot say: a row without org_id takes its parent's, a recording rests on a consent that covers
-- it, and what is evidence stays.

-- For writers without a token: the owner and service_role. They read with the caller's rights, so that a parent of
-- another organization and one that does not exist give the same error.
CREATE FUNCTION take_org_id_of_patient() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    NEW.org_id := (SELECT org_id FROM patients WHERE id = NEW.patient_id);
    IF NEW.org_id IS NULL THEN
        RAISE EXCEPTION 'there is no patient %', coalesce(NEW.patient_id::text, 'without an id')
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END;
$$;

CREATE FUNCTION take_org_id_of_session() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    NEW.org_id := (SELECT org_id FROM sessions WHERE id = NEW.session_id);
    IF NEW.org_id IS NULL THEN
        RAISE EXCEPTION 'there is no session %', coalesce(NEW.session_id::text, 'without an id')
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END;
$$;

-- It locks the session and the consent that it reads: nobody can remove either of them meanwhile, or revoke the
-- consent. It reads with the caller's rights, too.
CREATE FUNCTION check_recording_consent() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    attending uuid := (SELECT patient_id FROM sessions WHERE id = NEW.session_id FOR KEY SHARE);
    covered boolean := (
        SELECT patient_id = attending
            AND purpose = 'recording'
            AND granted_at <= NEW.recorded_at
            AND (expires_at > NEW.recorded_at) IS NOT FALSE
            AND (revoked_at > NEW.recorded_at) IS NOT FALSE
        FROM consent_records
        WHERE id = NEW.consent_record_id
            AND org_id = NEW.org_id
        FOR SHARE
    );
BEGIN
    IF covered IS NOT TRUE THEN
        RAISE EXCEPTION 'a recording needs a consent of the session''s patient, for recording, in force at recorded_at'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END;
$$;

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ''
AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0]
        USING ERRCODE = 'integrity_constraint_violation';
END;
$$;

CREATE FUNCTION withdraw_approval() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ''
AS $$
BEGIN
    NEW.approved_by_therapist := false;
    RETURN NEW;
END;
$$;

CREATE TRIGGER take_org_id
    BEFORE INSERT ON sessions
    FOR EACH ROW WHEN (NEW.org_id IS NULL) EXECUTE FUNCTION take_org_id_of_patient();

CREATE TRIGGER take_org_id
    BEFORE INSERT ON wearable_data
    FOR EACH ROW WHEN (NEW.org_id IS NULL) EXECUTE FUNCTION take_org_id_of_patient();

CREATE TRIGGER take_org_id
    BEFORE INSERT ON consent_records
    FOR EACH ROW WHEN (NEW.org_id IS NULL) EXECUTE FUNCTION take_org_id_of_patient();

CREATE TRIGGER take_org_id
    BEFORE INSERT ON clinical_notes
    FOR EACH ROW WHEN (NEW.org_id IS NULL) EXECUTE FUNCTION take_org_id_of_session();

CREATE TRIGGER take_org_id
    BEFORE INSERT ON session_recordings
    FOR EACH ROW WHEN (NEW.org_id IS NULL) EXECUTE FUNCTION take_org_id_of_session();

CREATE TRIGGER check_consent
    AFTER INSERT OR UPDATE OF session_id, consent_record_id, recorded_at ON session_recordings
    FOR EACH ROW WHEN (NEW.consent_record_id IS NOT NULL) EXECUTE FUNCTION check_recording_consent();

-- A row keeps its id and its organization. Two rows that exchange theirs in one statement would satisfy every key, and
-- what belongs to the one would then belong to the other.
CREATE TRIGGER keep_id
    BEFORE UPDATE ON organizations
    FOR EACH ROW WHEN (NEW.id <> OLD.id)
    EXECUTE FUNCTION refuse_change('an organization keeps its id');

CREATE TRIGGER keep_id
    BEFORE UPDATE ON therapists
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.org_id <> OLD.org_id)
    EXECUTE FUNCTION refuse_change('a therapist keeps id and organization');

CREATE TRIGGER keep_id
    BEFORE UPDATE ON patients
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.org_id <> OLD.org_id)
    EXECUTE FUNCTION refuse_change('a patient keeps id and organization');

CREATE TRIGGER keep_id
    BEFORE UPDATE ON clinical_notes
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.org_id <> OLD.org_id)
    EXECUTE FUNCTION refuse_change('a note keeps id and organization');

CREATE TRIGGER keep_id
    BEFORE UPDATE ON session_recordings
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.org_id <> OLD.org_id)
    EXECUTE FUNCTION refuse_change('a recording keeps id and organization');

-- A session also keeps its patient, and a consent its patient and its purpose: a recording may rest on them.
CREATE TRIGGER keep_patient
    BEFORE UPDATE ON sessions
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.org_id <> OLD.org_id OR NEW.patient_id <> OLD.patient_id)
    EXECUTE FUNCTION refuse_change('a session keeps its id, its organization and its patient');

CREATE TRIGGER keep_patient_and_purpose
    BEFORE UPDATE ON consent_records
    FOR EACH ROW WHEN (
        NEW.id <> OLD.id OR NEW.org_id <> OLD.org_id OR NEW.patient_id <> OLD.patient_id OR NEW.purpose <> OLD.purpose
    )
    EXECUTE FUNCTION refuse_change('a consent keeps its id, its organization, its patient and its purpose');

-- The end of a consent stays once it is reached. One that lies ahead may only come sooner.
CREATE TRIGGER keep_revoked
    BEFORE UPDATE ON consent_records
    FOR EACH ROW WHEN (
        OLD.revoked_at IS NOT NULL
        AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at
        AND (OLD.revoked_at <= now() OR (NEW.revoked_at < OLD.revoked_at) IS NOT TRUE)
    )
    EXECUTE FUNCTION refuse_change('a consent that was revoked stays so');

CREATE TRIGGER keep_expired
    BEFORE UPDATE ON consent_records
    FOR EACH ROW WHEN (
        OLD.expires_at IS NOT NULL
        AND NEW.expires_at IS DISTINCT FROM OLD.expires_at
        AND (OLD.expires_at <= now() OR (NEW.expires_at < OLD.expires_at) IS NOT TRUE)
    )
    EXECUTE FUNCTION refuse_change('a consent may end sooner, never later: to renew it, add a new one');

-- Paths stay, so that an erasure finds every file. A recording's may be blanked once its file is erased.
CREATE TRIGGER keep_document_path
    BEFORE UPDATE ON consent_records
    FOR EACH ROW WHEN (OLD.document_path IS NOT NULL AND NEW.document_path IS DISTINCT FROM OLD.document_path)
    EXECUTE FUNCTION refuse_change('a consent keeps its document_path');

CREATE TRIGGER keep_storage_path
    BEFORE UPDATE ON session_recordings
    FOR EACH ROW WHEN (
        OLD.storage_path IS NOT NULL
        AND NEW.storage_path IS DISTINCT FROM OLD.storage_path
        AND (NEW.deleted_at IS NULL OR NEW.storage_path IS NOT NULL)
    )
    EXECUTE FUNCTION refuse_change('a recording keeps its storage_path; it may be blanked once deleted_at is set');

CREATE TRIGGER keep_deleted
    BEFORE UPDATE ON session_recordings
    FOR EACH ROW WHEN (OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS DISTINCT FROM OLD.deleted_at)
    EXECUTE FUNCTION refuse_change('a recording that was deleted stays so');

-- An approval is for the text that the therapist read: compared as text, as jsonb takes 1 and 1.0 for the same.
CREATE TRIGGER withdraw_approval
    BEFORE UPDATE ON clinical_notes
    FOR EACH ROW WHEN (
        OLD.approved_by_therapist
        AND (
            NEW.content::text <> OLD.content::text
            OR NEW.ai_generated_summary IS DISTINCT FROM OLD.ai_generated_summary
        )
    )
    EXECUTE FUNCTION withdraw_approval();

-- The functions find their tables in the schema that they were made in, whatever the caller's search path and temporary
-- tables are. Only triggers call them.
REVOKE EXECUTE ON FUNCTION take_org_id_of_patient(), take_org_id_of_session(), check_recording_consent(),
    refuse_change(), withdraw_approval() FROM PUBLIC;
DO $$
DECLARE
    api_role text;
BEGIN
    EXECUTE format('ALTER FUNCTION take_org_id_of_patient() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION take_org_id_of_session() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION check_recording_consent() SET search_path = %I, pg_temp', current_schema());
    FOR api_role IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role') LOOP
        EXECUTE format(
            'REVOKE ALL ON FUNCTION take_org_id_of_patient(), take_org_id_of_session(), check_recording_consent(),
                refuse_change(), withdraw_approval() FROM %I',
            api_role
        );
    END LOOP;
END;
$$;
