-- %% head

-- Made by sqlmig. Paste it into the Supabase SQL editor, or run it with psql. It {does} versions {first} to {last}, in one
-- transaction. It skips what the ledger says is done, so pasting it twice does nothing the second time.

{begin}
;
DO $sqlmig$
BEGIN
    PERFORM pg_catalog.set_config('sqlmig.role', pg_catalog.current_setting('role'), false),
        pg_catalog.set_config('sqlmig.search_path', pg_catalog.current_setting('search_path'), false);
END
$sqlmig$;
{own_settings};
DO {quote}
BEGIN
    IF NOT pg_try_advisory_xact_lock({key}) THEN
        RAISE EXCEPTION 'nothing was done, because sqlmig is at work in this database; run this again when it has ended';
    END IF;
END
{quote};

{ledger}
LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE;
DO {quote}
BEGIN
    IF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = to_regclass({literal}) AND NOT {is_ours}) THEN
        RAISE EXCEPTION 'nothing was done, because % is not the ledger of sqlmig; `sqlmig up` says how to take over', {literal};
    END IF;
END
{quote};
-- The ledger must agree with the files that this script was made from.
DO {quote}
DECLARE
    problems text := (
        WITH file (version, label, checksum) AS (
            VALUES
            {files}
        )
        SELECT string_agg(problem, E'\n' ORDER BY version)
        FROM (
            SELECT version, version || '_' || name || ': applied, but not among the files'
            FROM {table}
            WHERE version NOT IN (SELECT version FROM file) AND version < (SELECT max(version) FROM file)
                AND NOT {replaced}
            UNION ALL
            {order}
        ) AS found (version, problem)
    );
BEGIN
    IF problems IS NOT NULL THEN
        RAISE EXCEPTION E'nothing was done, because the files and the ledger disagree:\n%', problems;
    END IF;
END
{quote};

-- %% order_up
SELECT version, label || ': changed since it was applied; restore the file, and write the change as a new migration'
            FROM file JOIN {table} AS ledger USING (version)
            WHERE ledger.checksum <> file.checksum AND NOT {replaced}
            UNION ALL
            SELECT version, label || CASE WHEN version < {first} THEN ': not applied, and not in this script'
                ELSE ': pending, but older than the newest applied' END
            FROM file
            WHERE version NOT IN (SELECT version FROM {table})
                AND (version < {first} OR (version <= {last} AND version < (SELECT max(version) FROM {table})))

-- %% order_down
SELECT version, coalesce(label, version || '_' || name) || ': applied later, and must be reverted first'
            FROM {table} LEFT JOIN file USING (version)
            WHERE version > {last} AND (label IS NOT NULL OR version > (SELECT max(version) FROM file))

-- %% callers_path
-- The files run with the role and on the search path that the session had when the script began.
current_setting('sqlmig.search_path', true)

-- %% path_with_schema
concat_ws(', ', {home_literal}, nullif(current_setting('sqlmig.search_path', true), ''))

-- %% digest
coalesce(md5(string_agg(concat_ws(' ', version, name, checksum), ',' ORDER BY version)), 'none')

-- %% reset_settings
RESET SESSION AUTHORIZATION; RESET ROLE;
DO $sqlmig$
DECLARE
    callers_role text := pg_catalog.current_setting('sqlmig.role', true);
    callers_path text := pg_catalog.current_setting('sqlmig.search_path', true);
    ledger_rows text := pg_catalog.current_setting('sqlmig.rows', true);
    began text := pg_catalog.current_setting('sqlmig.began', true);
BEGIN
    RESET ALL;
    PERFORM pg_catalog.set_config('sqlmig.rows', ledger_rows, false),
        pg_catalog.set_config('sqlmig.began', began, false),
        pg_catalog.set_config('sqlmig.role', callers_role, false),
        pg_catalog.set_config('sqlmig.search_path', callers_path, false),
        pg_catalog.set_config('search_path', callers_path, false),
        pg_catalog.set_config('role', coalesce(callers_role, 'none'), false);
END
$sqlmig$;
{own_settings};

-- %% step

-- {label}
DO {outer}
BEGIN
    IF {condition} (SELECT FROM {table} WHERE version = {version}) THEN
        PERFORM set_config('sqlmig.rows', (SELECT {digest} FROM {table}), false);
        PERFORM set_config('sqlmig.began', clock_timestamp()::text, false);
        PERFORM set_config('row_security', 'on', true), set_config('search_path', {path}, true);
        EXECUTE {inner}
-- {label}
{text}
{inner};
    END IF;
END
{outer};
{after};
DO {outer}
BEGIN
    IF current_setting('sqlmig.rows', true) <> ''
        AND current_setting('sqlmig.rows', true) <> (SELECT {digest} FROM {table})
        OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass({literal}))
    THEN
        RAISE EXCEPTION 'nothing was done, because % changes schema_migrations, which is the ledger of sqlmig', {label_literal};
    END IF;
    PERFORM set_config('sqlmig.rows', '', false);
END
{outer};
DO {outer}
BEGIN
    {record};
    IF FOUND AND EXISTS (SELECT FROM pg_class AS c WHERE oid = to_regclass({literal}) AND {has_duration}) THEN
        UPDATE {table} SET duration = clock_timestamp() - current_setting('sqlmig.began')::timestamptz
        WHERE version = {version};
    END IF;
END
{outer};

-- %% tail

DO {quote}
BEGIN
    PERFORM set_config('sqlmig.done', (
        SELECT json_agg(
            json_build_object(
                'version', file.version,
                'name', file.name,
                'state', CASE
                    WHEN ledger.version IS NULL THEN 'not applied'
                    WHEN applied_at = now() THEN 'applied now'
                    ELSE 'applied before'
                END
            )
            ORDER BY file.version
        )::text
        FROM (VALUES {names}) AS file (version, name) LEFT JOIN {table} AS ledger USING (version)
    ), false);
END
{quote};
COMMIT;

-- What it did: the editor shows the rows of the last statement.
SELECT version, name, state
FROM pg_catalog.json_to_recordset(pg_catalog.current_setting('sqlmig.done')::pg_catalog.json)
    AS done (version bigint, name pg_catalog.text, state pg_catalog.text);
