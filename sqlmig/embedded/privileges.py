"""Start a server program as the owner of its data directory, even if we are root.

PostgreSQL refuses to run as root. On Linux, setpriv(1) starts it as another user, keeps
the only capability that it needs (to enter directories that only root may enter), and
asks the kernel to stop it when we die.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sqlmig.core.errors import SqlmigError

if TYPE_CHECKING:
    from collections.abc import Iterator

# The capabilities that root needs to run a program as another user and to stop it, with
# their numbers in linux/capability.h.
_CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
}


def server_user() -> tuple[int, int]:
    """Return the user and group that own a new data directory: our own, or an unprivileged user's if we are root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


@contextmanager
def acting_as(user: int, group: int) -> Iterator[None]:
    """Open files as a user, if we are root, so that the user's links cannot lead root elsewhere."""
    if os.geteuid() != 0 or user == 0:
        yield
        return
    groups = os.getgroups()
    own_group = os.getegid()
    os.setgroups([])
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(own_group)
        os.setgroups(groups)


def require_capabilities(path: Path) -> None:
    """Raise SqlmigError if root lacks a capability to run a program as another user and to stop it."""
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


def launcher(path: Path, user: int, group: int) -> list[str]:
    """Return the command that starts a server program as a user, and stops it when we end. Raises SqlmigError."""
    if sys.platform != "linux":
        return []
    if not shutil.which("setpriv"):
        raise SqlmigError(
            "setpriv, which starts the server, is not on PATH; install it (util-linux)"
        )

    # The kernel sends the server SIGINT, a fast and clean shutdown, when the runner dies.
    command = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() != 0:
        return command
    if not _is_in_user_namespace(user):
        raise SqlmigError(
            f"{path}: PostgreSQL does not run as root, and this root may not run it as another user: "
            f"its user namespace has no user {user}; run sqlmig as an ordinary user"
        )

    # The server must enter directories that only root may enter, so it keeps that
    # capability. initdb and postgres check their own programs with access(2). During this
    # call, the kernel clears the capabilities of every user except root, unless
    # no_setuid_fixup is set: capabilities(7).
    if (user, group) == server_user():
        enter_only = "-all,+dac_override"
        command += [
            "--securebits=+no_setuid_fixup",
            f"--inh-caps={enter_only}",
            f"--ambient-caps={enter_only}",
        ]
    else:
        # The other user chooses in postgresql.conf which programs the server runs, so they
        # get no more privileges than that user has.
        group = pwd.getpwuid(user).pw_gid
        command += ["--inh-caps=-all"]
    command += [f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    return command


def _is_in_user_namespace(user: int) -> bool:
    """Return whether our user namespace has a user. In a rootless container, root may be the only user."""
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= user < first + count:
            return True
    return False


def start_program(
    command: list[str], output: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a server program in a session of its own, so that Ctrl-C does not reach it before we are done."""
    environment = {"LC_ALL": "C"}
    for name, value in os.environ.items():
        if not name.startswith(("PG", "LC_")):
            environment[name] = value

    return subprocess.Popen(
        command,
        cwd="/",
        env=environment,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )
