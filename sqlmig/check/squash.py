"""Squash the first versions of a history into one file, and prove that it makes the same database.

The files run on a scratch database, which pg_dump dumps, with its rows. The dump runs on a
second one, like any file. Catalog, rows, sequences and large objects must be the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from psycopg.conninfo import make_conninfo

from sqlmig.check.catalog import Catalog, add_sequence_values, compare, read_catalog
from sqlmig.check.queries import words_of
from sqlmig.check.rows import Rows, compare_rows, read_rows
from sqlmig.check.running import run_file
from sqlmig.check.server_wide import changes_server
from sqlmig.core.connection import fetch, parameters
from sqlmig.core.errors import ServerError, SqlmigError
from sqlmig.core.lexer import (
    Token,
    first_token,
    read_statement,
    statements,
    tokens,
)
from sqlmig.core.sqlfile import load, without_restrictions
from sqlmig.core.text import few

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlmig.check.scratch import Scratch
    from sqlmig.core.migrations import Migration
    from sqlmig.core.sqlfile import SqlFile

    MakeScratch = Callable[[], AbstractContextManager[Scratch]]

# Statements of pg_dump that are about its own session, or that our transaction replaces.
_LEFT_OUT = re.compile(
    rb"set (?:statement_timeout|lock_timeout|idle_in_transaction_session_timeout|transaction_timeout"
    rb"|client_encoding|standard_conforming_strings|row_security)\b|begin\b|commit\b",
    re.IGNORECASE,
)
# Statements of pg_dump for its own session that the file needs too.
_OF_SESSION = re.compile(rb"set |select pg_catalog\.set_config\(", re.IGNORECASE)
_NO_SEARCH_PATH = b"SELECT pg_catalog.set_config('search_path', '', false);\n\n"
# Names that a file makes only if they do not exist.
_IF_NOT_EXISTS = re.compile(
    rb'create\s+(?:schema|extension)\s+if\s+not\s+exists\s+"?([\w-]+)', re.IGNORECASE
)
_OWN_DEFAULTS = re.compile(rb"(ALTER DEFAULT PRIVILEGES) FOR ROLE \S+")
_ABOUT_ROLES = re.compile(
    rb"grant |revoke |create user mapping |alter default ", re.IGNORECASE
)
_CAST_TO_NAME = re.compile(rb"::reg\w+")
_SETVAL = b"setval("
# The search path of a function may name a schema in a string.
_NAMES_SEARCH_PATH = re.compile(rb"SET search_path TO [^\n]*")
_EXTENSIONS = "SELECT extname::text FROM pg_extension"
_LARGE_OBJECTS = (
    "SELECT oid::text, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1"
)
_SCHEMAS = """
    SELECT nspname::text FROM pg_namespace
    WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
"""


def replaced_by(migrations: Sequence[Migration]) -> str:
    """Return the text of the directive ``replaces``: ``1 to 40: CHECKSUM``.

    How many versions a database has of them follows if the numbers do not show it: they
    have gaps, or the first file is itself squashed.
    """
    first, last = migrations[0], migrations[-1]
    least = most = len(migrations)
    number = first.version
    if first.replaces:
        number = first.replaces.first
        most += first.replaces.most - 1
    text = f"{number} to {last.version}: {last.checksum}"
    if least != most:
        return f"{text}, {least} to {most} versions"
    if most != last.version - number + 1:
        return f"{text}, {most} versions"
    return text


def squash(
    migrations: Sequence[Migration], make_scratch: MakeScratch, pg_dump: Path
) -> tuple[bytes, str]:
    """Return the text of one up file that does the same as these, except for its directive.

    Also returns the schema that the text names; "" if it fits any schema. make_scratch
    yields a new scratch database, as often as it is called. pg_dump: the program. Raises
    SqlmigError if something is not the same, and names it.
    """
    ups = [load(migration.up_file) for migration in migrations]
    with make_scratch() as first:
        _refuse_hidden(ups, first)
        text = _dump_of_files(first, pg_dump, ups)
        _refuse_own_role(text, first)
        home = first.schema
        names_it = any(home.encode() in words_of(up.text) for up in ups)
        without = None if names_it else _without_schema(text, home.encode())
        if without is not None:
            text, home = without, ""
        with make_scratch() as second, _temporary(text, migrations[-1]) as path:
            _run_squashed(second, path)
            _require_same(_read(first), _read(second))
    return text, home


def _dump_of_files(scratch: Scratch, pg_dump: Path, ups: Sequence[SqlFile]) -> bytes:
    """Run the files, and return a dump of what they made."""
    others = []
    for (name,) in fetch(scratch.connection, _SCHEMAS):
        if name != scratch.schema:
            others.append(str(name))
    before = _statements(_dump(scratch, pg_dump, others))
    for up in ups:
        run_file(scratch, up)
    dump = _dump(scratch, pg_dump, others)
    return _without_others(dump, {statement for statement, _ in before})


def _refuse_hidden(ups: Sequence[SqlFile], scratch: Scratch) -> None:
    """Raise SqlmigError for what pg_dump would leave out without a difference on the scratch databases."""
    there = {str(name) for (name,) in fetch(scratch.connection, _SCHEMAS)}
    there |= {str(name) for (name,) in fetch(scratch.connection, _EXTENSIONS)}
    for up in ups:
        if changes_server(up):
            raise SqlmigError(
                f"{up.path}: it changes something that the whole server sees, such as a role, and pg_dump leaves "
                "that out. Put it into a file for --setup, or squash the versions before it",
                path=up.path,
            )
        for name in _IF_NOT_EXISTS.findall(up.text):
            if name.decode() in there:
                raise SqlmigError(
                    f"{up.path}: it makes {name.decode()} if it does not exist, and the database or --setup has it "
                    "already. Squash with a server that lacks it: -d embedded:",
                    path=up.path,
                )


def _refuse_own_role(text: bytes, scratch: Scratch) -> None:
    """Raise SqlmigError for a privilege of the role that runs this: on another server the role is another one."""
    ((role,),) = fetch(scratch.connection, "SELECT current_user::text")
    for statement, _ in _statements(text):
        if _ABOUT_ROLES.match(statement) and str(role).encode() in words_of(statement):
            raise SqlmigError(
                f"nothing was changed: a statement of the dump names the role {role}, which runs this, and whose name "
                f"may differ elsewhere: {statement.decode().strip()}"
            )


def _run_squashed(scratch: Scratch, path: Path) -> None:
    try:
        run_file(scratch, load(path))
    except SqlmigError as error:
        raise SqlmigError(
            "nothing was changed, because the dump of these versions does not run on an empty database: "
            f"{error.first_line}"
        ) from None


def _dump(scratch: Scratch, pg_dump: Path, schemas: Sequence[str]) -> bytes:
    """Return a dump of the scratch database without the schemas that were there before."""
    given = parameters(scratch.made.url.url) | {"dbname": scratch.made.name}
    password = scratch.made.outside.info.password or given.pop("password", "")
    given.pop("options", None)
    arguments = [
        "--no-owner",
        "--column-inserts",
        "--rows-per-insert=100",
        *(f'--exclude-schema="{name}"' for name in schemas),
    ]
    try:
        ran = subprocess.run(
            [pg_dump, *arguments, f"--dbname={make_conninfo('', **given)}"],
            capture_output=True,
            check=False,
            env=os.environ | ({"PGPASSWORD": password} if password else {}),
        )
    except OSError as error:
        raise SqlmigError(f"cannot run {pg_dump}: {error.strerror}") from None
    if ran.returncode:
        message = ran.stderr.decode(errors="replace").strip()
        raise SqlmigError(f"pg_dump failed: {message}")
    return ran.stdout


def _statements(dump: bytes) -> list[tuple[bytes, bytes]]:
    """Return each statement of a dump with its semicolon, and the comments after it."""
    dump = without_restrictions(dump)
    starts = [start for start, _ in statements(dump, first_token(dump))]
    found = []
    for number, start in enumerate(starts, start=1):
        after = starts[number] if number < len(starts) else len(dump)
        _, end = read_statement(dump, start)
        found.append((dump[start : end + 1], dump[end + 1 : after]))
    return found


def _without_others(dump: bytes, before: set[bytes]) -> bytes:
    """Return a dump without the statements of its own session, and without objects that existed before the files."""
    parts = []
    for statement, comments in _statements(dump):
        is_old = statement in before and not _OF_SESSION.match(statement)
        if not is_old and not _LEFT_OUT.match(statement):
            parts.append(_OWN_DEFAULTS.sub(rb"\1", statement))
        comments = comments.strip(b"\n")
        if comments and b"PostgreSQL database dump complete" not in comments:
            parts.append(comments)
    return b"\n\n".join(parts) + b"\n"


def _without_schema(text: bytes, schema: bytes) -> bytes | None:
    """Return a dump whose names have no schema, so that it fits any schema, as its files did.

    Returns None if it names the schema in another way: as the search path of a function.
    """
    for setting in _NAMES_SEARCH_PATH.findall(text):
        if schema in words_of(setting.replace(b"'", b" ")):
            return None
    parts = []
    after_schema = False
    for token in tokens(text):
        part = text[token.start : token.end]
        if after_schema:
            if not part.startswith(b"."):
                return None
            part = part[1:]
        after_schema = token.kind == "word" and part == schema
        if after_schema:
            continue
        if _is_name_in_string(text, token):
            part = part.replace(b"'" + schema + b".", b"'", 1)
        parts.append(part)
    return b"".join(parts).replace(_NO_SEARCH_PATH, b"", 1).lstrip()


def _is_name_in_string(text: bytes, token: Token) -> bool:
    """Check for a string that pg_dump writes for a name: a cast to a reg type, or the sequence of setval."""
    if token.kind != "string":
        return False
    before = text[max(0, token.start - len(_SETVAL)) : token.start]
    return before == _SETVAL or bool(_CAST_TO_NAME.match(text, token.end))


@contextmanager
def _temporary(text: bytes, last: Migration) -> Iterator[Path]:
    """Yield a file with this text, under the name that it will have."""
    with tempfile.TemporaryDirectory(prefix="sqlmig-") as directory:
        path = Path(directory) / squashed_name(last)
        path.write_bytes(text)
        yield path


def squashed_name(last: Migration) -> str:
    """Return the name of the up file that replaces versions up to this one."""
    digits, _, _ = last.label.partition("_")
    return f"{digits}_squashed.up.sql"


class _State(NamedTuple):
    """Everything in a scratch database that is compared."""

    catalog: Catalog
    rows: Rows
    large_objects: list[tuple[str, str]]


def _read(scratch: Scratch) -> _State:
    catalog = read_catalog(scratch.connection)
    add_sequence_values(scratch.connection, catalog)
    rows = read_rows(scratch.connection, scratch.schema)
    return _State(catalog, rows, _large_objects(scratch))


def _require_same(expected: _State, found: _State) -> None:
    """Raise SqlmigError if two scratch databases differ."""
    differences = list(_differences(expected, found))
    if differences:
        raise SqlmigError(
            "nothing was changed, because the squashed file would not make the same database: "
            f"{few(differences)}. pg_dump leaves that out; squash fewer versions"
        )


def _differences(expected: _State, found: _State) -> Iterator[str]:
    differences = compare(expected.catalog, found.catalog)
    for key in differences.left:
        yield f"{' '.join(key)} would be new"
    for key in differences.lost:
        yield f"{' '.join(key)} would be missing"
    for difference in differences.changed:
        yield str(difference)
    for change in compare_rows(expected.rows, found.rows):
        yield f"{change.kind}: {change}"
    if expected.large_objects != found.large_objects:
        yield "large objects would differ"


def _large_objects(scratch: Scratch) -> list[tuple[str, str]]:
    try:
        return fetch(scratch.connection, _LARGE_OBJECTS)
    except ServerError as error:
        raise SqlmigError(
            f"the large objects cannot be read: {error.server_message}"
        ) from None
