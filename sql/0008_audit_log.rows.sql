-- Rows for `sqlmig check`: from here on the trail writes itself, here of a change and of a new patient.

UPDATE organizations
SET settings = '{"locale": "de-DE"}'
WHERE name = 'Berg Practice';

INSERT INTO patients (org_id, full_name)
VALUES ('00000000-0000-4000-8000-0000000000b1', 'Liv');
