-- Rows for `sqlmig check`: the triggers now write the audit log, here for a change and for a new patient.

UPDATE organizations
SET settings = '{"locale": "de-DE"}'
WHERE name = 'Berg Practice';

INSERT INTO patients (org_id, full_name)
VALUES ('00000000-0000-4000-8000-0000000000b1', 'Liv');
