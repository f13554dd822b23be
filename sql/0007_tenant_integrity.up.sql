-- What the keys cannot say: a row without org_id takes its parent's, and a recording rests on a consent that covers it.

-- For whoever has no token (the owner, service_role). With the caller's rights: a foreign parent and a missing one are the
-- same error.
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

-- It locks what it reads, so that neither is removed meanwhile and its id used again, nor the consent revoked. With the
-- caller's rights, too.
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
        RAISE EXCEPTION 'a recording rests on a consent of the session''s patient, for recording, in force when it was recorded'
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

-- What others refer to keeps its id and its organization: two rows that exchange theirs in one statement satisfy every key,
-- and what hangs on them then hangs on the other.
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

-- And its patient, else the other side is changed under the recording.
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

-- One that is to end on a later day may still end sooner.
CREATE TRIGGER keep_revoked
    BEFORE UPDATE ON consent_records
    FOR EACH ROW WHEN (
        OLD.revoked_at IS NOT NULL
        AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at
        AND (OLD.revoked_at <= now() OR (NEW.revoked_at < OLD.revoked_at) IS NOT TRUE)
    )
    EXECUTE FUNCTION refuse_change('a consent that was revoked stays so');

-- A trigger looks at what is written from now on; this looks at what is there, but for the times: a consent may have been
-- revoked, as of an earlier day, since.
DO $$
BEGIN
    IF EXISTS (
        SELECT
        FROM session_recordings
        JOIN sessions ON sessions.id = session_id
        JOIN consent_records AS consent ON consent.id = consent_record_id
        WHERE consent.patient_id <> sessions.patient_id
            OR purpose <> 'recording'
    ) THEN
        RAISE EXCEPTION 'there are recordings whose consent does not cover them; mend them first'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
END;
$$;

-- Where the functions find their tables: in the schema that they were made in, whatever the caller's path and temporary
-- tables are. Nobody calls them but the triggers.
REVOKE EXECUTE ON FUNCTION take_org_id_of_patient(), take_org_id_of_session(), check_recording_consent(), refuse_change()
    FROM PUBLIC;
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
                refuse_change() FROM %I',
            api_role
        );
    END LOOP;
END;
$$;
