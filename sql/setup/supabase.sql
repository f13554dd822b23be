-- What Supabase provides before the first migration, as far as migrations refer to it: roles, extensions, auth,
-- storage, realtime. For a private server, and for scratch databases: sqlmig check --setup sql/setup/supabase.sql. On
-- Supabase itself everything is there, and the file changes nothing.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[
        'anon', 'authenticated', 'service_role', 'authenticator', 'supabase_auth_admin', 'supabase_storage_admin'
    ] LOOP
        IF to_regrole(wanted) IS NULL THEN
            EXECUTE format('CREATE ROLE %I', wanted);
        END IF;
    END LOOP;
    IF NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'service_role') THEN
        ALTER ROLE service_role BYPASSRLS;
    END IF;
    IF NOT pg_has_role('authenticator', 'anon', 'MEMBER') THEN
        ALTER ROLE authenticator NOINHERIT;
        GRANT anon, authenticated, service_role TO authenticator;
    END IF;
END;
$$;

CREATE SCHEMA IF NOT EXISTS extensions;

DO $$
DECLARE
    wanted text;
BEGIN
    -- A private server may lack some of them.
    FOR wanted IN
        SELECT name
        FROM pg_available_extensions
        WHERE name IN ('pgcrypto', 'uuid-ossp')
            AND installed_version IS NULL
    LOOP
        EXECUTE format('CREATE EXTENSION %I SCHEMA extensions', wanted);
    END LOOP;

    IF to_regnamespace('auth') IS NULL THEN
        CREATE SCHEMA auth;
        CREATE TABLE auth.users (
            id uuid NOT NULL,
            email text,
            phone text,
            raw_app_meta_data jsonb,
            raw_user_meta_data jsonb,
            created_at timestamptz,
            updated_at timestamptz,
            CONSTRAINT users_pkey PRIMARY KEY (id)
        );
        CREATE FUNCTION auth.jwt() RETURNS jsonb
        LANGUAGE sql
        STABLE
        AS 'SELECT nullif(current_setting(''request.jwt.claims'', true), '''')::jsonb';
        CREATE FUNCTION auth.uid() RETURNS uuid
        LANGUAGE sql
        STABLE
        AS 'SELECT (auth.jwt() ->> ''sub'')::uuid';
        CREATE FUNCTION auth.role() RETURNS text
        LANGUAGE sql
        STABLE
        AS 'SELECT auth.jwt() ->> ''role''';
        GRANT USAGE ON SCHEMA auth TO anon, authenticated, service_role;
    END IF;

    IF to_regnamespace('storage') IS NULL THEN
        CREATE SCHEMA storage;
        CREATE TABLE storage.buckets (
            id text NOT NULL,
            name text NOT NULL,
            public boolean DEFAULT false,
            CONSTRAINT buckets_pkey PRIMARY KEY (id)
        );
        CREATE TABLE storage.objects (
            id uuid NOT NULL DEFAULT gen_random_uuid(),
            bucket_id text,
            name text,
            owner_id text,
            metadata jsonb,
            created_at timestamptz DEFAULT now(),
            CONSTRAINT objects_pkey PRIMARY KEY (id),
            CONSTRAINT objects_bucket_id_fkey FOREIGN KEY (bucket_id) REFERENCES storage.buckets (id)
        );
        ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
        CREATE FUNCTION storage.foldername(name text) RETURNS text[]
        LANGUAGE sql
        IMMUTABLE
        AS 'SELECT (string_to_array(name, ''/''))[:array_length(string_to_array(name, ''/''), 1) - 1]';
        GRANT USAGE ON SCHEMA storage TO anon, authenticated, service_role;
    END IF;

    IF to_regnamespace('realtime') IS NULL THEN
        CREATE SCHEMA realtime;
        CREATE TABLE realtime.messages (
            id uuid NOT NULL DEFAULT gen_random_uuid(),
            topic text NOT NULL,
            extension text NOT NULL,
            event text,
            payload jsonb,
            private boolean DEFAULT false,
            inserted_at timestamp NOT NULL DEFAULT now(),
            CONSTRAINT messages_pkey PRIMARY KEY (id, inserted_at)
        );
        ALTER TABLE realtime.messages ENABLE ROW LEVEL SECURITY;
        CREATE FUNCTION realtime.topic() RETURNS text
        LANGUAGE sql
        STABLE
        AS 'SELECT nullif(current_setting(''realtime.topic'', true), '''')';
        CREATE FUNCTION realtime.send(payload jsonb, event text, topic text, private boolean DEFAULT true) RETURNS void
        LANGUAGE sql
        AS '
            INSERT INTO realtime.messages (payload, event, topic, private, extension)
            VALUES (payload, event, topic, private, ''broadcast'')
        ';
        GRANT USAGE ON SCHEMA realtime TO anon, authenticated, service_role;
        GRANT SELECT, INSERT, UPDATE ON realtime.messages TO anon, authenticated, service_role;
    END IF;

    IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'supabase_realtime') THEN
        -- Without a warning that this server does not replicate.
        PERFORM set_config('client_min_messages', 'error', true);
        CREATE PUBLICATION supabase_realtime;
    END IF;
END;
$$;

GRANT USAGE ON SCHEMA extensions TO anon, authenticated, service_role;
