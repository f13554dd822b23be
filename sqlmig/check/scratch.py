"""Create a scratch database that is like the database that is checked, and always drop it at the end."""

from __future__ import annotations

import os
import re
import secrets
import time
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo

from sqlmig.check.original import (
    Original,
    created_by,
    custom_settings,
    extension_statements,
    likeness_statements,
    read_original,
    settings_statements,
    try_each,
)
from sqlmig.check.server_wide import ServerGuard
from sqlmig.core.connection import (
    connect,
    execute,
    execute_alone,
    fetch,
    parameters,
    send,
)
from sqlmig.core.database import database, is_throwaway
from sqlmig.core.errors import (
    ConnectionLost,
    ServerError,
    SqlmigError,
    replace_message,
)
from sqlmig.core.sql import literal, quoted, read_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlmig.core.connection import Connection
    from sqlmig.core.ledger import Ledger
    from sqlmig.core.session import Say

STATEMENTS = read_statements(Path(__file__).parent / "scratch.sql")
PREFIX = "sqlmig_scratch_"
# The application_name of the connection that creates a scratch database begins with this.
_OWNER = "sqlmig: "
_READ_ONLY = "25006"
_INSUFFICIENT_PRIVILEGE = "42501"
# DROP DATABASE ... WITH (FORCE) may not end the session of a superuser, and a session that is just beginning.
_OTHERS_ARE_CONNECTED = (_INSUFFICIENT_PRIVILEGE, "55006")
_HAS_SET_OPTION = 160000  # the first server version with GRANT ... WITH SET
_PATIENCE = 5.0  # seconds for the other sessions to end
# Settings for the connection that creates and drops it. This connection is idle while the files run.
_PATIENT = (
    "SET idle_session_timeout = 0; SET statement_timeout = 0; SET client_min_messages = warning; "
    "SET default_transaction_read_only = off"
)


@dataclass(frozen=True)
class ScratchServer:
    """Where scratch databases are made.

    is_elsewhere: it need not be the server of the original. is_owned: the server was
    started for this, so files may change all of it.
    """

    url: str
    is_elsewhere: bool = False
    is_owned: bool = False


@contextmanager
def open_scratch_server(
    url: str, scratch: str, say: Say, *, wait: float = 0, owns_database: bool = False
) -> Iterator[ScratchServer]:
    """Yield the server for scratch databases. It is the server of the database, unless another is named.

    url: the database. scratch: the URL of the server, or ``embedded:`` for a throwaway one,
    which has the major version of the database if possible. wait: seconds to keep trying a
    server that does not respond yet. owns_database: the server of the database was started
    for this, too. Raises SqlmigError.
    """
    scratch = scratch.strip()
    if not scratch:
        yield ScratchServer(url, is_owned=owns_database)
        return
    major = ""
    if is_throwaway(scratch):
        with connect(url, say) as connection:
            major = str(connection.info.server_version // 10000)
    opened = database(scratch, wait, make=True, major=major)
    with ExitStack() as stack:
        with _errors_name_the_server():
            scratch_url = stack.enter_context(opened)
        yield ScratchServer(
            scratch_url, is_elsewhere=True, is_owned=is_throwaway(scratch)
        )


@contextmanager
def _errors_name_the_server() -> Iterator[None]:
    """Let the errors of a block say that they are about --scratch, and not about the database."""
    try:
        yield
    except SqlmigError as error:
        raise replace_message(error, f"the server of --scratch: {error}") from None


@dataclass
class Scratch:
    """A scratch database: a connection to it, and a guard for the rest of the server."""

    connection: Connection
    guard: ServerGuard
    owns_server: bool
    schema: str  # names in this schema are written without it
    original_url: str
    made: _Made
    stack: ExitStack  # closes the connection
    has_setup: bool = False

    def refuse_if_lost(self, error: SqlmigError) -> None:
        """Raise ConnectionLost if an error came with the end of a session: it is no verdict on a file."""
        if isinstance(error, ConnectionLost):
            raise error
        self.connection.refuse_if_lost()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield another connection to the database. Files run on the same search path there. Raises SqlmigError."""
        with self.made.url.connect() as connection:
            connection.known_search_path = self.connection.known_search_path
            yield connection

    @contextmanager
    def saved(self) -> Iterator[Callable[[], AbstractContextManager[Scratch]]]:
        """Save the present state of the database, and yield a function that yields new copies of that state.

        The connection is closed and opened again, because PostgreSQL copies a database only
        if no session is connected to it. Raises SqlmigError.
        """
        self.stack.close()
        with self.made.copy() as base:
            fresh = self.made.open(self.stack)
            self.connection, self.guard = fresh.connection, fresh.guard
            yield base.copies


def no_setup(_: Scratch) -> None:
    """Do nothing before the first file."""


@contextmanager
def scratch_database(
    url: str,
    ledger: Ledger,
    say: Say,
    *,
    server: ScratchServer,
    files: Iterable[Path] = (),
    files_owner: str | None = None,
    leading_schema: str = "",
    file_settings: Iterable[tuple[str, str]] = (),
    set_up: Callable[[Scratch], None] = no_setup,
) -> Iterator[Scratch]:
    """Yield a new database that is like the original, and drop it at the end.

    url: the original. files: what they create is not created for them. files_owner: the role
    that owns the files' objects in the original, if they are compared with it. In that case
    the files run as this role if possible, the scratch database also has the default
    privileges and grants on schemas, and a server of our own has the roles. leading_schema:
    comes first in the search path. file_settings: custom settings for the files. set_up is
    called before the database gets anything that a setup file may create. Raises SqlmigError
    if the database cannot be created.
    """
    name = f"{PREFIX}{os.getpid()}_{secrets.token_hex(4)}"
    with _connect_outside(server, say, f"{_OWNER}{name}") as outside:
        is_read_only = outside.info.parameter_status("default_transaction_read_only")
        send(outside, _PATIENT.encode())
        _remove_left_over(server.url, outside, say)
        role = _role_to_run_as(outside, server, files_owner)
        with ExitStack() as stack:
            source = outside
            if server.is_elsewhere:
                source = stack.enter_context(connect(url, say))
            original = read_original(
                source,
                ledger,
                runner=role or _current_role(outside),
                files_owner=files_owner,
                is_elsewhere=server.is_elsewhere,
            )

        settings = [*custom_settings(original), *file_settings]
        if is_read_only == "on":
            settings.append(("default_transaction_read_only", "off"))
        made = _Made(
            name=name,
            outside=outside,
            url=_ScratchUrl(server.url, outside, name, settings, say),
            server=server,
            original=original,
            original_url=url,
            ledger=ledger,
            files=files,
            files_owner=files_owner,
            leading_schema=leading_schema,
            first_name=name,
        )
        try:
            _create(outside, name, original, server, say)
            try_each(outside, settings_statements(original, name))
            with ExitStack() as stack:
                yield made.prepare(stack, role, set_up)
        finally:
            _drop_or_warn(server.url, outside, name, say)


@dataclass(frozen=True)
class _Made:
    """A scratch database that was created, and all that it is made from."""

    name: str
    outside: Connection
    url: _ScratchUrl
    server: ScratchServer
    original: Original
    original_url: str
    ledger: Ledger
    files: Iterable[Path]
    files_owner: str | None
    leading_schema: str
    # A copy's name is this and a number. The application_name of the outer connection has it.
    first_name: str
    number: count[int] = field(default_factory=lambda: count(1))

    @contextmanager
    def copy(self) -> Iterator[_Made]:
        """Yield a copy of the database, to which no session may be connected, and drop it at the end."""
        name = f"{self.first_name}_{next(self.number)}"
        create = f"CREATE DATABASE {name} TEMPLATE {quoted(self.name)}"
        try:
            _create_copy(self.outside, self.name, create)
            try_each(self.outside, settings_statements(self.original, name))
            yield replace(self, name=name, url=replace(self.url, name=name))
        finally:
            _drop_or_warn(self.server.url, self.outside, name, self.url.say)

    @contextmanager
    def copies(self) -> Iterator[Scratch]:
        """Yield a scratch database that is a copy, and drop it at the end."""
        with self.copy() as made, ExitStack() as stack:
            yield made.open(stack)

    def open(self, stack: ExitStack) -> Scratch:
        """Connect to the database as it is."""
        return self._guarded(stack.enter_context(self.url.connect()), stack)

    def prepare(
        self, stack: ExitStack, role: str | None, set_up: Callable[[Scratch], None]
    ) -> Scratch:
        """Connect, and make it like the original. role: the role that the files run as, if it is another one."""
        inside = stack.enter_context(self.url.connect())
        _give_to_owner(self.outside, self.name, self.original, self.files_owner)
        scratch = self._guarded(inside, stack)
        execute(inside, STATEMENTS["own_public"])
        set_up(scratch)
        self._make_like_the_original(inside)
        if role:
            scratch = self._guarded(stack.enter_context(self.url.connect(role)), stack)
        scratch.has_setup = set_up is not no_setup
        if self.ledger.files_schema:
            execute(scratch.connection, self.ledger.schemas())
        return scratch

    def _guarded(self, connection: Connection, stack: ExitStack) -> Scratch:
        connection.known_search_path = _search_path(
            self.original, self.ledger, self.leading_schema
        )
        owns_server = self.server.is_owned
        guard = ServerGuard(connection, self.outside, owns_server=owns_server)
        guard.require_counts()
        return Scratch(
            connection,
            guard,
            owns_server,
            self.ledger.home_schema,
            self.original_url,
            made=self,
            stack=stack,
        )

    def _make_like_the_original(self, inside: Connection) -> None:
        """Create the roles, schemas, privileges and extensions. What the role may not do there is left out."""
        original = self.original
        owner = self.files_owner
        if self.server.is_owned:
            try_each(inside, original.roles)
        schemas = [self.leading_schema] if self.leading_schema else []
        made = created_by(self.files, original)
        try_each(inside, likeness_statements(original, made, schemas, owner))
        is_compared = owner is not None
        extensions = extension_statements(original, made, even_if_unless=is_compared)
        try_each(inside, extensions)


@contextmanager
def _connect_outside(
    server: ScratchServer, say: Say, application_name: str
) -> Iterator[Connection]:
    """Yield the connection that creates and drops the scratch database. Raises SqlmigError."""
    naming = _errors_name_the_server() if server.is_elsewhere else nullcontext()
    with ExitStack() as stack:
        with naming:
            outside = stack.enter_context(connect(server.url, say, application_name))
        yield outside


def _current_role(connection: Connection) -> str:
    ((role,),) = fetch(connection, "SELECT current_user::text")
    return str(role)


def _role_to_run_as(
    outside: Connection, server: ScratchServer, files_owner: str | None
) -> str | None:
    """Return the files' owner, if the files can run as this role and do not anyway; otherwise None.

    On a server of our own the role is made, and is a superuser.
    """
    if files_owner is None or files_owner == _current_role(outside):
        return None
    if server.is_owned:
        name = quoted(files_owner)
        try_each(outside, [f"CREATE ROLE {name}"])
        execute(outside, f"ALTER ROLE {name} SUPERUSER")
    kind = "SET" if outside.info.server_version >= _HAS_SET_OPTION else "MEMBER"
    can_be_set = fetch(
        outside,
        f"SELECT 1 FROM pg_roles WHERE rolname = {literal(files_owner)} AND pg_has_role(oid, '{kind}')",
    )
    return files_owner if can_be_set else None


def _search_path(original: Original, ledger: Ledger, leading_schema: str) -> str:
    first = leading_schema or ledger.files_schema
    path = [quoted(first)] if first else []
    return ", ".join(filter(None, [*path, original.search_path]))


def _give_to_owner(
    outside: Connection, name: str, original: Original, files_owner: str | None
) -> None:
    """Give the database to the owner of the original, who may do there what it may do here, as may the files' owner.

    This happens after a session is connected to it: other members of the owner's group
    would drop a database that nobody uses. A role that does not inherit the owner's rights
    could not drop it any more.
    """
    for role in {original.owner, files_owner} - {None}:
        grant = f"GRANT ALL ON DATABASE {name} TO {quoted(str(role))}"
        try_each(outside, [grant])
    has_rights = fetch(
        outside,
        f"SELECT 1 FROM pg_roles WHERE rolname = {literal(original.owner)} AND pg_has_role(oid, 'USAGE')",
    )
    if has_rights:
        give = f"ALTER DATABASE {name} OWNER TO {quoted(original.owner)}"
        try_each(outside, [give])


@dataclass(frozen=True)
class _ScratchUrl:
    """How to connect to the scratch database. settings: names and values for its sessions."""

    url: str
    outside: Connection
    name: str
    settings: Sequence[tuple[str, str]]
    say: Say

    @contextmanager
    def connect(self, role: str | None = None) -> Iterator[Connection]:
        """Yield a connection. role: the role that the session has. Raises SqlmigError.

        It uses the password of the first connection, because .pgpass may have it for one
        database only. If the server refuses the settings, there are none. If the session has
        ended, any error of the block becomes a ConnectionLost: it is no verdict on a file.
        """
        wanted = [*self.settings, *([("role", role)] if role else [])]
        with ExitStack() as stack:
            try:
                inside = stack.enter_context(self._connect(wanted))
            except SqlmigError as error:
                if not wanted:
                    raise self._not_let_in(error) from None
                try:
                    inside = stack.enter_context(self._connect([]))
                except SqlmigError as second:
                    raise self._not_let_in(second) from None
                self.say(
                    f"warning: the scratch database does not have the settings of the database: {error}"
                )
            try:
                yield inside
            except SqlmigError as error:
                if inside.closed:
                    raise ConnectionLost(str(error)) from None
                raise

    def _connect(
        self, settings: Iterable[tuple[str, str]]
    ) -> AbstractContextManager[Connection]:
        given = parameters(self.url) | {"dbname": self.name}
        if self.outside.info.password:
            given["password"] = self.outside.info.password
        options = [f"-c {name}={_escaped(value)}" for name, value in settings]
        if options:
            given["options"] = " ".join([*options, self.outside.info.options])
        return connect(make_conninfo("", **given), lambda _: None)

    def _not_let_in(self, error: SqlmigError) -> SqlmigError:
        return SqlmigError(
            f"the scratch database {self.name} was made, but does not let us in: {error}. If pg_hba.conf or a pooler "
            f"names the databases, allow those that begin with {PREFIX}, or name another server with --scratch"
        )


def _escaped(value: str) -> str:
    """Return a value for the connection parameter ``options``."""
    return re.sub(r"([\s\\])", r"\\\1", value)


def _create(
    outside: Connection,
    name: str,
    original: Original,
    server: ScratchServer,
    say: Say,
) -> None:
    """Create the database with the encoding and locale of the original. Raises SqlmigError.

    On the same server template1 is copied if possible: it may have another encoding or
    locale, and others may be connected to it. Another server may lack the locale.
    """
    options = [
        f"{original.locale} {original.collation_version}",
        f"TEMPLATE template0 {original.locale} {original.collation_version}",
    ]
    if server.is_elsewhere:
        options = [
            f"TEMPLATE template0 {original.locale}",
            f"TEMPLATE template0 {original.encoding} LOCALE 'C'",
        ]
    try:
        try:
            execute_alone(outside, f"CREATE DATABASE {name} {options[0]}")
        except ServerError as problem:
            if problem.sqlstate in (_INSUFFICIENT_PRIVILEGE, _READ_ONLY):
                raise
            execute_alone(outside, f"CREATE DATABASE {name} {options[1]}")
            if server.is_elsewhere:
                say(
                    f"warning: the scratch database has the locale C: {problem.server_message}"
                )
    except ServerError as problem:
        if problem.sqlstate == _INSUFFICIENT_PRIVILEGE:
            raise SqlmigError(
                "a scratch database is needed: give the role CREATEDB, connect as a role that has it, "
                "or name another server with --scratch"
            ) from None
        if problem.sqlstate == _READ_ONLY:
            raise SqlmigError(
                "this server is a standby, which takes no scratch database; connect to the primary, "
                "or name another server with --scratch"
            ) from None
        raise SqlmigError(
            f"cannot make a scratch database: {problem.server_message}"
        ) from None


def _create_copy(outside: Connection, source: str, create: str) -> None:
    """Copy a database. If a pooler or a monitoring agent is connected to it, end its session, and try again."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            execute_alone(outside, create)
        except ServerError as problem:
            outside.refuse_if_lost()
            if (
                problem.sqlstate not in _OTHERS_ARE_CONNECTED
                or time.monotonic() > deadline
            ):
                raise SqlmigError(
                    f"cannot copy the scratch database: {problem.server_message}"
                ) from None
            fetch(outside, STATEMENTS["end_sessions"].format(name=literal(source)))
            time.sleep(0.1)
        else:
            return


def _remove_left_over(url: str, outside: Connection, say: Say) -> None:
    """Drop the scratch databases that killed runs left: no session is connected to them or is creating them.

    Another run may drop them at the same time, which may even end the connection, so each
    has a connection of its own.
    """
    query = STATEMENTS["left_over"].format(prefix=PREFIX, owner=_OWNER)
    for (name,) in fetch(outside, query):
        with suppress(SqlmigError), connect(url, say) as other:
            _drop(url, other, name)
            say(f"dropped {name}, which a killed run had left")


def _end_prepared(url: str, outside: Connection, name: str) -> None:
    """Roll back the prepared transactions of the scratch database, because they prevent dropping it."""
    query = STATEMENTS["prepared"].format(name=literal(name))
    prepared = fetch(outside, query)
    if not prepared:
        return
    with _ScratchUrl(url, outside, name, [], lambda _: None).connect() as inside:
        for (gid,) in prepared:
            execute_alone(inside, f"ROLLBACK PREPARED {literal(gid)}")


def _drop_or_warn(url: str, outside: Connection, name: str, say: Say) -> None:
    """Drop the database, by a new connection if this one is lost. Print a warning if it cannot be dropped."""
    try:
        if _drop_patiently(url, outside, name, say):
            return
        with connect(url, say) as again:
            send(again, _PATIENT.encode())
            if not _drop_patiently(url, again, name, say):
                again.refuse_if_lost()
    except SqlmigError as problem:
        _warn(say, name, str(problem))


def _drop_patiently(url: str, outside: Connection, name: str, say: Say) -> bool:
    """Drop the database. If a session of a stronger role is connected to it, try again, and then print a warning.

    Returns False if the connection is lost.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            _drop(url, outside, name)
        except SqlmigError as problem:
            if outside.closed:
                return False
            if problem.sqlstate in _OTHERS_ARE_CONNECTED:
                if time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                _warn(say, name, "another session is connected to it")
            elif fetch(outside, STATEMENTS["exists"].format(name=literal(name))):
                _warn(say, name, str(problem))
        return True


def _warn(say: Say, name: str, why: str) -> None:
    say(
        f"warning: the scratch database {name} was not dropped: {why}. The next `sqlmig check` drops it"
    )


def _drop(url: str, outside: Connection, name: str) -> None:
    """Drop the database, whatever a file left there. Raises SqlmigError."""
    with suppress(SqlmigError):
        _end_prepared(url, outside, name)
    with _as_its_owner(outside, name):
        # ALTER DATABASE ends the connection if a DROP DATABASE was interrupted or is running.
        for _ in fetch(outside, STATEMENTS["template"].format(name=literal(name))):
            with suppress(ServerError):
                alter = f"ALTER DATABASE {quoted(name)} IS_TEMPLATE false"
                execute_alone(outside, alter)

        drop = f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)"
        try:
            execute_alone(outside, drop)
        except KeyboardInterrupt:  # drop it in any case
            execute_alone(outside, drop)
            raise


@contextmanager
def _as_its_owner(outside: Connection, name: str) -> Iterator[None]:
    """Have the role of a database's owner, if a file has given it to a role whose rights we do not inherit."""
    query = STATEMENTS["other_owner"].format(name=literal(name))
    for (owner,) in fetch(outside, query):
        with suppress(ServerError):
            execute_alone(outside, f"SET ROLE {quoted(owner)}")
    yield
    with suppress(ServerError):
        execute_alone(outside, "RESET ROLE")
