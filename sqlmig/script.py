"""One SQL script that does what ``up`` or ``down`` would, made without a connection, to be pasted at will."""

import re

from sqlmig.envelope import envelope, joined
from sqlmig.errors import SqlmigError, place
from sqlmig.files import Migration, checksum
from sqlmig.ledger import Ledger, dollar, literal
from sqlmig.scan import Script, load, select_into
from sqlmig.session import Say

_LARGEST = 980_000  # bytes that the Supabase SQL editor takes
_NAME = r'((?:\w+|"(?:[^"]|"")+")(?:\.(?:\w+|"(?:[^"]|"")+"))?)'
_CREATES = re.compile(rf"\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}", re.IGNORECASE)
_SECURES = re.compile(rf"\bALTER\s+TABLE\s+{_NAME}\s+ENABLE\s+ROW\s+LEVEL\s+SECURITY", re.IGNORECASE)


def script(ledger: Ledger, migrations: list[Migration], chosen: list[Migration], say: Say, *, down: bool) -> str:
    """Return the script for the chosen of the migrations; say what the editor would stumble over."""
    scripts = [_script(migration, alone=len(chosen) == 1, down=down) for migration in chosen]
    steps = [_step(ledger, *step, down=down) for step in zip(chosen, scripts, strict=True)]
    known = [(m.version, literal(m.label), literal(m.checksum)) for m in migrations]
    rows = ",\n            ".join(f"({version}::bigint, {label}, {digest})" for version, label, digest in known)
    opening = joined(envelope(scripts[0]).opening).decode().strip() if scripts[0].own_kind else "BEGIN"
    names = ", ".join(f"({m.version}::bigint, {literal(m.name)})" for m in chosen)
    first, last = chosen[0].version, chosen[-1].version
    head = ledger.sql(
        "script_head", does="reverts" if down else "applies", first=first, last=last, begin=opening.removesuffix(";"),
        ledger=ledger.definition(), files=rows, quote=dollar("sqlmig", ledger.table + rows),
        order=ledger.sql(f"script_order_{'down' if down else 'up'}", first=first, last=last),
    )  # fmt: skip
    tail = ledger.sql("script_tail", names=names)
    whole = "\n".join([head.lstrip(), *(steps[::-1] if down else steps), tail]) + "\n"
    if (size := len(whole.encode())) > _LARGEST:
        say(f"warning: {size:,} bytes; the Supabase SQL editor takes {_LARGEST:,}: print parts with --from and --to")
    if names := ", ".join(sorted(set(_CREATES.findall(whole)) - set(_SECURES.findall(whole)))):
        add = "ALTER TABLE … ENABLE ROW LEVEL SECURITY, with the name spelled so"
        say(f"warning: on Supabase anyone could reach {names}; add {add}")
    return whole


def _script(migration: Migration, *, alone: bool, down: bool) -> Script:
    path = migration.down if down else migration.up
    if path is None:
        raise SqlmigError(f"there is no down file for {migration.label}")
    file = load(path)
    if file.irreversible is not None:
        raise SqlmigError(f"{path}: irreversible: {file.irreversible}")
    if not file.in_transaction:
        problem, version = "runs outside a transaction, which no script can do", migration.version
        how = f"run its statements one by one, then `sqlmig stamp {version}`, and print what is behind it with --from"
        raise SqlmigError(f"{path}: {problem}. Print what is before it with --to, {how}")
    if file.own_kind and not alone:
        how = f"print it alone, with --from {migration.version} --to {migration.version}, and what is around it apart"
        raise SqlmigError(f"{path}: begins a transaction of its own kind, which others cannot be in; {how}")
    for start in file.starts:
        if select_into(file.text, start):
            where = place(path, file.text, start)
            raise SqlmigError(f"{where}: no script can do SELECT … INTO; write CREATE TABLE … AS SELECT")
    return file


def _step(ledger: Ledger, migration: Migration, script: Script, *, down: bool) -> str:
    version, around = migration.version, envelope(script)
    insert = f"{ledger.write(migration, checksum(script.text))} ON CONFLICT (version) DO NOTHING"
    text = bytes(around.body.text).decode().strip("\n")
    return ledger.sql(
        "script_step", label=" ".join(migration.label.split()), version=version, text=text or "SELECT",
        settings=_quiet(ledger.sql("path_first", local=True)) + "\n" if ledger.named else "",
        outer=dollar("sqlmig", text + ledger.table), inner=dollar("file", text),
        condition="EXISTS" if down else "NOT EXISTS", after=_quiet(joined(around.reset).decode()),
        record=ledger.sql("delete", version=version) if down else insert,
    )  # fmt: skip


def _quiet(sql: str) -> str:
    """Return statements of our own without results, which psql would print."""
    quote = dollar("sqlmig", sql)
    return re.sub(r"(?m)^SELECT (.+);$", lambda match: f"DO {quote} BEGIN PERFORM {match[1]}; END {quote};", sql)
