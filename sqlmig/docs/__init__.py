"""Describe a schema as a Markdown page with a Mermaid diagram, from the database's catalog and its comments."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig.core.connection import fetch_on_callers_path
from sqlmig.core.errors import UsageError
from sqlmig.core.sql import quoted

if TYPE_CHECKING:
    from sqlmig.core.connection import Connection

_SETTINGS, _PAGE = (
    (Path(__file__).parent / "page.sql").read_text(encoding="utf-8").split("-- %%\n")
)
# Characters with a meaning in Markdown.
_MARKUP = re.compile(r"[\\`*\[\]<>|~#$&]|(?<!\w)_|_(?!\w)|^[-+=]")
# Characters that Mermaid does not allow in a quoted name, and similar characters to use instead.
_MERMAID_LOOKALIKES = str.maketrans({'"': "\u201d", "%": "\uff05", "\\": "\uff3c"})
_MERMAID_FORBIDDEN = re.compile(r"[^A-Za-z0-9_()\[\]\u00c0-\uffff]|[\s\ufeff]")
_MERMAID_RESERVED = re.compile(
    r"[^A-Za-z_\u00c0-\uffff]|[pfu]k(?![A-Za-z0-9_])", re.IGNORECASE
)


def page(connection: Connection, schema: str) -> str:
    """Return the page about a schema, or about the first on the search path. Session settings do not affect it."""
    path = f"SET LOCAL search_path = {quoted(schema)};" if schema else ""
    connection.execute((_SETTINGS + path).encode())
    ((found,),) = fetch_on_callers_path(
        connection, "SELECT pg_catalog.current_schema()"
    )
    if found is None:
        problem = (
            f"there is no schema {schema}"
            if schema
            else "the search path names no schema that exists"
        )
        raise UsageError(f"{problem}; name one with --schema")

    # Find the query's functions in pg_catalog, even if the schema has functions with the
    # same names. Write the names in the result relative to the schema.
    connection.execute(
        f"SET LOCAL search_path = pg_catalog; DECLARE page CURSOR FOR {_PAGE}".encode()
    )
    connection.execute(f"SET LOCAL search_path = {quoted(found)}".encode())
    rows = fetch_on_callers_path(connection, "FETCH ALL FROM page")
    connection.execute("ROLLBACK")

    # Each row has the text before its group, the format of its line, and the values for the line.
    lines = []
    for (before, line), group in groupby(rows, key=lambda row: row[:2]):
        if before:
            lines.append(before)
        for _, _, words in group:
            lines.append(line.format(*(_Word(word or "") for word in words or ())))
    return "\n".join(lines) + "\n"


class _Word(str):
    """A value from the catalog. The format gives the text before it, and the way to escape it."""

    def __format__(self, spec: str) -> str:
        before, _, how = spec.rpartition("|")
        if not self:
            return ""
        return before + _make_safe(how, str(self))


def _make_safe(how: str, word: str) -> str:
    if how == "code":
        return _inline_code(word)
    if how == "cell":  # code in a table cell
        return _inline_code(word).replace("|", r"\|")

    if how == "text":
        return _markdown_text(word)
    if how == "block":
        fence = _fence(word, at_least=3)
        return f"{fence}sql\n{word}\n{fence}"
    if how == "anchor":
        return _anchor(word)
    if how == "name":
        return _mermaid_name(word)
    if how == "word":
        return _mermaid_word(word)
    return word


def _fence(word: str, at_least: int) -> str:
    """Return a run of backticks that is longer than any run in the value."""
    longest = max(map(len, re.findall("`+", word)), default=0)
    return "`" * max(at_least, longest + 1)


def _inline_code(word: str) -> str:
    word = re.sub(r"\s*[\r\n]\s*", " ", word)
    fence = _fence(word, at_least=1)
    space = " " if "`" in word else ""
    return f"{fence}{space}{word}{space}{fence}"


def _markdown_text(word: str) -> str:
    """Escape a text so that Markdown shows it unchanged, and put it on one line."""
    lines = []
    for line in word.strip().splitlines():
        lines.append(_MARKUP.sub(r"\\\g<0>", line.strip()))
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", "<br>".join(lines))


def _anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _mermaid_name(word: str) -> str:
    """Return a quoted name that Mermaid accepts."""
    printable = "".join(char if char.isprintable() else " " for char in word)
    name = " ".join(printable.translate(_MERMAID_LOOKALIKES).split())
    return f'"{name or "_"}"'


def _mermaid_word(word: str) -> str:
    """Return a type or a column's name that Mermaid accepts. It does not allow quotes there."""
    word = _MERMAID_FORBIDDEN.sub("_", word.replace('"', "")) or "_"
    if _MERMAID_RESERVED.match(word):
        return f"_{word}"
    return word
