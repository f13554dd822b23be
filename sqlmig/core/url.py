"""Connection URLs, and messages about those that cannot be read, which repeat no possible password. Pure."""

from __future__ import annotations

import re
from typing import Protocol
from urllib.parse import quote, unquote

from sqlmig.core.errors import UsageError

# What SQLAlchemy's URLs begin with: the driver's name is of no interest here.
_DRIVER = re.compile(
    r"postgres(?:ql)?\+(?:psycopg2?|psycopg2cffi|asyncpg|pg8000|psycopg_async)://"
)
# What other libraries' URLs begin with.
_FOREIGN_SCHEME = re.compile(
    r"(jdbc|pgx[45]?|pq|psql|pgsql|postgres(?:ql)?)(?::|\+\w+:)"
)
_SCHEMA = "--schema names a schema"
# Other libraries' parameters, and what to do about each. Known names only, as anything
# else may be a part of a password.
_NAMES_TO_TAKE_OUT = """
    pgbouncer connection_limit pool_timeout socket_timeout statement_cache_size sslidentity uselibpqcompat
    prepareThreshold ApplicationName loginTimeout reWriteBatchedInserts stringtype
    prepared_statement_cache_size command_timeout server_settings min_size max_size pool_size max_overflow
    pool_max_conns pool_min_conns pool_max_conn_lifetime pool_max_conn_idle_time default_query_exec_mode
    statement_cache_capacity TimeZone pool encoding reaping_frequency prepared_statements conn_max_age
    max idleTimeoutMillis connectionTimeoutMillis x-migrations-table x-statement-timeout x-multi-statement
"""
_FOREIGN_PARAMETERS = {
    **dict.fromkeys(_NAMES_TO_TAKE_OUT.split(), "remove it"),
    "schema": _SCHEMA,
    "currentSchema": _SCHEMA,
    "search_path": _SCHEMA,
    "ssl": "write sslmode=require",
    "ssl_require": "write sslmode=require",
    "sslaccept": "write sslmode=require or sslmode=verify-full",
}
# Parameters of asyncpg that mean nothing for a connection of libpq.
_IGNORED = (
    "prepared_statement_cache_size",
    "prepared_statement_name_func",
    "statement_cache_size",
    "command_timeout",
    "server_settings",
)
# Parameters of asyncpg, and what libpq calls them.
_RENAMED = {"ssl": "sslmode", "timeout": "connect_timeout"}
_SSL_MODES = {"true": "require", "1": "require", "false": "disable", "0": "disable"}
_PARAMETER = re.compile(r"(?<=[?&])[\w-]+(?==)")
# An @ or / in the password moves a part of it into another field, which libpq's messages
# then show.
_PASSWORD_MOVED = re.compile(r"postgres(?:ql)?://(?:[^?@]*@[^?@]*|[^?@/]*/[^?@]*)@")


class SqlalchemyUrl(Protocol):
    """A URL object of SQLAlchemy."""

    def render_as_string(self, hide_password: bool = True) -> str:  # noqa: FBT001, FBT002 -- as SQLAlchemy has it
        """Return the URL as text."""


def as_text(url: str | SqlalchemyUrl) -> str:
    """Return a URL as text. Raises UsageError for anything else. Its value is not repeated: it may hold a password."""
    if isinstance(url, str):
        return url
    render = getattr(url, "render_as_string", None)
    if render is None:
        raise UsageError(
            f"the database URL must be text or a URL of SQLAlchemy, and is a {type(url).__name__}"
        )
    return str(render(hide_password=False))


def without_driver(url: str) -> str:
    """Return a URL of SQLAlchemy for libpq: without the name of the driver, and with libpq's names of parameters."""
    url = url.strip()
    driver = _DRIVER.match(url)
    if not driver:
        return url
    plain = _DRIVER.sub("postgresql://", url, count=1)
    if "asyncpg" not in driver[0] or "?" not in plain:
        return plain

    place, _, query = plain.rpartition("?")
    kept = []
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        if name in _IGNORED:
            continue
        if name == "ssl":
            value = quote(_SSL_MODES.get(unquote(value).lower(), unquote(value)))
        kept.append(f"{_RENAMED.get(name, name)}={value}")
    return f"{place}?{'&'.join(kept)}" if kept else place


def what_is_wrong(url: str) -> str:
    """Return a message for a URL that cannot be read. It repeats no part that may be a password."""
    if url.startswith(("'", '"')):
        return "the database URL cannot be read: it begins with a quote; give it without quotes"
    if url.startswith(("postgres://", "postgresql://")):
        problems = []
        for name in dict.fromkeys(_PARAMETER.findall(url)):
            if name in _FOREIGN_PARAMETERS:
                problems.append(
                    f"“{name}” belongs to another library; {_FOREIGN_PARAMETERS[name]}"
                )
        if problems:
            return f"the database URL cannot be read: {', and '.join(problems)}"
    elif scheme := _FOREIGN_SCHEME.match(url):
        return f"the database URL cannot be read: “{scheme[1]}…” belongs to another library; begin it with postgresql://"
    return (
        "the database URL cannot be read (it is not repeated here, because it may contain a password); "
        "it looks like postgresql://USER:PASSWORD@HOST:PORT/DATABASE, a password's @ : / ? # % written as %XX, "
        "or like embedded:PATH"
    )


def is_plausible(url: str, found: dict[str, str]) -> bool:
    """Check that no part of the password has moved into another field."""
    ports = found.get("port", "").replace(",", "") or "0"
    host = found.get("host", "")
    return not _PASSWORD_MOVED.match(url) and ports.isdecimal() and "@" not in host[1:]
