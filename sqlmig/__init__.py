"""Run plain up/down SQL files against PostgreSQL, and leave no mess.

    applied = sqlmig.up("postgresql://…", "sql")
    sqlmig.down("postgresql://…", "sql", steps=1)
    rows = sqlmig.status("postgresql://…", "sql")
    differences = sqlmig.find_drift("postgresql://…", "sql")
    findings = sqlmig.prove("sql")

Importing this loads no driver: that is done when a function is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlmig.core.errors import LedgerDisagrees, MigrationFailed, SqlmigError, UsageError

if TYPE_CHECKING:
    from sqlmig.api import Status, down, status, up
    from sqlmig.check import Difference, Differences, Finding
    from sqlmig.core.versions import Applied, State, VersionState
    from sqlmig.proofs import find_drift, prove

__all__ = [
    "Applied",
    "Difference",
    "Differences",
    "Finding",
    "LedgerDisagrees",
    "MigrationFailed",
    "SqlmigError",
    "State",
    "Status",
    "UsageError",
    "VersionState",
    "down",
    "find_drift",
    "prove",
    "status",
    "up",
]
__version__ = "1.0.0"

_MODULES = {
    "Applied": "sqlmig.core.versions",
    "Difference": "sqlmig.check",
    "Differences": "sqlmig.check",
    "Finding": "sqlmig.check",
    "State": "sqlmig.core.versions",
    "Status": "sqlmig.api",
    "VersionState": "sqlmig.core.versions",
    "down": "sqlmig.api",
    "find_drift": "sqlmig.proofs",
    "prove": "sqlmig.proofs",
    "status": "sqlmig.api",
    "up": "sqlmig.api",
}

# A type checker must not see it: it would accept every name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Load a name when it is used (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value
