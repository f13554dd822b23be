"""On a scratch database: whether each down file undoes its up file, and whether a database is what its files make."""

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

from sqlmig.database import Connection, connected, parameters, rollback, send
from sqlmig.envelope import envelope, ours
from sqlmig.errors import SqlmigError
from sqlmig.files import Migration
from sqlmig.ledger import Ledger, literal
from sqlmig.run import send_each, transmit
from sqlmig.scan import Script, load
from sqlmig.session import Session

_CATALOG, _SCRATCH = (
    Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("catalog.sql", "scratch.sql")
)
_SETTINGS, _PRIVILEGES, _OWNED, _ROWS, _ROWS_OF_VIEW = _SCRATCH.split("-- %%\n")
# Of each catalog that is compared, planned once: as many rows as before, and none of them new, is no difference.
_COUNTED = "sqlmig_counted"
_COUNTS = " UNION ALL ".join(
    (_ROWS_OF_VIEW if name == "pg_user_mappings" else _ROWS).format(name=name)
    for name in sorted(set(re.findall(r"\b(?:FROM|JOIN) (pg_\w+)", _CATALOG)))
)
# What a file's default privileges are for, where it is said in words, and the kinds of objects that it means.
_DEFAULTS = re.compile(rb"\bdefault\s+privileges\b(?:[^;]*?\bon\s+(tables|sequences|functions|types))?")
_MEANT = {
    b"tables": ("table", "view", "materialized", "foreign"),
    b"sequences": ("sequence",),
    b"functions": ("function", "procedure", "aggregate"),
    b"types": ("type", "enum", "domain", "composite"),
}

Catalog = dict[tuple[str, str], dict[str, Any]]


@dataclass
class Finding:
    """What was found of a version, or (without one) of a database: what it has, lacks and changes, and notes."""

    version: int = 0
    label: str = ""
    result: Literal["ok", "broken", "failed", "no-down", "irreversible"] = "ok"
    left: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether the catalog is not as it should be."""
        return bool(self.left or self.lost or self.changed)


@contextmanager
def scratch(url: str, ledger: Ledger, say: Callable[[str], None], likeness: str = _SETTINGS) -> Iterator[Connection]:
    """Yield a connection to a new database, made like the URL's as a query says; drop it, whatever happens."""
    name = f"sqlmig_scratch_{os.getpid()}_{secrets.token_hex(4)}"
    drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode()
    with connected(url, say) as outside:
        # Whatever is set for it here: it waits for the files to run.
        patient = "SET idle_session_timeout = 0; SET statement_timeout = 0; SET client_min_messages = warning"
        send(outside, f"{patient}; SET default_transaction_read_only = off".encode())
        try:
            outside.execute(f"CREATE DATABASE {name}".encode())
            query = likeness.format(name=name, schema_name=literal(ledger.schema))
            said: list[Any] = outside.execute(query.encode()).fetchall()
            if ledger.named:
                outside.execute(ledger.sql("path_first", local=False).encode())
                said.append((False, f"ALTER DATABASE {name} SET search_path FROM CURRENT"))
            send(outside, ";".join(statement for within, statement in said if not within).encode())
            with connected(make_conninfo("", **parameters(url) | {"dbname": name}), lambda _: None) as inside:
                made = _OWNED + (ledger.sql("schema") if ledger.named else "")
                send(inside, ";".join([made, *(statement for within, statement in said if within)]).encode())
                yield inside
        except psycopg.errors.InsufficientPrivilege:
            raise SqlmigError("a scratch database is needed: give the role CREATEDB, or name another role") from None
        finally:
            try:
                outside.execute(drop)
            except KeyboardInterrupt:  # it is dropped all the same
                outside.execute(drop)
                raise


def check(connection: Connection, migrations: Sequence[Migration], start: int = 0) -> Iterator[Finding]:
    """Try each version on the scratch database, and yield what was found of it; those before the start only run."""
    _clear(connection)
    for migration in migrations:
        finding = Finding(migration.version, migration.label)
        if migration.version < start:
            _execute(connection, load(migration.up))
            continue
        try:
            _try(connection, migration, finding)
        except SqlmigError as error:
            finding.result = "failed"
            finding.notes.append(str(error))
        yield finding


def drift(session: Session, url: str) -> Finding:
    """Return how the database differs from what its applied files make, where they make something."""
    rows = [row for row in session.rows() if row.applied]
    if wrong := ", ".join(f"{row.label} is {row.state}" for row in rows if row.state != "applied"):
        raise SqlmigError(f"nothing can be compared: {wrong}; restore the file, or see `sqlmig repair`")
    if not rows:
        raise SqlmigError("nothing can be compared: no file is applied here")
    scripts = [load(row.migration.up) for row in rows if row.migration]
    like = scratch(url, session.ledger, session.say, _SETTINGS + _PRIVILEGES)
    with like as connection, session.watch(session, "the scratch database"):
        connection.tick = session.connection.tick
        send(connection, session.ledger.definition().encode())
        before = _named(connection)
        for script in scripts:
            _execute(connection, script)
        expected = _named(connection)
        made = expected.keys() - before.keys()
        schemas = {"", *(expected[key]["within"] or "" for key in made)}
        with session.connect("sqlmig") as session.connection:  # the other one may have waited for too long
            found = _named(session.connection, f"WHERE coalesce(schema, '') IN ({', '.join(map(literal, schemas))})")
            if session.read():
                raise SqlmigError("the ledger has changed meanwhile; run it again")
    for catalog in (expected, found):
        for key in [*catalog]:
            if key not in made and (key[0] == "schema" or catalog[key]["within"] not in schemas):
                del catalog[key]
    difference = Finding()
    compare(expected, found, difference)
    # They were not the same for each object.
    texts = (script.text.lower().replace(b"routines", b"functions") for script in scripts)
    words = {word for text in texts for word in _DEFAULTS.findall(text)}
    kinds = [kind for word, meant in _MEANT.items() if words & {word, b""} for kind in meant]
    for line in [line for line in difference.changed if ": grants was " in line and line.split()[0] in kinds]:
        difference.changed.remove(line)
        difference.notes.append(f"{line}; a file changes default privileges, which may be why")
    return difference


def _named(connection: Connection, where: str = "") -> Catalog:
    """Return the catalog, its names written with their schemas, whatever the search path."""
    connection.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog")
    try:
        return snapshot(connection, where)
    finally:
        rollback(connection)


def _try(connection: Connection, migration: Migration, finding: Finding) -> None:
    up, down = load(migration.up), load(migration.down) if migration.down else None
    if not down or down.irreversible is not None:
        finding.result = "irreversible" if down else "no-down"
        finding.notes += [down.irreversible or ""] if down else []
        return _execute(connection, up)
    if migration.down and migration.down.name.removesuffix(".down.sql").partition("_")[2] != migration.name:
        finding.notes.append("the down file has another name")
    if up.starts and not down.starts:
        finding.notes.append("the down file is empty")
    whole = all(one.in_transaction and not one.own_kind for one in (up, down))
    if not (whole and _try_together(connection, up, down, finding)):
        _clear(connection)
        before = snapshot(connection)
        _execute(connection, up)
        _execute(connection, down)
        compare(before, snapshot(connection), finding)
        try:
            _execute(connection, up)
        except SqlmigError as error:  # it stumbles over what its down file left
            finding.result = "failed"
            finding.notes.append(f"up again failed: {error}")
    if finding.differs:
        finding.result = "broken"
    return None


def _try_together(connection: Connection, up: Script, down: Script, finding: Finding) -> bool:
    """Try both files in one transaction, which ends with the up file run once; return whether that was possible."""
    ups, downs = ([around.body, *around.reset] for around in (envelope(up), envelope(down)))
    savepoint, again = ours("other", "SAVEPOINT applied"), [*ups, ours("other", "ROLLBACK TO applied")]
    counted, notes = f"EXECUTE {_COUNTED}".encode(), [*finding.notes]
    try:
        connection.execute("BEGIN")
        before = connection.execute(counted).fetchall()
        transmit(connection, [ours("other", "SAVEPOINT before"), *ups, savepoint, *downs])
        if connection.execute(counted).fetchall() != before:
            after = snapshot(connection)
            transmit(connection, [ours("other", "ROLLBACK TO before")])
            compare(snapshot(connection), after, finding)
            again = ups if finding.differs else [*ups, savepoint, *downs, *again]
        transmit(connection, [*again, ours("commit", "COMMIT")])
    except (SqlmigError, psycopg.Error):
        finding.left, finding.lost, finding.changed, finding.notes = [], [], [], notes
        return False
    finally:
        rollback(connection)
    return True


def _execute(connection: Connection, script: Script) -> None:
    if script.in_transaction:
        around = envelope(script)
        transmit(connection, [*around.opening, around.body, *around.reset, around.closing])
    else:
        try:
            send_each(connection, script)
        finally:
            _clear(connection)


def _clear(connection: Connection) -> None:
    """Let nothing of a script stay in the session, and plan there what counts the catalogs."""
    rollback(connection)
    connection.execute("DISCARD ALL")
    connection.pgconn.prepare(_COUNTED.encode(), _COUNTS.encode())


def snapshot(connection: Connection, where: str = "") -> Catalog:
    """Return everything that a migration can make, by kind and name, with the schema that it is within."""
    query = f"SELECT kind, name, properties || jsonb_build_object('within', schema) FROM ({_CATALOG}) AS object {where}"
    rows: list[Any] = connection.execute(query.encode()).fetchall()
    return {(kind, name): properties for kind, name, properties in rows}


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
