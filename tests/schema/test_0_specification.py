"""The files contain the SQL of the specification verbatim (specification.sql has the original)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.project import SQL

GIVEN = Path(__file__).with_name("specification.sql").read_text()
STATEMENTS = [
    s
    for s in re.split(
        r"(?<=;)\n(?!    |END;|\$\$)", re.sub(r"^--.*\n", "", GIVEN, flags=re.MULTILINE)
    )
    if s.strip()
]
KEYWORDS = re.compile(
    r"\b(add|alter|and|as|begin|by|check|constraint|create|desc|end|from|function|in|index|join|language|on|or"
    r"|replace|returns?|select|table|trigger|view|where)\b",
    re.IGNORECASE,
)


def normal(text: str) -> str:
    """Normalize white space and the case of keywords."""
    return re.sub(r"\s+", " ", KEYWORDS.sub(lambda word: word[0].lower(), text)).strip()


def test_specification_has_ten_statements() -> None:
    assert len(STATEMENTS) == 10


@pytest.mark.parametrize(
    "statement", STATEMENTS, ids=[normal(s)[:60] for s in STATEMENTS]
)
def test_exactly_one_file_contains_each_specification_statement_verbatim(
    statement: str,
) -> None:
    holders = [
        path
        for path in SQL.glob("*.up.sql")
        if normal(statement) in normal(path.read_text())
    ]
    assert len(holders) == 1
