"""A signed-in user cannot store JSON with a text that is too long to read or to dump."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.supabase.conftest import Platform

BOMBS = {
    "large numbers": '{"s": [' + "1e131071," * 9000 + "1]}",
    "small numbers": '{"s": [' + "1e-16383," * 9000 + "1]}",
    "zeros with digits": '{"s": [' + "0e-16383," * 9000 + "1]}",
    "more zeros": '{"s": [' + "0e-16383," * 90_000 + "1]}",
    "levels": '{"a": ' * 13_099 + "1" + "}" * 13_099,
    "lists in lists": '{"a": ' + "[" * 13_000 + "]" * 13_000 + "}",
}
COLUMNS = {
    "a new note": (
        "INSERT INTO clinical_notes (session_id, note_type, content) VALUES (%(session)s, 'soap', %(bomb)s)"
    ),
    "a note": "UPDATE clinical_notes SET content = %(bomb)s",
    "a patient": "UPDATE patients SET demographics = %(bomb)s",
    "a measurement": (
        "INSERT INTO wearable_data (patient_id, data_type, metrics, recorded_at)"
        " VALUES (%(patient)s, 'watch', %(bomb)s, now())"
    ),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("statement", COLUMNS.values(), ids=COLUMNS)
def test_json_bomb_is_refused(platform: Platform, statement: str, bomb: str) -> None:
    values = {
        "session": platform.ours["sessions"],
        "patient": platform.ours["patients"],
        "bomb": bomb,
    }
    with (
        pytest.raises(psycopg.errors.CheckViolation),
        platform.request(claims=platform.own()) as api,
    ):
        api.execute(statement, values)


@pytest.mark.parametrize("statement", COLUMNS.values(), ids=COLUMNS)
def test_large_ordinary_json_is_accepted(platform: Platform, statement: str) -> None:
    values = {
        "session": platform.ours["sessions"],
        "patient": platform.ours["patients"],
        "bomb": '{"text": "'
        + "x" * 100_000
        + '", "values": ['
        + "0, 0.00, 1e3, " * 1000
        + "1]}",
    }
    with platform.request(claims=platform.own()) as api:
        api.execute(statement, values)
