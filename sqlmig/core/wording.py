"""Small helpers for words: plurals, patterns, the server's words, and how wide a text is on a terminal."""

import re
from collections.abc import Sequence
from typing import Any


def counted(count: int, noun: str) -> str:
    """Return a number and its noun: ``1 row``, ``2 rows``, ``1,000 rows``."""
    plural = "" if count == 1 else "s"
    return f"{count:,} {noun}{plural}"


def few(names: Sequence[str], most: int = 5) -> str:
    """Return the first of some names, and how many more there are: ``a, b and 3 more``."""
    shown = ", ".join(names[:most])
    if len(names) > most:
        shown += f" and {len(names) - most:,} more"
    return shown


def regex_of(pattern: str) -> str:
    """Return the regular expression of a pattern: ``*`` stands for any characters, ``?`` for one."""
    return re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")


def display_width(text: str) -> int:
    """Return how many columns a terminal gives a text (Unicode's East Asian Width)."""
    import unicodedata  # here, as only errors and the progress line need it

    width = 0
    for char in text:
        is_combining = unicodedata.combining(char) or unicodedata.category(char) in (
            "Mn",
            "Me",
            "Cf",
        )
        if unicodedata.east_asian_width(char) in "WF":
            width += 2
        elif not is_combining:
            width += 1
    return width


def server_words(diagnostic: Any) -> str:
    """Return the server's words of an error or a notice (a Diagnostic of psycopg's)."""
    lines = [f"{diagnostic.severity}: {diagnostic.message_primary}"]
    for name, value in (
        ("DETAIL", diagnostic.message_detail),
        ("HINT", diagnostic.message_hint),
        ("CONTEXT", diagnostic.context),
    ):
        if value:
            lines.append(f"{name}: {value}")
    return "\n".join(lines)
