"""Text for people: places in a file, plurals, patterns, times, and how wide a text is on a terminal. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlmig.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_PASSWORD = re.compile(
    r"(\bpassword\s+)(?:e?'(?:[^']|'')*'?|\$(\w*)\$.*?(?:\$\2\$|$))", re.IGNORECASE
)
_SHOWN_BEFORE = 60  # characters of a long line that are shown before the place
_SHOWN = 120

# As PostgreSQL's valid_custom_variable_name (src/backend/utils/misc/guc.c).
_CUSTOM_SETTING = re.compile(r"[A-Za-z_][\w$]*(?:\.[A-Za-z_][\w$]*)+", re.ASCII)
_LONGEST_TIMEOUT = 2147483.647  # the server counts milliseconds in 32 bits
_SECONDS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600}


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
    """Return a place in the form of compilers: ``file:line:column``."""
    line, column = find_place(text, offset)
    return f"{file}:{line}:{column}"


def excerpt(text: bytes, offset: int) -> str:
    """Return the line that contains a byte offset, with a caret below the place."""
    number, column = find_place(text, offset)
    line = _line_at(text, offset)

    # A long line is cut around the place. A tab stays a tab, so the caret is below the place.
    left = max(0, column - 1 - _SHOWN_BEFORE)
    indent = ""
    for char in line[left : column - 1]:
        indent += "\t" if char == "\t" else " " * display_width(char)

    gutter = f"{number} | "
    blank_gutter = " " * (len(gutter) - 2) + "| "
    shown = without_passwords(line[left : left + _SHOWN])
    return f"  {gutter}{shown}\n  {blank_gutter}{indent}^"


def _line_start(text: bytes, offset: int) -> int:
    return max(text.rfind(b"\n", 0, offset), text.rfind(b"\r", 0, offset)) + 1


def _line_at(text: bytes, offset: int) -> str:
    end = len(text)
    for newline in (b"\n", b"\r"):
        found = text.find(newline, offset)
        if found >= 0:
            end = min(end, found)
    return text[_line_start(text, offset) : end].decode(errors="replace")


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun: ``1 row``, ``2 rows``, ``1,000 rows``."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def few(names: Sequence[str], most: int = 5) -> str:
    """Return the first of some names, and how many more there are: ``a, b and 3 more``."""
    shown = ", ".join(names[:most])
    if len(names) > most:
        shown += f" and {len(names) - most:,} more"
    return shown


def regex_of(pattern: str) -> str:
    """Return the regular expression of a pattern: ``*`` matches any characters, ``?`` one."""
    return re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")


def display_width(text: str) -> int:
    """Return how many columns a terminal gives a text (Unicode's East Asian Width)."""
    import unicodedata  # here, because only errors and the progress line need it

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


def without_passwords(text: str) -> str:
    """Return a text with *** instead of each string that follows the word PASSWORD."""
    return _PASSWORD.sub(r"\1'***'", text)


def server_message(diagnostic: Any) -> str:
    """Return the text of a server's error or notice (a Diagnostic of psycopg), with its details."""
    lines = [f"{diagnostic.severity}: {diagnostic.message_primary}"]
    for name, value in (
        ("DETAIL", diagnostic.message_detail),
        ("HINT", diagnostic.message_hint),
        ("CONTEXT", diagnostic.context),
    ):
        if value:
            lines.append(f"{name}: {value}")
    text = without_passwords("\n".join(lines))
    for value in _hidden:
        text = text.replace(value, "***")
    return text


def parse_lock_timeout(value: str) -> float:
    """Return a time in seconds. Raises UsageError for what PostgreSQL would not take as a time of at least 1 ms."""
    seconds = parse_time(value, units=("s", "ms", "min"), at_least=0.001)
    if seconds > _LONGEST_TIMEOUT:
        raise UsageError(f"{value!r} is longer than PostgreSQL can wait; give less")
    return seconds


_hidden: set[str] = set()
_SHORTEST_HIDDEN = 4  # a shorter value would hide parts of other words


def hide(value: str) -> None:
    """Show *** instead of a value in the server's messages from now on."""
    if len(value) >= _SHORTEST_HIDDEN:
        _hidden.add(value)


def checked_value(name: str, value: object) -> str:
    """Return the value of a custom setting. Raises UsageError, without the value, if it is not text in UTF-8."""
    if not isinstance(value, str):
        raise UsageError(f"the value of the setting {name!r} is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the value of the setting {name!r} is not UTF-8") from None
    hide(value)
    return value


def checked_setting(name: str) -> str:
    """Return the name of a custom setting. Raises UsageError for one that the server would not take as such."""
    if not _CUSTOM_SETTING.fullmatch(name):
        raise UsageError(
            f"{name!r} is not the name of a custom setting, which has a dot, such as app.region"
        )
    return name


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
