"""What a scratch database proves: each down file undoes its up file; a database is what its files make."""

from sqlmig.check.base import BaseProblem, compare_with_base
from sqlmig.check.catalog import Difference, Differences
from sqlmig.check.drift import find_drift
from sqlmig.check.effects import KINDS as EFFECT_KINDS
from sqlmig.check.proof import Finding, prove
from sqlmig.check.scratch import scratch_database

__all__ = [
    "EFFECT_KINDS",
    "BaseProblem",
    "Difference",
    "Differences",
    "Finding",
    "compare_with_base",
    "find_drift",
    "prove",
    "scratch_database",
]
