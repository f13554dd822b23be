-- The nine core tables. org_id names the organization that a row belongs to. For now only the owner can use the
-- tables: row level security is on, and this file revokes Supabase's default grants. 0010 adds policies and grants.

-- The tenant of a request: app_metadata.org_id of the token, which only the server can set (users can edit
-- user_metadata). Null if the claim is missing or not a uuid. The function comes first because org_id defaults to it.
CREATE FUNCTION current_org_id() RETURNS uuid
LANGUAGE plpgsql
STABLE
SET search_path = ''
AS $$
BEGIN
    RETURN (nullif(current_setting('request.jwt.claims', true), '')::jsonb -> 'app_metadata' ->> 'org_id')::uuid;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END;
$$;

-- Without this no query with a policy could use parallel workers. Before version 17, PostgreSQL does not allow the
-- function's EXCEPTION block in a parallel query.
DO $$
BEGIN
    IF current_setting('server_version_num'::text)::integer >= 170000 THEN
        ALTER FUNCTION current_org_id() PARALLEL SAFE;
    END IF;
END;
$$;

CREATE TABLE organizations (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    subscription_tier text NOT NULL DEFAULT 'free',
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT organizations_pkey PRIMARY KEY (id)
);
ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;

-- Here and below, composite foreign keys refer to the unique key (org_id, id).
CREATE TABLE therapists (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL DEFAULT current_org_id(),
    email text,
    full_name text NOT NULL,
    license_number text,
    specialization text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT therapists_pkey PRIMARY KEY (id),
    CONSTRAINT therapists_org_id_id_key UNIQUE (org_id, id)
);
ALTER TABLE therapists ENABLE ROW LEVEL SECURITY;

CREATE TABLE patients (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL DEFAULT current_org_id(),
    assigned_therapist_id uuid,
    full_name text NOT NULL,
    phone text,
    abha_id text,
    demographics jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT patients_pkey PRIMARY KEY (id),
    CONSTRAINT patients_org_id_id_key UNIQUE (org_id, id)
);
ALTER TABLE patients ENABLE ROW LEVEL SECURITY;

CREATE TABLE sessions (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL DEFAULT current_org_id(),
    therapist_id uuid NOT NULL,
    patient_id uuid NOT NULL,
    scheduled_at timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'scheduled',
    duration_minutes integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_org_id_id_key UNIQUE (org_id, id)
);
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;

CREATE TABLE clinical_notes (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL DEFAULT current_org_id(),
    session_id uuid NOT NULL,
    note_type text NOT NULL,
    content jsonb NOT NULL DEFAULT '{}',
    ai_generated_summary text,
    approved_by_therapist boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT clinical_notes_pkey PRIMARY KEY (id)
);
ALTER TABLE clinical_notes ENABLE ROW LEVEL SECURITY;

-- storage_path is a path in a private bucket, never a URL; it is null until the upload is done. deleted_at is the
-- time when the file was erased; the row stays.
CREATE TABLE session_recordings (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL DEFAULT current_org_id(),
    session_id uuid NOT NULL,
    consent_record_id uuid,
    storage_path text,
    media_type text,
    duration_seconds integer,
    size_bytes bigint,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    deleted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT session_recordings_pkey PRIMARY KEY (id)
);
ALTER TABLE session_recordings ENABLE ROW LEVEL SECURITY;

-- Signed-in users only add rows, so the table does not need updated_at. The device sets recorded_at. A client computes the
-- id from the measurement, so others can compute it too: the key begins with org_id, so that no organization can take
-- the ids of another.
CREATE TABLE wearable_data (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL DEFAULT current_org_id(),
    patient_id uuid NOT NULL,
    data_type text NOT NULL,
    metrics jsonb NOT NULL DEFAULT '{}',
    recorded_at timestamptz NOT NULL,
    CONSTRAINT wearable_data_pkey PRIMARY KEY (org_id, id)
);
ALTER TABLE wearable_data ENABLE ROW LEVEL SECURITY;

-- A column "active" would repeat granted_at, expires_at and revoked_at, and could disagree with them.
CREATE TABLE consent_records (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL DEFAULT current_org_id(),
    patient_id uuid NOT NULL,
    purpose text NOT NULL,
    notice_version text,
    granted_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    granted_by text,
    document_path text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT consent_records_pkey PRIMARY KEY (id),
    CONSTRAINT consent_records_org_id_id_key UNIQUE (org_id, id)
);
ALTER TABLE consent_records ENABLE ROW LEVEL SECURITY;

-- Audit rows outlive the organization and the user. So they have a copy of the organization's id and name, and
-- actor_id has no foreign key.
CREATE TABLE audit_logs (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    org_id uuid DEFAULT current_org_id(),
    organization_id uuid,
    organization_name text,
    actor_id uuid,
    action text NOT NULL,
    table_name text,
    record_id uuid,
    details jsonb NOT NULL DEFAULT '{}',
    ip_address inet,
    user_agent text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_logs_pkey PRIMARY KEY (id)
);
ALTER TABLE audit_logs ENABLE ROW LEVEL SECURITY;

-- Policies are not enough, because a role with the privilege TRUNCATE or TRIGGER can bypass them. So revoke
-- everything.
REVOKE EXECUTE ON FUNCTION current_org_id() FROM PUBLIC;
DO $$
DECLARE
    api_role text;
BEGIN
    FOR api_role IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role') LOOP
        EXECUTE pg_catalog.format(
            'REVOKE ALL ON organizations, therapists, patients, sessions, clinical_notes, session_recordings,
                wearable_data, consent_records, audit_logs FROM %I',
            api_role
        );
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION current_org_id() FROM %I', api_role);
    END LOOP;
END;
$$;
