-- The audit log: triggers write it, no role may change it, and it still names a row's organization after the
-- organization is deleted.
-- sqlmig: accepts reads: 0001 makes these tables in the same deployment, so no one uses them yet

-- The database sets the time of an audit row, and the organization's id and name, which follow from org_id.
CREATE FUNCTION stamp_audit_log() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
BEGIN
    NEW.created_at := now();
    NEW.organization_id := NEW.org_id;
    NEW.organization_name := (SELECT name FROM organizations WHERE id = NEW.org_id);
    RETURN NEW;
END;
$$;

-- Rows cannot change, with one exception: when an organization is deleted, the foreign key sets org_id to null.
CREATE FUNCTION keep_audit_log() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.org_id IS NOT NULL AND NEW.org_id IS NULL
        AND NOT EXISTS (SELECT FROM organizations WHERE id = OLD.org_id)
    THEN
        OLD.org_id := NULL;
        IF NEW OPERATOR(pg_catalog.*=) OLD THEN  -- all other columns are the same
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit log is only ever added to: no %', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END;
$$;

-- Writes the audit log: a row for each row that a statement added, changed or deleted. Its arguments are the table's
-- name (on Citus, TG_TABLE_NAME is the name of a shard) and the column that names the organization. It reads rows as
-- jsonb, so a column may have any type. Functions that take any type are called as pg_catalog.…, and literals have
-- their type. Otherwise a role that may create to_jsonb(patients) in this schema could make the log run it with the
-- owner's rights.
CREATE FUNCTION write_audit_log() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET jit = off  -- it would take 30 ms for a row on PostgreSQL 15
AS $$
DECLARE
    audited_table text := TG_ARGV[0];
    org_column text := TG_ARGV[1];
    -- One object for each row: organization, record, details, and the name of an organization that is deleted. They are
    -- collected first, as Citus refuses a query with a transition table and another table.
    entries jsonb[];
    claims jsonb;
    headers jsonb;
    actor uuid;
    address inet;
    role_details jsonb := '{}';
BEGIN
    -- 1. One entry for each row. Each list is MATERIALIZED, so that to_jsonb runs once for a row.
    IF TG_OP = 'INSERT' THEN
        entries := ARRAY(
            WITH added (new_row) AS MATERIALIZED (
                SELECT pg_catalog.to_jsonb(n.*) FROM new_rows AS n
            )
            SELECT pg_catalog.jsonb_build_object(
                'organization', new_row -> org_column,
                'record', new_row -> 'id'::text,
                'details', '{}'::jsonb
            )
            FROM added
        );
    ELSIF TG_OP = 'DELETE' THEN
        entries := ARRAY(
            WITH removed (old_row) AS MATERIALIZED (
                SELECT pg_catalog.to_jsonb(o.*) FROM old_rows AS o
            )
            SELECT pg_catalog.jsonb_build_object(
                'organization', old_row -> org_column,
                'record', old_row -> 'id'::text,
                'details', '{}'::jsonb,
                'name', CASE audited_table WHEN 'organizations' THEN old_row -> 'name'::text END
            )
            FROM removed
        );
    ELSE
        -- Old and new rows are paired by their position, which is the same in both. Their ids would not do: one
        -- statement may change a row twice. A full join is never done as a loop in a loop, however few rows the planner
        -- expects.
        entries := ARRAY(
            WITH old_list AS MATERIALIZED (
                SELECT row_number() OVER () AS nth, pg_catalog.to_jsonb(o.*) AS old_row FROM old_rows AS o
            ),
            new_list AS MATERIALIZED (
                SELECT row_number() OVER () AS nth, pg_catalog.to_jsonb(n.*) AS new_row FROM new_rows AS n
            )
            SELECT pg_catalog.jsonb_build_object(
                'organization', new_row -> org_column,
                'record', new_row -> 'id'::text,
                'details', pg_catalog.jsonb_build_object('changed', changed_columns)
            )
            FROM old_list
            FULL JOIN new_list USING (nth)
            CROSS JOIN LATERAL (
                SELECT pg_catalog.jsonb_agg(key ORDER BY key)
                FROM jsonb_object_keys(new_row) AS key
                WHERE (new_row -> key)::text <> (old_row -> key)::text
                    AND key <> 'updated_at'
            ) AS difference (changed_columns)
            WHERE changed_columns IS NOT NULL
        );
    END IF;

    -- 2. Nothing changed: nothing to write.
    IF pg_catalog.cardinality(entries) = 0 THEN
        RETURN NULL;
    END IF;

    -- 3. Who did it, and from where. A malformed token or header is ignored: it must not make the statement fail. An
    -- address is kept without a mask, and at most 500 characters of the user agent: the log cannot be shortened.
    BEGIN
        claims := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
        actor := (claims ->> 'sub'::text)::uuid;
    EXCEPTION WHEN data_exception THEN
        NULL;
    END;
    IF actor IS NULL THEN
        role_details := pg_catalog.jsonb_build_object(
            'role', coalesce(nullif(current_setting('role'), 'none'), session_user)
        );
    END IF;
    BEGIN
        headers := nullif(current_setting('request.headers', true), '')::jsonb;
        address := host(btrim(split_part(headers ->> 'x-forwarded-for'::text, ',', 1))::inet)::inet;
    EXCEPTION WHEN data_exception THEN
        NULL;
    END;
    BEGIN
        address := coalesce(host((headers ->> 'cf-connecting-ip'::text)::inet)::inet, address);
    EXCEPTION WHEN data_exception THEN
        NULL;
    END;

    -- 4. Write. For an organization that is deleted org_id is null, and organization_id and the name stay. Its own row
    -- is written first, and has the name; the rows of its cascade take the name from there.
    INSERT INTO audit_logs (
        org_id, organization_id, organization_name, actor_id, action, table_name, record_id, details, ip_address,
        user_agent
    )
    SELECT
        organizations.id,
        (entry ->> 'organization'::text)::uuid,
        coalesce(
            organizations.name,
            entry ->> 'name'::text,
            (
                SELECT organization_name
                FROM audit_logs
                WHERE organization_id = (entry ->> 'organization'::text)::uuid
                    AND table_name = 'organizations'
                    AND action = 'DELETE'
                ORDER BY created_at DESC
                LIMIT 1
            )
        ),
        actor,
        TG_OP,
        audited_table,
        (entry ->> 'record'::text)::uuid,
        (entry -> 'details'::text) || role_details,
        address,
        left(headers ->> 'user-agent'::text, 500)
    FROM pg_catalog.unnest(entries) AS entry
    LEFT JOIN organizations ON organizations.id = (entry ->> 'organization'::text)::uuid;
    RETURN NULL;
END;
$$;

-- Merges two records of one patient. Everything that refers to the duplicate then refers to the record that is kept, the
-- blank fields of the record are filled from the duplicate, and the duplicate is deleted. If both have a consent without
-- an end for one purpose, the duplicate's ends now. The function follows the foreign keys, so it does not miss a table that
-- is added later. It has the owner's rights, because service_role may not change every such table. The log says who did
-- it: an actor, if the server names one.
CREATE FUNCTION merge_patients(duplicate uuid, kept uuid, actor uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
DECLARE
    old_row patients%ROWTYPE;
    organization uuid;
    reference record;
BEGIN
    -- 1. Lock both, in the order of their ids: two merges then cannot block each other.
    PERFORM
    FROM patients
    WHERE id IN (duplicate, kept)
    ORDER BY id
    FOR UPDATE;
    organization := (
        SELECT a.org_id
        FROM patients AS a
        JOIN patients AS b ON b.org_id = a.org_id
        WHERE a.id = duplicate
            AND b.id = kept
            AND a.id <> b.id
    );
    IF organization IS NULL THEN
        RAISE EXCEPTION 'these are not two patients of one organization'
            USING ERRCODE = 'foreign_key_violation';
    END IF;

    -- 2. The triggers keep_patient look for this row.
    INSERT INTO audit_logs (org_id, actor_id, action, table_name, record_id, details)
    VALUES (
        organization, actor, 'merge', 'patients', duplicate,
        pg_catalog.jsonb_build_object('into'::text, kept::text)
    );

    -- 3. Move what refers to the duplicate.
    UPDATE consent_records AS old
    SET revoked_at = greatest(now(), granted_at)
    WHERE org_id = organization
        AND patient_id = duplicate
        AND revoked_at IS NULL
        AND expires_at IS NULL
        AND EXISTS (
            SELECT
            FROM consent_records AS same
            WHERE same.org_id = organization
                AND same.patient_id = kept
                AND same.purpose = old.purpose
                AND same.revoked_at IS NULL
                AND same.expires_at IS NULL
        );
    FOR reference IN
        SELECT pg_catalog.format('%s'::text, conrelid::regclass) AS table_name, attname::text AS column_name
        FROM pg_catalog.pg_constraint
        JOIN pg_catalog.pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
        WHERE contype = 'f'
            AND conparentid = 0::oid
            AND confrelid = 'patients'::regclass::oid
            AND attname <> 'org_id'::name
        ORDER BY conname
    LOOP
        EXECUTE pg_catalog.format(
            'UPDATE %s SET %I = $1 WHERE org_id = $2 AND %I = $3',
            reference.table_name, reference.column_name, reference.column_name
        ) USING kept, organization, duplicate;
    END LOOP;

    -- 4. The duplicate goes first, because its ABHA id can be only one patient's.
    old_row := (SELECT p FROM patients AS p WHERE p.id = duplicate);
    DELETE FROM patients
    WHERE id = duplicate;
    UPDATE patients
    SET assigned_therapist_id = coalesce(assigned_therapist_id, old_row.assigned_therapist_id),
        phone = coalesce(nullif(btrim(phone), ''::text), old_row.phone),
        abha_id = coalesce(abha_id, old_row.abha_id),
        demographics = old_row.demographics || jsonb_strip_nulls(demographics)
    WHERE id = kept;
END;
$$;

-- When an organization is deleted, the audit rows of the cascade find its name with this index.
CREATE INDEX idx_audit_deleted_organization ON audit_logs (organization_id, created_at DESC)
    WHERE table_name = 'organizations' AND action = 'DELETE';

-- This trigger fills in every row, except the complete rows of write_audit_log: skipping them saves a look-up for
-- each. Such a row comes from a trigger (depth above 0) that has the owner's rights (only the owner may UPDATE
-- audit_logs).
CREATE TRIGGER stamp
    BEFORE INSERT ON audit_logs
    FOR EACH ROW WHEN (
        pg_trigger_depth() = 0
        OR NOT pg_catalog.has_table_privilege('audit_logs'::regclass::oid, 'UPDATE'::text)
        OR NEW.created_at <> now()
        OR NEW.organization_id IS NULL
        OR NEW.organization_id <> NEW.org_id
        OR (NEW.org_id IS NOT NULL AND NEW.organization_name IS NULL)
    )
    EXECUTE FUNCTION stamp_audit_log();

-- Only the triggers of the audited tables tell of changes. They have the owner's rights; a server with a secret key may
-- add rows about a read or a login, and none that looks like theirs, not even from a trigger of its own.
CREATE TRIGGER refuse_forged
    BEFORE INSERT ON audit_logs
    FOR EACH ROW WHEN (
        upper(pg_catalog.regexp_replace(NEW.action, '[^[:alpha:]]'::text, ''::text, 'g'::text))
            IN ('INSERT', 'UPDATE', 'DELETE')
        AND NOT pg_catalog.has_table_privilege('audit_logs'::regclass::oid, 'UPDATE'::text)
    )
    EXECUTE FUNCTION refuse_change('only the triggers of the audited tables record INSERT, UPDATE and DELETE');

CREATE TRIGGER keep
    BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION keep_audit_log();

-- TRUNCATE has a trigger of its own, because Citus does not copy triggers with TRUNCATE to its nodes.
CREATE TRIGGER keep_whole
    BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_log();

-- The seven tables that people edit. wearable_data is left out: signed-in users only add rows to it, and it is by far
-- the largest table.
CREATE TRIGGER audit_insert
    AFTER INSERT ON organizations REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('organizations', 'id');
CREATE TRIGGER audit_update
    AFTER UPDATE ON organizations REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('organizations', 'id');
CREATE TRIGGER audit_delete
    AFTER DELETE ON organizations REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('organizations', 'id');

CREATE TRIGGER audit_insert
    AFTER INSERT ON therapists REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('therapists', 'org_id');
CREATE TRIGGER audit_update
    AFTER UPDATE ON therapists REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('therapists', 'org_id');
CREATE TRIGGER audit_delete
    AFTER DELETE ON therapists REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('therapists', 'org_id');

CREATE TRIGGER audit_insert
    AFTER INSERT ON patients REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('patients', 'org_id');
CREATE TRIGGER audit_update
    AFTER UPDATE ON patients REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('patients', 'org_id');
CREATE TRIGGER audit_delete
    AFTER DELETE ON patients REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('patients', 'org_id');

CREATE TRIGGER audit_insert
    AFTER INSERT ON sessions REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('sessions', 'org_id');
CREATE TRIGGER audit_update
    AFTER UPDATE ON sessions REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('sessions', 'org_id');
CREATE TRIGGER audit_delete
    AFTER DELETE ON sessions REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('sessions', 'org_id');

CREATE TRIGGER audit_insert
    AFTER INSERT ON clinical_notes REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('clinical_notes', 'org_id');
CREATE TRIGGER audit_update
    AFTER UPDATE ON clinical_notes REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('clinical_notes', 'org_id');
CREATE TRIGGER audit_delete
    AFTER DELETE ON clinical_notes REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('clinical_notes', 'org_id');

CREATE TRIGGER audit_insert
    AFTER INSERT ON session_recordings REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('session_recordings', 'org_id');
CREATE TRIGGER audit_update
    AFTER UPDATE ON session_recordings REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('session_recordings', 'org_id');
CREATE TRIGGER audit_delete
    AFTER DELETE ON session_recordings REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('session_recordings', 'org_id');

CREATE TRIGGER audit_insert
    AFTER INSERT ON consent_records REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('consent_records', 'org_id');
CREATE TRIGGER audit_update
    AFTER UPDATE ON consent_records REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('consent_records', 'org_id');
CREATE TRIGGER audit_delete
    AFTER DELETE ON consent_records REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log('consent_records', 'org_id');

-- TRUNCATE does not fire the triggers above. The dashboard sends it for "delete all rows".
CREATE TRIGGER audit_truncate
    BEFORE TRUNCATE ON organizations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('organizations is audited: use DELETE, not TRUNCATE');

CREATE TRIGGER audit_truncate
    BEFORE TRUNCATE ON therapists
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('therapists is audited: use DELETE, not TRUNCATE');

CREATE TRIGGER audit_truncate
    BEFORE TRUNCATE ON patients
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('patients is audited: use DELETE, not TRUNCATE');

CREATE TRIGGER audit_truncate
    BEFORE TRUNCATE ON sessions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('sessions is audited: use DELETE, not TRUNCATE');

CREATE TRIGGER audit_truncate
    BEFORE TRUNCATE ON clinical_notes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('clinical_notes is audited: use DELETE, not TRUNCATE');

CREATE TRIGGER audit_truncate
    BEFORE TRUNCATE ON session_recordings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('session_recordings is audited: use DELETE, not TRUNCATE');

CREATE TRIGGER audit_truncate
    BEFORE TRUNCATE ON consent_records
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('consent_records is audited: use DELETE, not TRUNCATE');

-- The functions find their tables in the schema they were created in, no matter which search path and temporary
-- tables the caller has. Only triggers call them, except merge_patients, which 0010 grants to service_role.
REVOKE EXECUTE ON FUNCTION stamp_audit_log(), keep_audit_log(), write_audit_log(), merge_patients(uuid, uuid, uuid)
    FROM PUBLIC;
DO $$
DECLARE
    api_role text;
BEGIN
    EXECUTE pg_catalog.format('ALTER FUNCTION stamp_audit_log() SET search_path = %I, pg_temp', current_schema());
    EXECUTE pg_catalog.format('ALTER FUNCTION keep_audit_log() SET search_path = %I, pg_temp', current_schema());
    EXECUTE pg_catalog.format('ALTER FUNCTION write_audit_log() SET search_path = %I, pg_temp', current_schema());
    EXECUTE pg_catalog.format(
        'ALTER FUNCTION merge_patients(uuid, uuid, uuid) SET search_path = %I, pg_temp',
        current_schema()
    );
    FOR api_role IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role') LOOP
        EXECUTE pg_catalog.format(
            'REVOKE ALL ON FUNCTION stamp_audit_log(), keep_audit_log(), write_audit_log(),
                merge_patients(uuid, uuid, uuid) FROM %I',
            api_role
        );
    END LOOP;
END;
$$;
