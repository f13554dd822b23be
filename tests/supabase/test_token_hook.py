"""The guide's access token hook, pasted and called as Supabase Auth calls it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.conftest import SQL

if TYPE_CHECKING:
    from tests.schema.rows import Database

HOOK = re.findall(r"```sql\n(CREATE FUNCTION public.add_org_id.*?)```", (SQL / "GUIDE.md").read_text(), re.DOTALL)[0]


def test_the_hook_puts_the_organization_into_the_token(database: Database) -> None:
    database.execute("CREATE TABLE members (user_id uuid PRIMARY KEY, org_id uuid NOT NULL)")
    database.execute(re.sub(r"^(GRANT|REVOKE)[^;]*;", "", HOOK, flags=re.MULTILINE))
    user, org = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
    database.execute("INSERT INTO members VALUES (%s, %s)", [user, org])
    for metadata, expected in (({"provider": "email"}, {"provider": "email", "org_id": org}), (None, {"org_id": org})):
        claims = {"role": "authenticated"} | ({"app_metadata": metadata} if metadata else {})
        event = {"user_id": user, "claims": claims}
        ((answer,),) = database.execute("SELECT add_org_id(%s::jsonb)", [json.dumps(event)]).fetchall()
        assert answer["claims"]["app_metadata"] == expected
    stranger = {"user_id": org, "claims": {"role": "authenticated"}}
    assert database.execute("SELECT add_org_id(%s::jsonb)", [json.dumps(stranger)]).fetchall() == [(stranger,)]
