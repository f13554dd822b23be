"""One SQL script that does what ``up`` or ``down`` would, made without a connection, to be pasted at will."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig import files
from sqlmig.errors import SqlmigError
from sqlmig.transaction import AFTER, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlmig.files import Migration
    from sqlmig.ledger import Ledger

_LARGEST = 980_000  # bytes that the Supabase SQL editor takes
_CREATES = re.compile(r'\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?([\w."]+)', re.IGNORECASE)

_HEAD = """\
-- Made by sqlmig. Paste it into the Supabase SQL editor, or run it with psql. It {does} versions {first} to {last}, in one
-- transaction, and leaves out what the ledger says is done: pasting it twice does nothing the second time.

BEGIN;

{ledger}
LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE;

-- The ledger must agree with the files that this script was made from.
DO $sqlmig$
DECLARE
    problems text := (
        WITH file (version, label, checksum) AS (
            VALUES
            {files}
        )
        SELECT string_agg(problem, E'\\n' ORDER BY version)
        FROM (
            SELECT version, label || ': changed since it was applied'
            FROM file JOIN {table} AS ledger USING (version)
            WHERE ledger.checksum <> file.checksum
            UNION ALL
            SELECT version, version || '_' || name || ': applied, but not among the files'
            FROM {table}
            WHERE version NOT IN (SELECT version FROM file)
            UNION ALL
            {order}
        ) AS found (version, problem)
    );
BEGIN
    IF problems IS NOT NULL THEN
        RAISE EXCEPTION E'nothing was done, because the files and the ledger disagree:\\n%', problems;
    END IF;
END
$sqlmig$;
"""
_ORDER_UP = """\
SELECT version, label || CASE WHEN version < {first} THEN ': not applied, and not in this script'
                ELSE ': pending, but older than the newest applied' END
            FROM file
            WHERE version NOT IN (SELECT version FROM {table})
                AND (version < {first} OR (version <= {last} AND version < (SELECT max(version) FROM {table})))"""
_ORDER_DOWN = """\
SELECT version, label || ': applied later, and must be reverted first'
            FROM file JOIN {table} USING (version)
            WHERE version > {last}"""
_STEP = """
-- {label}
DO {outer}
BEGIN
    IF {condition} (SELECT FROM {table} WHERE version = {version}) THEN
        EXECUTE {inner}
{text}
{inner};
    END IF;
END
{outer};
SET CONSTRAINTS ALL IMMEDIATE;
{after}{record};
"""
_TAIL = """
SELECT set_config('sqlmig.done', coalesce((SELECT string_agg(version::text, ' ') FROM {table} WHERE applied_at = now()), ''), false);
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
"""


def script(
    ledger: Ledger,
    migrations: Sequence[Migration],
    chosen: Sequence[Migration],
    say: Callable[[str], None],
    *,
    down: bool,
) -> str:
    """Return the script for the chosen of the migrations.

    Raises SqlmigError for a file that cannot be in it; says what the editor would stumble over.
    """
    table, literal = ledger.table.as_string(), _literal(ledger.table.as_string())
    fields = {"table": table, "first": chosen[0].version, "last": chosen[-1].version}
    known = [(m.version, _literal(m.label), _literal(files.checksum(files.read(m.up)))) for m in migrations]
    text = Path(__file__).with_name("ledger.sql").read_text(encoding="utf-8").partition("\n\n")[2]
    if ledger.named:
        text = f"CREATE SCHEMA IF NOT EXISTS {_quoted(ledger.schema)};\n{text}"
    head = _HEAD.format(
        **fields,
        does="reverts" if down else "applies",
        ledger=text.format(table=table, literal=literal),
        files=",\n            ".join(f"({version}::bigint, {label}, {digest})" for version, label, digest in known),
        order=(_ORDER_DOWN if down else _ORDER_UP).format(**fields),
    )
    steps = [_step(ledger, migration, down=down) for migration in (reversed(chosen) if down else chosen)]
    names = ", ".join(f"({m.version}::bigint, {_literal(m.name)})" for m in chosen)
    whole = head + "".join(steps) + _TAIL.format(table=table, names=names)
    if (size := len(whole.encode())) > _LARGEST:
        say(f"warning: {size:,} bytes; the Supabase SQL editor takes {_LARGEST:,}: print parts with --from and --to")
    for name in dict.fromkeys(_CREATES.findall(whole)):
        if not re.search(rf"ALTER\s+TABLE\s+{re.escape(name)}\s+ENABLE\s+ROW\s+LEVEL\s+SECURITY", whole, re.IGNORECASE):
            say(f"warning: the editor warns of {name}: no ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, spelled so")
    return whole


def _step(ledger: Ledger, migration: Migration, *, down: bool) -> str:
    path = migration.down if down else migration.up
    if path is None:
        raise SqlmigError(f"there is no down file for {migration.label}")
    file = files.load(path)
    if file.scan.irreversible is not None:
        raise SqlmigError(f"{path}: irreversible: {file.scan.irreversible}")
    if not file.scan.in_transaction:
        raise SqlmigError(
            f"{path}: runs outside a transaction, which no script can do; print the script up to the version before it"
            f" (--to), run this file's statements one by one, record it with `sqlmig stamp {migration.version}`, and go on"
            " with --from the next"
        )
    table, version = ledger.table.as_string(), migration.version
    name, digest = _literal(migration.name), _literal(files.checksum(file.text))
    insert = f"INSERT INTO {table} (version, name, checksum) VALUES ({version}, {name}, {digest}) ON CONFLICT (version) DO NOTHING"
    text = parts(file)[1][0].text.decode().strip("\n")
    outer = _tag("sqlmig", text)
    path_first = f"SELECT set_config('search_path', {_literal(_quoted(ledger.schema))} || ', ' || current_setting('search_path'), true);\n"
    step = _STEP.format(
        label=migration.label,
        outer=outer,
        inner=_tag("file", text),
        condition="EXISTS" if down else "NOT EXISTS",
        table=table,
        version=version,
        text=text or "SELECT",
        after=AFTER.decode(),
        record=f"DELETE FROM {table} WHERE version = {version}" if down else insert,
    )
    return step.replace(f"DO {outer}", f"{path_first}DO {outer}", 1) if ledger.named else step


def _tag(word: str, text: str) -> str:
    """Return a dollar quote that the text does not contain."""
    number = 0
    while f"${word}{number or ''}$" in text:
        number += 1
    return f"${word}{number or ''}$"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
