"""The migrations in a directory: their files, found by name and read as text."""

import hashlib
import os
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

from sqlmig.errors import SqlmigError, UsageError, place

_NAME = re.compile(r"(?a:(\d+))_(.*)\.(up|down)\.sql", re.DOTALL)
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Migration:
    """A version and its files, of which the up file's name counts."""

    version: int
    label: str  # the file's name without ``.up.sql``
    name: str  # what in it stands behind the version's number
    up: Path
    down: Path | None

    @cached_property
    def checksum(self) -> str:
        """The up file's, as it was when this was asked first."""
        return checksum(read(self.up))

    @cached_property
    def undo(self) -> bytes | None:
        """The down file's text, likewise."""
        return read(self.down) if self.down else None


def find(directory: Path) -> list[Migration]:
    """Return a directory's migrations, by version; raise SqlmigError where they do not fit together."""
    ups, downs = dict[int, Path](), dict[int, Path]()
    for file in _sql_files(directory):
        path = directory / file
        if not file.isprintable():
            raise SqlmigError(f"{file!a}: a file name with bytes or characters that cannot be shown; rename it")
        match = _NAME.fullmatch(file)
        if not match or int(match[1]) > _LARGEST:
            form = "VERSION_NAME.up.sql or VERSION_NAME.down.sql, VERSION a 64-bit number"
            raise SqlmigError(f"{path}: the name must be {form}")
        other = (ups if match[3] == "up" else downs).setdefault(int(match[1]), path)
        if other != path:
            problem = f"version {int(match[1])} has another {match[3]} file, {other}"
            raise SqlmigError(f"{path}: {problem}; rename or remove one")
    for version in downs.keys() - ups.keys():
        raise SqlmigError(f"{downs[version]}: version {version} has a down file but no up file")
    if not ups:
        raise SqlmigError(f"{directory}: no migrations there; write the first with `sqlmig new NAME`, or give --dir")
    labels = [(version, up.name.removesuffix(".up.sql"), up) for version, up in sorted(ups.items())]
    return [Migration(n, label, label.partition("_")[2], up, downs.get(n)) for n, label, up in labels]


def _sql_files(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            names = {entry.name for entry in entries if not entry.is_dir()}
        return sorted(name for name in names if name.lower().endswith(".sql") and not name.startswith("."))
    except OSError as error:
        remedy = "give the directory of the SQL files with --dir or SQLMIG_DIR"
        raise SqlmigError(f"{directory}: {error.strerror}; {remedy}") from None


def read(path: Path) -> bytes:
    """Return a file's text without a byte order mark. Raises SqlmigError for what is no UTF-8 text."""
    try:
        if not path.is_file():  # a pipe would be waited for
            raise SqlmigError(f"{path}: no regular file")
        text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        text.decode()
    except OSError as error:
        raise SqlmigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SqlmigError(f"{place(path, text, error.start)}: not UTF-8; save the file as UTF-8") from None
    if (nul := text.find(b"\0")) >= 0:
        raise SqlmigError(f"{place(path, text, nul)}: a NUL byte, which PostgreSQL cannot take")
    return text


def checksum(text: bytes) -> str:
    """Return the SHA-256 of a text, in hexadecimal, the same with every kind of line ending."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return hashlib.sha256(text).hexdigest()


def create(directory: Path, title: str) -> list[Path]:
    """Write the next pair of files (the time is the version where the newest has one), and return their paths."""
    name = re.sub(r"\W+", "_", title.lower()).strip("_")
    if not name:
        raise UsageError(f"“{title}” has no letter or digit to name a file with")
    there, around, digits = directory.exists(), directory.absolute().parent, "0000"
    if not there and around.is_dir() and any(map(_NAME.fullmatch, _sql_files(around))):
        raise SqlmigError(f"{directory}: not there, and {around} holds migrations itself; name the one with --dir")
    if there and _sql_files(directory):
        digits = find(directory)[-1].label.partition("_")[0]
    version = int(digits) + 1
    if re.fullmatch(r"(?:19|2\d)\d{12}", digits):  # a timestamp
        version = max(version, int(datetime.now(timezone.utc).strftime("%Y%m%d%H%M%S")))
    if version > _LARGEST:
        raise SqlmigError(f"{directory}: no number comes after {digits}")
    stem = f"{version:0{len(digits)}}_{name}"
    up, down = directory / f"{stem}.up.sql", directory / f"{stem}.down.sql"
    words = f"{name.replace('_', ' ').capitalize()}: say what this is for.", f"Undoes {stem}, in reverse order."
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, line in zip((up, down), words, strict=True):
            with path.open("x", encoding="utf-8") as file:
                file.write(f"-- {line}\n")
    except OSError as error:
        raise SqlmigError(f"{error.filename}: {error.strerror}") from None
    return [up, down]
