"""Paste the guide's access token hook, and call it like Supabase Auth."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.project import SQL

if TYPE_CHECKING:
    from tests.support.rows import Database

GUIDE = (SQL / "GUIDE.md").read_text()
HOOK = re.findall(r"```sql\n(CREATE TABLE public.members .*?)```", GUIDE, re.DOTALL)[0]


USER, ORG, OTHER = (f"{n * 8}-{n * 4}-4{n * 3}-8{n * 3}-{n * 12}" for n in "123")


@pytest.mark.parametrize(
    ("memberships", "metadata", "expected"),
    [
        ([ORG], {"provider": "email"}, {"provider": "email", "org_id": ORG}),
        ([ORG], "absent", {"org_id": ORG}),
        ([ORG], None, {"org_id": ORG}),
        ([ORG], [], {"org_id": ORG}),
        ([ORG], {"org_id": OTHER}, {"org_id": ORG}),
        ([], {"provider": "email", "org_id": ORG}, {"provider": "email"}),
        ([], "absent", {}),
        ([ORG, OTHER], {"org_id": OTHER}, {"org_id": OTHER}),
        ([ORG, OTHER], {"org_id": USER}, {}),
        ([ORG, OTHER], {}, {}),
    ],
)
def test_hook_adds_organization_to_token(
    database: Database, memberships: list[str], metadata: object, expected: object
) -> None:
    database.execute(
        "CREATE SCHEMA auth; CREATE TABLE auth.users (id uuid PRIMARY KEY)"
    )
    # This server does not have Supabase's roles.
    roles = r"^(?:GRANT|REVOKE|CREATE POLICY)[^;]*;"
    database.execute(re.sub(roles, "", HOOK, flags=re.MULTILINE))
    for user in (USER, OTHER):
        database.execute("INSERT INTO auth.users VALUES (%s)", [user])
    for org in (ORG, OTHER):
        database.execute("INSERT INTO organizations (id, name) VALUES (%s, 'A')", [org])
    for org in memberships:
        database.execute("INSERT INTO members VALUES (%s, %s)", [USER, org])
    database.execute("INSERT INTO members VALUES (%s, %s)", [OTHER, ORG])
    claims = {"role": "authenticated"} | (
        {} if metadata == "absent" else {"app_metadata": metadata}
    )
    event = {"user_id": USER, "claims": claims}
    ((answer,),) = database.execute(
        "SELECT add_org_id(%s::jsonb)", [json.dumps(event)]
    ).fetchall()
    assert answer == {
        "user_id": USER,
        "claims": {"role": "authenticated", "app_metadata": expected},
    }
