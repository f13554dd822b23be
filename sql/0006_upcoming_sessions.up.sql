-- The sessions to come, with the names of both people.

-- Upcoming sessions view
CREATE VIEW upcoming_sessions AS
SELECT s.*, t.full_name as therapist_name, p.full_name as patient_name
FROM sessions s
JOIN therapists t ON s.therapist_id = t.id
JOIN patients p ON s.patient_id = p.id
WHERE s.scheduled_at > now() AND s.status = 'scheduled';

-- Else it reads with its owner's rights and shows every tenant's sessions.
ALTER VIEW upcoming_sessions SET (security_invoker = true);
