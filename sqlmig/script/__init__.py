"""Make one SQL script that does the same as ``up`` or ``down``. It needs no connection, and can be pasted twice."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from sqlmig.core.errors import ScanError, SqlmigError
from sqlmig.core.irrevocable import Reach, find_irrevocable
from sqlmig.core.lexer import (
    BLANK_KINDS,
    first_token,
    plain_text,
    read_statement,
    statements,
    tokens,
)
from sqlmig.core.sql import OWN_SETTINGS, dollar_quote, literal, read_statements
from sqlmig.core.sqlfile import load
from sqlmig.core.text import place
from sqlmig.core.transaction import (
    CHECK_CONSTRAINTS,
    body_piece,
    joined,
    opening_pieces,
    reset_sql,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlmig.core.ledger import Ledger
    from sqlmig.core.migrations import Migration
    from sqlmig.core.session import Say
    from sqlmig.core.sqlfile import SqlFile

_TEMPLATES = read_statements(Path(__file__).parent / "script.sql")
_LARGEST = 980_000  # bytes that the Supabase SQL editor accepts
_ADDS_ENUM_VALUE = re.compile(
    r"ALTER\s+TYPE\s+[^']+\s+ADD\s+VALUE\s+(?:IF\s+NOT\s+EXISTS\s+)?('(?:[^']|'')+')",
    re.IGNORECASE,
)
_NAME = r'((?:\w+|"(?:[^"]|"")+")(?:\.(?:\w+|"(?:[^"]|"")+"))?)'
_CREATES_TABLE = re.compile(
    rf"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}", re.IGNORECASE
)
_GRANTS_ON_TABLES = re.compile(
    r"GRANT\s[^%]*?\bON\s+(?:TABLE\s+)?(ALL\s+TABLES\b|[^%()]+?)\s+TO\b",
    re.IGNORECASE,
)
# A GRANT that gets its tables from a format().
_GRANTS_ON_UNKNOWN = re.compile(r"GRANT\b.*%", re.IGNORECASE | re.DOTALL)
# A statement of PL/pgSQL begins after one of these.
_BEFORE_A_STATEMENT = re.compile(r"\b(?:BEGIN|LOOP|THEN|ELSE|DECLARE)\b", re.IGNORECASE)
_MAY_MATTER = re.compile(rb"\b(?:create|alter|grant)\b", re.IGNORECASE)
_ALTERS_TYPE = re.compile(rb"alter\s+type\b", re.IGNORECASE)
_DEEPEST = 3  # a statement in a string in the body of a DO block
_SECURES_TABLE = re.compile(
    rf"ALTER\s+TABLE\s+{_NAME}\s+ENABLE\s+ROW\s+LEVEL\s+SECURITY", re.IGNORECASE
)


def make_script(
    ledger: Ledger,
    migrations: Sequence[Migration],
    chosen: Sequence[Migration],
    say: Say,
    *,
    down: bool,
) -> str:
    """Return the script for the chosen migrations, and warn about problems that it may cause in the editor.

    Raises SqlmigError for a file that cannot be part of a script.
    """
    files = [_file_of(migration, down=down) for migration in chosen]
    for migration, file in zip(chosen, files, strict=True):
        _refuse(migration, file, is_alone=len(chosen) == 1)
        irrevocable = find_irrevocable(file, Reach())
        if irrevocable:
            say(
                f"warning: {irrevocable}; it may not run in the script's transaction, and it stays if the script fails"
            )

    if not down:
        _warn_of_enum_values(chosen, files, say)
    steps = []
    for migration, file in zip(chosen, files, strict=True):
        steps.append(_step(ledger, migration, file, down=down))
    if down:
        steps.reverse()

    head = _head(ledger, migrations, chosen, files[0], down=down)
    names = [
        f"({migration.version}::bigint, {literal(migration.name)})"
        for migration in chosen
    ]
    tail = ledger.fill(
        _TEMPLATES["tail"],
        names=", ".join(names),
        quote=dollar_quote("sqlmig", ledger.table + "".join(names)),
    )
    whole = "\n".join([head.lstrip(), *steps, tail]) + "\n"
    _warn_of_size(whole, say)
    texts = [bytes(file.text) for file in files]
    _warn_of_access(texts, say)
    return whole


def _file_of(migration: Migration, *, down: bool) -> SqlFile:
    path = migration.down_file if down else migration.up_file
    if path is None:
        raise SqlmigError(f"there is no down file for {migration.label}")
    return load(path)


def _refuse(migration: Migration, file: SqlFile, *, is_alone: bool) -> None:
    """Raise SqlmigError for a file that cannot be part of a script."""
    if file.irreversible is not None:
        raise SqlmigError(f"{file.path}: irreversible: {file.irreversible}")
    if not file.in_transaction:
        raise SqlmigError(
            f"{file.path}: runs outside a transaction, which no script can do. Print what is before it with --to, "
            f"run its statements one by one, then `sqlmig stamp {migration.version}`, "
            "and print what comes after it with --from"
        )
    if file.repeats:
        raise SqlmigError(
            f"{file.path}: repeats until a run changes no row, which no script can do. Print what is before it with "
            f"--to, run the file by hand until it says 0 rows, then `sqlmig stamp {migration.version}`, "
            "and print what comes after it with --from"
        )
    if file.has_own_mode and not is_alone:
        raise SqlmigError(
            f"{file.path}: sets a transaction mode of its own, which other files cannot share. Print it alone, "
            f"with --from {migration.version} --to {migration.version}, and the files before and after it separately"
        )

    for copy in file.copies:
        where = place(file.path, file.text, copy.statement_end - 1)
        raise SqlmigError(
            f"{where}: no script can hold the data of COPY … FROM stdin; write INSERT statements "
            "(`pg_dump --inserts` does)"
        )
    for start in file.statement_starts:
        if selects_into(file.text, start):
            where = place(file.path, file.text, start)
            raise SqlmigError(
                f"{where}: no script can do SELECT … INTO; write CREATE TABLE … AS SELECT"
            )


def selects_into(text: bytes, start: int) -> bool:
    """Return whether the statement at an offset is a SELECT … INTO, even in parentheses or after WITH."""
    words = []
    for kind, begin, end in tokens(text, start):
        if text[begin:end] == b";":
            break
        if kind == "word":
            words.append(text[begin:end].lower())
        elif kind not in BLANK_KINDS:
            words.append(b"")

    if not words or words[0] not in (b"", b"select", b"with"):
        return False
    for before, word in pairwise(words):
        if word == b"into" and before not in (b"insert", b"merge", b"as"):
            return True
    return False


def _head(
    ledger: Ledger,
    migrations: Sequence[Migration],
    chosen: Sequence[Migration],
    first_file: SqlFile,
    *,
    down: bool,
) -> str:
    """Return the start of the script: the lock, the ledger, and the check that it agrees with the files."""
    first = chosen[0].version
    last = chosen[-1].version
    begin = "BEGIN"
    if first_file.has_own_mode:
        begin = joined(opening_pieces(first_file)).decode().strip().removesuffix(";")

    rows = []
    for migration in migrations:
        rows.append(
            f"({migration.version}::bigint, {literal(migration.label)}, {literal(migration.checksum)})"
        )
    files = ",\n            ".join(rows)
    order = _TEMPLATES["order_down" if down else "order_up"]
    replaced = _condition_for_replaced(ledger, migrations[0])
    return ledger.fill(
        _TEMPLATES["head"],
        does="reverts" if down else "applies",
        first=first,
        last=last,
        begin=begin,
        own_settings=OWN_SETTINGS,
        ledger=ledger.definition(may_exist=True),
        files=files,
        order=ledger.fill(order, first=first, last=last, replaced=replaced),
        replaced=replaced,
        quote=dollar_quote("sqlmig", ledger.table + files),
    )


def _condition_for_replaced(ledger: Ledger, first: Migration) -> str:
    """Return the condition that a row of the ledger is of a version that a squashed file replaces, with all of them."""
    replaces = first.replaces
    if replaces is None:
        return "false"
    return (
        f"(version BETWEEN {replaces.first} AND {replaces.last} AND EXISTS (SELECT FROM {ledger.table} AS newest "
        f"WHERE newest.version = {replaces.last} AND newest.checksum = {literal(replaces.checksum)}))"
    )


def _step(ledger: Ledger, migration: Migration, file: SqlFile, *, down: bool) -> str:
    """Return a file and the statement for its ledger row. They run unless the ledger shows that this is done."""
    text = bytes(body_piece(file).text).decode().strip("\n")
    title = "path_with_schema" if ledger.files_schema else "callers_path"
    path = ledger.fill(_TEMPLATES[title])
    reset_settings = _TEMPLATES["reset_settings"].format(own_settings=OWN_SETTINGS)
    record = (
        ledger.insert(migration, file.checksum) + " ON CONFLICT (version) DO NOTHING"
    )
    if down:
        record = ledger.delete(migration.version)
    label = " ".join(migration.label.split())
    return ledger.fill(
        _TEMPLATES["step"],
        label=label,
        label_literal=literal(label),
        digest=_TEMPLATES["digest"].strip(),
        version=migration.version,
        text=text or "SELECT",
        path=path,
        outer=dollar_quote("sqlmig", label + text + ledger.table + record),
        inner=dollar_quote("file", label + text),
        condition="EXISTS" if down else "NOT EXISTS",
        after=_without_results(
            f"{CHECK_CONSTRAINTS};\n{reset_sql(file, reset_settings)}"
        ),
        record=record,
    )


def _without_results(sql: str) -> str:
    """Rewrite our own SELECT statements to return no results, because psql would print them."""
    quote = dollar_quote("sqlmig", sql)

    def perform(select: re.Match[str]) -> str:
        return f"DO {quote} BEGIN PERFORM {select[1]}; END {quote};"

    return re.sub(r"^SELECT (.+);$", perform, sql, flags=re.MULTILINE)


def _warn_of_size(whole: str, say: Say) -> None:
    size = len(whole.encode())
    if size > _LARGEST:
        say(
            f"warning: {size:,} bytes; the Supabase SQL editor takes {_LARGEST:,}: print parts with --from and --to"
        )


def _all_statements(text: bytes, depth: int = 0) -> Iterator[str]:
    """Yield each statement of a text without its comments, and the statements in its strings and bodies.

    Strings within a statement are replaced by empty strings.
    """
    parts: list[bytes] = []
    inner: list[bytes] = []
    try:
        for kind, begin, end in tokens(text):
            token = text[begin:end]
            if token == b";":
                yield from _parts_of(b"".join(parts))
                parts = []
            elif kind in ("string", "dollar", "escape"):
                parts.append(b"''")
                inner.append(_content(kind, token))
            else:
                parts.append(b" " if kind in BLANK_KINDS else token)
    except ScanError:
        pass  # a string need not be SQL
    yield from _parts_of(b"".join(parts))
    if depth < _DEEPEST:
        for content in inner:
            if _MAY_MATTER.search(content):
                yield from _all_statements(content, depth + 1)


def _content(kind: str, token: bytes) -> bytes:
    """Return the content of a string."""
    if kind == "dollar":
        return token[token.index(b"$", 1) + 1 : token.rindex(b"$", 0, -1)]
    return token[token.index(b"'") + 1 : -1].replace(b"''", b"'")


def _parts_of(statement: bytes) -> Iterator[str]:
    """Yield the statements in a text, without the PL/pgSQL keywords that may come before them."""
    for part in _BEFORE_A_STATEMENT.split(statement.decode(errors="replace")):
        yield part.strip()


@dataclass
class _Access:
    """The tables that a script creates, secures by row level security, and grants to a role."""

    created: set[str] = field(default_factory=set)
    secured: set[str] = field(default_factory=set)
    granted: set[str] = field(default_factory=set)
    grants_all: bool = False  # tables that the script does not name

    def add(self, statement: str) -> None:
        """Add the effect of a statement."""
        if create := _CREATES_TABLE.match(statement):
            self.created.add(create[1])
        elif secure := _SECURES_TABLE.match(statement):
            self.secured.add(secure[1])
        elif _GRANTS_ON_UNKNOWN.match(statement):
            self.grants_all = True
        elif grant := _GRANTS_ON_TABLES.match(statement):
            self.grants_all |= grant[1].lower().startswith("all")
            self.granted.update(name.strip() for name in grant[1].split(","))


def _warn_of_access(texts: Iterable[bytes], say: Say) -> None:
    """Warn about tables that too many roles, or no role, can reach on Supabase."""
    access = _Access()
    for text in texts:
        for statement in _all_statements(text):
            access.add(statement)

    open_tables = access.created - access.secured
    if open_tables:
        say(
            f"warning: {', '.join(sorted(open_tables))} without row level security: on Supabase the API's roles reach "
            "all rows of a table that is granted to them, and older projects grant every new table. "
            "Add to its file: ALTER TABLE … ENABLE ROW LEVEL SECURITY, with the name written as here"
        )
    closed_tables = access.created - access.granted
    if closed_tables and not access.grants_all:
        say(
            f"warning: {', '.join(sorted(closed_tables))} granted to nobody: since 30 October 2026 Supabase grants "
            "a new table to no role, not even to service_role, so the first request is refused (42501). "
            "Add to its file: GRANT … ON … TO …, with the name written as here"
        )


def _warn_of_enum_values(
    chosen: Sequence[Migration], files: Sequence[SqlFile], say: Say
) -> None:
    """Warn about a file that uses an enum value from an earlier file of the script: PostgreSQL refuses that."""
    added: dict[str, Migration] = {}
    for migration, file in zip(chosen, files, strict=True):
        text = file.text.decode()
        for value, earlier in added.items():
            if value not in text or earlier is migration:
                continue
            say(
                f"warning: {migration.label} says {value}, which {earlier.label} adds to an enum. If that is the same "
                "value, and the enum is there already, PostgreSQL refuses the whole script (55P04): a value cannot be "
                f"used in the transaction that adds it. Print two: --to {earlier.version}, and --from the next one"
            )
        for statement in _enum_statements(file.text):
            match = _ADDS_ENUM_VALUE.match(statement)
            if match:
                added.setdefault(match[1], migration)


def _enum_statements(text: bytes) -> Iterator[str]:
    """Yield the ALTER TYPE statements, with their strings."""
    for start, words in statements(text, first_token(text)):
        is_plain = not words and _ALTERS_TYPE.match(text, start)
        if is_plain or words[:2] == [b"alter", b"type"]:
            _, end = read_statement(text, start)
            yield plain_text(text[start:end])
