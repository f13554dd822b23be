-- Undoes 0009: the audit log can be changed by whoever has the privilege.

DROP TRIGGER keep_audit_log_whole ON audit_logs;
DROP TRIGGER keep_audit_log ON audit_logs;
DROP TRIGGER name_organization ON audit_logs;
DROP FUNCTION private.keep_audit_log();
DROP FUNCTION private.name_organization();
