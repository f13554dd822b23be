"""SQL text of our own: what it runs under, how names and values are quoted, and files of statements. Pure."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# What our own statements run under. On the caller's search path another role's function or
# operator could match a call better than PostgreSQL's own, and would run with our rights.
# Row level security would hide rows: with it off, the server refuses the query instead.
OWN_SETTINGS = (
    "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL row_security = off"
)


def read_statements(path: Path) -> dict[str, str]:
    """Return the statements of an SQL file under their titles, which stand on lines ``-- %% title``.

    Comments right below a title are for the reader of the file, and left out.
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
    """Return a dollar quote, made of a word, that a text does not contain."""
    for number in count():
        quote = f"${word}{number or ''}$"
        if quote not in text:
            return quote
    raise AssertionError("count() has no end")
