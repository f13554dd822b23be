-- The view upcoming_sessions: sessions to come, with the names of both people.

-- Upcoming sessions view
CREATE VIEW upcoming_sessions AS
SELECT s.*, t.full_name as therapist_name, p.full_name as patient_name
FROM sessions s
JOIN therapists t ON s.therapist_id = t.id
JOIN patients p ON s.patient_id = p.id
WHERE s.scheduled_at > now() AND s.status = 'scheduled';

-- Without this setting the view reads with its owner's rights and shows every tenant's sessions.
ALTER VIEW upcoming_sessions SET (security_invoker = true);

-- Revoke access until 0010 grants it.
DO $$
DECLARE
    api_role text;
BEGIN
    FOR api_role IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role') LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON upcoming_sessions FROM %I', api_role);
    END LOOP;
END;
$$;
