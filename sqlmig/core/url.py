"""Connection URLs, and messages about those that cannot be read, which repeat no possible password. Pure."""

import re

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
    **dict.fromkeys(_NAMES_TO_TAKE_OUT.split(), "take it out"),
    "schema": _SCHEMA,
    "currentSchema": _SCHEMA,
    "search_path": _SCHEMA,
    "ssl": "write sslmode=require",
    "ssl_require": "write sslmode=require",
    "sslaccept": "write sslmode=require or sslmode=verify-full",
}
_PARAMETER = re.compile(r"(?<=[?&])[\w-]+(?==)")
# An @ or / in the password moves a part of it into another field, which libpq's messages
# then show.
_PASSWORD_MOVED = re.compile(r"postgres(?:ql)?://(?:[^?@]*@[^?@]*|[^?@/]*/[^?@]*)@")


def without_driver(url: str) -> str:
    """Return a URL of SQLAlchemy without the name of the driver, for libpq."""
    return _DRIVER.sub("postgresql://", url.strip(), count=1)


def what_is_wrong(url: str) -> str:
    """Return a message for a URL that cannot be read. It repeats no part that may be a password."""
    if url.startswith(("'", '"')):
        return "the database URL cannot be read: it begins with a quote; give it without quotes"
    if url.startswith(("postgres://", "postgresql://")):
        problems = []
        for name in dict.fromkeys(_PARAMETER.findall(url)):
            if name in _FOREIGN_PARAMETERS:
                problems.append(
                    f"“{name}” is another library's; {_FOREIGN_PARAMETERS[name]}"
                )
        if problems:
            return f"the database URL cannot be read: {', and '.join(problems)}"
    elif scheme := _FOREIGN_SCHEME.match(url):
        return f"the database URL cannot be read: “{scheme[1]}…” is another library's; begin it with postgresql://"
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
