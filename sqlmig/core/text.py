"""Where a byte is in a file: its line and column, and the line shown with a caret under it."""

from typing import NamedTuple

from sqlmig.core.wording import display_width

_SHOWN_BEFORE = 60  # characters of a long line that are shown before the place
_SHOWN = 120


class Place(NamedTuple):
    """A line and a column, both from 1. Columns are counted in characters."""

    line: int
    column: int


def find_place(text: bytes, offset: int) -> Place:
    """Return the line and column of a byte offset. Lines may end as on any system."""
    before = text[:offset].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    start = _line_start(text, offset)
    column = len(text[start:offset].decode(errors="replace")) + 1
    return Place(before.count(b"\n") + 1, column)


def place(file: object, text: bytes, offset: int) -> str:
    """Name a byte offset in a file as compilers do: ``file:line:column``."""
    line, column = find_place(text, offset)
    return f"{file}:{line}:{column}"


def excerpt(text: bytes, offset: int) -> str:
    """Show the line that holds a byte offset, with a caret under the place."""
    number, column = find_place(text, offset)
    line = _line_at(text, offset)

    # A long line is cut around the place. A tab stays a tab, so that the caret stands under the place.
    left = max(0, column - 1 - _SHOWN_BEFORE)
    indent = ""
    for char in line[left : column - 1]:
        indent += "\t" if char == "\t" else " " * display_width(char)

    gutter = f"{number} | "
    blank_gutter = " " * (len(gutter) - 2) + "| "
    return f"  {gutter}{line[left : left + _SHOWN]}\n  {blank_gutter}{indent}^"


def _line_start(text: bytes, offset: int) -> int:
    return max(text.rfind(b"\n", 0, offset), text.rfind(b"\r", 0, offset)) + 1


def _line_at(text: bytes, offset: int) -> str:
    end = len(text)
    for newline in (b"\n", b"\r"):
        found = text.find(newline, offset)
        if found >= 0:
            end = min(end, found)
    return text[_line_start(text, offset) : end].decode(errors="replace")
