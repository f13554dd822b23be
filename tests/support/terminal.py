"""Run a command at a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.project import Project


def on_a_terminal(
    project: Project,
    *arguments: str,
    code: int = 0,
    columns: int = 80,
    answer: str = "",
    stdout: IO[str] | None = None,
    **environment: str,
) -> str:
    """Run a command on a pseudo-terminal, answer its question, and return its output."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {
        "env": os.environ
        | {"DATABASE_URL": project.url, "SQLMIG_DIR": str(project.directory)}
        | environment
    }
    process = project.start(
        *arguments, stdin=theirs, stdout=stdout or theirs, stderr=theirs, **kept
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
            if answer and b"[y/N]" in shown:
                os.write(ours, f"{answer}\n".encode())
                answer = ""
    except OSError:  # Linux: the other side is closed
        pass
    os.close(ours)
    assert process.wait() == code, shown
    return shown.decode()
