"""Run a command with PG* set for the database in DATABASE_URL: ``python -m sqlmig.embedded psql``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext, suppress

from psycopg import pq

from sqlmig.core.connection import parameters
from sqlmig.core.errors import SqlmigError
from sqlmig.embedded.binaries import programs
from sqlmig.embedded.data_directory import server, throwaway_server

_USAGE = """Usage: python -m sqlmig.embedded COMMAND [ARGUMENT…]

Run a command with the PG* variables set for the database in DATABASE_URL, for
example: python -m sqlmig.embedded psql

For embedded:PATH the private server on that directory runs meanwhile. psql,
pg_dump and the other programs of the server are found without being installed."""


def main() -> None:
    """Run the command in the arguments, and exit with its status. psql is found among the server's programs."""
    if not sys.argv[1:]:
        print(_USAGE, file=sys.stderr)
        sys.exit(2)
    if sys.argv[1] in ("-h", "--help"):
        print(_USAGE)
        sys.exit(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, lambda *_: None)  # left to the command
    try:
        with _database(os.environ.get("DATABASE_URL", "")) as url:
            environment = _environment(url)
            command = shutil.which(sys.argv[1], path=environment["PATH"]) or sys.argv[1]
            ran = subprocess.run([command, *sys.argv[2:]], env=environment, check=False)
            sys.exit(ran.returncode)
    except (SqlmigError, OSError) as error:
        sys.exit(f"error: {error}")


def _database(url: str) -> AbstractContextManager[str]:
    if not url.startswith("embedded:"):
        return nullcontext(url)
    path = url.removeprefix("embedded:")
    if not path:
        return throwaway_server()
    return server(path)


def _environment(url: str) -> dict[str, str]:
    """Return our environment with the settings of a URL. Arguments are not used, because all users can read them."""
    environment = dict(os.environ)
    variables = {}
    for option in pq.Conninfo.get_defaults():
        variables[option.keyword.decode()] = (option.envvar or b"").decode()
    for name, value in parameters(url).items():
        if variables[name]:
            environment[variables[name]] = value
    with suppress(SqlmigError):
        search = environment.get("PATH", os.defpath)
        environment["PATH"] = f"{programs()}{os.pathsep}{search}"
    return environment


if __name__ == "__main__":
    main()
