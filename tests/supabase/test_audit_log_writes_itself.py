"""Every change adds a row to the audit log: organization, user, action and columns, but never a value."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.rows import EDITED, TABLES, add, count, organization, remove

if TYPE_CHECKING:
    from uuid import UUID

    from tests.supabase.conftest import Platform
    from tests.support.rows import Database

ACTOR = "11111111-1111-4111-8111-111111111111"
HEADERS = {"x-forwarded-for": "203.0.113.7, 10.0.0.1", "user-agent": "Mozilla/5.0"}


def entries(database: Database, table: str, record: UUID) -> list[tuple[Any, ...]]:
    """Return the log entries of a row, without the role."""
    query = """
        SELECT action, details - 'role' FROM audit_logs WHERE table_name = %s AND record_id = %s
        ORDER BY created_at, action
    """
    return database.execute(query, [table, record]).fetchall()


@pytest.mark.parametrize("table", EDITED)
def test_each_command_on_each_table_adds_an_audit_row(
    database: Database, table: str
) -> None:
    ids = organization(database)
    column = {
        "organizations": "settings",
        "therapists": "specialization",
        "patients": "phone",
        "sessions": "status",
    }
    column |= {
        "clinical_notes": "content",
        "session_recordings": "media_type",
        "consent_records": "expires_at",
    }
    value = {
        "settings": '{"a": 1}',
        "content": '{"a": 1}',
        "status": "completed",
        "expires_at": "2999-01-01",
    }.get(column[table], "secret")
    database.execute(
        f"UPDATE {table} SET {column[table]} = %s WHERE id = %s", [value, ids[table]]
    )
    database.execute(
        f"UPDATE {table} SET {column[table]} = {column[table]}"
    )  # this changes nothing
    if table == "therapists":
        remove(database, "sessions", ids["sessions"])
    remove(database, table, ids[table])
    assert entries(database, table, ids[table]) == [
        ("INSERT", {}),
        ("UPDATE", {"changed": [column[table]]}),
        ("DELETE", {}),
    ]
    whose = "SELECT DISTINCT organization_id, organization_name FROM audit_logs WHERE record_id = %s"
    assert database.execute(whose, [ids[table]]).fetchall() == [
        (ids["organizations"], "Asha Clinic")
    ]


@pytest.mark.parametrize("table", ["wearable_data", "audit_logs"])
def test_append_only_tables_are_not_audited(database: Database, table: str) -> None:
    organization(database)
    assert database.execute(
        "SELECT count(*) FROM audit_logs WHERE table_name = %s", [table]
    ).fetchall() == [(0,)]


def test_log_records_user_address_and_user_agent(platform: Platform) -> None:
    claims = platform.own() | {"sub": ACTOR}
    with platform.request(claims=claims) as database:
        database.execute(
            "SELECT set_config('request.headers', %s, true)", [json.dumps(HEADERS)]
        )
        patient = add(database, "patients", full_name="new")
        database.execute(
            "UPDATE patients SET phone = '1', full_name = 'newer' WHERE id = %s",
            [patient],
        )
        query = "SELECT action, details, actor_id::text, host(ip_address), user_agent, org_id FROM audit_logs WHERE record_id = %s ORDER BY action"
        who = (ACTOR, "203.0.113.7", "Mozilla/5.0", platform.ours["organizations"])
        assert database.execute(query, [patient]).fetchall() == [
            ("INSERT", {}, *who),
            ("UPDATE", {"changed": ["full_name", "phone"]}, *who),
        ]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("request.jwt.claims", {"sub": "nobody"}),
        ("request.jwt.claims", {"sub": 7}),
        ("request.headers", "no json"),
        ("request.headers", {"x-forwarded-for": "unknown"}),
        ("request.headers", {"x-forwarded-for": ""}),
        ("request.headers", []),
        ("request.headers", {"user-agent": None}),
    ],
)
def test_malformed_token_or_header_does_not_block_writes(
    platform: Platform, setting: str, value: object
) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    with platform.request("service_role") as database:
        database.execute("SELECT set_config(%s, %s, true)", [setting, text])
        patient = add(
            database, "patients", org_id=platform.ours["organizations"], full_name="x"
        )
        query = "SELECT actor_id, ip_address, user_agent FROM audit_logs WHERE record_id = %s"
        assert database.execute(query, [patient]).fetchall() == [(None, None, None)]


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_deleting_an_organization_logs_it_and_every_row_deleted_with_it(
    database: Database, isolation: str
) -> None:
    ids, other = (
        organization(database, "Asha Clinic"),
        organization(database, "Asha Clinic"),
    )
    with database.transaction():
        database.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        remove(database, "organizations", ids["organizations"])
    for table in EDITED:
        assert entries(database, table, ids[table])[-1:] == [("DELETE", {})] or (
            "DELETE",
            {},
        ) in entries(database, table, ids[table])
        assert ("DELETE", {}) not in entries(database, table, other[table])
    rows = "SELECT DISTINCT org_id, organization_name FROM audit_logs WHERE organization_id = %s"
    assert database.execute(rows, [ids["organizations"]]).fetchall() == [
        (None, "Asha Clinic")
    ]
    assert database.execute(rows, [other["organizations"]]).fetchall() == [
        (other["organizations"], "Asha Clinic")
    ]
    assert {table for table in TABLES if count(database, table)} == set(TABLES)


def test_statement_across_organizations_is_logged_for_each(
    database: Database,
) -> None:
    ours, theirs = organization(database, "ours"), organization(database, "theirs")
    database.execute("UPDATE patients SET phone = '7'")
    for ids, name in ((ours, "ours"), (theirs, "theirs")):
        query = "SELECT record_id, organization_name FROM audit_logs WHERE action = 'UPDATE' AND org_id = %s"
        assert database.execute(query, [ids["organizations"]]).fetchall() == [
            (ids["patients"], name)
        ]


def test_json_change_visible_only_as_text_is_logged(database: Database) -> None:
    ids = organization(database)
    database.execute("""UPDATE clinical_notes SET content = '{"dose": 1}'""")
    database.execute("""UPDATE clinical_notes SET content = '{"dose": 1.0}'""")
    assert (
        entries(database, "clinical_notes", ids["clinical_notes"])[1:]
        == [("UPDATE", {"changed": ["content"]})] * 2
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [('"1"', "1"), ('"{}"', "{}"), ("null", '"null"'), ("1", "1.0")],
)
def test_type_change_within_json_is_logged(
    database: Database, before: str, after: str
) -> None:
    ids = organization(database)
    database.execute("ALTER TABLE patients ADD COLUMN extra jsonb")
    for value in (before, after):
        database.execute("UPDATE patients SET extra = %s", [value])
    told = ("UPDATE", {"changed": ["extra"]})
    assert entries(database, "patients", ids["patients"]).count(told) == 1 + (
        before != "null"
    )


def test_bulk_update_after_single_row_updates_is_not_quadratic(
    database: Database,
) -> None:
    """Reuse a plan for one row with many rows. The statement timeout fails the test if it is slow."""
    ids = organization(database)
    query = "INSERT INTO patients (org_id, full_name) SELECT %s, 'p' FROM generate_series(1, 20000)"
    database.execute(query, [ids["organizations"]])
    for number in range(12):
        database.execute(
            "UPDATE patients SET phone = %s WHERE id = %s",
            [str(number), ids["patients"]],
        )
    database.execute("SET statement_timeout = '15s'")
    assert database.execute("UPDATE patients SET phone = 'all'").rowcount == 20_001


def test_row_changed_twice_by_one_statement_gets_two_audit_rows(
    database: Database,
) -> None:
    ids = organization(database)
    database.execute("""
        WITH gone AS (DELETE FROM sessions RETURNING 1), left_us AS (DELETE FROM therapists RETURNING org_id)
        UPDATE patients SET phone = '1' WHERE org_id IN (SELECT org_id FROM left_us)
    """)
    changes = [
        details["changed"]
        for _, details in entries(database, "patients", ids["patients"])[1:]
    ]
    assert sorted(changes) == [["assigned_therapist_id"], ["phone"]]


def test_deleted_organization_name_is_not_taken_from_an_older_audit_row(
    database: Database,
) -> None:
    ids = organization(database, "Asha Clinic")
    add(
        database,
        "audit_logs",
        org_id=ids["organizations"],
        action="DELETE",
        table_name="organizations",
    )
    database.execute("UPDATE organizations SET name = 'renamed'")
    remove(database, "organizations", ids["organizations"])
    query = "SELECT organization_name FROM audit_logs WHERE record_id = %s AND action = 'DELETE'"
    assert database.execute(query, [ids["patients"]]).fetchall() == [("renamed",)]


def test_audit_row_without_organization_cannot_be_updated(database: Database) -> None:
    add(database, "audit_logs", action="x", details={"n": 1})
    for change in ("details = '{\"n\": 1.000}'", "action = action"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.execute(f"UPDATE audit_logs SET {change}")


def test_functions_planted_by_another_role_do_not_run_as_owner(
    own_platform: Platform,
) -> None:
    own_platform.owner.execute("GRANT CREATE ON SCHEMA public TO authenticated")
    with own_platform.request(claims=own_platform.own()) as database:
        for name, arguments, result in (
            ("to_jsonb", "patients", "jsonb"),
            ("jsonb_agg", "text", "jsonb"),
            ("jsonb_build_object", "text, jsonb", "jsonb"),
            ("jsonb_build_object", "text, name", "jsonb"),
            ("jsonb_build_object", "text, text", "jsonb"),
            ("jsonb_build_object", "text, jsonb, text, jsonb, text, jsonb", "jsonb"),
            ("unnest", "jsonb[]", "jsonb"),
            ("cardinality", "jsonb[]", "int"),
            ("row_number", "", "bigint"),
            ("jsonb_object_keys", "jsonb", "text"),
            ("current_setting", "text", "text"),
            ("current_setting", "text, bool", "text"),
            ("split_part", "text, text, int", "text"),
            ("btrim", "text", "text"),
            ("now", "", "timestamptz"),
        ):
            body = "BEGIN RAISE 'running as %', current_user; END"
            database.execute(
                f"CREATE FUNCTION public.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS $f${body}$f$"
            )
        assert database.execute("UPDATE patients SET phone = '7'").rowcount == 1
        assert (
            database.execute(
                "UPDATE clinical_notes SET approved_by_therapist = true"
            ).rowcount
            == 1
        )


@pytest.mark.parametrize(
    ("request_role", "claims", "said"),
    [
        ("service_role", None, "service_role"),
        ("service_role", {"role": "service_role"}, "service_role"),
        ("authenticated", {"sub": "nobody"}, "authenticated"),
        (None, None, "supabase_postgres"),
    ],
)
def test_log_records_role_when_user_is_unknown(
    platform: Platform,
    request_role: str | None,
    claims: dict[str, str] | None,
    said: str,
) -> None:
    organization_id = platform.ours["organizations"]
    metadata = {"app_metadata": {"org_id": str(organization_id)}}
    with contextlib.ExitStack() as stack:
        if request_role:
            token = claims | metadata if claims is not None else None
            database = stack.enter_context(platform.request(request_role, token))
        else:
            stack.enter_context(platform.owner.transaction(force_rollback=True))
            database = platform.owner
        patient = add(database, "patients", org_id=organization_id, full_name="x")
        query = "SELECT actor_id, details FROM audit_logs WHERE record_id = %s"
        assert database.execute(query, [patient]).fetchall() == [(None, {"role": said})]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("198.51.100.9", "198.51.100.9"),
        ("nonsense", "203.0.113.7"),
        ("", "203.0.113.7"),
    ],
)
def test_address_comes_from_platform_header_if_valid(
    platform: Platform, given: str, kept: str
) -> None:
    headers = HEADERS | {"cf-connecting-ip": given}
    with platform.request(claims=platform.own() | {"sub": ACTOR}) as database:
        database.execute(
            "SELECT set_config('request.headers', %s, true)", [json.dumps(headers)]
        )
        patient = add(database, "patients", full_name="new")
        query = "SELECT host(ip_address) FROM audit_logs WHERE record_id = %s"
        assert database.execute(query, [patient]).fetchall() == [(kept,)]


def test_row_added_by_owners_own_trigger_keeps_true_organization(
    database: Database,
) -> None:
    ids = organization(database, "Asha Clinic")
    database.execute("""
        CREATE TABLE logins (org_id uuid);
        CREATE FUNCTION log_login() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
        BEGIN
            INSERT INTO audit_logs (org_id, action) VALUES (NEW.org_id, 'signed in');
            INSERT INTO audit_logs (org_id, action, organization_id, organization_name, created_at)
            VALUES (NEW.org_id, 'signed in', gen_random_uuid(), 'forged', '2001-01-01');
            INSERT INTO audit_logs (org_id, action, organization_name) VALUES (NEW.org_id, 'signed in', 'forged');
            RETURN NULL;
        END;
        $$;
        CREATE TRIGGER log_login AFTER INSERT ON logins FOR EACH ROW EXECUTE FUNCTION log_login();
    """)
    database.execute("INSERT INTO logins VALUES (%s)", [ids["organizations"]])
    remove(database, "organizations", ids["organizations"])
    query = """
        SELECT org_id, organization_id, organization_name, created_at > now() - interval '1 hour'
        FROM audit_logs WHERE action = 'signed in'
    """
    assert (
        database.execute(query).fetchall()
        == [(None, ids["organizations"], "Asha Clinic", True)] * 3
    )


def test_history_of_a_record_is_found_by_index(database: Database) -> None:
    ids = organization(database)
    database.execute(
        "INSERT INTO audit_logs (org_id, action, record_id) SELECT %s, 'read', gen_random_uuid() FROM generate_series(1, 5000)",
        [ids["organizations"]],
    )
    database.execute("ANALYZE audit_logs")
    query = "EXPLAIN SELECT * FROM audit_logs WHERE org_id = %s AND record_id = %s ORDER BY created_at DESC"
    plan = database.execute(query, [ids["organizations"], ids["patients"]]).fetchall()
    assert "idx_audit_org_record" in str(plan)


def test_operators_planted_by_another_role_do_not_run_as_owner(
    own_platform: Platform,
) -> None:
    own_platform.owner.execute("""
        GRANT CREATE ON SCHEMA public TO authenticated;
        CREATE TABLE ran (as_role text);
        GRANT INSERT ON ran TO PUBLIC;
    """)
    operators = [
        ("=", "audit_logs", "audit_logs", "bool"),
        ("->", "jsonb", "jsonb", "jsonb"),
    ]
    operators += [
        ("->>", "jsonb", "jsonb", "text"),
        ("||", "jsonb", "text", "jsonb"),
        ("<>", "text", "name", "bool"),
    ]
    with own_platform.api.transaction():
        own_platform.api.execute("SET LOCAL ROLE authenticated")
        for number, (sign, left, right, result) in enumerate(operators):
            body = (
                "BEGIN INSERT INTO public.ran VALUES (current_user); RETURN NULL; END"
            )
            own_platform.api.execute(
                f"CREATE FUNCTION public.f{number}({left}, {right}) RETURNS {result} LANGUAGE plpgsql AS $f${body}$f$; "
                f"CREATE OPERATOR public.{sign} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.f{number})"
            )
    with own_platform.api.transaction():
        own_platform.api.execute("SET LOCAL ROLE service_role")
        own_platform.api.execute("UPDATE patients SET phone = '7'")
        own_platform.api.execute(
            "DELETE FROM organizations WHERE id = %s",
            [own_platform.theirs["organizations"]],
        )
    assert own_platform.owner.execute("SELECT * FROM ran").fetchall() == []


def test_temporary_table_does_not_shadow_a_real_table(platform: Platform) -> None:
    with platform.request("service_role") as database:
        database.execute(
            "CREATE TEMP TABLE audit_logs (LIKE public.audit_logs); CREATE TEMP TABLE organizations (id uuid, name text)"
        )
        patient = add(
            database, "patients", org_id=platform.ours["organizations"], full_name="x"
        )
        log = "SELECT organization_name FROM public.audit_logs WHERE record_id = %s"
        assert database.execute(log, [patient]).fetchall() == [("ours",)]


FORGED = "organization_id, organization_name, created_at, action, table_name) VALUES (%s, 'forged', '2001-01-01', 'DELETE', 'organizations')"


@pytest.mark.parametrize(
    "action", ["DELETE", "insert", " Update ", "DELETE\n", "\tUPDATE", "DELETE\u00a0"]
)
@pytest.mark.parametrize("way", ["itself", "from a trigger of its own"])
def test_service_role_cannot_forge_a_trigger_row(
    platform: Platform, way: str, action: str
) -> None:
    values = FORGED.replace("'DELETE'", f"'{action}'")
    with platform.request("service_role") as database:
        insert = f"INSERT INTO audit_logs ({values}"
        if way != "itself":
            database.execute("CREATE TEMP TABLE t (id uuid)")
            body = f"BEGIN INSERT INTO public.audit_logs ({values.replace('%s', 'NEW.id')}; RETURN NULL; END"
            database.execute(
                f"CREATE FUNCTION pg_temp.forge() RETURNS trigger LANGUAGE plpgsql AS $f${body}$f$"
            )
            database.execute(
                "CREATE TRIGGER f AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION pg_temp.forge()"
            )
            insert = "INSERT INTO t VALUES (%s)"
        with pytest.raises(
            psycopg.errors.IntegrityConstraintViolation,
            match="only the triggers of the audited tables record",
        ):
            database.execute(insert, [ACTOR])


def test_service_role_cannot_forge_time_or_organization_name(
    platform: Platform,
) -> None:
    with platform.request("service_role") as database:
        values = FORGED.replace("'DELETE'", "'read'")
        database.execute(f"INSERT INTO audit_logs ({values}", [ACTOR])
        query = "SELECT organization_id FROM audit_logs WHERE created_at < now() - interval '1 day' OR organization_name = 'forged'"
        assert database.execute(query).fetchall() == []


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE audit_logs SET action = 'x'",
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs",
    ],
)
@pytest.mark.parametrize("role", ["authenticated", "service_role"])
def test_api_roles_cannot_change_or_remove_audit_rows(
    platform: Platform, role: str, query: str
) -> None:
    with (
        platform.request(role, platform.own()) as database,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        database.execute(query)


def test_audit_row_truncates_user_agent_and_stores_one_address(
    platform: Platform,
) -> None:
    headers = {"x-forwarded-for": "10.0.0.0/8", "user-agent": "x" * 14_700}
    with platform.owner.transaction(force_rollback=True):
        platform.owner.execute(
            "SELECT set_config('request.headers', %s, true)", [json.dumps(headers)]
        )
        platform.owner.execute("UPDATE patients SET full_name = 'another'")
        rows = platform.owner.execute(
            "SELECT DISTINCT ip_address::text, length(user_agent) FROM audit_logs WHERE created_at = now()"
        ).fetchall()
    assert rows == [("10.0.0.0/32", 500)]
