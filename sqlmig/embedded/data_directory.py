"""Run a server on a data directory: create it if it is missing, start the server, share it, and stop it.

Any number of commands may use one directory. Two locks (flock) order them. The command
that holds the lock of the directory is the owner. It starts and stops the server, and
holds the lock from before the start until after the stop. Each other command holds a
shared lock of PG_VERSION while it uses the server. The owner holds this lock exclusively
while it stops the server, or a server that a killed command left there.

If we are root, a directory of another user is hostile input. Its files are opened as that
user, relative to the directory, and without following links.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from sqlmig.core.errors import SqlmigError
from sqlmig.embedded.binaries import programs
from sqlmig.embedded.privileges import (
    acting_as,
    launcher,
    require_capabilities,
    server_user,
    start_program,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_INITDB = (
    "-U postgres -E UTF8 --no-locale --no-sync --auth-local=trust --auth-host=reject"
)
# A socket's path is limited to 104 bytes. mkdtemp gives access to the directory only to us.
_SOCKETS_PARENT = "/tmp"
_SOCKETS_PREFIX = "sqlmig-"
# initdb works in a subdirectory, so that an interrupted run leaves nothing that looks finished.
_UNFINISHED_PREFIX = ".sqlmig-initdb-"
# The only entry of a new file system.
_NOTHING = "lost+found"
_OTHERS = "the other commands that use this server"
_LOG = "server.log"
_PID_FILE = "postmaster.pid"
_LARGEST_FILE = 1 << 16  # characters to read from a file of the directory
_PATIENCE = 60.0  # seconds for the server to start, or to stop
_SILENCE = 1.0  # seconds to wait for another command without a message


class Postmaster(NamedTuple):
    """The contents of a server's postmaster.pid (src/include/utils/pidfile.h)."""

    pid: int
    sockets: str
    is_ready: bool


def _print(words: str) -> None:
    print(words, file=sys.stderr)


class Directory:
    """An open directory. Its files are opened as its owner, and never through a link."""

    def __init__(self, path: Path) -> None:
        """Open the directory. Raises OSError."""
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        found = os.fstat(self.descriptor)
        self.owner = found.st_uid
        self.group = found.st_gid

    def __enter__(self) -> Directory:
        """Return the directory."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        os.close(self.descriptor)

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a file in the directory, and return its descriptor.

        Raises FileNotFoundError, and SqlmigError for any other reason.
        """
        # Without O_NONBLOCK a named pipe would keep us waiting.
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with acting_as(self.owner, self.group):
            try:
                descriptor = os.open(name, flags, 0o600, dir_fd=self.descriptor)
            except FileNotFoundError as error:
                error.filename = str(self.path / name)
                raise
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a pipe
                    raise self._strange(name) from None
                raise SqlmigError(f"{self.path / name}: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._strange(name)
        return descriptor

    def read(self, name: str) -> str:
        """Return the text of a file in the directory. Raises like open."""
        with os.fdopen(self.open(name), errors="replace") as file:
            return file.read(_LARGEST_FILE)

    def _strange(self, name: str) -> SqlmigError:
        return SqlmigError(f"{self.path / name}: not a plain file; nothing was done")


@contextmanager
def server(
    path: str | Path,
    settings: Mapping[str, str] | None = None,
    *,
    make: bool = True,
    major: str = "",
    say: Callable[[str], None] = _print,
) -> Iterator[str]:
    """Yield the URL of a server on a data directory. The last command that uses the server stops it.

    settings: parameters of postgresql.conf. make: create the directory if it is missing, for
    the major version if one is given. say: called with a message before waiting for other
    commands. Raises SqlmigError.
    """
    _refuse_links_of_others(Path(path).absolute())
    path = Path(path).resolve()
    require_capabilities(path)
    begin = time.monotonic()
    has_said_so = False
    while time.monotonic() < begin + _PATIENCE:
        if not has_said_so and time.monotonic() > begin + _SILENCE:
            say(f"{path}: waiting for another command to make or start the server")
            has_said_so = True
        if not _is_made(path, make=make, major=major):
            time.sleep(0.05)
            continue

        with Directory(path) as directory:
            # Either we own the server, or another command owns it and we use it.
            with _locked(directory, ".", fcntl.LOCK_EX) as is_owner:
                if is_owner:
                    with _started(directory, settings or {}, say) as url:
                        yield url
                    return
            with _locked(directory, "PG_VERSION", fcntl.LOCK_SH) as is_steady:
                postmaster = _postmaster(directory)
                if is_steady and postmaster.is_ready and _serves(postmaster, directory):
                    yield _url(postmaster.sockets)
                    return
        time.sleep(0.05)
    raise SqlmigError(
        f"{path}: another command holds this data directory, but its server does not answer"
    )


def _refuse_links_of_others(path: Path) -> None:
    """Raise SqlmigError if we are root and a path leads through a link of another user."""
    if os.geteuid() != 0:
        return
    for part in (path, *path.parents):
        if part.is_symlink() and part.lstat().st_uid != 0:
            raise SqlmigError(
                f"{part}: a symbolic link of another user; name the directory that it leads to"
            )


@contextmanager
def throwaway_server(major: str = "") -> Iterator[str]:
    """Yield the URL of a temporary server, and remove it at the end. Raises SqlmigError.

    major: the major version to use, if its programs are found. Otherwise it is the usual one.
    """
    wanted = ""
    with suppress(SqlmigError):
        programs(major)
        wanted = major
    with (
        tempfile.TemporaryDirectory(
            prefix="sqlmig-server-", ignore_cleanup_errors=True
        ) as made,
        server(Path(made) / "data", {"fsync": "off"}, major=wanted) as url,
    ):
        yield url


@contextmanager
def _locked(
    directory: Directory,
    name: str,
    mode: int,
    waiting_for: str = "",
    say: Callable[[str], None] = _print,
) -> Iterator[bool]:
    """Hold a lock on a directory (".") or on a file in it, and yield whether we got it.

    waiting_for: if given, print that we wait for this, and wait. Otherwise, do not wait.
    """
    if name == ".":
        # A lock belongs to an open file description, so open the directory once more.
        flags = os.O_RDONLY | os.O_DIRECTORY
        descriptor = os.open(".", flags, dir_fd=directory.descriptor)
    else:
        descriptor = directory.open(name)
    try:
        is_had = _try_lock(descriptor, mode)
        if not is_had and waiting_for:
            say(f"{directory.path}: waiting for {waiting_for}")
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


def _is_made(path: Path, *, make: bool, major: str) -> bool:
    """Return whether a data directory is complete. Create it if it is missing and no other command is doing it."""
    version = path / "PG_VERSION"
    if version.exists():
        return True
    if not make:
        raise SqlmigError(
            f"{path}: no PostgreSQL data directory there; `sqlmig up` makes one"
        )
    _make(path, major)
    return version.exists()


def _make(path: Path, major: str) -> None:
    """Create a data directory, in a missing or empty directory, unless another command is doing it."""
    if not path.exists():
        launcher(path, *server_user())  # raise its errors before creating a directory
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            Directory(path) as directory,
            _locked(directory, ".", fcntl.LOCK_EX) as is_ours,
        ):
            if is_ours and not (path / "PG_VERSION").exists():
                _refuse_what_is_there(path)
                _initialise(directory, major)
    except FileExistsError:
        raise SqlmigError(
            f"{path}: not empty, and not a PostgreSQL data directory; name another"
        ) from None
    except OSError as error:
        raise SqlmigError(
            f"{path}: cannot make a data directory there: {error.strerror}"
        ) from None


def _refuse_what_is_there(path: Path) -> None:
    """Raise SqlmigError if a directory is not empty. Files that our own interrupted initdb left do not count."""
    for entry in path.iterdir():
        if not entry.name.startswith(_UNFINISHED_PREFIX) and entry.name != _NOTHING:
            raise SqlmigError(
                f"{path}: not empty, and not a PostgreSQL data directory; name another"
            )


def _initialise(directory: Directory, major: str) -> None:
    """Run initdb in a subdirectory, and move its files to their place, PG_VERSION last."""
    initdb = programs(major) / "initdb"
    if directory.owner == os.geteuid():
        user, group = server_user()
        command = launcher(directory.path, user, group)
        os.fchown(directory.descriptor, user, group)
        directory.owner, directory.group = user, group
    else:
        _refuse_owner(directory)
        command = launcher(directory.path, directory.owner, directory.group)

    with acting_as(directory.owner, directory.group):
        os.fchmod(directory.descriptor, 0o700)
    with _unfinished(directory) as name:
        new = directory.path / name
        process = start_program(
            [*command, str(initdb), "-D", str(new), *_INITDB.split()], subprocess.PIPE
        )
        output = process.communicate()[0].decode(errors="replace").strip()
        if process.returncode:
            raise SqlmigError(f"{directory.path}: initdb failed:\n{output}")
        _move_up(directory, name)


@contextmanager
def _unfinished(directory: Directory) -> Iterator[str]:
    """Yield the name of a new directory for initdb. Remove it at the end, with the directories of killed commands."""
    name = f"{_UNFINISHED_PREFIX}{os.getpid()}"
    _remove_unfinished(directory)
    with acting_as(directory.owner, directory.group):
        os.mkdir(name, 0o700, dir_fd=directory.descriptor)
    try:
        yield name
    finally:
        _remove_unfinished(directory)


def _remove_unfinished(directory: Directory) -> None:
    for name in os.listdir(directory.descriptor):  # noqa: PTH208 -- a descriptor
        if name.startswith(_UNFINISHED_PREFIX):
            remove_tree(directory, name)


def remove_tree(directory: Directory, name: str) -> None:
    """Remove a subdirectory with the rights of the owner of the directory that contains it.

    shutil.rmtree takes a descriptor only since Python 3.11. fwalk follows no link.
    """
    with acting_as(directory.owner, directory.group), suppress(OSError):
        below = os.fwalk(name, topdown=False, dir_fd=directory.descriptor)
        for _, folders, files, descriptor in below:
            for file in files:
                os.unlink(file, dir_fd=descriptor)
            for folder in folders:
                _remove_folder(folder, descriptor)
        _remove_folder(name, directory.descriptor)


def _remove_folder(name: str, descriptor: int) -> None:
    """Remove an empty folder, or a link to one, in an open directory."""
    try:
        os.rmdir(name, dir_fd=descriptor)
    except NotADirectoryError:  # a link
        os.unlink(name, dir_fd=descriptor)


def _move_up(directory: Directory, name: str) -> None:
    """Move the contents of a subdirectory into the directory itself."""
    with acting_as(directory.owner, directory.group):
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        source = os.open(name, flags, dir_fd=directory.descriptor)
        try:
            names = os.listdir(source)  # noqa: PTH208 -- a descriptor
            for entry in sorted(names, key=_is_version):
                os.rename(
                    entry, entry, src_dir_fd=source, dst_dir_fd=directory.descriptor
                )
        finally:
            os.close(source)


def _is_version(name: str) -> bool:
    return name == "PG_VERSION"


def _refuse_owner(directory: Directory) -> None:
    """Raise SqlmigError for a directory of root, or of a user that we cannot act as."""
    if directory.owner != 0 and os.geteuid() in (0, directory.owner):
        return
    whose = "another user"
    if directory.owner == 0:
        whose = "root, as which PostgreSQL does not run"
    raise SqlmigError(
        f"{directory.path}: the data directory belongs to {whose}; name another, or change its owner"
    )


@contextmanager
def _started(
    directory: Directory, settings: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[str]:
    """Start a server on the data directory, yield its URL, and stop it when no other command uses it."""
    path = directory.path
    _refuse_owner(directory)
    command = launcher(path, directory.owner, directory.group)
    postgres = programs(_major(directory)) / "postgres"
    with _locked(directory, "PG_VERSION", fcntl.LOCK_EX, _OTHERS, say):
        _clear(directory)

    sockets = tempfile.mkdtemp(prefix=_SOCKETS_PREFIX, dir=_SOCKETS_PARENT)
    os.chown(sockets, directory.owner, -1, follow_symlinks=False)
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
    log = directory.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with os.fdopen(log, "wb") as output:
        process = start_program(command, output)
    try:
        _wait_until_ready(directory, process, sockets)
        yield _url(sockets)
    finally:
        with _locked(directory, "PG_VERSION", fcntl.LOCK_EX, _OTHERS, say):
            _stop(process)
        _remove_sockets(directory, sockets)


def _major(directory: Directory) -> str:
    """Return the major version of the server that the directory belongs to."""
    version = directory.read("PG_VERSION").strip()
    if not version.isdecimal():
        raise SqlmigError(f"{directory.path}: PG_VERSION holds no version")
    return version


def _wait_until_ready(
    directory: Directory, process: subprocess.Popen[bytes], sockets: str
) -> None:
    deadline = time.monotonic() + _PATIENCE
    while _postmaster(directory) != Postmaster(process.pid, sockets, is_ready=True):
        if process.poll() is not None or time.monotonic() > deadline:
            output = directory.read(_LOG).strip()
            raise SqlmigError(f"{directory.path}: the server does not start:\n{output}")
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


def _postmaster(directory: Directory) -> Postmaster:
    """Return the contents of a data directory's postmaster.pid; process 0 if it is missing or incomplete."""
    try:
        lines = directory.read(_PID_FILE).splitlines()
        return Postmaster(int(lines[0]), lines[4], lines[7].strip() == "ready")
    except (FileNotFoundError, IndexError, ValueError):
        return Postmaster(0, "", is_ready=False)


def _clear(directory: Directory) -> None:
    """Stop the server that a killed command left on the data directory, so that another can start."""
    left = _postmaster(directory)
    if not left.pid:
        return

    is_ours = _are_our_sockets(left.sockets)
    if not is_ours and "postgres" in " ".join(_process(left.pid).arguments):
        raise _serves_already(left, directory)
    deadline = time.monotonic() + _PATIENCE
    while _serves(left, directory):
        if not is_ours or time.monotonic() > deadline:
            raise _serves_already(left, directory)
        os.kill(left.pid, signal.SIGINT)
        time.sleep(0.05)
    # The process number may now belong to another server, which has its own sockets.
    if is_ours and left.sockets not in _process(left.pid).arguments:
        _remove_sockets(directory, left.sockets)
    _disown(directory)


def _serves_already(left: Postmaster, directory: Directory) -> SqlmigError:
    return SqlmigError(
        f"{directory.path}: process {left.pid} serves this data directory; stop it, or use its URL"
    )


def _are_our_sockets(sockets: str) -> bool:
    """Return whether we created a directory for sockets."""
    path = Path(sockets)
    return path.parent == Path(_SOCKETS_PARENT) and path.name.startswith(
        _SOCKETS_PREFIX
    )


def _remove_sockets(directory: Directory, sockets: str) -> None:
    """Remove a directory for sockets with the server user's rights, because a pid file may name any directory."""
    with acting_as(directory.owner, directory.group):
        shutil.rmtree(sockets, ignore_errors=True)


def _disown(directory: Directory) -> None:
    """Write our process number into a stale postmaster.pid.

    Another process may have the number in the file. PostgreSQL treats the number of its
    own parent as stale, and still checks the shared memory.
    """
    try:
        descriptor = directory.open(_PID_FILE, os.O_RDWR)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "r+") as file:
        rest = file.read().partition("\n")[2]
        file.seek(0)
        file.write(f"{os.getpid()}\n{rest}")
        file.truncate()


class _Process(NamedTuple):
    """A process: its user, and its command line. Without such a process, user is None and arguments is empty."""

    user: int | None
    arguments: list[str]


def _serves(postmaster: Postmaster, directory: Directory) -> bool:
    """Return whether a process is a server on this data directory. Its number may now belong to another process."""
    process = _process(postmaster.pid)
    if process.user != directory.owner:
        return False
    options = ["-D", str(directory.path), "-k", postmaster.sockets]
    return process.arguments[1:5] == options


def _process(pid: int) -> _Process:
    try:
        if sys.platform != "linux":
            return _process_by_ps(pid)
        status = Path(f"/proc/{pid}/status").read_text()
        command_line = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        user = re.search(r"^Uid:\s*(\d+)", status, re.MULTILINE)
        return _Process(int(user[1]) if user else None, command_line.split("\0"))
    except OSError:
        return _Process(None, [])


def _process_by_ps(pid: int) -> _Process:
    """Read a process from ps, which joins the arguments of a command line with blanks."""
    command = ["ps", "-p", str(pid), "-o", "uid=,args="]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    user, _, line = shown.strip().partition(" ")
    match = re.match(r"\s*(\S*) (-D) (.*) (-k) (\S+) ", line + " ")
    if not user:
        return _Process(None, [])
    return _Process(int(user), list(match.groups()) if match else line.split())
