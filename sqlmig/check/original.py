"""The original: the database that a scratch database stands for, and what the scratch database takes over from it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlmig.core.connection import execute, fetch, fetch_on_callers_path
from sqlmig.core.errors import ScanError, ServerError
from sqlmig.core.lexer import plain_text
from sqlmig.core.sql import literal, quoted, read_statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlmig.core.connection import Connection
    from sqlmig.core.ledger import Ledger

STATEMENTS = read_statements(Path(__file__).with_suffix(".sql"))
_CREATES = re.compile(
    rb"\b(create|drop)\s+(extension|schema)\s+(if\s+(?:not\s+)?exists\s+)?\"?([\w-]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Original:
    """What a scratch database takes over from the original.

    locale, collation_version and encoding are options of CREATE DATABASE. owner: the owner
    of the database. settings: names and values, the strongest last. schemas: names, and the
    roles that keep their rights there. extensions: names and schemas. privileges and roles
    are statements, and empty unless drift needs them.
    """

    locale: str
    collation_version: str
    encoding: str
    owner: str
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
    ((owner,),) = fetch(connection, STATEMENTS["owner"])
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
    """Return the statements that give a database the original's settings, except those of custom_settings."""
    statements = []
    for setting, value in original.settings:
        if "." not in setting:
            statements.append(
                f"SELECT pg_catalog.set_config({literal(setting)}, {literal(value)}, true); "
                f"ALTER DATABASE {name} SET {quoted(setting)} FROM CURRENT"
            )
    return statements


def custom_settings(original: Original) -> list[tuple[str, str]]:
    """Return the names and values of settings such as ``app.key``.

    ALTER DATABASE needs more privileges for them, and a server that refuses it logs the
    value, which may be a secret.
    """
    return [setting for setting in original.settings if "." in setting[0]]


class Created(NamedTuple):
    """The extensions and schemas that files create. unless: those that they create only if they do not exist."""

    always: set[tuple[str, str]]
    unless: set[tuple[str, str]]


def created_by(files: Iterable[Path], original: Original) -> Created:
    """Return the extensions and schemas of the original that files create, or that down files drop.

    A schema that a down file drops counts as created always: nothing else may be in it.
    """
    created = Created(set(), set())
    if not original.extensions and len(original.schemas) <= 1:
        return created  # the schema public
    for path in files:
        text = path.read_bytes()
        if _CREATES.search(text):
            for verb, kind, unless, name in _CREATES.findall(_without_comments(text)):
                is_unless = unless and verb.lower() == b"create"
                found = created.unless if is_unless else created.always
                if verb.lower() == b"create" or kind.lower() == b"schema":
                    key = (kind.decode().lower(), name.decode(errors="replace").lower())
                    found.add(key)
    return created


def _without_comments(text: bytes) -> bytes:
    with suppress(ScanError):
        return plain_text(text).encode()
    return text


def likeness_statements(
    original: Original,
    created: Created,
    more_schemas: Iterable[str],
    files_owner: str | None,
) -> list[str]:
    """Return the statements that give a database the original's schemas and privileges, run inside it.

    A schema that a file creates is left out. files_owner: may create there.
    """
    owners = dict(original.schemas) | dict.fromkeys(more_schemas, files_owner or "")
    statements = []
    for schema, owner in owners.items():
        key = ("schema", schema)
        if key in created.always or key in created.unless:
            continue
        statements.append(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        for role in {owner, files_owner} - {None, ""}:
            grant = f"GRANT ALL ON SCHEMA {quoted(schema)} TO {quoted(str(role))}"
            statements.append(grant)
    return [*statements, *original.privileges]


def extension_statements(
    original: Original, created: Created, *, even_if_unless: bool
) -> list[str]:
    """Return the statements that create the original's extensions and their schemas, except what a file creates.

    even_if_unless: also those that a file creates only if they do not exist.
    """
    statements = []
    for extension, schema in original.extensions:
        if ("schema", schema) in created.always:
            continue
        statements.append(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        key = ("extension", extension)
        if key in created.always or (key in created.unless and not even_if_unless):
            continue
        statements.append(
            f"CREATE EXTENSION IF NOT EXISTS {quoted(extension)} SCHEMA {quoted(schema)}"
        )
    return statements
