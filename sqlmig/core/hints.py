"""What to do about an error: a hint below the server's message."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

_RUN_ALONE = "put “-- sqlmig: no-transaction” on a line before the first statement"

# The run that applies a file: the first one, because there is no ledger or it is empty; or
# a later one. It is "" if there is no ledger at all, as on a scratch database, or for a down file.
Run = Literal["", "first", "later"]


class _Hint(NamedTuple):
    """What to do about an error, by its SQLSTATE and message, and by how the file runs.

    message: names of objects are the same in every language of the server. A hint with
    English words is left out if the server reports in another language.
    """

    sqlstates: str  # a regular expression
    message: str  # a regular expression
    advice: str
    in_transaction: bool | None = None  # None: either way
    run: Run = ""  # only in such a run


# The first hint that matches is shown.
_HINTS = (
    _Hint(
        sqlstates="25001",
        message="",
        advice=f"move it to a file of its own without BEGIN (enough for CONCURRENTLY), or {_RUN_ALONE}",
        in_transaction=True,
    ),
    _Hint(
        sqlstates="2D000",
        message="",
        advice=f"a DO block or procedure may not end the file's transaction: remove that, or {_RUN_ALONE}",
        in_transaction=True,
    ),
    _Hint(
        sqlstates="25001",
        message="",
        advice="remove BEGIN and COMMIT: this file runs statement by statement",
        in_transaction=False,
    ),
    _Hint(
        sqlstates="42704",
        message=r"\b(anon|authenticated|service_role)\b",
        advice="this role is Supabase's: create it, or check pg_roles before you use it",
    ),
    _Hint(
        sqlstates="0A000|58P01",
        message=r"(?im)^create\s+extension\b|\$libdir",
        advice=(
            "this server does not have the extension. The private server has those of PostgreSQL's contrib, except "
            "pgcrypto and uuid-ossp, and vector. For others use a server that has them, with --database-url, "
            "or name its programs in SQLMIG_PG_BIN"
        ),
    ),
    _Hint(
        sqlstates="42704",
        message=r"\btransaction_timeout\b",
        advice="a pg_dump of PostgreSQL 17 or newer wrote this line, and this server is older: remove the line",
    ),
    _Hint(
        sqlstates="42P06",
        message=r"\bpublic\b",
        advice="every database has this schema, and a dump creates it again. Remove the line",
    ),
    _Hint(
        sqlstates="42P07|42P16",
        message=r"\bschema_migrations\b",
        advice=(
            "this table is sqlmig's ledger. The file, perhaps a dump, has a ledger of its own: "
            "remove the statements about this table"
        ),
    ),
    _Hint(
        sqlstates="42P0[67]|42710|42701|42723",
        message="",
        advice="it may be left over from an interrupted run. Check that it is complete, or drop it",
        in_transaction=False,
    ),
    _Hint(
        sqlstates="42P0[67]|42710|42723",
        message="",
        advice=(
            "the ledger has no version yet, but the database is not empty. If it has what these files make, "
            "`sqlmig stamp V` records everything up to V as applied, and runs nothing"
        ),
        run="first",
    ),
    _Hint(
        sqlstates="42P0[67]|42710|42701|42723",
        message="",
        advice=(
            "if this was made by hand, and everything else in the file too, `sqlmig stamp --only {version}` records "
            "the version as applied, and runs nothing"
        ),
        run="later",
    ),
    _Hint(
        sqlstates="42501",
        message=r"\bpublic\b",
        advice=(
            "since PostgreSQL 15 a role needs a privilege to create objects in public: "
            "GRANT CREATE ON SCHEMA public TO the role, or name a schema with --schema, "
            "or one for the ledger alone with --ledger-schema"
        ),
    ),
    _Hint(
        sqlstates="42501",
        message="for database",
        advice=(
            "the role may not create a schema here. An administrator can: CREATE SCHEMA name AUTHORIZATION role"
        ),
    ),
    _Hint(
        sqlstates="25006",
        message="",
        advice=(
            "this server is a standby, or default_transaction_read_only is on. Connect to the primary, "
            "for example with target_session_attrs=read-write in the URL"
        ),
    ),
    _Hint(
        sqlstates="57014",
        message="statement timeout",
        advice=(
            "the file, the role or the database sets statement_timeout. For this file alone, "
            "begin it with: SET LOCAL statement_timeout = 0;"
        ),
        in_transaction=True,
    ),
    _Hint(
        sqlstates="57014",
        message="statement timeout",
        advice=(
            "the file, the role or the database sets statement_timeout. For this file alone, "
            "begin it with: SET statement_timeout = 0;"
        ),
        in_transaction=False,
    ),
    _Hint(
        sqlstates="55006",
        message="pending trigger events",
        advice=(
            "deferred constraints are still to be checked: "
            "put SET CONSTRAINTS ALL IMMEDIATE; before this statement"
        ),
    ),
)


def hints_for(
    sqlstate: str,
    message: str,
    *,
    in_transaction: bool,
    run: Run,
    version: str,
) -> list[str]:
    """Return the first hint that fits an error, as a line, or no line.

    message: the server's message, and the beginning of the statement. version: the file's version as it is
    written in the file's name.
    """
    for hint in _HINTS:
        if hint.in_transaction not in (None, in_transaction):
            continue
        if hint.run and hint.run != run:
            continue
        if not re.fullmatch(hint.sqlstates, sqlstate):
            continue
        if re.search(hint.message, message):
            return [f"HINT: {hint.advice.replace('{version}', version)}"]
    return []
