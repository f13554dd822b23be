"""Give files their numbers: write the next pair, and renumber a version."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from sqlmig.core.errors import SqlmigError, UsageError
from sqlmig.core.migrations import (
    FILE_NAME,
    LARGEST_VERSION,
    label_of,
    parse_name,
    sql_files,
)

_TIMESTAMP = re.compile(r"(?:19|2\d)\d{12}")


def create(directory: Path, title: str) -> list[Path]:
    """Write the next pair of files, and return their paths.

    The version is the next number. If the newest version is a timestamp, it is the current
    time (UTC).
    """
    name = re.sub(r"\W+", "_", title.lower()).strip("_")
    if not name:
        raise UsageError(f"“{title}” has no letter or digit to name a file with")
    _refuse_to_nest(directory)

    stem = f"{_next_version(directory)}_{name}"
    up_file = directory / f"{stem}.up.sql"
    down_file = directory / f"{stem}.down.sql"
    purpose = name.replace("_", " ").capitalize()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with up_file.open("x", encoding="utf-8") as file:
            file.write(f"-- {purpose}: say what this is for.\n")
        with down_file.open("x", encoding="utf-8") as file:
            file.write(f"-- Undoes {stem}, in reverse order.\n")
    except OSError as error:
        raise SqlmigError(f"{error.filename}: {error.strerror}") from None
    return [up_file, down_file]


def _refuse_to_nest(directory: Path) -> None:
    """Refuse to make a directory inside a directory of migrations: the user forgot --dir."""
    parent = directory.absolute().parent
    if directory.exists() or not parent.is_dir():
        return
    for file_name in sql_files(parent):
        if FILE_NAME.fullmatch(file_name):
            raise SqlmigError(
                f"{directory}: does not exist, and {parent} has migrations itself; name the directory with --dir"
            )


def is_timestamp(version: int) -> bool:
    """Check whether a version looks like a time, as in 20260131120000."""
    return bool(_TIMESTAMP.fullmatch(str(version)))


def renumber(directory: Path, which: str, new: str | None) -> list[tuple[Path, Path]]:
    """Rename the files of a version, and return the old and the new paths.

    which: a version, or the name of a migration as in ``0007_add_index``. new: the new
    version; None for the next free number, or for the current time (UTC) if the versions are
    timestamps. Raises SqlmigError if nothing can be renamed, and UsageError for a version
    that does not exist or is taken. If a file cannot be renamed, all keep their names.
    """
    paths = [directory / name for name in sql_files(directory)]
    chosen = _files_of(paths, which)
    old = chosen[0].name.partition("_")[0]
    number = _next_number(directory, paths) if new is None else new.zfill(len(old))
    taken = [path.name for path in paths if parse_name(path)[0] == int(number)]
    if taken:
        raise UsageError(f"version {int(number)} is taken by {taken[0]}; name another")
    if int(number) > LARGEST_VERSION:
        raise UsageError(f"{number} is larger than 64 bits; name another")

    renamed: list[tuple[Path, Path]] = []
    for path in chosen:
        target = path.with_name(f"{number}_{path.name.partition('_')[2]}")
        try:
            path.rename(target)
        except OSError as error:
            for was, now in renamed:
                with suppress(OSError):
                    now.rename(was)
            raise SqlmigError(f"{path}: cannot be renamed: {error.strerror}") from None
        renamed.append((path, target))
    return renamed


def _files_of(paths: list[Path], which: str) -> list[Path]:
    """Return the files of a version or of a migration. Raises UsageError unless exactly one migration is meant."""
    if re.fullmatch(r"[0-9]+", which):
        chosen = [path for path in paths if parse_name(path)[0] == int(which)]
    else:
        chosen = [path for path in paths if label_of(path) == which]
    labels = set()
    for path in chosen:
        if path.name.endswith(".up.sql"):
            labels.add(label_of(path))

    if not labels:
        raise UsageError(f"there is no version {which}")
    if len(labels) > 1:
        names = " and ".join(sorted(labels))
        raise UsageError(f"version {which} is {names}; name the one to renumber")
    return chosen


def _next_version(directory: Path) -> str:
    """Return the next version with the same number of digits as the newest."""
    paths = []
    if directory.exists():
        paths = [directory / name for name in sql_files(directory)]
    return _next_number(directory, paths)


def _next_number(directory: Path, paths: list[Path]) -> str:
    newest = max(paths, key=lambda path: parse_name(path)[0], default=Path("0000_"))
    digits = newest.name.partition("_")[0]
    version = int(digits) + 1
    if is_timestamp(int(digits)):
        now = datetime.now(timezone.utc).strftime("%Y%m%d%H%M%S")
        version = max(version, int(now))
    if version > LARGEST_VERSION:
        raise SqlmigError(f"{directory}: no number comes after {digits}")
    return f"{version:0{len(digits)}}"
