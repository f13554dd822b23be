"""Access privileges as the catalogs write them, and how they differ in words.

See https://www.postgresql.org/docs/current/ddl-priv.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NAME = r'(?:"(?:[^"]|"")*"|[^"=/]*)'
_ACCESS = re.compile(rf"({_NAME})=((?:[a-zA-Z]\*?)*)/({_NAME})")
_PRIVILEGES = {
    "r": "SELECT",
    "a": "INSERT",
    "w": "UPDATE",
    "d": "DELETE",
    "D": "TRUNCATE",
    "x": "REFERENCES",
    "t": "TRIGGER",
    "m": "MAINTAIN",
    "U": "USAGE",
    "X": "EXECUTE",
    "C": "CREATE",
    "c": "CONNECT",
    "T": "TEMPORARY",
    "s": "SET",
    "A": "ALTER SYSTEM",
}


class Access(NamedTuple):
    """What a grantee ("" for PUBLIC) may do, in letters, a star behind those it may pass on; and who granted it."""

    grantee: str
    letters: str
    grantor: str

    def __str__(self) -> str:
        """Return it as the catalogs write it."""
        return f"{self.grantee}={self.letters}/{self.grantor}"


def read_access(text: str) -> Access | None:
    """Return an access privilege, or None for a text that is none."""
    match = _ACCESS.fullmatch(text)
    return Access(*match.groups()) if match else None


def difference_in_words(
    before: Sequence[str] | None, after: Sequence[str] | None
) -> str:
    """Return who may do more and who may do less; "" where only who granted it differs."""
    was = _allowed(before or ())
    now = _allowed(after or ())
    sentences = []
    for grantee in sorted(was.keys() | now.keys()):
        gained = now.get(grantee, {}).keys() - was.get(grantee, {}).keys()
        lost = was.get(grantee, {}).keys() - now.get(grantee, {}).keys()
        who = grantee or "PUBLIC"
        if gained:
            sentences.append(f"{who} may now {_listed(gained, now[grantee])}")
        if lost:
            sentences.append(f"{who} may no longer {_listed(lost, was[grantee])}")
    return "; ".join(sentences)


def _allowed(privileges: Iterable[str]) -> dict[str, dict[str, None]]:
    """Return what each grantee may do, in words and in the catalogs' order."""
    allowed: dict[str, dict[str, None]] = {}
    for text in privileges:
        access = read_access(text)
        if access is None:
            continue
        words = allowed.setdefault(access.grantee, {})
        for letter, star in re.findall(r"([a-zA-Z])(\*?)", access.letters):
            word = _PRIVILEGES.get(letter, letter)
            words[word] = None
            if star:
                words[f"grant {word}"] = None
    return allowed


def _listed(chosen: Iterable[str], in_order: Iterable[str]) -> str:
    wanted = set(chosen)
    return ", ".join(word for word in in_order if word in wanted)
