-- Which values are allowed: the specification's three checks, then ours.
-- sqlmig: accepts reads: 0001 makes these tables in the same deployment, so no one uses them yet

-- Subscription tier validation
ALTER TABLE organizations ADD CONSTRAINT check_subscription_tier 
  CHECK (subscription_tier IN ('free', 'pro', 'biosync'));

-- Session status validation
ALTER TABLE sessions ADD CONSTRAINT check_session_status 
  CHECK (status IN ('scheduled', 'in_progress', 'completed', 'cancelled'));

-- Note type validation
ALTER TABLE clinical_notes ADD CONSTRAINT check_note_type 
  CHECK (note_type IN ('soap', 'dap', 'progress'));

-- Names and identifiers have at most 500 characters, and one of them can be seen: blanks of other scripts and characters
-- without a width do not count.
ALTER TABLE organizations ADD CONSTRAINT check_organization_name
    CHECK (
        length(name) <= 500
        AND name ~ '[^\s\u0085\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180e'
            '\u2000-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0]'
    );
ALTER TABLE therapists ADD CONSTRAINT check_therapist_name
    CHECK (
        length(full_name) <= 500
        AND full_name ~ '[^\s\u0085\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180e'
            '\u2000-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0]'
    );
ALTER TABLE therapists ADD CONSTRAINT check_therapist_email
    CHECK (
        length(email) <= 500
        AND email ~ '[^\s\u0085\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180e'
            '\u2000-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0]'
    );
ALTER TABLE patients ADD CONSTRAINT check_patient_name
    CHECK (
        length(full_name) <= 500
        AND full_name ~ '[^\s\u0085\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180e'
            '\u2000-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0]'
    );
ALTER TABLE patients ADD CONSTRAINT check_patient_abha_id
    CHECK (
        length(abha_id) <= 100
        AND abha_id ~ '[^\s\u0085\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180e'
            '\u2000-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0]'
    );

-- JSON columns hold objects: at most 1 MB, 32 levels deep, with numbers that fit on a line. A number such as 1e131071 or
-- 0e-16383 is short here, but its text is up to 131 kB long: a row with thousands of them could be neither read nor
-- dumped, and a dump of deeper levels could not be restored. The cheap conditions come first: CASE keeps their order.
-- No condition shows how many digits a zero has, so the zeros of all but the smallest values are looked at as text. The
-- types are exact, so that no operator or function of another role fits better.
ALTER TABLE organizations ADD CONSTRAINT check_organization_settings
    CHECK (
        jsonb_typeof(settings) = 'object'::text
        AND CASE
            WHEN pg_catalog.pg_column_size(settings) > 1000000 THEN false
            WHEN settings OPERATOR(pg_catalog.@?) '$.**{33}'::jsonpath THEN false
            WHEN settings OPERATOR(pg_catalog.@?)
                '$.** ? (@ > 1e30 || @ < -1e30 || (@ > -1e-30 && @ < 1e-30 && @ != 0))'::jsonpath
            THEN false
            WHEN pg_catalog.pg_column_size(settings) <= 2000 THEN true
            WHEN jsonb_array_length(jsonb_path_query_array(settings, '$.** ? (@ == 0)'::jsonpath)) > 10000 THEN false
            ELSE octet_length(jsonb_path_query_array(settings, '$.** ? (@ == 0)'::jsonpath)::text) < 100000
        END
    );
ALTER TABLE patients ADD CONSTRAINT check_patient_demographics
    CHECK (
        jsonb_typeof(demographics) = 'object'::text
        AND CASE
            WHEN pg_catalog.pg_column_size(demographics) > 1000000 THEN false
            WHEN demographics OPERATOR(pg_catalog.@?) '$.**{33}'::jsonpath THEN false
            WHEN demographics OPERATOR(pg_catalog.@?)
                '$.** ? (@ > 1e30 || @ < -1e30 || (@ > -1e-30 && @ < 1e-30 && @ != 0))'::jsonpath
            THEN false
            WHEN pg_catalog.pg_column_size(demographics) <= 2000 THEN true
            WHEN jsonb_array_length(jsonb_path_query_array(demographics, '$.** ? (@ == 0)'::jsonpath)) > 10000 THEN false
            ELSE octet_length(jsonb_path_query_array(demographics, '$.** ? (@ == 0)'::jsonpath)::text) < 100000
        END
    );
ALTER TABLE clinical_notes ADD CONSTRAINT check_note_content
    CHECK (
        jsonb_typeof(content) = 'object'::text
        AND CASE
            WHEN pg_catalog.pg_column_size(content) > 1000000 THEN false
            WHEN content OPERATOR(pg_catalog.@?) '$.**{33}'::jsonpath THEN false
            WHEN content OPERATOR(pg_catalog.@?)
                '$.** ? (@ > 1e30 || @ < -1e30 || (@ > -1e-30 && @ < 1e-30 && @ != 0))'::jsonpath
            THEN false
            WHEN pg_catalog.pg_column_size(content) <= 2000 THEN true
            WHEN jsonb_array_length(jsonb_path_query_array(content, '$.** ? (@ == 0)'::jsonpath)) > 10000 THEN false
            ELSE octet_length(jsonb_path_query_array(content, '$.** ? (@ == 0)'::jsonpath)::text) < 100000
        END
    );
ALTER TABLE wearable_data ADD CONSTRAINT check_wearable_metrics
    CHECK (
        jsonb_typeof(metrics) = 'object'::text
        AND CASE
            WHEN pg_catalog.pg_column_size(metrics) > 1000000 THEN false
            WHEN metrics OPERATOR(pg_catalog.@?) '$.**{33}'::jsonpath THEN false
            WHEN metrics OPERATOR(pg_catalog.@?)
                '$.** ? (@ > 1e30 || @ < -1e30 || (@ > -1e-30 && @ < 1e-30 && @ != 0))'::jsonpath
            THEN false
            WHEN pg_catalog.pg_column_size(metrics) <= 2000 THEN true
            WHEN jsonb_array_length(jsonb_path_query_array(metrics, '$.** ? (@ == 0)'::jsonpath)) > 10000 THEN false
            ELSE octet_length(jsonb_path_query_array(metrics, '$.** ? (@ == 0)'::jsonpath)::text) < 100000
        END
    );
ALTER TABLE audit_logs ADD CONSTRAINT check_audit_details
    CHECK (
        jsonb_typeof(details) = 'object'::text
        AND CASE
            WHEN pg_catalog.pg_column_size(details) > 1000000 THEN false
            WHEN details OPERATOR(pg_catalog.@?) '$.**{33}'::jsonpath THEN false
            WHEN details OPERATOR(pg_catalog.@?)
                '$.** ? (@ > 1e30 || @ < -1e30 || (@ > -1e-30 && @ < 1e-30 && @ != 0))'::jsonpath
            THEN false
            WHEN pg_catalog.pg_column_size(details) <= 2000 THEN true
            WHEN jsonb_array_length(jsonb_path_query_array(details, '$.** ? (@ == 0)'::jsonpath)) > 10000 THEN false
            ELSE octet_length(jsonb_path_query_array(details, '$.** ? (@ == 0)'::jsonpath)::text) < 100000
        END
    );

-- Other text has a bound too: a row must fit into a message, a dump and an index.
ALTER TABLE therapists ADD CONSTRAINT check_therapist_texts
    CHECK (length(license_number) <= 500 AND length(specialization) <= 500);
ALTER TABLE patients ADD CONSTRAINT check_patient_phone
    CHECK (length(phone) <= 100);
ALTER TABLE clinical_notes ADD CONSTRAINT check_note_summary
    CHECK (octet_length(ai_generated_summary) <= 1000000);
ALTER TABLE session_recordings ADD CONSTRAINT check_recording_media_type
    CHECK (length(media_type) <= 500);
ALTER TABLE wearable_data ADD CONSTRAINT check_wearable_data_type
    CHECK (length(data_type) <= 500);
ALTER TABLE consent_records ADD CONSTRAINT check_consent_texts
    CHECK (length(notice_version) <= 500 AND length(granted_by) <= 500);
ALTER TABLE audit_logs ADD CONSTRAINT check_audit_texts
    CHECK (length(action) <= 500 AND length(table_name) <= 500 AND length(user_agent) <= 500);

-- Refuse 'infinity' as a time: such a row would always be first in a list, or would never end.
ALTER TABLE sessions ADD CONSTRAINT check_session_scheduled_at
    CHECK (isfinite(scheduled_at));
ALTER TABLE session_recordings ADD CONSTRAINT check_recording_times
    CHECK (isfinite(recorded_at) AND isfinite(expires_at) AND isfinite(deleted_at));
ALTER TABLE wearable_data ADD CONSTRAINT check_wearable_recorded_at
    CHECK (isfinite(recorded_at));
ALTER TABLE consent_records ADD CONSTRAINT check_consent_times
    CHECK (isfinite(granted_at) AND isfinite(expires_at) AND isfinite(revoked_at));

ALTER TABLE sessions ADD CONSTRAINT check_session_duration
    CHECK (duration_minutes > 0);

ALTER TABLE session_recordings ADD CONSTRAINT check_recording_duration
    CHECK (duration_seconds >= 0);
ALTER TABLE session_recordings ADD CONSTRAINT check_recording_size
    CHECK (size_bytes >= 0);

-- A path begins with the organization's own folder. Otherwise a tenant could write the path of another tenant's file:
-- a server that reads the file would show it to the wrong tenant, and the unique index would reveal that the path
-- exists. The check also refuses paths that a URL could resolve to another folder: //, /./, /../, a path that ends in
-- a folder, a backslash, %, ?, # and control characters.
ALTER TABLE session_recordings ADD CONSTRAINT check_recording_storage_path
    CHECK (
        octet_length(storage_path) <= 1024
        AND starts_with(storage_path, org_id::text || '/'::text)
        AND storage_path !~ '/(/|\.{1,2}(/|$)|$)'
        AND storage_path !~ '[\\%?#[:cntrl:]]'
    );
ALTER TABLE consent_records ADD CONSTRAINT check_consent_document_path
    CHECK (
        octet_length(document_path) <= 1024
        AND starts_with(document_path, org_id::text || '/'::text)
        AND document_path !~ '/(/|\.{1,2}(/|$)|$)'
        AND document_path !~ '[\\%?#[:cntrl:]]'
    );

ALTER TABLE consent_records ADD CONSTRAINT check_consent_purpose
    CHECK (purpose IN ('treatment', 'recording', 'ai_processing', 'wearable_data', 'data_sharing'));
ALTER TABLE consent_records ADD CONSTRAINT check_consent_expires_after_granted
    CHECK (expires_at > granted_at);
ALTER TABLE consent_records ADD CONSTRAINT check_consent_revoked_after_granted
    CHECK (revoked_at >= granted_at);

-- Nobody could correct or end a consent that is granted in 2062, and it would block the right one. A client's clock may
-- be a few minutes fast. The condition only becomes true with time, so a dump of such rows can always be restored.
ALTER TABLE consent_records ADD CONSTRAINT check_consent_granted_by_now
    CHECK (granted_at <= now() + interval '5 minutes');
