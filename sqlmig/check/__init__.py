"""Use a scratch database to check that each down file undoes its up file, and that a database has no drift."""

from sqlmig.check.base import BaseProblem, compare_with_base
from sqlmig.check.breaks import Break
from sqlmig.check.catalog import Difference, Differences
from sqlmig.check.drift import find_drift
from sqlmig.check.finding import Finding
from sqlmig.check.gate import KINDS, Gate
from sqlmig.check.proof import prove
from sqlmig.check.queries import Query, read_queries
from sqlmig.check.running import setup_from
from sqlmig.check.scratch import (
    Scratch,
    ScratchServer,
    open_scratch_server,
    scratch_database,
)

__all__ = [
    "KINDS",
    "BaseProblem",
    "Break",
    "Difference",
    "Differences",
    "Finding",
    "Gate",
    "Query",
    "Scratch",
    "ScratchServer",
    "compare_with_base",
    "find_drift",
    "open_scratch_server",
    "prove",
    "read_queries",
    "scratch_database",
    "setup_from",
]
