"""The Python API: up, down and status. proofs.py has the rest."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core.database import database
from sqlmig.core.errors import UsageError
from sqlmig.core.ledger import Ledger, ledger_in
from sqlmig.core.migrations import find
from sqlmig.core.plan import Down, Up, message_for_ahead
from sqlmig.core.session import Options, open_session
from sqlmig.core.text import checked_setting, checked_value, parse_lock_timeout
from sqlmig.core.url import as_text
from sqlmig.core.versions import Applied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlmig.core.plan import Request
    from sqlmig.core.session import Session
    from sqlmig.core.url import SqlalchemyUrl
    from sqlmig.core.versions import State

    OnApplied = Callable[[Applied], object]


class Status(NamedTuple):
    """A version and its state.

    applied_at is UTC; None if it is not applied. applied_by is the role that connected.
    seconds: how long the file ran; None if it was stamped. Both are None if the ledger does
    not say.
    """

    version: int
    name: str
    state: State
    applied_at: datetime | None
    applied_by: str | None = None
    seconds: float | None = None


def up(
    url: str | SqlalchemyUrl,
    directory: str | Path = "sql",
    *,
    schema: str | None = None,
    ledger_schema: str | None = None,
    to: int | None = None,
    steps: int | None = None,
    allow_out_of_order: bool = False,
    allow_non_empty: bool = False,
    lock_timeout: str = "5s",
    retries: int = 10,
    wait: float = 0,
    dry_run: bool = False,
    settings: Mapping[str, str] | None = None,
    on_applied: OnApplied | None = None,
) -> list[Applied]:
    """Apply the pending migrations, oldest first, and return them.

    It may be called by any number of processes at once: each migration is applied once,
    and the others wait. A schema that has tables, views or functions, but no ledger, is
    refused unless allow_non_empty is true: it may be another application's.
    schema: the schema of the ledger, which also comes first in the search path.
    ledger_schema: the schema of the ledger alone.
    wait: seconds to keep trying a server that does not answer yet. dry_run: rehearse it in
    one transaction, which is rolled back. settings: custom settings such as
    ``{"app.region": "eu"}``, which each file reads with ``current_setting``. on_applied is
    called with each migration when it is committed. Messages go to
    ``logging.getLogger("sqlmig")``, with a line for each migration at level INFO.

    Raises UsageError, LedgerDisagrees if the files and the database do not fit together, and
    MigrationFailed. The attribute ``applied`` of an error has the migrations that were
    committed before it.
    """
    if to is not None and steps is not None:
        raise UsageError("to and steps cannot be combined; give one")
    _refuse_negative(to=to, steps=steps, retries=retries)
    options = _options(lock_timeout, retries, settings)
    request = Up(to, steps, allow_out_of_order, allow_non_empty)
    target = Target(url, directory, ledger_in(schema, ledger_schema), wait)
    hooks = _Hooks(dry_run, on_applied)
    return _run(target, request, options, hooks, make=True)


def down(
    url: str | SqlalchemyUrl,
    directory: str | Path = "sql",
    *,
    schema: str | None = None,
    ledger_schema: str | None = None,
    to: int | None = None,
    steps: int | None = None,
    all: bool = False,  # noqa: A002 -- as the option is called
    lock_timeout: str = "5s",
    retries: int = 10,
    wait: float = 0,
    dry_run: bool = False,
    settings: Mapping[str, str] | None = None,
    on_applied: OnApplied | None = None,
) -> list[Applied]:
    """Revert the newest migration, or more, newest first, and return them. It does not ask.

    to: revert all above this version. on_applied is called with each migration when it is
    reverted. The other keywords are as for up. Raises as up does.
    """
    given = [to is not None, steps is not None, all]
    if sum(given) > 1:
        raise UsageError("to, steps and all cannot be combined; give one")
    if not any(given):
        steps = 1
    _refuse_negative(to=to, steps=steps, retries=retries)
    options = _options(lock_timeout, retries, settings)
    target = Target(url, directory, ledger_in(schema, ledger_schema), wait)
    hooks = _Hooks(dry_run, on_applied)
    return _run(target, Down(to, steps), options, hooks, make=False)


def _options(
    lock_timeout: str, retries: int, settings: Mapping[str, str] | None
) -> Options:
    if not isinstance(lock_timeout, str):
        raise UsageError(
            f"lock_timeout must be text such as '5s', not {lock_timeout!r}"
        )
    parse_lock_timeout(lock_timeout)
    return Options(lock_timeout.strip(), retries, as_settings(settings))


def as_settings(settings: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Return custom settings as pairs. Raises UsageError for a name without a dot, or a value that is not text."""
    pairs = []
    for name, value in (settings or {}).items():
        pairs.append((checked_setting(name), checked_value(name, value)))
    return tuple(pairs)


def _refuse_negative(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 0:
            raise UsageError(f"{name} must not be negative: {number}")


def status(
    url: str | SqlalchemyUrl,
    directory: str | Path = "sql",
    *,
    schema: str | None = None,
    ledger_schema: str | None = None,
    wait: float = 0,
) -> list[Status]:
    """Return each version and its state, by version. It writes nothing."""
    target = Target(url, directory, ledger_in(schema, ledger_schema), wait)
    with open_target(target, Options(), make=False) as session:
        return [
            Status(
                one.version,
                one.name,
                one.state,
                _as_time(one.applied_at),
                one.applied_by,
                one.seconds,
            )
            for one in session.versions()
        ]


def _as_time(iso_time: str | None) -> datetime | None:
    if not iso_time:
        return None
    return datetime.fromisoformat(iso_time.replace("Z", "+00:00"))


class Target(NamedTuple):
    """A database, the files, the ledger, and how long to wait for the server."""

    url: str | SqlalchemyUrl
    directory: str | Path
    ledger: Ledger
    wait: float


class _Hooks(NamedTuple):
    """Whether a run is only rehearsed, and what is called after each step."""

    dry_run: bool
    on_applied: OnApplied | None


def _run(
    target: Target, request: Request, options: Options, hooks: _Hooks, *, make: bool
) -> list[Applied]:
    from sqlmig.core.runner import run

    with open_target(target, options, make=make) as session:
        if isinstance(request, Up) and session.ahead():
            session.say(message_for_ahead(session.ahead()))
        if not session.has_work(request):
            return []
        if hooks.dry_run:
            return _rehearse(session, request)
        applied = []
        for done in run(session, request):
            step = done.step
            session.say(f"{step.verb} {step.label} ({done.seconds:.3f} s)")
            applied.append(done.summary)
            if hooks.on_applied:
                hooks.on_applied(done.summary)
        return applied


def _rehearse(session: Session, request: Request) -> list[Applied]:
    from sqlmig.rehearsal import rehearse

    rehearsed = []
    for one in rehearse(session, request):
        version = one.step.version
        rehearsed.append(Applied(version.version, version.name, one.seconds or 0))
    return rehearsed


@contextmanager
def open_target(target: Target, options: Options, *, make: bool) -> Iterator[Session]:
    """Open a database, and yield a session. Raises SqlmigError."""
    url, directory, ledger, wait = target
    if not isinstance(wait, int | float):
        raise UsageError(f"wait must be a number of seconds, not {wait!r}")

    say = logging.getLogger("sqlmig").info
    migrations = find(Path(directory))
    with (
        database(as_text(url), wait, make=make, say=say) as found,
        open_session(found, ledger, migrations, say, options=options) as session,
    ):
        yield session
