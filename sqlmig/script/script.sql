-- %% head

-- Made by sqlmig. Paste it into the Supabase SQL editor, or run it with psql. It {does} versions {first} to {last}, in one
-- transaction. It skips what the ledger says is done, so pasting it twice does nothing the second time.

{begin}
;
DO {quote}
BEGIN
    IF NOT pg_try_advisory_xact_lock({key}) THEN
        RAISE EXCEPTION 'nothing was done, because sqlmig is at work in this database; run this again when it has ended';
    END IF;
    IF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = to_regclass({literal}) AND NOT {is_ours}) THEN
        RAISE EXCEPTION 'nothing was done, because % is not the ledger of sqlmig; `sqlmig up` says how to take over', {literal};
    END IF;
END
{quote};

{ledger}
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
            WHERE ledger.checksum <> file.checksum
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

-- %% step

-- {label}
{settings}DO {outer}
BEGIN
    IF {condition} (SELECT FROM {table} WHERE version = {version}) THEN
        EXECUTE {inner}
-- {label}
{text}
{inner};
    END IF;
END
{outer};
{after};
{record};

-- %% tail

DO {quote}
BEGIN
    PERFORM set_config('sqlmig.done', coalesce((SELECT string_agg(version::text, ' ') FROM {table} WHERE applied_at = now()), ''), false);
END
{quote};
COMMIT;

-- What it did: the editor shows the rows of the last statement.
WITH done AS MATERIALIZED (
    SELECT string_to_array(current_setting('sqlmig.done'), ' ') AS versions
)
SELECT file.version, file.name, CASE WHEN ledger.version IS NULL THEN 'not applied'
    WHEN file.version::text = ANY (versions) THEN 'applied now' ELSE 'applied before' END AS state
FROM done, (VALUES {names}) AS file (version, name) LEFT JOIN {table} AS ledger USING (version)
WHERE set_config('sqlmig.done', '', false) = ''
ORDER BY file.version;
