"""A schema of the connected database as a Markdown page with a Mermaid diagram, from the catalog and its comments."""

import re
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlmig.database import Connection
from sqlmig.errors import UsageError
from sqlmig.ledger import quoted

_MARKUP = re.compile(r"[\\`*\[\]<>|~#$&]|(?<!\w)_|_(?!\w)|^[-+=]")


def page(connection: Connection, schema: str) -> str:
    """Return the page about a schema, else about the first on the search path: the same whoever asks."""
    settings, query = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").split("-- %%\n")
    path = f"SET LOCAL search_path = {quoted(schema)};" if schema else ""
    connection.execute((settings + path).encode())
    ((found,),) = connection.execute("SELECT current_schema()").fetchall()
    if found is None:
        what = f"there is no schema {schema}" if schema else "the search path names no schema that exists"
        raise UsageError(f"{what}; name one with --schema")
    # The query's functions are pg_catalog's, whatever the schema holds; names in the answer are the schema.s.
    connection.execute(f"SET LOCAL search_path = pg_catalog; DECLARE page CURSOR FOR {query}".encode())
    connection.execute(f"SET LOCAL search_path = {quoted(str(found))}".encode())
    rows: list[Any] = connection.execute("FETCH ALL FROM page").fetchall()
    connection.execute("ROLLBACK")
    lines = []
    for (before, line), group in groupby(rows, key=lambda row: row[:2]):
        lines += [before] if before else []
        lines += [line.format(*(_Word(word or "") for word in words or ())) for _, _, words in group]
    return "\n".join(lines) + "\n"


class _Word(str):
    """A word of the catalog, written as a format says: what stands before it, and how it is made safe there."""

    def __format__(self, spec: str) -> str:
        before, _, how = spec.rpartition("|")
        return before + _safe(how, str(self)) if self else ""


def _safe(how: str, word: str) -> str:
    if how in ("code", "cell"):
        word = re.sub(r"\s*[\r\n]\s*", " ", word)
        fence = "`" * (max(map(len, re.findall("`+", word)), default=0) + 1)
        space = " " if "`" in word else ""
        word = f"{fence}{space}{word}{space}{fence}"
        return word.replace("|", r"\|") if how == "cell" else word
    if how == "text":  # as it is, in Markdown on one line
        lines = (_MARKUP.sub(r"\\\g<0>", line.strip()) for line in word.strip().splitlines())
        return re.sub(r"^(\d+)([.)])", r"\1\\\2", "<br>".join(lines))
    if how == "block":
        fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", word)), 3)
        return f"{fence}sql\n{word}\n{fence}"
    if how == "name":  # in quotes, as Mermaid takes it: what it cannot hold becomes what looks alike
        word = "".join(char if char.isprintable() else " " for char in word)
        return '"' + (" ".join(word.translate(str.maketrans('"%\\', "\u201d\uff05\uff3c")).split()) or "_") + '"'
    if how == "word":  # a type or a column's name, as Mermaid takes it, which knows no quotes there
        word = re.sub(r"[^A-Za-z0-9_()\[\]\u00c0-\uffff]|[\s\ufeff]", "_", word.replace('"', "")) or "_"
        reserved = re.match(r"[^A-Za-z_\u00c0-\uffff]|[pfu]k(?![A-Za-z0-9_])", word, re.IGNORECASE)
        return f"_{word}" if reserved else word
    return word
