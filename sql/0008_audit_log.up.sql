-- The audit log writes itself, is only ever added to, by everyone, and still says whose it was when the organization is gone.

-- What somebody adds by hand: the time is the server's, and the organization is named from org_id, whatever was written.
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

CREATE FUNCTION keep_audit_log() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
BEGIN
    -- The foreign key's own SET NULL, when the organization is deleted, and nothing else.
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

-- Adds a row for each row that a statement added, changed or deleted. Its arguments are the table's name and the column that
-- names the organization: on Citus TG_TABLE_NAME is a shard's. A statement made from the catalog compares column by column
-- (comparing whole rows as jsonb costs twice as much), and reads no table beside the transition tables, which Citus refuses.
-- Old and new rows are paired as they came: one statement may change a row twice. What PostgreSQL would resolve to a closer
-- match, that somebody else made in this schema, is named with its own.
CREATE FUNCTION write_audit_log() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
DECLARE
    owner_of text := pg_catalog.format('r.%I', TG_ARGV[1]);
    name_of text := CASE TG_ARGV[0] WHEN 'organizations' THEN 'r.name' ELSE 'NULL::text' END;
    changes text := quote_literal('{}') || '::jsonb';
    source text := CASE TG_OP WHEN 'DELETE' THEN 'old_rows AS r' ELSE 'new_rows AS r' END;
    claims jsonb;
    headers jsonb;
    address inet;
    organization uuid;
    named text;
    ids uuid[];
    details jsonb[];
    is_there boolean;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        changes := (
            SELECT pg_catalog.format(
                'pg_catalog.jsonb_build_object(''changed'', pg_catalog.array_remove(ARRAY[%s], NULL))',
                string_agg(
                    pg_catalog.format(
                        'CASE WHEN o.%1$I%2$s IS DISTINCT FROM r.%1$I%2$s THEN %1$L END', attname,
                        CASE WHEN atttypid IN ('json'::regtype, 'jsonb'::regtype) THEN '::text' ELSE '' END
                    ),
                    ', ' ORDER BY attnum
                )
            )
            FROM pg_attribute
            WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped AND attname <> 'updated_at'
        );
        IF (SELECT count(*) FROM new_rows) = 1 THEN
            source := 'old_rows AS o CROSS JOIN new_rows AS r';  -- as most are, and half the time to plan
        ELSE
            source := '(SELECT pg_catalog.row_number() OVER () AS nth, * FROM old_rows) AS o
                JOIN (SELECT pg_catalog.row_number() OVER () AS nth, * FROM new_rows) AS r USING (nth)';
        END IF;
    END IF;
    FOR organization, named, ids, details IN EXECUTE pg_catalog.format(
        'SELECT owner, pg_catalog.min(name), pg_catalog.array_agg(id), pg_catalog.array_agg(details)
        FROM (SELECT %s AS owner, %s AS name, r.id, %s AS details FROM %s) AS changed
        WHERE details <> ''{"changed": []}''
        GROUP BY owner',
        owner_of, name_of, changes, source
    ) LOOP
        IF claims IS NULL THEN
            BEGIN  -- whatever a token or a header holds, it keeps nobody from writing
                claims := coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb;
                headers := nullif(current_setting('request.headers', true), '')::jsonb;
                address := nullif(btrim(split_part(headers ->> 'x-forwarded-for', ',', 1)), '')::inet;
            EXCEPTION WHEN data_exception THEN
                claims := coalesce(claims, '{}');
            END;
        END IF;
        is_there := EXISTS (SELECT FROM organizations WHERE id = organization);
        -- Of an organization's own cascade the first row, of the organization itself, says the name.
        named := coalesce(
            named,
            (SELECT name FROM organizations WHERE id = organization),
            (
                SELECT organization_name
                FROM audit_logs
                WHERE organization_id = organization AND table_name = 'organizations' AND action = 'DELETE'
                ORDER BY created_at DESC
                LIMIT 1
            )
        );
        INSERT INTO audit_logs (
            org_id, organization_id, organization_name, actor_id, action, table_name, record_id, details, ip_address,
            user_agent
        )
        SELECT
            CASE WHEN is_there THEN organization END, organization, named,
            CASE WHEN claims ->> 'sub' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN (claims ->> 'sub')::uuid END,
            TG_OP, TG_ARGV[0], entry.id, entry.details, address, headers ->> 'user-agent'
        FROM ROWS FROM (pg_catalog.unnest(ids), pg_catalog.unnest(details)) AS entry (id, details);
    END LOOP;
    RETURN NULL;
END;
$$;

-- An organization that is deleted is looked up here by the rows of its cascade.
CREATE INDEX idx_audit_deleted_organization ON audit_logs (organization_id, created_at DESC)
    WHERE table_name = 'organizations' AND action = 'DELETE';

-- By hand is what no trigger adds with the owner's rights: nobody else may update, so nobody else passes for one.
CREATE TRIGGER stamp
    BEFORE INSERT ON audit_logs
    FOR EACH ROW WHEN (
        pg_trigger_depth() = 0
        OR NOT has_table_privilege('audit_logs'::regclass, 'UPDATE')
        OR NEW.created_at <> now()
    )
    EXECUTE FUNCTION stamp_audit_log();

CREATE TRIGGER keep
    BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION keep_audit_log();

-- Apart, as Citus carries no trigger that names TRUNCATE to its nodes.
CREATE TRIGGER keep_whole
    BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_log();

-- Not wearable_data: it is only ever added to, and by far the largest.
DO $$
DECLARE
    audited text;
    owner_column text;
BEGIN
    FOR audited, owner_column IN VALUES
        ('organizations', 'id'), ('therapists', 'org_id'), ('patients', 'org_id'), ('sessions', 'org_id'),
        ('clinical_notes', 'org_id'), ('session_recordings', 'org_id'), ('consent_records', 'org_id')
    LOOP
        EXECUTE format(
            'CREATE TRIGGER audit_insert AFTER INSERT ON %1$I REFERENCING NEW TABLE AS new_rows
                FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log(%1$L, %2$L)',
            audited, owner_column
        );
        EXECUTE format(
            'CREATE TRIGGER audit_update AFTER UPDATE ON %1$I REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
                FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log(%1$L, %2$L)',
            audited, owner_column
        );
        EXECUTE format(
            'CREATE TRIGGER audit_delete AFTER DELETE ON %1$I REFERENCING OLD TABLE AS old_rows
                FOR EACH STATEMENT EXECUTE FUNCTION write_audit_log(%1$L, %2$L)',
            audited, owner_column
        );
    END LOOP;
END;
$$;

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
        EXECUTE format('REVOKE ALL ON FUNCTION stamp_audit_log(), keep_audit_log(), write_audit_log() FROM %I', api_role);
    END LOOP;
END;
$$;
