-- The audit log: it writes itself, nobody changes it, and it still says whose a row was when the organization is gone.

-- What the writer of a row does not decide: the time, and the organization's id and name, which follow from org_id.
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

-- Rows stay as they are. One change is let through: when an organization is deleted, the foreign key sets org_id to
-- null.
CREATE FUNCTION keep_audit_log() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.org_id IS NOT NULL AND NEW.org_id IS NULL
        AND NOT EXISTS (SELECT FROM organizations WHERE id = OLD.org_id)
    THEN
        OLD.org_id := NULL;
        IF NEW IS NOT DISTINCT FROM OLD THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit log is only ever added to: no %', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END;
$$;

-- Writes the trail: a row for each row that a statement added, changed or deleted. It is told the table's name (on
-- Citus TG_TABLE_NAME is a shard's) and the column that names the organization. It reads rows as jsonb, so that columns
-- of every type will do. It calls functions of any type by their schema: a caller's own of that name, for a closer
-- type, would run as the owner.
CREATE FUNCTION write_audit_log() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET jit = off
AS $$
DECLARE
    audited text := TG_ARGV[0];
    owner_column text := TG_ARGV[1];
    changes jsonb[];
    claims jsonb;
    headers jsonb;
    actor uuid;
    address inet;
    nobody jsonb := '{}';
BEGIN
    -- What happened to which row of which organization.
    IF TG_OP = 'INSERT' THEN
        changes := ARRAY(
            WITH added (new_row) AS MATERIALIZED (
                SELECT pg_catalog.to_jsonb(n.*) FROM new_rows AS n
            )
            SELECT pg_catalog.jsonb_build_object(
                'organization', new_row -> owner_column,
                'record', new_row -> 'id',
                'details', '{}'::jsonb
            )
            FROM added
        );
    ELSIF TG_OP = 'DELETE' THEN
        changes := ARRAY(
            WITH removed (old_row) AS MATERIALIZED (
                SELECT pg_catalog.to_jsonb(o.*) FROM old_rows AS o
            )
            SELECT pg_catalog.jsonb_build_object(
                'organization', old_row -> owner_column,
                'record', old_row -> 'id',
                'details', '{}'::jsonb,
                'name', CASE audited WHEN 'organizations' THEN old_row -> 'name' END
            )
            FROM removed
        );
    ELSE
        -- Old and new rows come in the same order, which pairs them: one statement may change a row twice.
        changes := ARRAY(
            WITH old_list AS MATERIALIZED (
                SELECT row_number() OVER () AS nth, pg_catalog.to_jsonb(o.*) AS old_row FROM old_rows AS o
            ),
            new_list AS MATERIALIZED (
                SELECT row_number() OVER () AS nth, pg_catalog.to_jsonb(n.*) AS new_row FROM new_rows AS n
            )
            SELECT pg_catalog.jsonb_build_object(
                'organization', new_row -> owner_column,
                'record', new_row -> 'id',
                'details', pg_catalog.jsonb_build_object('changed', changed)
            )
            FROM old_list
            JOIN new_list USING (nth)
            CROSS JOIN LATERAL (
                SELECT pg_catalog.jsonb_agg(key ORDER BY key)
                FROM jsonb_object_keys(new_row) AS key
                WHERE new_row ->> key IS DISTINCT FROM old_row ->> key
                    AND key <> 'updated_at'
            ) AS difference (changed)
            WHERE changed IS NOT NULL
        );
    END IF;
    IF pg_catalog.cardinality(changes) = 0 THEN
        RETURN NULL;
    END IF;

    -- Who did it, and from where. Whatever a token or a header holds, it keeps nobody from writing.
    BEGIN
        claims := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
        actor := (claims ->> 'sub')::uuid;
    EXCEPTION WHEN data_exception THEN
        NULL;
    END;
    BEGIN
        headers := nullif(current_setting('request.headers', true), '')::jsonb;
        address := coalesce(
            headers ->> 'cf-connecting-ip',
            btrim(split_part(headers ->> 'x-forwarded-for', ',', 1))
        )::inet;
    EXCEPTION WHEN data_exception THEN
        NULL;
    END;
    IF actor IS NULL THEN
        nobody := pg_catalog.jsonb_build_object(
            'role', coalesce(nullif(current_setting('role'), 'none'), session_user)
        );
    END IF;

    -- The row of an organization's own delete says its name; the rows of its cascade, written after it, take it from
    -- there.
    INSERT INTO audit_logs (
        org_id, organization_id, organization_name, actor_id, action, table_name, record_id, details, ip_address,
        user_agent
    )
    SELECT
        organizations.id,
        (change ->> 'organization')::uuid,
        coalesce(
            organizations.name,
            change ->> 'name',
            (
                SELECT organization_name
                FROM audit_logs
                WHERE organization_id = (change ->> 'organization')::uuid
                    AND table_name = 'organizations'
                    AND action = 'DELETE'
                ORDER BY created_at DESC
                LIMIT 1
            )
        ),
        actor,
        TG_OP,
        audited,
        (change ->> 'record')::uuid,
        change -> 'details' || nobody,
        address,
        headers ->> 'user-agent'
    FROM pg_catalog.unnest(changes) AS change
    LEFT JOIN organizations ON organizations.id = (change ->> 'organization')::uuid;
    RETURN NULL;
END;
$$;

-- The rows of an organization's cascade look its own row up here.
CREATE INDEX idx_audit_deleted_organization ON audit_logs (organization_id, created_at DESC)
    WHERE table_name = 'organizations' AND action = 'DELETE';

-- write_audit_log fills all of it in by itself, also for an organization that is gone. It is a trigger with the rights
-- of the owner, and nobody else may update audit_logs: so no caller's own trigger passes for it.
CREATE TRIGGER stamp
    BEFORE INSERT ON audit_logs
    FOR EACH ROW WHEN (
        pg_trigger_depth() = 0
        OR NOT has_table_privilege('audit_logs'::regclass, 'UPDATE')
        OR NEW.created_at <> now()
        OR NEW.organization_id IS NULL
        OR NEW.organization_id <> NEW.org_id
        OR NEW.organization_name IS NULL
    )
    EXECUTE FUNCTION stamp_audit_log();

CREATE TRIGGER keep
    BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION keep_audit_log();

-- A trigger of its own: Citus does not carry one that names TRUNCATE to its nodes.
CREATE TRIGGER keep_whole
    BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_log();

-- Every table but wearable_data, which is only ever added to and by far the largest.
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

-- TRUNCATE removes rows without a word to the triggers above. The dashboard sends it for "delete all rows".
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

-- As in 0007.
REVOKE EXECUTE ON FUNCTION stamp_audit_log(), keep_audit_log(), write_audit_log() FROM PUBLIC;
DO $$
DECLARE
    api_role text;
BEGIN
    EXECUTE format('ALTER FUNCTION stamp_audit_log() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION keep_audit_log() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION write_audit_log() SET search_path = %I, pg_temp', current_schema());
    FOR api_role IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role') LOOP
        EXECUTE format(
            'REVOKE ALL ON FUNCTION stamp_audit_log(), keep_audit_log(), write_audit_log() FROM %I',
            api_role
        );
    END LOOP;
END;
$$;
