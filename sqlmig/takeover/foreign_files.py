"""Read other tools' migration files as pairs of an up text and a down text. Pure, except for reading the files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core.errors import ScanError, SqlmigError
from sqlmig.core.lexer import first_token, tokens
from sqlmig.core.migrations import LARGEST_VERSION, read
from sqlmig.core.text import place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_NUMBERED = re.compile(r"(\d+)[_\-. ]*(.*)\.sql", re.IGNORECASE | re.ASCII)
_FLYWAY = re.compile(r"([VU])(\d[\d._]*)__(.*)\.sql", re.ASCII)
_OURS = re.compile(r"\d+_.*\.(?:up|down)\.sql", re.ASCII)
_NO_TRANSACTION = b"-- sqlmig: no-transaction\n"
# Some tools also run migrations that are programs.
_PROGRAMS = frozenset((".go", ".java", ".py", ".js", ".ts"))
_TEMPLATE = re.compile(rb"\{\{.*?\}\}|\$\{[^}\n]*\}")


@dataclass
class Half:
    """The up or the down half of a file."""

    lines: list[bytes] = field(default_factory=list)
    in_transaction: bool = True

    @property
    def text(self) -> bytes:
        """The text of the file to write for this half."""
        text = b"".join(self.lines).strip(b"\r\n")
        if text:
            text += b"\r\n" if b"\r\n" in text else b"\n"
        return text if self.in_transaction else _NO_TRANSACTION + text

    def is_empty(self) -> bool:
        """Whether it contains no statement."""
        text = b"".join(self.lines)
        try:
            return first_token(text) == len(text)
        except ScanError:
            return False


@dataclass
class ForeignMigration:
    """A migration of another tool: the version as that tool writes it, and both halves."""

    path: Path
    version: str
    name: str
    up: Half = field(default_factory=Half)
    down: Half | None = None


class ForeignFiles(NamedTuple):
    """The files in a directory: the tool that they belong to, the migrations in order, and files that were left out."""

    tool: str
    migrations: list[ForeignMigration]
    left_out: list[str]


class _Format(NamedTuple):
    """How a tool marks the halves in a file. A mark is a whole line, which is not SQL.

    read_mark is called with the normalized text of a mark, and the state of the file. It
    changes the state, for example the half that the next lines belong to.
    """

    tool: str
    mark: re.Pattern[bytes]
    read_mark: Callable[[bytes, _State], None]


@dataclass
class _State:
    """The state of a file that is read line by line."""

    migration: ForeignMigration
    current: Half
    block_start: int | None = None  # the line of the half after StatementBegin


def read_foreign(directory: Path) -> ForeignFiles:
    """Read the files of another tool.

    Raises SqlmigError if no tool can be recognized, or a file is not valid for the tool.
    """
    texts = {}
    left_out = []
    for path in _visible_files(directory):
        if path.is_dir():
            left_out.append(
                f"{path.name}: a directory, which is not read; import it apart"
            )
        elif path.name.lower().endswith(".sql"):
            texts[path] = read(path)
        elif path.suffix in _PROGRAMS:
            left_out.append(
                f"{path.name}: no SQL file, so what it does is not taken over"
            )

    if not texts:
        raise SqlmigError(
            f"{directory}: no .sql files there; name the directory of the other tool's files"
        )
    if all(_OURS.fullmatch(path.name) for path in texts):
        raise SqlmigError(
            f"{directory}: these files are pairs already; use them as they are, with --dir"
        )

    return _read_texts(texts, left_out)


def _read_texts(texts: dict[Path, bytes], left_out: list[str]) -> ForeignFiles:
    """Recognize the tool by the names of the files, or by the marks in them, and read the files."""
    if any(_FLYWAY.fullmatch(path.name) for path in texts):
        return _read_flyway(texts, left_out)
    for layout in _FORMATS:
        if any(layout.mark.search(text) for text in texts.values()):
            return _read_marked(layout, texts, left_out)
    return _read_ups(texts, left_out)


def _visible_files(directory: Path) -> list[Path]:
    """Return the sorted paths in a directory, without dot files."""
    paths = []
    try:
        for path in directory.iterdir():
            if not path.name.startswith("."):
                paths.append(path)
    except OSError as error:
        raise SqlmigError(f"{directory}: {error.strerror}") from None
    return sorted(paths)


def _read_marked(
    layout: _Format, texts: dict[Path, bytes], left_out: list[str]
) -> ForeignFiles:
    """Read files that contain both halves."""
    found = []
    for path, text in texts.items():
        migration = _numbered(path)
        if migration is None:
            left_out.append(f"{path.name}: its name does not begin with a number")
            continue
        if not layout.mark.search(text):
            left_out.append(
                f"{path.name}: it has no marks of {layout.tool}, so the whole file is the up half"
            )
        state = _State(migration, migration.up)
        for line in text.splitlines(keepends=True):
            mark = layout.mark.match(line)
            if mark:
                words = b" ".join(mark[1].split()).lower()
                layout.read_mark(words, state)
            else:
                state.current.lines.append(line)
        left_out += _templates(path, text, layout.tool)
        found.append(migration)
    return ForeignFiles(layout.tool, _in_order(found), left_out)


def _read_dbmate_mark(words: bytes, state: _State) -> None:
    half, _, options = words.partition(b" ")
    _begin_half(state, is_down=half == b"migrate:down")
    if b"transaction:false" in options:
        state.current.in_transaction = False


def _read_goose_mark(words: bytes, state: _State) -> None:
    if words == b"+goose no transaction":  # it applies to the whole file
        state.migration.up.in_transaction = False
        if state.migration.down:
            state.migration.down.in_transaction = False
        return
    _read_statement_mark(words.removeprefix(b"+goose "), state)
    if state.current is state.migration.down:
        state.current.in_transaction = state.migration.up.in_transaction


def _read_sql_migrate_mark(words: bytes, state: _State) -> None:
    command, _, options = words.removeprefix(b"+migrate ").partition(b" ")
    _read_statement_mark(command, state)
    if options == b"notransaction":
        state.current.in_transaction = False


def _read_statement_mark(command: bytes, state: _State) -> None:
    """Read a mark that goose and sql-migrate share."""
    if command in (b"up", b"down"):
        _begin_half(state, is_down=command == b"down")
    elif command == b"statementbegin":
        state.block_start = len(state.current.lines)
    elif command == b"statementend" and state.block_start is not None:
        block = b"".join(state.current.lines[state.block_start :])
        if not _ends_with_semicolon(block):  # the tool does not require it there
            state.current.lines.append(b";\n")
        state.block_start = None


def _read_tern_mark(words: bytes, state: _State) -> None:
    if words.startswith(b"create above"):
        in_transaction = state.migration.up.in_transaction
        _begin_half(state, is_down=True)
        state.current.in_transaction = in_transaction
    else:
        state.current.in_transaction = False


def _begin_half(state: _State, *, is_down: bool) -> None:
    if not is_down:
        state.current = state.migration.up
        return
    if state.migration.down is None:
        state.migration.down = Half()
    state.current = state.migration.down


_FORMATS = (
    _Format(
        "dbmate",
        re.compile(rb"^--[ \t]*(migrate:(?:up|down)\b[^\r\n]*)", re.MULTILINE),
        _read_dbmate_mark,
    ),
    _Format(
        "goose",
        re.compile(
            rb"^[ \t]*--[ \t]*(\+goose[ \t]+[^\r\n]*)", re.IGNORECASE | re.MULTILINE
        ),
        _read_goose_mark,
    ),
    _Format(
        "sql-migrate",
        re.compile(
            rb"^[ \t]*--[ \t]*(\+migrate[ \t]+[^\r\n]*)", re.IGNORECASE | re.MULTILINE
        ),
        _read_sql_migrate_mark,
    ),
    _Format(
        "tern",
        re.compile(
            rb"^---- (create above / drop below|tern: disable-tx) ----[^\r\n]*",
            re.MULTILINE,
        ),
        _read_tern_mark,
    ),
)


def _ends_with_semicolon(text: bytes) -> bool:
    last = b";"
    try:
        for kind, start, end in tokens(text):
            if kind not in ("space", "line", "block"):
                last = text[start:end]
    except ScanError:  # reported when the written file is scanned
        return True
    return last == b";"


def _read_flyway(texts: dict[Path, bytes], left_out: list[str]) -> ForeignFiles:
    """Read V1__name.sql, and U1__name.sql, which undoes it, if there is one."""
    by_version: dict[tuple[int, ...], ForeignMigration] = {}
    clashes = []
    undone: dict[tuple[int, ...], Half] = {}
    for path, text in texts.items():
        match = _FLYWAY.fullmatch(path.name)
        if match is None:
            left_out.append(f"{path.name}: {_flyway_kind(path.name)}")
            continue
        dotted = match[2].replace("_", ".").strip(".")
        key = tuple(int(part) for part in dotted.split("."))
        half = Half([text], in_transaction=_flyway_in_transaction(path))
        left_out += _templates(path, text, "Flyway")
        if match[1] == "U":
            undone[key] = half
        elif key in by_version:
            clashes.append(
                f"{path}: version {dotted} has another file, {by_version[key].path}; rename one"
            )
        else:
            by_version[key] = ForeignMigration(path, dotted, match[3], half)
    _refuse_clashes(clashes)

    ordered = []
    for key, migration in sorted(by_version.items()):
        migration.down = undone.pop(key, None)
        ordered.append(migration)
    for key in undone:
        dotted = ".".join(map(str, key))
        left_out.append(f"U{dotted}: there is no V{dotted} that it would undo")
    return ForeignFiles("Flyway", ordered, left_out)


def _flyway_kind(name: str) -> str:
    if name.startswith("R__"):
        return "a repeatable file; write it as a new migration each time it changes"
    if name.startswith("B"):
        return "a baseline; rename it to V… if a new database must begin with it"
    return "a callback, or a name that Flyway does not use"


def _flyway_in_transaction(path: Path) -> bool:
    settings = path.with_name(path.name + ".conf")
    if not settings.is_file():
        return True
    return not re.search(rb"(?m)^executeInTransaction\s*=\s*false\b", read(settings))


def _read_ups(texts: dict[Path, bytes], left_out: list[str]) -> ForeignFiles:
    """Read the files of the Supabase CLI, which have an up half only."""
    found = []
    for path, text in texts.items():
        migration = _numbered(path)
        if migration is None:
            left_out.append(f"{path.name}: its name does not begin with a number")
            continue
        migration.up.lines.append(text)
        found.append(migration)
    if not found:
        raise SqlmigError(
            "no file there is one of dbmate, goose, sql-migrate, tern, Flyway or the Supabase CLI"
        )
    return ForeignFiles("the Supabase CLI", _in_order(found), left_out)


def _numbered(path: Path) -> ForeignMigration | None:
    match = _NUMBERED.fullmatch(path.name)
    if match is None:
        return None
    if int(match[1]) > LARGEST_VERSION:
        raise SqlmigError(f"{path}: its number is larger than 64 bits; rename it first")
    return ForeignMigration(path, match[1], match[2] or "migration")


def _in_order(found: Sequence[ForeignMigration]) -> list[ForeignMigration]:
    """Sort migrations by version. Raises SqlmigError if two have the same version."""
    ordered: dict[int, ForeignMigration] = {}
    clashes = []
    for migration in sorted(found, key=lambda migration: int(migration.version)):
        version = int(migration.version)
        if version in ordered:
            clashes.append(
                f"{migration.path}: version {version} has another file, {ordered[version].path}; rename one"
            )
        ordered[version] = migration
    _refuse_clashes(clashes)
    return list(ordered.values())


def _refuse_clashes(clashes: Sequence[str]) -> None:
    """Raise SqlmigError with a line for each pair of files that have the same version."""
    if clashes:
        raise SqlmigError("\n".join(clashes))


def _templates(path: Path, text: bytes, tool: str) -> Iterator[str]:
    """Yield a line for the first template or placeholder. It is copied unchanged, and nothing fills it in."""
    if tool not in ("tern", "Flyway", "goose"):
        return
    if tool == "goose" and b"ENVSUB" not in text:
        return
    match = _TEMPLATE.search(text)
    if match:
        shown = match[0].decode()
        yield f"{place(path.name, text, match.start())}: {shown} is a template, which sqlmig does not fill in"
