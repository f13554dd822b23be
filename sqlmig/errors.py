"""What can go wrong, in words a person can act on."""

from typing import Any


class SqlmigError(Exception):
    """It failed: the message says what happened, where, and what to do next."""

    exit_code = 1


class UsageError(SqlmigError):
    """The command line was wrong."""

    exit_code = 2


def counted(count: int, noun: str) -> str:
    """Return a number of things in words."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def said(diag: Any) -> str:
    """Return the server's words, of a Diagnostic of psycopg's."""
    first, more = diag.severity, {"DETAIL": diag.message_detail, "HINT": diag.message_hint, "CONTEXT": diag.context}
    lines = {first: diag.message_primary} | more
    return "\n".join(f"{name}: {value}" for name, value in lines.items() if value or name == first)


def place(file: object, text: bytes, offset: int) -> str:
    """Name a byte offset in a file as compilers do: ``file:line:column``, columns counted in characters."""
    line, column, _ = _position(text, offset)
    return f"{file}:{line}:{column}"


def excerpt(text: bytes, offset: int) -> str:
    """Show the line that holds a byte offset, with a caret under the place."""
    line, column, shown = _position(text, offset)
    # Long lines are cut around the place; tabs stay tabs under which the caret still stands.
    left = max(0, column - 61)
    gutter = f"{line} | "
    before = "".join("\t" if c == "\t" else " " * width(c) for c in shown[left : column - 1])
    return f"  {gutter}{shown[left : left + 120]}\n  {' ' * (len(gutter) - 2)}| {before}^"


def _position(text: bytes, offset: int) -> tuple[int, int, str]:
    lines = text[:offset].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    start = max(text.rfind(b"\n", 0, offset), text.rfind(b"\r", 0, offset)) + 1
    ends = [end for end in (text.find(b"\n", offset), text.find(b"\r", offset)) if end >= 0]
    shown = text[start : min(ends, default=len(text))].decode(errors="replace")
    return lines.count(b"\n") + 1, len(text[start:offset].decode(errors="replace")) + 1, shown


def width(char: str) -> int:
    """Columns that a terminal gives a character (Unicode's East Asian Width; combining marks take none)."""
    import unicodedata  # only for an error

    no_columns = unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf")
    return 0 if no_columns else 2 if unicodedata.east_asian_width(char) in "WF" else 1
