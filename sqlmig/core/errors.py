"""Every exception of this package. Each message says what happened, where, and what to do next.

    SqlmigError                 something failed; catch this to catch them all
     ├─ UsageError              the command line, or a call from Python, was wrong
     ├─ LedgerDisagrees         the files and the ledger do not fit together
     ├─ MigrationFailed         a migration failed while it ran
     │   └─ TryAgain            it met another transaction, and may succeed in a moment
     ├─ ServerError             the server refused one of sqlmig's own statements
     └─ ConnectionLost          the connection to the server is lost

Two more never reach a caller: ``PlanIsStale``, after which the runner plans again, and
``ScanError``, which becomes a SqlmigError with the file and the line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from psycopg.pq.abc import PGresult

    from sqlmig.core.versions import Applied, VersionState


_HINT = "HINT: "


class SqlmigError(Exception):
    """Something failed. All errors of this package are of this class.

    path, line and column say where in a file, if that is known; columns are counted in
    characters. sqlstate is the server's code, or None if the server did not reply. applied
    has the migrations that the same call committed before it failed.
    """

    exit_code = 1
    applied: Sequence[Applied] = ()

    def __init__(
        self,
        message: str,
        *,
        path: Path | None = None,
        line: int | None = None,
        column: int | None = None,
        sqlstate: str | None = None,
    ) -> None:
        """Keep the place, if it is known."""
        super().__init__(message)
        self.path = path
        self.line = line
        self.column = column
        self.sqlstate = sqlstate

    @property
    def first_line(self) -> str:
        """The first line of the message, without the place in a file."""
        place = f"{self.path}:{self.line}:{self.column}: "
        return str(self).splitlines()[0].removeprefix(place)

    @property
    def hint(self) -> str | None:
        """What to do about it: the hints in the message, one in a line; None without any."""
        hints = []
        for line in str(self).splitlines():
            if line.startswith(_HINT):
                hints.append(line.removeprefix(_HINT))
        return "\n".join(hints) or None


class UsageError(SqlmigError):
    """The command line, or a call from Python, was wrong."""

    exit_code = 2


class LedgerDisagrees(SqlmigError):
    """The directory and the ledger disagree, so nothing was applied."""

    def __init__(self, message: str, rows: Sequence[VersionState]) -> None:
        """Keep the versions in which they disagree."""
        super().__init__(message)
        self.rows = list(rows)


class MigrationFailed(SqlmigError):
    """A migration failed while it ran. If its file runs in a transaction, the file was rolled back."""


class TryAgain(MigrationFailed):
    """The file met another transaction, and was rolled back. It may succeed in a moment.

    blockers has a line for each process that held the lock, if that is known.
    """

    blockers: Sequence[str] = ()


class ServerError(SqlmigError):
    """The server refused a statement. If a transaction was open, it is rolled back.

    diagnostic has the server's message and its details (a Diagnostic of psycopg).
    results_before has the results of the statements before it in the same batch.
    """

    def __init__(
        self,
        message: str,
        sqlstate: str,
        diagnostic: Any,
        results_before: list[PGresult],
    ) -> None:
        """Keep the server's own report with the message."""
        super().__init__(message, sqlstate=sqlstate)
        self.diagnostic = diagnostic
        self.results_before = results_before

    @property
    def server_message(self) -> str:
        """The server's primary message, without its severity."""
        return str(self.diagnostic.message_primary)


class ConnectionLost(SqlmigError):
    """The connection to the server is lost. The last batch may or may not have taken effect."""


class PlanIsStale(Exception):
    """Another runner holds the lock, or has changed the ledger since the plan was made. Nothing was done.

    The text is empty, or the error to report if the ledger turns out to be unchanged.
    """


class ScanError(Exception):
    """A text must not be sent to the server. offset is the byte that shows why."""

    def __init__(self, problem: str, offset: int) -> None:
        """Keep both."""
        super().__init__(problem)
        self.problem = problem
        self.offset = offset


def replace_message(error: BaseException, message: str) -> BaseException:
    """Return an error of the same kind with another message. A TryAgain becomes a MigrationFailed."""
    if not isinstance(error, SqlmigError):
        return type(error)(message)
    kind = SqlmigError
    for known in (MigrationFailed, UsageError):
        if isinstance(error, known):
            kind = known
    return kind(
        message,
        path=error.path,
        line=error.line,
        column=error.column,
        sqlstate=error.sqlstate,
    )
