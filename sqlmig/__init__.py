"""Run plain up/down SQL files against PostgreSQL, and leave no mess."""

__version__ = "1.0.0"
