"""The list of all messages is up to date, and each message keeps the rules of the language."""

from __future__ import annotations

import re

import pytest

from tests.support.messages import PACKAGE, PAGE, messages_of, page

MODULES = {
    str(path.relative_to(PACKAGE)): messages_of(path)
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.sql")])
}

# What a reader stops at, and what to write.
AVOIDED = {
    r"\w\(s\)": "counted() gives the singular and the plural",
    r"\b1 (?:\w+s were|were)\b": "was",
    r"\b(?:please|sorry|oops|successfully)\b": "nothing",
    r"\b(?:invalid|illegal) (?:value|option|argument)\b": "what is wrong with it",
    r"\b(?:can not|could not be able)\b": "cannot",
    r"!$": "a full stop, or nothing",
    r"\b(?:as it seems|all the same)\b": "common words",
    r"\b(?:row|migration|file|place) (?:was|were) being\b": "an active verb",
    r"\bmigration file\b": "file",
    r"\bschema_migrations table\b": "ledger",
    r"\b(?:advisory lock|lock holder)\b": "runner lock, blocker",
}


def test_the_list_of_messages_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `make messages`, and read what changed"


@pytest.mark.parametrize("module", [name for name, found in MODULES.items() if found])
def test_messages_keep_the_rules(module: str) -> None:
    for message in MODULES[module]:
        for pattern, instead in AVOIDED.items():
            assert not re.search(pattern, message, re.IGNORECASE), (message, instead)


@pytest.mark.parametrize(
    ("code", "messages"),
    [
        (
            'raise SqlmigError(f"{path}: not a regular file")',
            ["{path}: not a regular file"],
        ),
        ('x = "two " "parts of it"', ["two parts of it"]),
        ('"""A docstring is not one."""', []),
        ('def f():\n    """Nor is this one."""', []),
        (
            '@command(examples=[])\ndef up():\n    """But this is help."""',
            ["But this is help."],
        ),
        ('x = "SELECT a FROM b"', []),
        ('x = f"{a} {b}"', []),
        ('x = "one"', []),
        ("x = 1", []),
    ],
)
def test_messages_are_found_in_code(
    code: str, messages: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("code") / "module.py"
    path.write_text(code)
    assert messages_of(path) == messages


def test_each_kind_of_message_is_in_the_list() -> None:
    text = page()
    for known in (
        "warning: ", "HINT: ", "note: ", "not rehearsed", "nothing was reverted",
        "Show each version and its state.", "Rehearse it in one transaction",
    ):  # fmt: skip
        assert known in text
