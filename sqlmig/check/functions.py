"""Functions and procedures that do not compile any more: the server does not check them when a table changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlmig.core.connection import fetch_on_callers_path, rollback, send
from sqlmig.core.errors import ServerError
from sqlmig.core.sql import read_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlmig.core.connection import Connection

_STATEMENTS = read_statements(Path(__file__).with_suffix(".sql"))
_INSUFFICIENT_PRIVILEGE = "42501"
# Settings under which the server checks the body of a function that is created.
_CHECKS_BODIES = b"BEGIN; SET LOCAL check_function_bodies = on;"
_STATEMENTS_BEFORE = 2


class _Function(NamedTuple):
    """A function: its kind and signature, the statement that creates it, and whether it is PL/pgSQL."""

    name: str
    definition: str
    is_plpgsql: bool


class Functions:
    """The functions of a database, and which of them compile."""

    def __init__(self) -> None:
        """Begin without any."""
        self._errors: dict[str, str] = {}
        self.bodies: list[bytes] = []

    def broken(self, connection: Connection) -> list[tuple[str, str]]:
        """Return the functions that compiled before and do not compile now, with the error."""
        rows = fetch_on_callers_path(connection, _STATEMENTS["functions"])
        functions = [_Function(*row) for row in rows]
        self.bodies = [function.definition.encode() for function in functions]
        errors = _errors_of_sql(
            connection, [one for one in functions if not one.is_plpgsql]
        )
        if any(one.is_plpgsql for one in functions):
            errors |= _errors_of_plpgsql(connection)
        before = self._errors
        found = []
        for name, error in errors.items():
            if error and before.get(name) == "":
                found.append((name, error))
        self._errors = errors
        return found


def _errors_of_sql(
    connection: Connection, functions: Sequence[_Function]
) -> dict[str, str]:
    """Create each function again from its own definition, in a transaction that is rolled back."""
    errors = {function.name: "" for function in functions}
    left = list(functions)
    while left:
        definitions = ";\n".join(function.definition for function in left)
        try:
            send(connection, _CHECKS_BODIES + definitions.encode())
            break
        except ServerError as error:
            number = len(error.results_before) - _STATEMENTS_BEFORE
            if error.sqlstate != _INSUFFICIENT_PRIVILEGE:
                errors[left[number].name] = error.first_line
            left = left[number + 1 :]
        finally:
            rollback(connection)
    return errors


def _errors_of_plpgsql(connection: Connection) -> dict[str, str]:
    """Return the errors that the extension plpgsql_check finds; nothing if the server does not have it."""
    try:
        if not fetch_on_callers_path(connection, _STATEMENTS["has_plpgsql_check"]):
            return {}
        send(connection, b"BEGIN")
        send(connection, b"CREATE EXTENSION IF NOT EXISTS plpgsql_check")
        ((home,),) = fetch_on_callers_path(connection, _STATEMENTS["home"])
        query = _STATEMENTS["plpgsql_errors"].format(home=home)
        return dict(fetch_on_callers_path(connection, query))
    except ServerError:  # the role may not create the extension
        return {}
    finally:
        rollback(connection)
