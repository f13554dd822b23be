"""One SQL script that does what ``up`` or ``down`` would, made without a connection, to be pasted at will."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig import files
from sqlmig.errors import SqlmigError, place
from sqlmig.ledger import literal, quoted
from sqlmig.message import AFTER, parts
from sqlmig.scan import load, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlmig.files import Migration
    from sqlmig.ledger import Ledger

_LARGEST = 980_000  # bytes that the Supabase SQL editor takes
_CREATES = re.compile(r'\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?([\w."]+)', re.IGNORECASE)
_SECURES = re.compile(r'\bALTER\s+TABLE\s+([\w."]+)\s+ENABLE\s+ROW\s+LEVEL\s+SECURITY', re.IGNORECASE)

# Its head, the two checks of order that fit into the head, a step, and its tail.
_HEAD, _ORDER_UP, _ORDER_DOWN, _STEP, _TAIL = (
    Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").split("-- %%\n")
)


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
    fields = {"table": ledger.table, "first": chosen[0].version, "last": chosen[-1].version}
    known = [(m.version, literal(m.label), literal(files.checksum(files.read(m.up)))) for m in migrations]
    schema = f"CREATE SCHEMA IF NOT EXISTS {quoted(ledger.schema)};\n" if ledger.named else ""
    head = _HEAD.format(
        **fields,
        does="reverts" if down else "applies",
        ledger=schema + ledger.definition(),
        files=",\n            ".join(f"({version}::bigint, {label}, {digest})" for version, label, digest in known),
        order=(_ORDER_DOWN if down else _ORDER_UP).format(**fields).rstrip(),
    )
    steps = [_step(ledger, migration, down=down) for migration in (reversed(chosen) if down else chosen)]
    names = ", ".join(f"({m.version}::bigint, {literal(m.name)})" for m in chosen)
    whole = head + "".join(steps) + _TAIL.format(table=ledger.table, names=names)
    if (size := len(whole.encode())) > _LARGEST:
        say(f"warning: {size:,} bytes; the Supabase SQL editor takes {_LARGEST:,}: print parts with --from and --to")
    for name in sorted(set(_CREATES.findall(whole)) - set(_SECURES.findall(whole))):
        add = f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"
        say(f"warning: Supabase's SQL editor will warn that {name} is open to everyone; add {add}, spelled so")
    return whole


def _step(ledger: Ledger, migration: Migration, *, down: bool) -> str:
    path = migration.down if down else migration.up
    if path is None:
        raise SqlmigError(f"there is no down file for {migration.label}")
    file = load(path)
    if file.scan.irreversible is not None:
        raise SqlmigError(f"{path}: irreversible: {file.scan.irreversible}")
    if not file.scan.in_transaction:
        how = f"run its statements one by one, then `sqlmig stamp {migration.version}`, and go on with --from the next"
        raise SqlmigError(
            f"{path}: runs outside a transaction, which no script can do. Print up to it with --to, {how}"
        )
    for start in file.scan.starts:
        words = words_of(file.text, start)[0]
        if words[:1] == [b"select"] and b"into" in words:
            where = place(path, file.text, start)
            raise SqlmigError(f"{where}: no script can do SELECT … INTO; write CREATE TABLE … AS SELECT")
    table, version = ledger.table, migration.version
    insert = f"{ledger.insert(version, migration.name, files.checksum(file.text))} ON CONFLICT (version) DO NOTHING"
    schema = literal(quoted(ledger.schema))
    path_first = f"SELECT set_config('search_path', {schema} || ', ' || current_setting('search_path'), true);\n"
    text = b"".join(piece.text for piece in parts(file)[1] if piece.script).decode().strip("\n")
    return _STEP.format(
        label=migration.label,
        settings=path_first if ledger.named else "",
        outer=_tag("sqlmig", text),
        inner=_tag("file", text),
        condition="EXISTS" if down else "NOT EXISTS",
        table=table,
        version=version,
        text=text or "SELECT",
        after=AFTER,
        record=ledger.delete(version) if down else insert,
    )


def _tag(word: str, text: str) -> str:
    """Return a dollar quote that the text does not contain."""
    number = 0
    while f"${word}{number or ''}$" in text:
        number += 1
    return f"${word}{number or ''}$"
