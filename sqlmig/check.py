"""Proving a directory: for each version up, down, the catalog as before, and up again, on a scratch database."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo

from sqlmig.database import connected, parameters
from sqlmig.errors import SqlmigError
from sqlmig.ledger import quoted
from sqlmig.message import Piece, parts
from sqlmig.scan import load
from sqlmig.transaction import rollback, send_each, send_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg.pq.abc import PGresult

    from sqlmig.database import Connection
    from sqlmig.files import Migration
    from sqlmig.ledger import Ledger
    from sqlmig.scan import Script

_CATALOG = Path(__file__).with_name("catalog.sql").read_text(encoding="utf-8")
# Were no row written since, and none removed, then nothing differs: far cheaper than to compare.
_CATALOGS = (
    "namespace class attribute attrdef constraint index proc type enum trigger rewrite policy description default_acl"
    " extension event_trigger publication publication_rel publication_namespace statistic_ext sequence inherits"
    " operator opclass opfamily cast collation language aggregate am ts_config ts_dict foreign_server"
    " foreign_data_wrapper foreign_table ts_config_map db_role_setting"
)
_TRACES = " UNION ALL ".join(
    f"SELECT '{name}', count(*), count(*) FILTER (WHERE age(xmin) <= age(pg_current_xact_id()::xid)) FROM pg_{name}"
    for name in _CATALOGS.split()
).encode()

Catalog = dict[tuple[str, str], tuple[int, dict[str, Any]]]


@dataclass
class Finding:
    """What the check found of a version: result is ok, broken, failed, no-down or irreversible."""

    version: int
    label: str
    result: str = "ok"
    left: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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
            raise SqlmigError(
                "the check needs a scratch database: give the role CREATEDB, or name another role"
            ) from None
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
    up = load(migration.up)
    if migration.down is None:
        finding.result = "no-down"
        return _run(connection, up)
    down = load(migration.down)
    if down.scan.irreversible is not None:
        finding.result = "irreversible"
        finding.notes.append(down.scan.irreversible)
        return _run(connection, up)
    if migration.down.name.removesuffix(".down.sql").partition("_")[2] != migration.name:
        finding.notes.append("the down file has another name")
    if up.scan.starts and not down.scan.starts:
        finding.notes.append("the down file is empty")
    together = up.scan.in_transaction and down.scan.in_transaction
    if not (together and _try_together(connection, up, down, finding)):
        _try_apart(connection, up, down, finding)
    if finding.left or finding.lost or finding.changed:
        finding.result = "broken"
    return None


def _try_together(connection: Connection, up: Script, down: Script, finding: Finding) -> bool:
    """Try both files in one transaction, which ends with the up file alone; return whether that was possible."""
    counts = Piece(_TRACES + b";", 1)
    begin = [Piece(b"BEGIN;", 1), counts, Piece(b"SAVEPOINT sqlmig;", 1)]
    again = [*parts(up)[1], Piece(b"COMMIT", 1)]
    try:
        results = send_pieces(connection, [*begin, *parts(up)[1], *parts(down)[1], counts], down)
        if [(*row[:2], b"0") for row in _rows(results[1])] != _rows(results[-1]):
            after = snapshot(connection)
            connection.execute("ROLLBACK TO SAVEPOINT sqlmig")
            _compare(snapshot(connection), after, finding)
        send_pieces(connection, again, up)
    except SqlmigError:
        finding.left, finding.lost, finding.changed = [], [], []
        return False
    finally:
        rollback(connection)
    return True


def _try_apart(connection: Connection, up: Script, down: Script, finding: Finding) -> None:
    before = snapshot(connection)
    _run(connection, up)
    _run(connection, down)
    _compare(before, snapshot(connection), finding)
    try:
        _run(connection, up)
    except SqlmigError as error:  # it stumbles over what its down file left
        finding.result = "failed"
        finding.notes.append(f"up again failed: {error}")


def _run(connection: Connection, script: Script) -> None:
    if script.scan.in_transaction:
        opening, middle, closing = parts(script)
        send_pieces(connection, [*opening, *middle, closing], script)
    else:
        try:
            send_each(connection, script)
        finally:
            connection.execute("ROLLBACK")
            connection.execute("DISCARD ALL")


def _rows(result: PGresult) -> list[tuple[bytes | None, ...]]:
    return [tuple(result.get_value(row, column) for column in range(3)) for row in range(result.ntuples)]


def snapshot(connection: Connection) -> Catalog:
    """Return everything that a migration can make, by kind and name."""
    rows = connection.execute(_CATALOG).fetchall()
    return {(str(kind), str(name)): (int(place), properties) for kind, name, place, properties in rows}  # type: ignore[call-overload, misc]


def _compare(before: Catalog, after: Catalog, finding: Finding) -> None:
    """Write into the finding what differs."""
    finding.left = [" ".join(key) for key in after if key not in before]
    finding.lost = [" ".join(key) for key in before if key not in after]
    for key in before.keys() & after.keys():
        (_, was), (_, is_now) = before[key], after[key]
        for name in sorted(name for name in was if was[name] != is_now[name]):
            finding.changed.append(f"{' '.join(key)}: {name} was {_shown(was[name])}, is {_shown(is_now[name])}")
    finding.changed.sort()
    moved = {name.rpartition(".")[0] for kind, name in before.keys() & after.keys() if kind == "column"}
    for table in sorted(moved):
        columns = [
            {
                name: place
                for (kind, name), (place, _) in catalog.items()
                if kind == "column" and name.rpartition(".")[0] == table
            }
            for catalog in (before, after)
        ]
        if columns[0].keys() == columns[1].keys() and len({tuple(sorted(c, key=c.__getitem__)) for c in columns}) > 1:
            finding.notes.append(f"table {table}: its columns stand in another order, which no SQL can prevent")


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
