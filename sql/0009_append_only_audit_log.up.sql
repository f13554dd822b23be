-- The audit log is only ever added to, by everyone, and still says whose it was when the organization is gone.

CREATE FUNCTION private.name_organization() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
    NEW.organization_name := (SELECT name FROM public.organizations WHERE id = NEW.org_id);
    RETURN NEW;
END;
$$;

CREATE FUNCTION private.keep_audit_log() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
    -- The foreign key's own SET NULL, when the organization is deleted, and nothing else.
    IF TG_OP = 'UPDATE' AND NEW.org_id IS NULL
        AND to_jsonb(NEW) - 'org_id' = to_jsonb(OLD) - 'org_id'
        AND NOT EXISTS (SELECT FROM public.organizations WHERE id = OLD.org_id)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the audit log is only ever added to: no %', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END;
$$;

REVOKE EXECUTE ON FUNCTION private.name_organization() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION private.keep_audit_log() FROM PUBLIC;

CREATE TRIGGER name_organization
    BEFORE INSERT ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION private.name_organization();

CREATE TRIGGER keep_audit_log
    BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION private.keep_audit_log();

CREATE TRIGGER keep_audit_log_whole
    BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION private.keep_audit_log();
