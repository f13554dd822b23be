"""Functions and operators in public that match the calls in sqlmig's SQL better than PostgreSQL's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import sqlmig

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_CALL = re.compile(r"\b([a-z][a-z0-9_]*) ?\(")
_TYPES = (
    "name",
    "text",
    "oid",
    "regclass",
    "regnamespace",
    "regrole",
    '"char"',
    "int4",
    "int8",
    "bool",
    "text[]",
    "aclitem[]",
    "jsonb",
    "timestamptz",
)
_FEWER_TYPES = ("name", "text", "oid", "int4", "int8", "regclass")
_FEWEST_TYPES = ("name", "text", "bool")
_OPERATORS = (
    "=",
    "<>",
    "<",
    ">",
    "<=",
    ">=",
    "~",
    "!~",
    "||",
    "->",
    "->>",
    "@>",
    "+",
    "-",
    "*",
    "/",
    "<<",
    "&",
    "|",
)


def names_in_our_sql() -> set[str]:
    """Return every name before a parenthesis in the package. This includes all functions that its SQL calls."""
    package = Path(sqlmig.__file__).parent
    names = names_in([*package.rglob("*.sql"), *package.rglob("*.py")])
    # A method of Python's. Next to other words it looks like COPY … TO.
    return names - {"copy"}


def names_in(paths: Iterable[Path]) -> set[str]:
    """Return every name before a parenthesis in some files."""
    names: set[str] = set()
    for path in paths:
        names.update(_CALL.findall(path.read_text()))
    return names


def planted(called: Collection[str] = (), more_types: Sequence[str] = ()) -> str:
    """Return a DO block that creates them. Each of them raises the error ``planted: …`` when it is called.

    called: the names of the functions; without any, those in the package. more_types: more
    types of arguments.
    """
    types = (*_TYPES, *more_types)
    fewer_types = (*_FEWER_TYPES, *more_types)
    names = ", ".join(f"'{name}'" for name in sorted(called or names_in_our_sql()))
    operators = ", ".join(f"'{operator}'" for operator in _OPERATORS)
    return f"""
DO $plant$
DECLARE
    called record;
    signature text;
    body text := $$ LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''planted: %'', TG_NAME; END' $$;
    body_of text;
BEGIN
    SET LOCAL search_path = pg_catalog;
    FOR called IN
        SELECT DISTINCT proname, least(CASE WHEN provariadic <> 0 THEN 3 ELSE pronargs END, 3) AS arguments
        FROM pg_catalog.pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname IN ({names}) AND pronargs > 0
    LOOP
        body_of := replace(body, 'TG_NAME', '''''' || called.proname || '''''');
        FOR signature IN
            SELECT format('(%s)', a) FROM unnest(ARRAY[{_listed(types)}]) AS a
            WHERE called.arguments = 1
            UNION ALL
            SELECT format('(%s, %s)', a, b)
            FROM unnest(ARRAY[{_listed(fewer_types)}]) AS a, unnest(ARRAY[{_listed(fewer_types)}]) AS b
            WHERE called.arguments IN (2, 3)
            UNION ALL
            SELECT format('(%s, %s, %s)', a, b, c)
            FROM unnest(ARRAY[{_listed(_FEWEST_TYPES)}]) AS a, unnest(ARRAY[{_listed(_FEWEST_TYPES)}]) AS b,
                unnest(ARRAY[{_listed(_FEWEST_TYPES)}]) AS c
            WHERE called.arguments = 3
        LOOP
            EXECUTE format('CREATE OR REPLACE FUNCTION public.%I%s RETURNS text %s', called.proname, signature, body_of);
        END LOOP;
    END LOOP;

    FOR called IN
        SELECT operator, a, b
        FROM unnest(ARRAY[{operators}]) WITH ORDINALITY AS operators (operator, number),
            unnest(ARRAY[{_listed(types)}]) AS a, unnest(ARRAY[{_listed(types)}]) AS b
    LOOP
        IF to_regprocedure(format('public.planted(%s, %s)', called.a, called.b)) IS NULL THEN
            EXECUTE format(
                'CREATE FUNCTION public.planted(%s, %s) RETURNS bool %s', called.a, called.b,
                replace(body, 'TG_NAME', '''''an operator''''')
            );
        END IF;
        EXECUTE format(
            'CREATE OPERATOR public.%s (FUNCTION = public.planted, LEFTARG = %s, RIGHTARG = %s)',
            called.operator, called.a, called.b
        );
    END LOOP;
END
$plant$;
"""


def _listed(types: Sequence[str]) -> str:
    return ", ".join(f"'{one}'" for one in types)
