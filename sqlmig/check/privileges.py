"""Read access privileges in the format of the catalogs, and describe how they differ.

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
    """The privileges of a grantee ("" for PUBLIC), and the role that granted them.

    letters: a letter for each privilege, with a star if the grantee may grant it to others.
    """

    grantee: str
    letters: str
    grantor: str

    def __str__(self) -> str:
        """Return it in the format of the catalogs."""
        return f"{self.grantee}={self.letters}/{self.grantor}"


def read_access(text: str) -> Access | None:
    """Parse an access privilege. Returns None if the text is something else."""
    match = _ACCESS.fullmatch(text)
    return Access(*match.groups()) if match else None


def difference_in_words(
    before: Sequence[str] | None, after: Sequence[str] | None
) -> str:
    """Describe who may do more and who may do less; "" if only the grantors differ."""
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
    """Return the names of each grantee's privileges, in the catalogs' order."""
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
