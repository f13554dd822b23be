-- Rules that need triggers: a row without org_id takes it from its parent, a recording's consent must cover it, and
-- evidence cannot be altered.

-- These two functions fill in org_id for a request without a token (the owner, service_role). They run with the
-- caller's rights, so a parent of another organization and a missing parent give the same error.
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

-- The consent must cover the recording when the recording is written. The function locks the session and the consent
-- until the transaction ends, so that no other session can delete them or revoke the consent before then. It runs
-- with the caller's rights.
CREATE FUNCTION check_recording_consent() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    session_patient uuid;
    is_covered boolean;
BEGIN
    session_patient := (SELECT patient_id FROM sessions WHERE id = NEW.session_id FOR KEY SHARE);
    is_covered := (
        SELECT patient_id = session_patient
            AND purpose = 'recording'
            AND granted_at <= NEW.recorded_at
            AND (expires_at IS NULL OR expires_at > NEW.recorded_at)
            AND (revoked_at IS NULL OR revoked_at > NEW.recorded_at)
        FROM consent_records
        WHERE id = NEW.consent_record_id
            AND org_id = NEW.org_id
        FOR SHARE
    );
    IF is_covered IS NOT TRUE THEN
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

-- A row moves to another patient only if the audit log has a row about the merge of the two, written by the same
-- transaction: the database sets the time of an audit row. merge_patients (see 0008) does both.
CREATE FUNCTION keep_patient() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT EXISTS (
        SELECT
        FROM audit_logs
        WHERE org_id = OLD.org_id
            AND record_id = OLD.patient_id
            AND action = 'merge'
            AND table_name = 'patients'
            AND details ->> 'into'::text = NEW.patient_id::text
            AND created_at = now()
    ) THEN
        RAISE EXCEPTION '%', TG_ARGV[0]
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
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

-- The id, the organization and the parent of a row cannot change. Otherwise one UPDATE could swap the ids of two
-- rows: every foreign key would still be valid, but each row would now own the other's children. The one exception is a
-- merge of two records of one patient.
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
    BEFORE UPDATE ON sessions
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.org_id <> OLD.org_id)
    EXECUTE FUNCTION refuse_change('a session keeps id and organization');

CREATE TRIGGER keep_patient
    BEFORE UPDATE ON sessions
    FOR EACH ROW WHEN (NEW.patient_id <> OLD.patient_id)
    EXECUTE FUNCTION keep_patient('a session keeps its patient, except when two records of one patient are merged');

CREATE TRIGGER keep_id
    BEFORE UPDATE ON clinical_notes
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.org_id <> OLD.org_id OR NEW.session_id <> OLD.session_id)
    EXECUTE FUNCTION refuse_change('a note keeps its id, its organization and its session');

CREATE TRIGGER keep_id
    BEFORE UPDATE ON session_recordings
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.org_id <> OLD.org_id OR NEW.session_id <> OLD.session_id)
    EXECUTE FUNCTION refuse_change('a recording keeps its id, its organization and its session');

CREATE TRIGGER keep_id
    BEFORE UPDATE ON wearable_data
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.org_id <> OLD.org_id)
    EXECUTE FUNCTION refuse_change('a measurement keeps id and organization');

CREATE TRIGGER keep_patient
    BEFORE UPDATE ON wearable_data
    FOR EACH ROW WHEN (NEW.patient_id <> OLD.patient_id)
    EXECUTE FUNCTION keep_patient('a measurement keeps its patient, except when two records of one patient are merged');

CREATE TRIGGER keep_id
    BEFORE UPDATE ON consent_records
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.org_id <> OLD.org_id)
    EXECUTE FUNCTION refuse_change('a consent keeps id and organization');

CREATE TRIGGER keep_patient
    BEFORE UPDATE ON consent_records
    FOR EACH ROW WHEN (NEW.patient_id <> OLD.patient_id)
    EXECUTE FUNCTION keep_patient('a consent keeps its patient, except when two records of one patient are merged');

-- The terms of a consent cannot change either, because a recording may depend on them.
CREATE TRIGGER keep_grant
    BEFORE UPDATE ON consent_records
    FOR EACH ROW WHEN (
        NEW.purpose <> OLD.purpose
        OR NEW.granted_at <> OLD.granted_at
        OR NEW.granted_by IS DISTINCT FROM OLD.granted_by
        OR NEW.notice_version IS DISTINCT FROM OLD.notice_version
    )
    EXECUTE FUNCTION refuse_change('a consent keeps its purpose, and when, by whom and on which notice it was granted');

-- Once a consent has ended, its end cannot change. Before that, the end may move to an earlier time.
CREATE TRIGGER keep_revoked
    BEFORE UPDATE ON consent_records
    FOR EACH ROW WHEN (
        OLD.revoked_at IS NOT NULL
        AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at
        AND NOT coalesce(OLD.revoked_at > now() AND NEW.revoked_at < OLD.revoked_at, false)
    )
    EXECUTE FUNCTION refuse_change(
        'the end of a consent only moves to an earlier time, and stays once reached: to renew it, add a new row'
    );

CREATE TRIGGER keep_expired
    BEFORE UPDATE ON consent_records
    FOR EACH ROW WHEN (
        OLD.expires_at IS NOT NULL
        AND NEW.expires_at IS DISTINCT FROM OLD.expires_at
        AND NOT coalesce(OLD.expires_at > now() AND NEW.expires_at < OLD.expires_at, false)
    )
    EXECUTE FUNCTION refuse_change(
        'the end of a consent only moves to an earlier time, and stays once reached: to renew it, add a new row'
    );

-- Paths cannot change, so that an erasure finds every file. When a recording's file is erased, its path may be set to
-- null.
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
    EXECUTE FUNCTION refuse_change('a recording keeps its storage_path; it may be set to null when deleted_at is set');

CREATE TRIGGER keep_deleted
    BEFORE UPDATE ON session_recordings
    FOR EACH ROW WHEN (
        OLD.deleted_at IS NOT NULL
        AND (
            NEW.deleted_at IS DISTINCT FROM OLD.deleted_at
            OR (OLD.storage_path IS NULL AND NEW.storage_path IS NOT NULL)
        )
    )
    EXECUTE FUNCTION refuse_change('a recording that was deleted stays so, and gets no new file');

-- An approval covers only what the therapist has read: the text, the summary and the type of the note. content is
-- compared as text, because jsonb treats 1 and 1.0 as equal.
CREATE TRIGGER withdraw_approval
    BEFORE UPDATE ON clinical_notes
    FOR EACH ROW WHEN (
        OLD.approved_by_therapist
        AND (
            NEW.content::text <> OLD.content::text
            OR NEW.note_type <> OLD.note_type
            OR NEW.ai_generated_summary IS DISTINCT FROM OLD.ai_generated_summary
        )
    )
    EXECUTE FUNCTION withdraw_approval();

-- The functions find their tables in the schema they were created in, no matter which search path and temporary
-- tables the caller has. Only triggers call them.
REVOKE EXECUTE ON FUNCTION take_org_id_of_patient(), take_org_id_of_session(), check_recording_consent(),
    refuse_change(), keep_patient(), withdraw_approval() FROM PUBLIC;
DO $$
DECLARE
    api_role text;
BEGIN
    EXECUTE pg_catalog.format('ALTER FUNCTION take_org_id_of_patient() SET search_path = %I, pg_temp', current_schema());
    EXECUTE pg_catalog.format('ALTER FUNCTION take_org_id_of_session() SET search_path = %I, pg_temp', current_schema());
    EXECUTE pg_catalog.format('ALTER FUNCTION check_recording_consent() SET search_path = %I, pg_temp', current_schema());
    EXECUTE pg_catalog.format('ALTER FUNCTION keep_patient() SET search_path = %I, pg_temp', current_schema());
    FOR api_role IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role') LOOP
        EXECUTE pg_catalog.format(
            'REVOKE ALL ON FUNCTION take_org_id_of_patient(), take_org_id_of_session(), check_recording_consent(),
                refuse_change(), keep_patient(), withdraw_approval() FROM %I',
            api_role
        );
    END LOOP;
END;
$$;
