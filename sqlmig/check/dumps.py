"""Leave out statements that a scratch database cannot run, or need not, because what they make is there."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from sqlmig.core.lexer import plain_text
from sqlmig.core.sqlfile import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from sqlmig.core.ledger import Ledger
    from sqlmig.core.sqlfile import SqlFile

_HAS_TRANSACTION_TIMEOUT = 170000  # the first server version that has this setting
# A file that does not match this is returned at once. Most files do not.
_MAY_BE_CONCERNED = re.compile(
    rb"schema_migrations|transaction_timeout|(?:create|drop)\s+schema", re.IGNORECASE
)
# The text before the name of a table, in statements that create or change a table.
_ABOUT_A_TABLE = (
    r"(?:create table(?: if not exists)?|alter table(?: if exists)?(?: only)?|insert into"
    r"|comment on (?:table|column)|create (?:unique )?index \S+ on(?: only)?"
    r"|create policy \S+ on|drop policy(?: if exists)? \S+ on|drop table(?: if exists)?"
    r"|(?:grant|revoke) .* on(?: table)?)"
)


def without_what_is_there(
    file: SqlFile, ledger: Ledger, server_version: int
) -> SqlFile:
    """Return a file without statements that create the schema public or the ledger, or use newer settings.

    Blanks replace them, so that line numbers in errors stay correct.
    """
    if not _MAY_BE_CONCERNED.search(file.text):
        return file
    unwanted = _unwanted(ledger, server_version)
    return leave_out(file, lambda text: bool(unwanted.match(plain_text(text))))


def leave_out(file: SqlFile, is_unwanted: Callable[[bytes], bool]) -> SqlFile:
    """Return a file without the statements whose text is unwanted. Blanks replace them."""
    unwanted = set()
    for start, end in pairwise([*file.statement_starts, len(file.text)]):
        if is_unwanted(file.text[start:end]):
            unwanted.add(start)
    return without_statements(file, unwanted)


def without_statements(file: SqlFile, unwanted: Container[int]) -> SqlFile:
    """Return a file without the statements that start at these bytes. Blanks replace them.

    A COPY … FROM stdin that is left out takes its data with it.
    """
    text = bytearray(file.text)
    for start, end in pairwise([*file.statement_starts, len(file.text)]):
        if start not in unwanted:
            continue
        for place in range(start, end):
            if text[place] not in b"\r\n":
                text[place] = ord(" ")
    copies = [
        copy
        for copy in file.copies
        if text[copy.statement_end - 1 : copy.statement_end] == b";"
    ]
    left = scan(bytes(text), file.path, has_data=False)
    return left._replace(as_written=file.as_written, copies=tuple(copies))


def _unwanted(ledger: Ledger, server_version: int) -> re.Pattern[str]:
    qualifier = rf'(?:"?{re.escape(ledger.schema)}"? ?\. ?)'
    if ledger.schema == ledger.home_schema:  # a name without a schema is the ledger
        qualifier += "?"
    kinds = [
        r'(?:create|drop) schema(?: if(?: not)? exists)? "?public"?(?: cascade| restrict)? ?;?$',
        rf'{_ABOUT_A_TABLE} {qualifier}"?schema_migrations"?(?:[ .;(]|$)',
    ]
    if server_version < _HAS_TRANSACTION_TIMEOUT:
        kinds.append("set (?:local |session )?transaction_timeout ")
    return re.compile("|".join(kinds), re.IGNORECASE)
