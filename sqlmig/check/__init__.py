"""Use a scratch database to check that each down file undoes its up file, and that a database has no drift."""

from sqlmig.check.base import BaseProblem, compare_with_base
from sqlmig.check.catalog import Difference, Differences
from sqlmig.check.drift import find_drift
from sqlmig.check.effects import KINDS as EFFECT_KINDS
from sqlmig.check.finding import Finding
from sqlmig.check.gate import Gate
from sqlmig.check.proof import prove
from sqlmig.check.running import setup_from
from sqlmig.check.scratch import (
    Scratch,
    ScratchServer,
    open_scratch_server,
    scratch_database,
)

__all__ = [
    "EFFECT_KINDS",
    "BaseProblem",
    "Difference",
    "Differences",
    "Finding",
    "Gate",
    "Scratch",
    "ScratchServer",
    "compare_with_base",
    "find_drift",
    "open_scratch_server",
    "prove",
    "scratch_database",
    "setup_from",
]
