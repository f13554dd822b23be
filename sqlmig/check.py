"""Proving a directory: for each version up, down, the catalog as before, and up again, on a scratch database."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.conninfo import make_conninfo

from sqlmig.database import Connection, connected, parameters, rollback, rows_of, send, transmit
from sqlmig.envelope import envelope, ours
from sqlmig.errors import SqlmigError
from sqlmig.files import Migration
from sqlmig.ledger import Ledger, quoted
from sqlmig.run import send_each
from sqlmig.scan import Script, load

_CATALOG = Path(__file__).with_name("catalog.sql").read_text(encoding="utf-8")
# Were no row written since, and none removed, then nothing differs: far cheaper than to compare. A view tells less.
_NEW = "count(*) FILTER (WHERE age(xmin) <= age(pg_current_xact_id()::xid))::text"
_TRACES = " UNION ALL ".join(
    f"SELECT '{name}', count(*)::text, "
    + ("md5(string_agg(v::text, ' ' ORDER BY v::text))" if name == "pg_user_mappings" else _NEW)
    + f" FROM {name} AS v"
    for name in sorted(set(re.findall(r"\b(?:FROM|JOIN) (pg_\w+)", _CATALOG)))
)

Result = Literal["ok", "broken", "failed", "no-down", "irreversible"]
Catalog = dict[tuple[str, str], dict[str, Any]]


@dataclass
class Finding:
    """What the check found of a version."""

    version: int
    label: str
    result: Result = "ok"
    left: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether the catalog is not as before."""
        return bool(self.left or self.lost or self.changed)


@contextmanager
def scratch(url: str, ledger: Ledger, say: Callable[[str], None]) -> Iterator[Connection]:
    """Yield a connection to a database made for the check and dropped after it, whatever happens.

    Raises SqlmigError where the role may not create databases. The database that the URL names is not touched.
    """
    name = f"sqlmig_check_{os.getpid()}_{secrets.token_hex(4)}"
    schema = quoted(ledger.schema)
    with connected(url, say) as outside:
        try:
            outside.execute(f"CREATE DATABASE {name}".encode())
        except psycopg.errors.InsufficientPrivilege:
            remedy = "give the role CREATEDB, or name another role"
            raise SqlmigError(f"the check needs a scratch database: {remedy}") from None
        try:
            if ledger.named:
                outside.execute(f"ALTER DATABASE {name} SET search_path = {schema}, public".encode())
            with connected(make_conninfo("", **parameters(url) | {"dbname": name}), lambda _: None) as inside:
                if ledger.named:
                    inside.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}".encode())
                yield inside
        finally:
            outside.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def check(connection: Connection, migrations: Sequence[Migration]) -> Iterator[Finding]:
    """Try each version on the scratch database, and yield what was found of it."""
    for migration in migrations:
        finding = Finding(migration.version, migration.label)
        try:
            _try(connection, migration, finding)
        except SqlmigError as error:
            finding.result = "failed"
            finding.notes.append(str(error))
        yield finding


def _try(connection: Connection, migration: Migration, finding: Finding) -> None:
    up, down = load(migration.up), load(migration.down) if migration.down else None
    if not down or down.irreversible is not None:
        finding.result = "irreversible" if down else "no-down"
        finding.notes += [down.irreversible or ""] if down else []
        return _run(connection, up)
    if migration.down and migration.down.name.removesuffix(".down.sql").partition("_")[2] != migration.name:
        finding.notes.append("the down file has another name")
    if up.starts and not down.starts:
        finding.notes.append("the down file is empty")
    whole = all(script.in_transaction and not script.own_kind for script in (up, down))
    if not (whole and _try_together(connection, up, down, finding)):
        before = snapshot(connection)
        _run(connection, up)
        _run(connection, down)
        compare(before, snapshot(connection), finding)
        try:
            _run(connection, up)
        except SqlmigError as error:  # it stumbles over what its down file left
            finding.result = "failed"
            finding.notes.append(f"up again failed: {error}")
    if finding.differs:
        finding.result = "broken"
    return None


def _try_together(connection: Connection, up: Script, down: Script, finding: Finding) -> bool:
    """Try both files in one transaction, which ends with the up file run once; return whether that was possible."""
    savepoint, back = ours("other", "SAVEPOINT sqlmig"), ours("other", "ROLLBACK TO SAVEPOINT sqlmig")
    traces, commit = ours("other", _TRACES), ours("commit", "COMMIT")
    ups, downs = ([around.body, *around.reset] for around in (envelope(up), envelope(down)))
    try:
        before = rows_of(send(connection, f"BEGIN; {_TRACES}; SAVEPOINT before".encode()))[1]
        results = transmit(connection, [*ups, savepoint, *downs, traces])
        if [[*row[:2], "0"] if row[0] != "pg_user_mappings" else row for row in before] == rows_of(results[-1:])[1]:
            transmit(connection, [*ups, back, commit])
            return True
        after = snapshot(connection)
        transmit(connection, [ours("other", "ROLLBACK TO SAVEPOINT before")])
        compare(snapshot(connection), after, finding)
        transmit(connection, [*ups, *([] if finding.differs else [savepoint, *downs, *ups, back]), commit])
    except SqlmigError:
        finding.left, finding.lost, finding.changed = [], [], []
        return False
    finally:
        rollback(connection)
    return True


def _run(connection: Connection, script: Script) -> None:
    if script.in_transaction:
        around = envelope(script)
        transmit(connection, [*around.opening, around.body, *around.reset, around.closing])
    else:
        try:
            send_each(connection, script)
        finally:
            rollback(connection)
            connection.execute("DISCARD ALL")


def snapshot(connection: Connection) -> Catalog:
    """Return everything that a migration can make, by kind and name."""
    return {(kind, name): properties for kind, name, properties in connection.execute(_CATALOG).fetchall()}  # type: ignore[misc]


def compare(before: Catalog, after: Catalog, finding: Finding) -> None:
    """Write into the finding what differs."""
    finding.left = [" ".join(key) for key in after if key not in before]
    finding.lost = [" ".join(key) for key in before if key not in after]
    for key in sorted(before.keys() & after.keys()):
        for name, was in sorted(before[key].items()):
            if was == (is_now := after[key][name]):
                continue
            if name != "columns":  # which are objects of their own
                shown = [json.dumps(value, ensure_ascii=False) for value in (was, is_now)]
                finding.changed.append(f"{' '.join(key)}: {name} was {shown[0]}, is {shown[1]}")
            elif sorted(was) == sorted(is_now):
                finding.notes.append(f"{' '.join(key)}: its columns stand in another order, which no SQL can prevent")
