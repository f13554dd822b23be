"""Opening the database of a URL: one of libpq, or a private server for embedded:PATH."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlmig.core.errors import SqlmigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DATABASE_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")
_EMBEDDED = "embedded:"


@contextmanager
def database(
    url: str,
    wait: float = 0,
    *,
    make: bool = False,
    major: str = "",
    say: Callable[[str], None] | None = None,
) -> Iterator[str]:
    """Yield the URL to connect to. It is empty if libpq's own variables name the database.

    For embedded:PATH a server runs during the block; make: its data directory is made if it
    is missing. For embedded: without a path a new server is started, and removed at the end.
    major: the major version of the new server, if its programs are found.
    wait: seconds to keep trying a server that does not respond yet. say is called with the
    messages of the private server; without it they go to standard error. Raises SqlmigError.
    """
    url = url.strip()
    if not has_database(url):
        raise UsageError(
            "no database: give --database-url URL, set DATABASE_URL, or use embedded:PATH for a private server"
        )
    if not url.startswith(_EMBEDDED):
        from sqlmig.core.connection import wait_for_server

        wait_for_server(url, wait)
        yield url
        return

    if sys.platform == "win32":
        raise SqlmigError(
            "embedded: is not supported on Windows; give the URL of a running server"
        )
    # It cannot be imported on Windows.
    from sqlmig.embedded import server, throwaway_server

    if is_throwaway(url):
        with throwaway_server(major) as real_url:
            yield real_url
        return
    path = url.removeprefix(_EMBEDDED)
    opened = server(path, make=make)
    if say:
        opened = server(path, make=make, say=say)
    with opened as real_url:
        yield real_url


def has_database(url: str) -> bool:
    """Check whether a URL or libpq's variables name a database."""
    return bool(url) or any(os.environ.get(name) for name in _DATABASE_VARIABLES)


def is_throwaway(url: str) -> bool:
    """Check whether a URL means a server that is started for one command."""
    return url == _EMBEDDED
