"""A private PostgreSQL server on a data directory, for the duration of a command."""

from sqlmig.embedded.binaries import programs
from sqlmig.embedded.data_directory import server, throwaway_server

__all__ = ["programs", "server", "throwaway_server"]
