"""The errors that a caller can catch. Each message says what happened, where, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlmig.core.versions import Applied, VersionState


class SqlmigError(Exception):
    """Something failed. All errors of this package are of this class.

    applied has the migrations that the same call committed before it failed.
    """

    exit_code = 1
    applied: Sequence[Applied] = ()


class UsageError(SqlmigError):
    """The command line, or a call from Python, was wrong."""

    exit_code = 2


class LedgerDisagrees(SqlmigError):
    """The directory and the ledger disagree, so nothing was applied."""

    def __init__(self, message: str, rows: Sequence[VersionState]) -> None:
        """Keep the rows in which they disagree: each has a version, a name and a state."""
        super().__init__(message)
        self.rows = list(rows)


class MigrationFailed(SqlmigError):
    """A migration failed while it ran. A file that runs in a transaction was rolled back.

    path, line and column say where in the file (columns are counted in characters),
    as far as that is known; sqlstate is the server's code, or None where the server
    did not answer.
    """

    def __init__(
        self,
        message: str,
        *,
        path: Path | None = None,
        line: int | None = None,
        column: int | None = None,
        sqlstate: str | None = None,
    ) -> None:
        """Keep what is known of the place."""
        super().__init__(message)
        self.path = path
        self.line = line
        self.column = column
        self.sqlstate = sqlstate
