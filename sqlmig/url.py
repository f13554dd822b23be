"""What a connection URL says, and what is wrong with one. No message repeats a part of it that may be a password."""

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

from sqlmig.errors import UsageError

# What other libraries' URLs begin with, and their parameters: known names only, as anything
# else may be a part of a password.
_FOREIGN = re.compile(
    r"""
    ^(?:
        jdbc:
        |pgx[45]?:
        |postgres(?:ql)?\+(?:psycopg2?|psycopg2cffi|asyncpg|pg8000|psycopg_async):
    )
    |(?<=[?&])(?:
        schema|pgbouncer|connection_limit|pool_timeout|socket_timeout|statement_cache_size
        |sslaccept|sslidentity|currentSchema|prepareThreshold
        |x-migrations-table|x-statement-timeout|x-multi-statement
    )(?==)
    """,
    re.VERBOSE,
)
# An @ or / in the password moves a part of it into another field, which libpq's messages
# then show.
_PASSWORD_MOVED = re.compile(r"postgres(?:ql)?://(?:[^?@]*@[^?@]*|[^?@/]*/[^?@]*)@")


def parameters(url: str) -> dict[str, str]:
    """Return the parameters that a URL or a conninfo string gives, and no others. Raises UsageError."""
    foreign = None
    try:
        url.encode()
        found = _given(url)
        if _is_plausible(url, found):
            return found
    except (psycopg.Error, UnicodeEncodeError):
        foreign = _FOREIGN.search(url)

    if foreign is None:
        raise UsageError(
            "the database URL cannot be read (it is not repeated here, as it may hold a password); "
            "it looks like postgresql://USER:PASSWORD@HOST:PORT/DATABASE, a password's @ : / ? # % written as %XX"
        )
    remedy = (
        "begin it with postgresql://" if foreign[0].endswith(":") else "take it out"
    )
    if "chema" in foreign[0]:
        remedy += "; --schema names a schema"
    raise UsageError(
        f"the database URL cannot be read: “{foreign[0]}” is another library's; {remedy}"
    )


def _given(url: str) -> dict[str, str]:
    found = {}
    for name, value in conninfo_to_dict(url).items():
        if value is not None:
            found[name] = str(value)
    return found


def _is_plausible(url: str, found: dict[str, str]) -> bool:
    """Say whether no part of the password has moved into another field."""
    ports = found.get("port", "").replace(",", "") or "0"
    host = found.get("host", "")
    return not _PASSWORD_MOVED.match(url) and ports.isdecimal() and "@" not in host[1:]
