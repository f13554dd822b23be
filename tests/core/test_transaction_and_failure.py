"""Test messages and places of errors, for every position that the server can report and without a position."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sqlmig.core import transaction
from sqlmig.core.connection import LARGEST_BATCH as LARGEST
from sqlmig.core.ledger import Ledger
from sqlmig.core.lexer import statements
from sqlmig.core.migrations import Migration
from sqlmig.core.sending import explain
from sqlmig.core.session import FileSettings
from sqlmig.core.sql import dollar_quote
from sqlmig.core.sqlfile import SqlFile, scan
from sqlmig.core.text import excerpt, place
from sqlmig.core.transaction import (
    Piece,
    batches,
    body_piece,
    cut,
    file_piece,
    file_transaction,
    joined,
    opening_pieces,
    own_piece,
)

FIELDS = (
    "message_detail",
    "message_hint",
    "context",
    "internal_query",
    "internal_position",
)


def diag(position: int | None = None, **fields: str) -> Any:
    """Build the fields of a server error."""
    known = dict.fromkeys(FIELDS) | {
        "severity": "ERROR",
        "message_primary": "no",
        "sqlstate": "XX000",
    }
    return SimpleNamespace(
        **known | {"statement_position": position and str(position)} | fields
    )


def explained(diagnostic: Any, done: int, batch: list[Piece]) -> tuple[str, str]:
    """Return the role of the piece that failed, and the message."""
    found = explain(diagnostic, done, batch)
    return found.piece.role, found.message


def script(text: str) -> SqlFile:
    return scan(text.encode(), Path("x.sql"))


def whole(text: str) -> Piece:
    return file_piece(script(text), 0, len(text.encode()))


def count(one: Piece) -> int:
    """Count the statements of a piece."""
    return sum(1 for _ in statements(bytes(one.text)))


def sent(text: str) -> list[Piece]:
    """Return all the pieces that sqlmig sends for a file."""
    file = script(text)
    record = "INSERT INTO ledger VALUES ('é')"
    around = file_transaction(
        file,
        FileSettings("public"),
        before=[own_piece("lock", "SELECT 1", file)],
        before_commit=[own_piece("record", record, file)],
    )
    return around.pieces()


BEGINS = [
    "",
    "BEGIN; ",
    "BEGIN ISOLATION LEVEL SERIALIZABLE; SET TRANSACTION READ WRITE;\n",
]
ENDS = {"": "", "BEGIN; ": "; COMMIT", BEGINS[2]: ";\nCOMMIT -- end"}


@pytest.mark.parametrize("begin", BEGINS)
@pytest.mark.parametrize(
    "text",
    ["SELECT '漢';\n\n SELECT ¶x", "SELECT ¶x", "-- é\r\nSELECT 1 /* é */;\r¶SELECT x"],
)
def test_server_position_is_mapped_to_the_file(begin: str, text: str) -> None:
    whole = begin + text + ENDS[begin]
    offset = len(whole.partition("¶")[0].encode())
    file = script(whole.replace("¶", ""))
    message = sent(whole.replace("¶", ""))
    (own,) = [
        p
        for p in message
        if p.role == "file" and p.begin <= offset < p.begin + len(p.text)
    ]
    before = (
        joined(message[: message.index(own)]) + transaction._BETWEEN
        if message.index(own)
        else b""
    )
    position = len(before.decode()) + len(file.text[own.begin : offset].decode()) + 1
    part, words = explained(diag(position), 0, message)
    assert part == "file"
    assert words.splitlines()[0] == f"{place('x.sql', file.text, offset)}: ERROR: no"


@pytest.mark.parametrize("begin", BEGINS)
def test_error_without_position_names_next_statement(begin: str) -> None:
    whole = f"{begin}SELECT 1;\n  SELECT 2;\nSELECT 3{ENDS[begin]}"
    message = sent(whole)
    file = script(whole)
    done = 0
    for one in message:
        for start, _ in statements(bytes(one.text)):
            part, words = explained(diag(), done, message)
            assert part == one.role
            if part == "file":
                assert words.startswith(
                    f"{place('x.sql', file.text, one.begin + start)}: ERROR: no"
                )
            else:
                assert words.startswith("x.sql: ")
            done += 1


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (
            "constraints",
            "x.sql: at its end, when deferred constraints are checked: ERROR: no",
        ),
        ("record", "x.sql: when sqlmig recorded it: ERROR: no"),
        ("commit", "x.sql: at COMMIT: ERROR: no"),
        ("lock", "x.sql: ERROR: no"),
    ],
)
def test_errors_in_own_statements_name_their_purpose(part: str, words: str) -> None:
    message = sent("SELECT 1")
    roles: list[str] = [piece.role for piece in message]
    done = sum(count(piece) for piece in message[: roles.index(part)])
    assert explained(diag(), done, message) == (part, words)


@pytest.mark.parametrize(
    "text", ["SELECT (1 +", "SELECT (1 +\n\n-- end\n", "SELECT (1 + -- é"]
)
def test_unfinished_statement_is_reported_at_end_of_file(text: str) -> None:
    message = sent(text)
    position = len(joined(message[:4]).decode()) + 2  # the semicolon that sqlmig adds
    words = explained(diag(position), 0, message)[1]
    assert words.startswith(
        f"{place('x.sql', text.encode(), len(text.encode().rstrip()))}: ERROR: no"
    )


def test_extra_results_of_rule_still_give_a_position() -> None:
    assert (
        explained(diag(), 1000, sent("SELECT 1; SELECT 2"))[1]
        == "x.sql: at COMMIT: ERROR: no"
    )
    for done in (2, 3, 9):
        assert explained(diag(), done, [whole("SELECT 1; SELECT 2")])[1].startswith(
            "x.sql:1:11: "
        )


def test_error_shows_internal_query_and_hints() -> None:
    said = diag(
        1,
        internal_query="SELECT é, x",
        internal_position="11",
        message_hint="wave",
        sqlstate="25001",
    )
    words = explained(said, 0, [whole("SELECT f()")])[1].splitlines()
    assert words[3:6] == [
        "in the query that it ran:",
        "  1 | SELECT é, x",
        "    |           ^",
    ]
    assert words[6] == "HINT: wave"
    assert "put “-- sqlmig: no-transaction”" in words[7]


@pytest.mark.parametrize(
    "length", [LARGEST - 3000, LARGEST, LARGEST + 3000, 3 * LARGEST]
)
def test_a_long_file_is_cut_between_statements_and_nothing_is_lost(length: int) -> None:
    file = script(
        "-- begins\n" + "SELECT 'a statement of some length';\n" * (length // 37)
    )
    whole = file_transaction(file, FileSettings("public")).pieces()
    cut = [*batches(whole, LARGEST)]
    pieces = [one for message in cut for one in message]
    own = [one for one in pieces if one.role == "file"]
    assert b"".join(one.text for one in own) == file.text
    assert sum(map(count, own)) == len(file.statement_starts)
    assert [one for one in whole if one.role != "file"] == [
        one for one in pieces if one.role != "file"
    ]
    assert max(len(joined(message)) for message in cut) < 2 * LARGEST
    assert length // LARGEST <= len(cut) <= length // LARGEST + 2


@pytest.mark.parametrize(
    ("marked", "largest"),  # ¶ marks a cut
    [
        ("SELECT 1; SELECT 2; SELECT 3", 100),
        ("SELECT 1; ¶SELECT 2; ¶SELECT 3", 0),
        ("SELECT 1; ¶SELECT 2; ¶SELECT 3", 10),
        ("SELECT 1; SELECT 2; ¶SELECT 3", 20),
        ("SELECT 1; ¶SELECT 'longer than all others'; ¶SELECT 3; SELECT 4", 20),
        ("-- begins\nSELECT 1; ¶SELECT 2; -- ends", 0),
        ("-- nothing but a comment", 0),
        ("SELECT 'é'; ¶SELECT '漢'; -- ends", 0),
    ],
)
def test_a_piece_is_cut_between_statements(marked: str, largest: int) -> None:
    text = marked.replace("¶", "").encode()
    parts = [part.encode() for part in marked.split("¶")]
    for one in (whole(text.decode()), own_piece("other", text.decode())):
        assert [bytes(cut.text) for cut in cut(one, largest)] == parts
        assert [cut.begin for cut in cut(one, largest)] == [
            sum(map(len, parts[:n])) for n in range(len(parts))
        ]


def test_each_statement_can_have_a_message_of_its_own() -> None:
    file = script("-- begins\nSELECT 1; SELECT 2;\n-- ends")
    pieces = [*opening_pieces(file), body_piece(file), own_piece("commit", "COMMIT")]
    cut = [joined(one) for one in batches(pieces, 0)]
    assert cut == [b"BEGIN", b"-- begins\nSELECT 1; ", b"SELECT 2;\n-- ends", b"COMMIT"]


def test_empty_file_is_sent_and_named_in_errors() -> None:
    message = sent("-- nothing")
    assert b"-- nothing" in joined(message)
    assert explained(diag(), 4, message)[1].startswith("x.sql: at its end")


@pytest.mark.parametrize(
    ("text", "offset", "where", "shown", "caret"),
    [
        ("abc", 0, "1:1", "abc", "^"),
        ("abc", 3, "1:4", "abc", "   ^"),
        ("a\nbc\n", 3, "2:2", "bc", " ^"),
        ("a\r\nbc\r\n", 4, "2:2", "bc", " ^"),
        ("a\rbc\r", 3, "2:2", "bc", " ^"),
        ("é漢x", 5, "1:3", "é漢x", "   ^"),
        ("\tx", 1, "1:2", "\tx", "\t^"),
        ("e\u0301x", 3, "1:3", "e\u0301x", " ^"),
        ("x" * 200, 150, "1:151", "x" * 110, " " * 60 + "^"),
        ("", 0, "1:1", "", "^"),
    ],
)
def test_place_and_excerpt_with_caret(
    text: str, offset: int, where: str, shown: str, caret: str
) -> None:
    assert place("f", text.encode(), offset) == f"f:{where}"
    gutter = f"{where.partition(':')[0]} | "
    assert (
        excerpt(text.encode(), offset)
        == f"  {gutter}{shown}\n  {' ' * (len(gutter) - 2)}| {caret}"
    )


@pytest.mark.parametrize("text", ["", "$a$", "$a$ $a1$", "x$a$y$a1$$a2$"])
def test_dollar_quote_does_not_occur_in_quoted_text(text: str) -> None:
    quote = dollar_quote("a", text)
    assert quote not in text
    assert list(
        scan(f"SELECT {quote}{text}{quote}; SELECT 2".encode()).statement_starts
    )[1:] == [len(text) + 2 * len(quote) + 9]


@pytest.mark.parametrize(
    "schema", ["public", "$sqlmig$", "a'b\"c", "x; DROP TABLE t", "$sqlmig1$ $sqlmig$"]
)
def test_schema_name_cannot_inject_statements(schema: str) -> None:
    plain, odd = Ledger("plain", is_named=True), Ledger(schema, is_named=True)
    for make in (
        Ledger.definition,
        lambda one: one.sql("lock"),
        lambda one: one.insert(Migration(1, "1_x", "x", Path("1_x.up.sql"), None), "y"),
    ):
        assert len(scan(make(odd).encode()).statement_starts) == len(
            scan(make(plain).encode()).statement_starts
        )
    assert -(2**63) <= odd.lock_key < 2**63
    assert odd.lock_key != plain.lock_key


@pytest.mark.parametrize(
    "text",
    ["SET TRANSACTION READ WRITE", "SET TRANSACTION READ WRITE; -- c", "BEGIN; COMMIT"],
)
def test_a_file_that_only_opens_a_transaction_has_an_empty_body(text: str) -> None:
    file = script(text)
    assert not count(body_piece(file))
    around = [*opening_pieces(file), body_piece(file)]
    assert list(scan(joined([*around, own_piece("commit", "COMMIT")])).statement_starts)
