"""Compare the migrations with a git revision: a pull request must not change files that others have."""

from __future__ import annotations

import re
import subprocess
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core import migrations
from sqlmig.core.errors import SqlmigError
from sqlmig.core.numbering import is_timestamp

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from sqlmig.core.migrations import Migration

_UP_FILE = re.compile(r"(?a:(\d+))_.*\.up\.sql", re.DOTALL)


class BaseProblem(NamedTuple):
    """A problem that shows when a file is compared with a git revision."""

    version: int
    path: Path
    message: str


class BaseComparison(NamedTuple):
    """The problems, and the versions that the revision does not have."""

    problems: list[BaseProblem]
    new: set[int]


def compare_with_base(
    directory: Path, found: Sequence[Migration], revision: str
) -> BaseComparison:
    """Compare the files with a git revision, which others may have applied.

    A new file is compared with the revision itself: its version must not be taken there,
    or be older than the newest version there. Edited and removed files are found by
    comparing with the commit at which this branch left the revision. Raises SqlmigError
    if git fails.
    """
    base = _Repository(directory)
    tip = base.up_files(base.commit(revision))
    fork = base.merge_base(revision)
    problems = _changed_files(base, fork, directory, found, revision)
    old = base.up_files(fork)
    here = {migration.version for migration in found}
    free = _free_numbers({*tip, *here}, max(tip, default=-1))
    for migration in found:
        if old.get(migration.version) == migration.up_file.name:
            continue  # not new in this branch
        if _is_squash(base, fork, migration):
            continue
        message = _clash(migration, tip, revision)
        if message:
            message += f": sqlmig renumber {migration.label}{next(free)}"
            path = migration.up_file
            problems.append(BaseProblem(migration.version, path, message))
    return BaseComparison(problems, here - {*old, *tip})


def _is_squash(base: _Repository, fork: str, migration: Migration) -> bool:
    """Check whether a file replaces a version of a commit, and others before it."""
    replaces = migration.replaces
    name = base.up_files(fork).get(migration.version)
    if replaces is None or name is None:
        return False
    return base.checksum(fork, name) == replaces.checksum


def _clash(migration: Migration, tip: Mapping[int, str], revision: str) -> str:
    """Return why the number of a new version cannot stay, or nothing."""
    version = migration.version
    newest = max(tip, default=-1)
    why = ""
    if version in tip and tip[version] != migration.up_file.name:
        why = f"version {version} is taken in {revision} by {tip[version]}"
    elif version not in tip and version < newest:
        why = f"it is older than the newest in {revision}, {tip[newest]}"
    return f"{why}; give it a number after {newest}" if why else ""


def _free_numbers(taken: Container[int], newest: int) -> Iterator[str]:
    """Yield the numbers that are free, after a blank; nothing but empty texts if versions are timestamps."""
    for number in count(newest + 1):
        if is_timestamp(newest):
            yield ""
        elif number not in taken:
            yield f" {number}"


def _changed_files(
    base: _Repository,
    fork: str,
    directory: Path,
    found: Sequence[Migration],
    revision: str,
) -> list[BaseProblem]:
    """Return a problem for each up file of a commit that was edited or removed here."""
    here = {migration.version: migration for migration in found}
    problems = []
    squashed = found[0].replaces if _is_squash(base, fork, found[0]) else None
    for version, name in sorted(base.up_files(fork).items()):
        if squashed and squashed.first <= version <= squashed.last:
            continue
        migration = here.get(version)
        if migration is None:
            message = f"{name} is in {revision}, but it was removed here"
            problems.append(BaseProblem(version, directory / name, message))
            continue
        path = migration.up_file
        if path.name == name and migration.checksum != base.checksum(fork, name):
            message = f"it is in {revision}, but it was edited here; write the change as a new migration"
            problems.append(BaseProblem(version, path, message))
    return problems


class _Repository:
    """The git repository that contains a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._git("rev-parse", "--git-dir")

    def commit(self, revision: str) -> str:
        """Return the commit that a revision refers to."""
        try:
            return self._git(
                "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"
            )
        except SqlmigError:
            raise SqlmigError(
                f"--base {revision}: there is no such revision here; fetch it first, in GitHub Actions with "
                "fetch-depth: 0 for actions/checkout"
            ) from None

    def merge_base(self, revision: str) -> str:
        """Return the commit at which this branch left a revision."""
        try:
            return self._git("merge-base", revision, "HEAD")
        except SqlmigError:
            raise SqlmigError(
                f"--base {revision}: git finds no commit that it shares with this branch. A shallow clone has too few; "
                "fetch all, in GitHub Actions with fetch-depth: 0 for actions/checkout"
            ) from None

    def up_files(self, commit: str) -> dict[int, str]:
        """Return the names of the up files in the directory at a commit, by version."""
        files = {}
        for name in self._git("ls-tree", "-z", "--name-only", commit).split("\0"):
            match = _UP_FILE.fullmatch(name)
            if match:
                files[int(match[1])] = name
        return files

    def checksum(self, commit: str, name: str) -> str:
        """Return the checksum of a file in the directory at a commit."""
        return migrations.checksum(self._git_bytes("show", f"{commit}:./{name}"))

    def _git(self, *arguments: str) -> str:
        return self._git_bytes(*arguments).decode(errors="replace").strip()

    def _git_bytes(self, *arguments: str) -> bytes:
        """Run git in the directory, and return its output. Raises SqlmigError."""
        try:
            ran = subprocess.run(
                ["git", "-C", str(self._directory), *arguments],
                capture_output=True,
                check=False,
            )
        except FileNotFoundError:
            raise SqlmigError("--base needs git, which is not installed") from None
        if ran.returncode:
            said = ran.stderr.decode(errors="replace").strip()
            raise SqlmigError(f"--base: git failed: {said}")
        return ran.stdout
