"""The original: the database that a scratch database stands for, and what the scratch database takes over from it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlmig.core.connection import execute, fetch, fetch_on_callers_path
from sqlmig.core.errors import ServerError
from sqlmig.core.sql import literal, quoted, read_statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlmig.core.connection import Connection
    from sqlmig.core.ledger import Ledger

STATEMENTS = read_statements(Path(__file__).with_suffix(".sql"))
_CREATES = re.compile(
    rb"\bcreate\s+(extension|schema)\s+(?:if\s+not\s+exists\s+)?\"?([\w-]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Original:
    """What a scratch database takes over from the original.

    locale, collation_version and encoding are options of CREATE DATABASE. owner: the owner
    of the database, quoted for SQL. settings: names and values, the strongest last.
    schemas: for each, a statement that creates it and one that grants it. extensions: names
    and schemas. privileges and roles are statements, and empty unless drift needs them.
    """

    locale: str
    collation_version: str
    encoding: str
    owner: str
    may_give_to_owner: bool
    settings: Sequence[tuple[str, str]]
    search_path: str
    schemas: Sequence[tuple[str, str]]
    extensions: Sequence[tuple[str, str]]
    privileges: Sequence[str] = ()
    roles: Sequence[str] = ()


def read_original(
    connection: Connection,
    ledger: Ledger,
    *,
    runner: str,
    files_owner: str | None,
    is_elsewhere: bool,
) -> Original:
    """Read what a scratch database takes over. Raises ServerError and ConnectionLost.

    runner: the role that runs files on the scratch database. files_owner: the role that
    owns the files' objects here, if they are compared. is_elsewhere: the scratch database is
    on another server, where the settings of this role do not exist.
    """
    ((locale, collation_version, encoding),) = fetch(connection, STATEMENTS["options"])
    ((owner, may_give_to_owner),) = fetch(connection, STATEMENTS["owner"])
    fields = {"is_elsewhere": str(is_elsewhere)}
    ((on_path, user),) = fetch_on_callers_path(
        connection,
        "SELECT pg_catalog.current_schemas(false)::pg_catalog.text[], current_user::pg_catalog.text",
    )
    search_path = connection.callers_search_path
    if files_owner or is_elsewhere:
        search_path = search_path.replace('"$user"', quoted(files_owner or user))
    names = {"public", ledger.home_schema, *on_path, *filter(None, [files_owner])}
    fields["schemas"] = f"ARRAY[{', '.join(map(literal, sorted(names)))}]"

    privileges: list[Any] = []
    roles: list[Any] = []
    if files_owner:
        fields |= {"owner": literal(files_owner), "runner": literal(runner)}
        privileges = fetch(connection, STATEMENTS["privileges"].format(**fields))
        roles = fetch(connection, STATEMENTS["roles"])
    return Original(
        locale=locale,
        collation_version=collation_version or "",
        encoding=encoding,
        owner=owner,
        may_give_to_owner=may_give_to_owner,
        settings=fetch(connection, STATEMENTS["settings"].format(**fields)),
        search_path=search_path,
        schemas=fetch(connection, STATEMENTS["schemas"].format(**fields)),
        extensions=fetch(connection, STATEMENTS["extensions"]),
        privileges=[statement for (statement,) in privileges],
        roles=[statement for (statement,) in roles],
    )


def try_each(connection: Connection, statements: Iterable[str]) -> None:
    """Run statements one by one. What the role may not do there, or another server does not know, is left out."""
    for statement in statements:
        with suppress(ServerError):
            execute(connection, statement)


def settings_statements(original: Original, name: str) -> list[str]:
    """Return the statements that give a database the original's settings."""
    return [
        f"SELECT pg_catalog.set_config({literal(setting)}, {literal(value)}, true); "
        f"ALTER DATABASE {name} SET {quoted(setting)} FROM CURRENT"
        for setting, value in original.settings
    ]


def likeness_statements(original: Original) -> list[str]:
    """Return the statements that give a database the original's schemas and privileges, run inside it."""
    statements = []
    for create, grant in original.schemas:
        statements += [create, grant]
    return [*statements, *original.privileges]


def extension_statements(original: Original, files: Iterable[Path]) -> list[str]:
    """Return the statements that create the original's extensions and their schemas, except what a file creates."""
    if not original.extensions:
        return []

    made = set()
    for path in files:
        for kind, name in _CREATES.findall(path.read_bytes()):
            made.add((kind.decode().lower(), name.decode(errors="replace").lower()))

    statements = []
    for extension, schema in original.extensions:
        if ("schema", schema) in made:
            continue
        statements.append(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        if ("extension", extension) not in made:
            create = f"CREATE EXTENSION IF NOT EXISTS {quoted(extension)}"
            statements.append(f"{create} SCHEMA {quoted(schema)}")
    return statements
