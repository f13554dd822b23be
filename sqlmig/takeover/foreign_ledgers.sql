-- The versions that other tools' ledgers record as applied: one column, in the tool's format. Titles are tool names.

-- %% dbmate
-- Its table has the name of ours, but only one column. If it was renamed to make room for ours, the new name counts.
SELECT version::text
FROM {table}
WHERE (
    SELECT count(*) FROM pg_attribute
    WHERE attrelid = {literal}::regclass AND attnum > 0 AND NOT attisdropped
) = 1;

-- %% goose
-- It keeps a row for each up and each down. The last row of a version counts.
SELECT version_id::text
FROM (SELECT DISTINCT ON (version_id) version_id, is_applied FROM {table} ORDER BY version_id, id DESC) AS last
WHERE is_applied;

-- %% sql_migrate
SELECT id FROM {table};

-- %% tern
-- It keeps one number: all versions up to this number are applied.
SELECT generate_series(1, version)::text FROM {table};

-- %% flyway
SELECT version
FROM (
    SELECT DISTINCT ON (version) version, type
    FROM {table}
    WHERE success AND version IS NOT NULL
    ORDER BY version, installed_rank DESC
) AS last
WHERE type NOT LIKE 'UNDO%';

-- %% the_supabase_cli
SELECT version FROM {table};
