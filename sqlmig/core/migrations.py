"""The migrations in a directory: their files, found by name and read as text."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core.errors import SqlmigError
from sqlmig.core.text import place

if TYPE_CHECKING:
    from pathlib import Path

# After "-- sqlmig: replaces": the versions, the checksum of the last one's old up file, and how many
# of them a database has, if the numbers do not show it. After an earlier squash it may have fewer.
REPLACES = re.compile(
    rb"(\d{1,19}) to (\d{1,19}): ([0-9a-f]{64})(?:, (?:(\d{1,9}) to )?(\d{1,9}) versions)?"
)
_REPLACES_DIRECTIVE = re.compile(
    rb"[ \t]*sqlmig:[ \t]*replaces[ \t]+" + REPLACES.pattern + rb"[ \t]*"
)
_COMMENT_OR_BLANK_LINE = re.compile(rb"[ \t]*(?:--([^\r\n]*))?(?:\r\n|\n|\r|\Z)")
FILE_NAME = re.compile(r"(?a:(\d+))_(.*)\.(up|down|rows)\.sql", re.DOTALL)
LARGEST_VERSION = 2**63 - 1
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Replaces(NamedTuple):
    """The versions that a squashed file replaces, and the checksum of the last one's old up file.

    least and most: how many rows a ledger has for them.
    """

    first: int
    last: int
    checksum: str
    least: int
    most: int


@dataclass(frozen=True)
class Migration:
    """A version and its files. The name is the up file's."""

    version: int
    label: str  # the up file's name without ``.up.sql``
    name: str  # the label without the version's number
    up_file: Path
    down_file: Path | None
    rows_file: Path | None = None  # rows that `check` writes after the up file

    @cached_property
    def checksum(self) -> str:
        """The checksum of the up file, at the first time that it is used."""
        return checksum(read(self.up_file))

    @cached_property
    def replaces(self) -> Replaces | None:
        """The versions that the up file replaces, at the first time that it is used; None for an ordinary file."""
        return find_replaces(read(self.up_file))

    @cached_property
    def down_text(self) -> str | None:
        """The text of the down file, at the first time that it is used; None if there is no down file."""
        if self.down_file is None:
            return None
        return read(self.down_file).decode()


def find(directory: Path) -> list[Migration]:
    """Return the migrations of a directory, by version.

    Raises SqlmigError for a name of another form, for two files of one version and kind,
    for a down or rows file without an up file, and for a directory without migrations.
    """
    up_files: dict[int, Path] = {}
    down_files: dict[int, Path] = {}
    rows_files: dict[int, Path] = {}
    by_kind = {"up": up_files, "down": down_files, "rows": rows_files}
    problems = []
    for file_name in sql_files(directory):
        path = directory / file_name
        version, kind = parse_name(path)
        other = by_kind[kind].setdefault(version, path)
        if other != path:
            problems.append(
                f"{path}: version {version} has another {kind} file, {other}; rename or remove one. "
                f"`sqlmig renumber {label_of(path)}` gives it the next free number"
            )

    for kind, files in by_kind.items():
        for version in sorted(files.keys() - up_files.keys()):
            problems.append(
                f"{files[version]}: version {version} has a {kind} file but no up file"
            )
    if problems:
        raise SqlmigError("\n".join(problems))
    if not up_files:
        raise SqlmigError(
            f"{directory}: no migrations there; write the first with `sqlmig new NAME`, or give --dir"
        )

    migrations = []
    for version, up_file in sorted(up_files.items()):
        label = label_of(up_file)
        name = label.partition("_")[2]
        migrations.append(
            Migration(
                version,
                label,
                name,
                up_file,
                down_files.get(version),
                rows_files.get(version),
            )
        )
    return migrations


def label_of(path: Path) -> str:
    """Return the name of a file without its kind: ``0007_add_index``."""
    return path.name.rsplit(".", 2)[0]


def parse_name(path: Path) -> tuple[int, str]:
    """Return the version and the kind (``up``, ``down`` or ``rows``) from the name of a file."""
    if not path.name.isprintable():
        raise SqlmigError(
            f"{path.name!a}: the file name has bytes or characters that cannot be shown; rename it"
        )
    match = FILE_NAME.fullmatch(path.name)
    if match is None or int(match[1]) > LARGEST_VERSION:
        raise SqlmigError(
            f"{path}: the name must be VERSION_NAME.up.sql, .down.sql or .rows.sql, with a 64-bit number as VERSION. "
            "`sqlmig import DIR` makes pairs of another tool's files"
        )
    return int(match[1]), match[3]


def sql_files(directory: Path) -> list[str]:
    """Return the names of the SQL files in a directory, sorted. Dot files and directories are left out."""
    names = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                is_sql = entry.name.lower().endswith(
                    ".sql"
                ) and not entry.name.startswith(".")
                if is_sql and not entry.is_dir():
                    names.append(entry.name)
    except OSError as error:
        raise SqlmigError(
            f"{directory}: {error.strerror}; name the directory of the SQL files (--dir or SQLMIG_DIR)"
        ) from None
    return sorted(names)


def read(path: Path) -> bytes:
    """Return the text of a file, without a byte order mark.

    Raises SqlmigError if it cannot be read, is not UTF-8, or contains a NUL byte.
    """
    try:
        if os.path.lexists(path) and not path.is_file():  # reading a pipe would wait
            raise SqlmigError(f"{path}: not a regular file")
        text = path.read_bytes().removeprefix(_BYTE_ORDER_MARK)
        text.decode()
    except OSError as error:
        raise SqlmigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SqlmigError(
            f"{place(path, text, error.start)}: not UTF-8; save the file as UTF-8"
        ) from None
    nul = text.find(b"\0")
    if nul >= 0 and text.count(b"\0") * 3 > len(text):
        raise SqlmigError(f"{path}: this looks like UTF-16; save the file as UTF-8")
    if nul >= 0:
        raise SqlmigError(
            f"{place(path, text, nul)}: a NUL byte, which PostgreSQL does not accept"
        )
    return text


def find_replaces(text: bytes) -> Replaces | None:
    """Return the versions that the directive ``replaces`` names; None without one.

    It stands among the lines before the first statement, each of them blank or a comment.
    """
    start = 0
    while start < len(text):
        line = _COMMENT_OR_BLANK_LINE.match(text, start)
        if line is None:
            return None
        found = _REPLACES_DIRECTIVE.fullmatch(line[1] or b"")
        if found:
            first, last = int(found[1]), int(found[2])
            most = int(found[5] or last - first + 1)
            least = int(found[4] or most)
            return Replaces(first, last, found[3].decode(), least, most)
        start = line.end()
    return None


def checksum(text: bytes) -> str:
    """Return the SHA-256 of a text in hexadecimal: the same for every kind of line ending."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return hashlib.sha256(text).hexdigest()
