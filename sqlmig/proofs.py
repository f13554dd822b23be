"""The Python API of ``check`` and ``drift``."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig.api import Target, as_settings, open_target
from sqlmig.core.database import database, has_database, is_throwaway
from sqlmig.core.ledger import ledger_in
from sqlmig.core.migrations import find
from sqlmig.core.session import Options
from sqlmig.core.url import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlmig.check import Differences, Finding
    from sqlmig.core.url import SqlalchemyUrl


def find_drift(
    url: str | SqlalchemyUrl,
    directory: str | Path = "sql",
    *,
    schema: str | None = None,
    ledger_schema: str | None = None,
    ignore: Sequence[str] = (),
    scratch: str = "",
    setup: str | Path | None = None,
    settings: Mapping[str, str] | None = None,
    wait: float = 0,
) -> Differences:
    """Compare a database with the result of its applied files, as ``sqlmig drift`` does, and return the differences.

    It is false if there are none. ignore: patterns of names to leave out. scratch: the
    server for the scratch database, ``embedded:`` for a throwaway one; "" for the server of
    the database. setup: a file to run there first. settings: custom settings for the files.
    Raises SqlmigError.
    """
    from sqlmig import check

    target = Target(url, directory, ledger_in(schema, ledger_schema), wait)
    with ExitStack() as stack:
        options = Options(settings=as_settings(settings))
        session = stack.enter_context(open_target(target, options, make=False))
        opened = stack.enter_context(database(as_text(url)))
        server = stack.enter_context(
            check.open_scratch_server(opened, scratch, session.say, wait=wait)
        )
        return check.find_drift(
            session,
            opened,
            server,
            ignored=ignore,
            setup=None if setup is None else Path(setup),
        )


def prove(
    directory: str | Path = "sql",
    *,
    url: str | SqlalchemyUrl = "",
    schema: str | None = None,
    start: int = 0,
    fail_on: Sequence[str] = (),
    scratch: str = "",
    setup: str | Path | None = None,
    settings: Mapping[str, str] | None = None,
    queries: str | Path | None = None,
    wait: float = 0,
) -> list[Finding]:
    """Try each up and down file on a scratch database, as ``sqlmig check`` does, and return a finding for each version.

    url: the database that the scratch database is like; without one, a throwaway server is
    used. start: only run the versions before this one. fail_on: ``rewrites``, ``reads``,
    ``losses``, ``restarts`` or ``breaks``, which a finding then refuses. queries: a file with
    the statements of the application. scratch, setup and settings are as for find_drift.
    Raises SqlmigError.
    """
    from sqlmig import check

    say = logging.getLogger("sqlmig").info
    migrations = find(Path(directory))
    url = as_text(url)
    if not has_database(url):
        url = scratch or "embedded:"
        scratch = ""
    with ExitStack() as stack:
        opened = stack.enter_context(database(url, wait, make=True, say=say))
        server = stack.enter_context(
            check.open_scratch_server(
                opened, scratch, say, wait=wait, owns_database=is_throwaway(url)
            )
        )
        made = stack.enter_context(
            check.scratch_database(
                opened,
                ledger_in(schema),
                say,
                server=server,
                files=[migration.up_file for migration in migrations],
                file_settings=as_settings(settings),
                set_up=check.setup_from(None if setup is None else Path(setup)),
            )
        )
        of_application = check.read_queries(Path(queries)) if queries else []
        gate = check.Gate(fail_on)
        return list(check.prove(made, migrations, start, gate, of_application))
