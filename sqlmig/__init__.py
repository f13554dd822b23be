"""Run plain up/down SQL files against PostgreSQL, and leave no mess.

    applied = sqlmig.up("postgresql://…", "sql")
    sqlmig.down("postgresql://…", "sql", steps=1)
    rows = sqlmig.status("postgresql://…", "sql")

Importing this loads no driver: that is done when a function is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlmig.core.errors import LedgerDisagrees, MigrationFailed, SqlmigError, UsageError

if TYPE_CHECKING:
    from sqlmig.api import Status, down, status, up
    from sqlmig.core.versions import Applied

__all__ = [
    "Applied",
    "LedgerDisagrees",
    "MigrationFailed",
    "SqlmigError",
    "Status",
    "UsageError",
    "down",
    "status",
    "up",
]
__version__ = "1.0.0"

_MODULES = {
    "Applied": "sqlmig.core.versions",
    "Status": "sqlmig.api",
    "down": "sqlmig.api",
    "status": "sqlmig.api",
    "up": "sqlmig.api",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
