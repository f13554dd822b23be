"""Test the rights of every kind of caller: each table and the view, each command, both kinds of default grants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from tests.support.rows import TABLES, add

if TYPE_CHECKING:
    from tests.supabase.conftest import Platform

RELATIONS = [*TABLES, "upcoming_sessions"]
COMMANDS = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"]
CALLERS = [
    "own tenant",
    "other tenant",
    "no claim",
    "malformed claim",
    "user_metadata",
    "anon",
    "service_role",
]

WRITTEN = {
    "patients",
    "sessions",
    "clinical_notes",
    "session_recordings",
    "consent_records",
}
# A column that an UPDATE may name.
EDITABLE = {
    "organizations": "settings",
    "therapists": "specialization",
    "patients": "phone",
    "sessions": "status",
    "clinical_notes": "content",
    "session_recordings": "media_type",
    "wearable_data": "metrics",
    "consent_records": "document_path",
    "audit_logs": "action",
    "upcoming_sessions": "status",
}
# The columns that a signed-in user may set in an INSERT and in an UPDATE: no evidence.
COLUMNS = {
    "patients": (
        "id org_id assigned_therapist_id full_name phone abha_id demographics",
        "assigned_therapist_id full_name phone abha_id demographics",
    ),
    "sessions": (
        "id org_id therapist_id patient_id scheduled_at status duration_minutes",
        "therapist_id scheduled_at status duration_minutes",
    ),
    "clinical_notes": (
        "id org_id session_id note_type content ai_generated_summary approved_by_therapist",
        "note_type content ai_generated_summary approved_by_therapist",
    ),
    "session_recordings": (
        "id org_id session_id consent_record_id storage_path media_type duration_seconds size_bytes recorded_at expires_at deleted_at",
        "storage_path media_type duration_seconds size_bytes recorded_at expires_at deleted_at",
    ),
    "consent_records": (
        "id org_id patient_id purpose notice_version granted_at expires_at granted_by document_path",
        "expires_at revoked_at document_path",
    ),
    "wearable_data": ("id org_id patient_id data_type metrics recorded_at", ""),
}
GRANTED = {
    "authenticated": {
        "SELECT": set(RELATIONS),
        "INSERT": WRITTEN | {"wearable_data"},
        "UPDATE": WRITTEN,
        "DELETE": set[str](),
        "TRUNCATE": set[str](),
    },
    "service_role": {
        "SELECT": set(RELATIONS),
        "INSERT": set(TABLES),
        "UPDATE": set(TABLES) - {"audit_logs"},
        "DELETE": set(TABLES) - {"audit_logs"},
        "TRUNCATE": set[str](),
    },
    "anon": {command: set[str]() for command in COMMANDS},
}


def claims(platform: Platform, caller: str) -> object:
    """Return the claims that a caller sends."""
    org = str(platform.ours["organizations"])
    return {
        "own tenant": platform.own(),
        "other tenant": platform.other(),
        "no claim": None,
        "malformed claim": {"app_metadata": {"org_id": f"{org}' OR true --"}},
        "user_metadata": {"user_metadata": {"org_id": org}, "org_id": org},
        "anon": platform.own(),
        "service_role": None,
    }[caller]


def attempt(
    platform: Platform, database: psycopg.Connection[Any], relation: str, command: str
) -> int:
    """Run a command on our organization's row, and return the number of rows it affected."""
    ids, name = platform.ours, sql.Identifier(relation)
    row = ids["sessions"] if relation == "upcoming_sessions" else ids[relation]
    if command == "INSERT":
        people = {"therapist_id": ids["therapists"], "patient_id": ids["patients"]}
        new: dict[str, dict[str, object]] = {
            "organizations": {"name": "new"},
            "therapists": {"org_id": ids["organizations"], "full_name": "new"},
            "patients": {
                "org_id": ids["organizations"],
                "full_name": "new",
                "assigned_therapist_id": ids["therapists"],
            },
            "sessions": people | {"scheduled_at": "2999-01-01"},
            "upcoming_sessions": people | {"scheduled_at": "2999-01-01"},
            "clinical_notes": {"session_id": ids["sessions"], "note_type": "dap"},
            "session_recordings": {
                "session_id": ids["sessions"],
                "consent_record_id": ids["consent_records"],
            },
            "wearable_data": {
                "patient_id": ids["patients"],
                "data_type": "hrv",
                "recorded_at": "2030-01-01",
            },
            "consent_records": {"patient_id": ids["patients"], "purpose": "treatment"},
            "audit_logs": {"org_id": ids["organizations"], "action": "new"},
        }
        values = new[relation]
        columns = sql.SQL(", ").join(map(sql.Identifier, values))
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            name, columns, sql.SQL(", ").join([sql.SQL("%s")] * len(values))
        )
        return database.execute(query, [*values.values()]).rowcount
    query = {
        "SELECT": sql.SQL("SELECT * FROM {} WHERE id = %s"),
        "UPDATE": sql.SQL("UPDATE {} SET {column} = {column} WHERE id = %s"),
        "DELETE": sql.SQL("DELETE FROM {} WHERE id = %s"),
        "TRUNCATE": sql.SQL("TRUNCATE {} CASCADE"),
    }[command].format(name, column=sql.Identifier(EDITABLE[relation]))
    result = database.execute(query, None if command == "TRUNCATE" else [row])
    return 1 if command == "TRUNCATE" else result.rowcount


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("relation", RELATIONS)
def test_each_role_can_run_only_granted_commands(
    platform: Platform, relation: str, command: str, caller: str
) -> None:
    role = caller if caller in ("anon", "service_role") else "authenticated"
    refusals = (psycopg.errors.InsufficientPrivilege,)
    if relation == "upcoming_sessions":  # PostgreSQL cannot write to a join
        refusals += (
            psycopg.errors.ObjectNotInPrerequisiteState,
            psycopg.errors.WrongObjectType,
        )  # type: ignore[assignment]
    with platform.request(role, claims(platform, caller)) as database:
        if relation not in GRANTED[role][command]:
            with pytest.raises(refusals):
                attempt(platform, database, relation, command)
        elif caller in ("own tenant", "service_role"):
            assert attempt(platform, database, relation, command) == 1
        elif command == "INSERT":  # the parent is invisible, or the policy refuses
            with pytest.raises(
                (
                    psycopg.errors.InsufficientPrivilege,
                    psycopg.errors.ForeignKeyViolation,
                )
            ):
                attempt(platform, database, relation, command)
        else:
            assert attempt(platform, database, relation, command) == 0


@pytest.mark.parametrize("relation", RELATIONS)
def test_tenant_sees_only_its_own_rows(platform: Platform, relation: str) -> None:
    table = "sessions" if relation == "upcoming_sessions" else relation
    words = "WHERE action = 'login'" if table == "audit_logs" else ""
    with platform.request(claims=platform.own()) as database:
        assert database.execute(f"SELECT id FROM {relation} {words}").fetchall() == [
            (platform.ours[table],)
        ]
        of = "id" if table == "organizations" else "org_id"
        organizations = database.execute(
            f"SELECT DISTINCT {of} FROM {relation}"
        ).fetchall()
        assert organizations == [(platform.ours["organizations"],)]
    for claimed in (
        "",
        "no json",
        "null",
        '"x"',
        "[]",
        "{}",
        {"app_metadata": None},
        {"app_metadata": "x"},
        {"app_metadata": {"org_id": 7}},
        {"app_metadata": {"org_id": ""}},
    ):
        with platform.request(claims=claimed) as database:
            assert database.execute(f"SELECT id FROM {relation}").fetchall() == []


def test_only_owner_can_access_ledger(platform: Platform) -> None:
    for role in ("anon", "authenticated", "service_role"):
        for query in (
            "SELECT * FROM schema_migrations",
            "TRUNCATE schema_migrations",
            "DELETE FROM schema_migrations",
        ):
            with (
                platform.request(role, platform.own()) as database,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                database.execute(query)


def test_only_intended_functions_can_be_called_over_the_api(platform: Platform) -> None:
    query = """
        SELECT proname, rolname FROM pg_proc, pg_roles
        WHERE pronamespace = 'public'::regnamespace AND rolname IN ('anon', 'authenticated', 'service_role')
            AND has_function_privilege(rolname, pg_proc.oid, 'EXECUTE')
        ORDER BY rolname, proname
    """
    assert platform.owner.execute(query).fetchall() == [
        ("current_org_id", "authenticated"),
        ("current_org_id", "service_role"),
        ("merge_patients", "service_role"),
    ]


def test_table_privileges_match_expected_set(platform: Platform) -> None:
    query = """
        SELECT grantee::regrole::text, relname, array_agg(privilege_type ORDER BY privilege_type)
        FROM pg_class, aclexplode(relacl)
        WHERE relnamespace = 'public'::regnamespace AND grantee <> relowner GROUP BY 1, 2
    """
    rows = platform.owner.execute(query).fetchall()
    found = {
        (role, name): privileges for role, name, privileges in rows if name in RELATIONS
    }
    expected: dict[tuple[str, str], list[str]] = {}
    for relation in RELATIONS:
        expected["authenticated", relation] = (
            ["INSERT", "SELECT"] if relation == "wearable_data" else ["SELECT"]
        )
        everything = ["DELETE", "INSERT", "SELECT", "UPDATE"]
        expected["service_role", relation] = {
            "audit_logs": ["INSERT", "SELECT"],
            "upcoming_sessions": ["SELECT"],
        }.get(relation, everything)
    assert found == expected


@pytest.mark.parametrize("table", COLUMNS)
def test_signed_in_user_can_write_only_expected_columns(
    platform: Platform, table: str
) -> None:
    columns = [
        name
        for (name,) in platform.owner.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            [table],
        )
    ]
    for command, allowed in zip(("INSERT", "UPDATE"), COLUMNS[table], strict=True):
        query = "SELECT has_column_privilege('authenticated', %s, %s, %s)"
        may = [
            name
            for name in columns
            if platform.owner.execute(query, [table, name, command]).fetchone()
            == (True,)
        ]
        assert sorted(may) == sorted(allowed.split())


@pytest.mark.parametrize("given", ["right", "wrong", "not"])
@pytest.mark.parametrize("role", ["authenticated", "service_role"])
@pytest.mark.parametrize("table", sorted(WRITTEN | {"wearable_data"}))
def test_org_id_may_be_omitted_but_not_wrong(
    platform: Platform, table: str, role: str, given: str
) -> None:
    ids, theirs = platform.ours, platform.theirs
    values: dict[str, object] = {
        "patients": {"full_name": "x", "assigned_therapist_id": ids["therapists"]},
        "sessions": {
            "therapist_id": ids["therapists"],
            "patient_id": ids["patients"],
            "scheduled_at": "2999-01-01",
        },
        "clinical_notes": {"session_id": ids["sessions"], "note_type": "dap"},
        "session_recordings": {"session_id": ids["sessions"]},
        "wearable_data": {
            "patient_id": ids["patients"],
            "data_type": "hrv",
            "recorded_at": "2030-01-01",
        },
        "consent_records": {"patient_id": ids["patients"], "purpose": "treatment"},
    }[table]  # type: ignore[assignment]
    if given != "not":
        values["org_id"] = (ids if given == "right" else theirs)["organizations"]
    claims = platform.own() if role == "authenticated" else None
    with platform.request(role, claims) as database:
        if given == "wrong" or (
            given == "not" and table == "patients" and role == "service_role"
        ):
            refusals = (psycopg.errors.InsufficientPrivilege, psycopg.IntegrityError)
            with pytest.raises(refusals):
                add(database, table, **values)
        else:
            new = add(database, table, **values)
            database.execute("SET CONSTRAINTS ALL IMMEDIATE")
            found = database.execute(
                f"SELECT org_id FROM {table} WHERE id = %s", [new]
            ).fetchone()
            assert found == (ids["organizations"],)


@pytest.mark.parametrize("role", ["service_role", "authenticated"])
def test_api_roles_cannot_create_triggers(platform: Platform, role: str) -> None:
    with platform.request(role, platform.own()) as database:
        assert database.execute(
            "SELECT bool_or(has_table_privilege(oid, 'TRIGGER, REFERENCES, TRUNCATE')) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
        ).fetchone() == (False,)
        database.execute(
            "CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.execute(
                "CREATE TRIGGER t AFTER DELETE ON therapists FOR EACH ROW EXECUTE FUNCTION pg_temp.f()"
            )


EVIDENCE = {
    "un-revoke a consent": "UPDATE consent_records SET revoked_at = NULL",
    "revoke it at another time": "UPDATE consent_records SET revoked_at = '2999-01-01'",
    "date a consent back": "UPDATE consent_records SET granted_at = '2001-01-01'",
    "move a consent": "UPDATE consent_records SET patient_id = %(patient)s",
    "change its purpose": "UPDATE consent_records SET purpose = 'treatment'",
    "move a session": "UPDATE sessions SET patient_id = %(patient)s",
    "move a note": "UPDATE clinical_notes SET session_id = %(session)s",
    "move a recording": "UPDATE session_recordings SET session_id = %(session)s",
    "forge created_at": "UPDATE clinical_notes SET created_at = '2001-01-01'",
    "forge updated_at": "INSERT INTO patients (full_name, updated_at) VALUES ('x', '2001-01-01')",
    "add a revoked consent": "INSERT INTO consent_records (patient_id, purpose, revoked_at) VALUES (%(patient)s, 'treatment', now())",
}


@pytest.mark.parametrize("what", EVIDENCE)
def test_signed_in_user_cannot_rewrite_evidence(platform: Platform, what: str) -> None:
    with platform.request(claims=platform.own()) as database:
        patient = add(database, "patients", full_name="other")
        session = add(
            database,
            "sessions",
            patient_id=patient,
            therapist_id=platform.ours["therapists"],
            scheduled_at="2030-01-01",
        )
        database.execute("UPDATE consent_records SET revoked_at = now()")
        with pytest.raises(
            (psycopg.errors.InsufficientPrivilege, psycopg.IntegrityError)
        ):
            database.execute(EVIDENCE[what], {"patient": patient, "session": session})


def test_signed_in_user_can_update_editable_columns(platform: Platform) -> None:
    with platform.request(claims=platform.own()) as database:
        for table in sorted(WRITTEN):
            columns = COLUMNS[table][1].split()
            changes = ", ".join(f"{column} = {column}" for column in columns)
            assert (
                database.execute(
                    f"UPDATE {table} SET {changes} WHERE id = %s",
                    [platform.ours[table]],
                ).rowcount
                == 1
            )


def test_a_row_cannot_be_moved_to_another_tenant(platform: Platform) -> None:
    theirs = platform.theirs
    moves = {
        "patients": {"org_id": theirs["organizations"]},
        "sessions": {
            "patient_id": theirs["patients"],
            "therapist_id": theirs["therapists"],
        },
        "clinical_notes": {"session_id": theirs["sessions"]},
        "session_recordings": {"session_id": theirs["sessions"]},
        "consent_records": {"patient_id": theirs["patients"]},
    }
    for table, values in moves.items():
        changes = ", ".join(f"{column} = %s" for column in values)
        with (
            platform.request(claims=platform.own()) as database,
            pytest.raises(
                (psycopg.errors.InsufficientPrivilege, psycopg.IntegrityError)
            ),
        ):
            database.execute(f"UPDATE {table} SET {changes}", [*values.values()])


def test_rows_cannot_be_linked_across_tenants(platform: Platform) -> None:
    ours, theirs = platform.ours, platform.theirs
    links: list[tuple[str, dict[str, object]]] = [
        (
            "patients",
            {
                "org_id": ours["organizations"],
                "full_name": "x",
                "assigned_therapist_id": theirs["therapists"],
            },
        ),
        (
            "sessions",
            {
                "therapist_id": ours["therapists"],
                "patient_id": theirs["patients"],
                "scheduled_at": "2030-01-01",
            },
        ),
        (
            "sessions",
            {
                "therapist_id": theirs["therapists"],
                "patient_id": ours["patients"],
                "scheduled_at": "2030-01-01",
            },
        ),
        (
            "session_recordings",
            {
                "session_id": ours["sessions"],
                "consent_record_id": theirs["consent_records"],
            },
        ),
        (
            "wearable_data",
            {
                "patient_id": theirs["patients"],
                "data_type": "x",
                "recorded_at": "2030-01-01",
            },
        ),
    ]
    for table, values in links:
        with (
            platform.request(claims=platform.own()) as database,
            pytest.raises(
                (psycopg.errors.InsufficientPrivilege, psycopg.IntegrityError)
            ),
        ):
            columns = sql.SQL(", ").join(map(sql.Identifier, values))
            holders = sql.SQL(", ").join([sql.SQL("%s")] * len(values))
            query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(table), columns, holders
            )
            database.execute(query, [*values.values()])
            database.execute("SET CONSTRAINTS ALL IMMEDIATE")  # the end of a request


@pytest.mark.parametrize(
    "column",
    [
        "patient_id",
        "patient_id of a session",
        "therapist_id",
        "session_id",
        "consent_record_id",
        "assigned_therapist_id",
    ],
)
def test_errors_do_not_reveal_whether_another_tenants_id_exists(
    platform: Platform, column: str
) -> None:
    table, values = {
        "patient_id": (
            "wearable_data",
            {"data_type": "x", "recorded_at": "2030-01-01"},
        ),
        "patient_id of a session": (
            "sessions",
            {"therapist_id": platform.ours["therapists"], "scheduled_at": "2030-01-01"},
        ),
        "therapist_id": (
            "sessions",
            {"patient_id": platform.ours["patients"], "scheduled_at": "2030-01-01"},
        ),
        "session_id": ("clinical_notes", {"note_type": "dap"}),
        "consent_record_id": (
            "session_recordings",
            {"session_id": platform.ours["sessions"]},
        ),
        "assigned_therapist_id": (
            "patients",
            {"org_id": platform.ours["organizations"], "full_name": "x"},
        ),
    }[column]
    column = column.partition(" ")[0]
    target = {
        "patient_id": "patients",
        "session_id": "sessions",
        "consent_record_id": "consent_records",
    }.get(column, "therapists")
    said = []
    for identifier in (
        str(platform.theirs[target]),
        "00000000-0000-4000-8000-000000000000",
    ):
        row = {**values, column: identifier}  # type: ignore[dict-item]
        with (
            platform.request(claims=platform.own()) as database,
            pytest.raises(psycopg.Error) as error,
        ):
            columns = ", ".join(row)
            database.execute(
                f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['%s'] * len(row))})",
                [*row.values()],
            )
            database.execute("SET CONSTRAINTS ALL IMMEDIATE")
        diag = error.value.diag
        fields = (
            diag.sqlstate,
            diag.message_primary,
            diag.constraint_name,
            diag.message_detail,
        )
        said.append(str(fields).replace(identifier, "ID"))
    assert said[0] == said[1]


def test_upsert_cannot_change_another_tenants_row(platform: Platform) -> None:
    query = """
        INSERT INTO patients (id, org_id, full_name) VALUES (%s, %s, 'x')
        ON CONFLICT (id) DO UPDATE SET full_name = 'stolen' RETURNING *
    """
    with (
        platform.request(claims=platform.own()) as database,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        database.execute(
            query, [platform.theirs["patients"], platform.ours["organizations"]]
        )


def test_returning_shows_only_own_rows(platform: Platform) -> None:
    with platform.request(claims=platform.own()) as database:
        assert add(
            database, "patients", org_id=platform.ours["organizations"], full_name="x"
        )
        assert (
            database.execute(
                "UPDATE patients SET phone = '1' RETURNING org_id"
            ).fetchall()
            == [(platform.ours["organizations"],)] * 2
        )


def test_view_shows_no_more_than_its_tables(platform: Platform) -> None:
    with platform.request(claims=platform.own()) as database:
        assert database.execute("SELECT id FROM upcoming_sessions").fetchall() == [
            (platform.ours["sessions"],)
        ]
    with platform.request(claims=None) as database:
        assert database.execute("SELECT id FROM upcoming_sessions").fetchall() == []
