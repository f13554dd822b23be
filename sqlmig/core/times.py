"""Times as a user writes them: a number with a unit."""

import re

from sqlmig.core.errors import UsageError

_LONGEST_TIMEOUT = 2147483.647  # the server counts milliseconds in 32 bits
_SECONDS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600}


def parse_lock_timeout(value: str) -> float:
    """Return a time in seconds. Raises UsageError for what PostgreSQL would not take as a time of at least 1 ms."""
    seconds = parse_time(value, units=("s", "ms", "min"), at_least=0.001)
    if seconds > _LONGEST_TIMEOUT:
        raise UsageError(f"{value!r} is longer than PostgreSQL can wait; give less")
    return seconds


def parse_time(value: str, units: tuple[str, ...], at_least: float = 0) -> float:
    """Return a time in seconds, of a number with a unit. Raises UsageError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", value, re.ASCII)
    if match and match[2] in units:
        seconds = float(match[1]) * _SECONDS[match[2]]
        if seconds >= at_least:
            return seconds
    wanted = f"{', '.join(units[:-1])} or {units[-1]}"
    least = f", at least {at_least * 1000:.0f} ms" if at_least else ""
    raise UsageError(
        f"{value!r} is not a time: give a number with {wanted}{least}, for example 5{units[0]}"
    )
