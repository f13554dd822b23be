"""A server on a data directory: made when missing, started, shared by several commands, and stopped.

Any number of commands may use one directory. Two locks (flock) order them. The lock of
the directory is the owner's, who starts the server and stops it: it is held from before
the start to after the stop. The lock of PG_VERSION is held shared by each other command
while it uses the server, and by the owner alone while it stops the server, or one that
was left there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from sqlmig.embedded.binaries import programs
from sqlmig.embedded.privileges import (
    launcher,
    require_capabilities,
    server_user,
    start_program,
)
from sqlmig.errors import SqlmigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_INITDB = (
    "-U postgres -E UTF8 --no-locale --no-sync --auth-local=trust --auth-host=reject"
)
# A socket's path is limited to 104 bytes. mkdtemp makes the directory ours alone.
_SOCKETS_PARENT = "/tmp"
_SOCKETS_PREFIX = "sqlmig-"
_OTHERS = "the other commands that use this server"
_PATIENCE = 60.0  # seconds for the server to start, or to stop


class Postmaster(NamedTuple):
    """What a server says of itself in postmaster.pid (src/include/utils/pidfile.h)."""

    pid: int
    sockets: str
    is_ready: bool


def _print(words: str) -> None:
    print(words, file=sys.stderr)


@contextmanager
def server(
    path: str | Path,
    settings: Mapping[str, str] | None = None,
    *,
    make: bool = True,
    say: Callable[[str], None] = _print,
) -> Iterator[str]:
    """Yield the URL of a server on a data directory. The last command that uses it stops it.

    settings: of postgresql.conf. make: the directory is made when it is missing. say is
    called with what it waits for. Raises SqlmigError.
    """
    path = Path(path).absolute()
    require_capabilities(path)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if not (path / "PG_VERSION").exists():
            if not make:
                raise SqlmigError(
                    f"{path}: no PostgreSQL data directory there; `sqlmig up` makes one"
                )
            _make(path, say)

        # Either we own the server, or we use the one that another command owns.
        with _locked(path, fcntl.LOCK_EX) as is_owner:
            if is_owner:
                with _started(path, settings or {}, say) as url:
                    yield url
                return
        with _locked(path / "PG_VERSION", fcntl.LOCK_SH) as is_steady:
            postmaster = _postmaster(path)
            if (
                is_steady
                and postmaster.is_ready
                and str(path) in _command_line(postmaster.pid)
            ):
                yield _url(postmaster.sockets)
                return
        time.sleep(0.05)
    raise SqlmigError(
        f"{path}: another command holds this data directory, but its server does not answer"
    )


@contextmanager
def throwaway_server() -> Iterator[str]:
    """Yield the URL of a server that is made for this, and removed after it. Raises SqlmigError."""
    with (
        tempfile.TemporaryDirectory(
            prefix="sqlmig-server-", ignore_cleanup_errors=True
        ) as made,
        server(Path(made) / "data", {"fsync": "off"}) as url,
    ):
        yield url


@contextmanager
def _locked(
    path: Path,
    mode: int,
    waiting_for: str = "",
    say: Callable[[str], None] = _print,
) -> Iterator[bool]:
    """Hold a lock on a file or directory, and yield whether it is had.

    Where it says what it waits for, it waits, and says so.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        is_had = _try_lock(descriptor, mode)
        if not is_had and waiting_for:
            say(f"{path}: waiting for {waiting_for}")
            fcntl.flock(descriptor, mode)
            is_had = True
        yield is_had
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make(path: Path, say: Callable[[str], None]) -> None:
    """Make a data directory. It gets its name last: an interrupted initdb leaves nothing that looks finished."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(
            path.parent,
            fcntl.LOCK_EX,
            "another command that makes a directory there",
            say,
        ):
            if (path / "PG_VERSION").exists():
                return
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise SqlmigError(
                    f"{path}: not empty, and no PostgreSQL data directory; name another"
                )
            _run_initdb(path)
    except OSError as error:
        raise SqlmigError(
            f"{path}: cannot make a data directory there: {error.strerror}"
        ) from None


def _run_initdb(path: Path) -> None:
    initdb = programs() / "initdb"
    user, group = server_user()
    command = launcher(path, user, group)

    new = path.with_name(path.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    os.chown(new, user, group)
    process = start_program(
        [*command, str(initdb), "-D", str(new), *_INITDB.split()], subprocess.PIPE
    )
    output = process.communicate()[0].decode(errors="replace").strip()
    if process.returncode:
        shutil.rmtree(new, ignore_errors=True)
        raise SqlmigError(f"{path}: initdb failed:\n{output}")
    new.rename(path)


@contextmanager
def _started(
    path: Path, settings: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[str]:
    """Start a server on the data directory, yield its URL, and stop it once no other command uses it."""
    owner = path.stat().st_uid
    if owner == 0 or os.geteuid() not in (0, owner):
        whose = (
            "root, as which PostgreSQL does not run" if owner == 0 else "another user"
        )
        raise SqlmigError(
            f"{path}: the data directory belongs to {whose}; name another, or change its owner"
        )
    command = launcher(path, owner, path.stat().st_gid)
    postgres = programs((path / "PG_VERSION").read_text().strip()) / "postgres"
    with _locked(path / "PG_VERSION", fcntl.LOCK_EX, _OTHERS, say):
        _clear(path)

    sockets = tempfile.mkdtemp(prefix=_SOCKETS_PREFIX, dir=_SOCKETS_PARENT)
    os.chown(sockets, owner, -1)
    command += [
        str(postgres),
        "-D",
        str(path),
        "-k",
        sockets,
        "--listen_addresses=",
        "--port=5432",
    ]
    for name, value in settings.items():
        command.append(f"--{name}={value}")
    log = path / "server.log"
    with log.open("wb") as output:
        process = start_program(command, output)
    try:
        _wait_until_ready(path, process, sockets, log)
        yield _url(sockets)
    finally:
        with _locked(path / "PG_VERSION", fcntl.LOCK_EX, _OTHERS, say):
            _stop(process)
        shutil.rmtree(sockets, ignore_errors=True)


def _wait_until_ready(
    path: Path, process: subprocess.Popen[bytes], sockets: str, log: Path
) -> None:
    deadline = time.monotonic() + _PATIENCE
    while _postmaster(path) != Postmaster(process.pid, sockets, is_ready=True):
        if process.poll() is not None or time.monotonic() > deadline:
            output = log.read_text(errors="replace").strip()
            raise SqlmigError(f"{path}: the server does not start:\n{output}")
        time.sleep(0.01)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)
        process.wait()


def _url(sockets: str) -> str:
    return f"postgresql://postgres@/postgres?host={quote(sockets, safe='')}&port=5432"


def _postmaster(path: Path) -> Postmaster:
    """Return what the server on a data directory says of itself; process 0 where there is none."""
    try:
        lines = (path / "postmaster.pid").read_text().splitlines()
        return Postmaster(int(lines[0]), lines[4], lines[7].strip() == "ready")
    except (OSError, IndexError, ValueError):
        return Postmaster(0, "", is_ready=False)


def _clear(path: Path) -> None:
    """Stop the server that a killed command left on the data directory, and see to it that another can start."""
    left = _postmaster(path)
    if not left.pid:
        return

    is_ours = left.sockets.startswith(f"{_SOCKETS_PARENT}/{_SOCKETS_PREFIX}")
    deadline = time.monotonic() + _PATIENCE
    while "postgres" in (command := _command_line(left.pid)):
        if not is_ours or str(path) not in command or time.monotonic() > deadline:
            raise SqlmigError(
                f"{path}: process {left.pid} serves this data directory; stop it, or use its URL"
            )
        os.kill(left.pid, signal.SIGINT)
        time.sleep(0.05)
    if is_ours:
        shutil.rmtree(left.sockets, ignore_errors=True)
    _disown(path / "postmaster.pid")


def _disown(pid_file: Path) -> None:
    """Write our number into a stale postmaster.pid.

    Another process may have the number that stands there. PostgreSQL takes the number of
    its own parent for a stale one, and still checks the shared memory.
    """
    with suppress(FileNotFoundError), pid_file.open("r+") as file:
        rest = file.read().partition("\n")[2]
        file.seek(0)
        file.write(f"{os.getpid()}\n{rest}")
        file.truncate()


def _command_line(pid: int) -> str:
    """Return a process's command line; empty where there is no such process."""
    if sys.platform != "linux":
        command = ["ps", "-p", str(pid), "-o", "args="]
        return subprocess.run(
            command, capture_output=True, text=True, check=False
        ).stdout
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    return ""
