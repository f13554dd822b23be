"""Our own SQL text: its settings, the quoting of names and values, and files of statements. Pure."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# The settings of our own statements. On the caller's search path another role's function or
# operator could match a call better than PostgreSQL's own, and would run with our rights.
# Row level security would hide rows: with it off, the server refuses the query instead.
OWN_SETTINGS = (
    "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL row_security = off"
)


def read_statements(path: Path) -> dict[str, str]:
    """Return the statements of an SQL file by their titles, which are the lines ``-- %% title``.

    Comments directly below a title are for the reader of the file, and are left out.
    """
    text = path.read_text(encoding="utf-8")
    return dict(
        re.findall(
            r"^-- %% (\w+)\n(?:-- .*\n)*((?:(?!-- %%).*\n)+)", text, re.MULTILINE
        )
    )


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL string, for standard_conforming_strings on."""
    return "'" + text.replace("'", "''") + "'"


def dollar_quote(word: str, text: str) -> str:
    """Return a dollar quote that a text does not contain."""
    for number in count():
        quote = f"${word}{number or ''}$"
        if quote not in text:
            return quote
    raise AssertionError("count() has no end")
