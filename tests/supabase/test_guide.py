"""Run the guide's code: the next column, each call of supabase-js, a therapist who leaves, retention, restore."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from sqlmig import embedded
from tests.support.project import NUMBERS, SQL, url_of
from tests.support.rows import TABLES, add, count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.supabase.conftest import Platform
    from tests.support.project import Project

GUIDE = (SQL / "GUIDE.md").read_text()


def section(title: str) -> str:
    """Return the section of the guide with this heading."""
    (text,) = re.findall(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL
    )
    return str(text)


def blocks(title: str, language: str = "sql") -> list[str]:
    """Return the code blocks of a section, without the indent of a list."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```", section(title), re.MULTILINE | re.DOTALL
    )
    return [
        re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found
    ]


COLUMN_UP, COLUMN_DOWN = blocks("Your next column")


# The first clinic


def test_user_with_first_clinic_in_token_sees_only_that_clinic(
    own_platform: Platform,
) -> None:
    (first,) = blocks("The first clinic")
    ((clinic,),) = own_platform.owner.execute(first).fetchall()
    claims = {"app_metadata": {"org_id": str(clinic)}}
    with own_platform.request(claims=claims) as api:
        seen = api.execute("SELECT id, name FROM organizations").fetchall()
        assert seen == [(clinic, "Lotus Clinic")]
        assert api.execute("SELECT email FROM therapists").fetchall() == [
            ("asha@example.org",)
        ]
        assert insert(api, "patients", [{"id": uuid4(), "full_name": "Meera"}]) == 1


# Your next column


def test_down_file_of_next_column_undoes_it(
    therapyflow: Project, tmp_path: Path
) -> None:
    directory = tmp_path / "both"
    directory.mkdir()
    for file in SQL.glob("*.sql"):
        (directory / file.name).write_bytes(file.read_bytes())
    (directory / "9999_language.up.sql").write_text(COLUMN_UP)
    (directory / "9999_language.down.sql").write_text(COLUMN_DOWN)
    lines = therapyflow.run("--dir", str(directory), "check").out.splitlines()
    assert "ok            9999_language" in lines


@pytest.mark.parametrize(
    "there", ["after up", "after up and down", "after both, and up again"]
)
def test_view_stays_restricted_after_adding_next_column(
    own_platform: Platform, there: str
) -> None:
    platform = own_platform
    for text in {
        "after up": [COLUMN_UP],
        "after up and down": [COLUMN_UP, COLUMN_DOWN],
    }.get(there, [COLUMN_UP, COLUMN_DOWN, COLUMN_UP]):
        platform.owner.execute(text)
    with platform.request(claims=platform.own()) as api:
        if there != "after up and down":
            api.execute("UPDATE sessions SET language = 'hi'")
            assert api.execute("SELECT language FROM upcoming_sessions").fetchall() == [
                ("hi",)
            ]
            add(
                api,
                "sessions",
                patient_id=platform.ours["patients"],
                therapist_id=platform.ours["therapists"],
                scheduled_at="2001-01-01",
                language="ta",
            )
        assert api.execute("SELECT id FROM upcoming_sessions").fetchall() == [
            (platform.ours["sessions"],)
        ]
    with platform.request("service_role") as api:
        assert len(api.execute("SELECT id FROM upcoming_sessions").fetchall()) == 2
    with (
        platform.request("anon") as api,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        api.execute("SELECT id FROM upcoming_sessions")
    privileges = """
        SELECT grantee::regrole::text, privilege_type FROM pg_class, aclexplode(relacl)
        WHERE pg_class.oid = 'upcoming_sessions'::regclass AND grantee <> relowner ORDER BY 1
    """
    assert platform.owner.execute(privileges).fetchall() == [
        ("authenticated", "SELECT"),
        ("service_role", "SELECT"),
    ]
    comments = "SELECT count(*) FROM pg_description WHERE objoid = 'upcoming_sessions'::regclass"
    assert platform.owner.execute(comments).fetchone() == (
        12 if there == "after up and down" else 13,
    )


def test_recreating_view_from_ticket_text_exposes_all_tenants(
    own_platform: Platform,
) -> None:
    """The guide's warning is still true. Otherwise, it can be removed."""
    given = (SQL / "0006_upcoming_sessions.up.sql").read_text()
    words = (
        given[given.index("CREATE VIEW") :]
        .partition(";")[0]
        .replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
    )
    own_platform.owner.execute(words)
    with own_platform.request(claims=own_platform.own()) as api:
        assert len(api.execute("SELECT id FROM upcoming_sessions").fetchall()) == 2
    own_platform.owner.execute("ALTER TABLE sessions ADD COLUMN language text")
    with pytest.raises(psycopg.errors.InvalidTableDefinition):
        own_platform.owner.execute(words)


# With supabase-js: each call as the statement that PostgREST generates


def body(
    table: str, columns: Sequence[str], api: psycopg.Connection[Any]
) -> sql.Composed:
    """Return the FROM item that PostgREST uses for a request's JSON: rows of the named columns."""
    query = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
    types = dict(api.execute(query, [table]).fetchall())
    typed = [
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(types[name]))
        for name in columns
    ]
    return sql.SQL("json_to_recordset(%s) AS body ({})").format(
        sql.SQL(", ").join(typed)
    )


def insert(
    api: psycopg.Connection[Any],
    table: str,
    rows: list[dict[str, Any]],
    *,
    upsert: str = "",
    key: str = "id",
    returning: str = "1",
) -> int:
    """Run PostgREST's INSERT for an insert or an upsert, and return the number of rows."""
    columns = sorted(rows[0])
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
        sql.Identifier(table), names, names, body(table, columns, api)
    )
    if upsert == "ignore":
        statement += sql.SQL(" ON CONFLICT ({}) DO NOTHING").format(sql.SQL(key))
    elif upsert == "merge":
        sets = [
            sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name))
            for name in columns
        ]
        statement += sql.SQL(" ON CONFLICT (id) DO UPDATE SET ") + sql.SQL(", ").join(
            sets
        )
    statement += sql.SQL(" RETURNING ") + sql.SQL(returning)
    return api.execute(statement, [json.dumps(rows, default=str)]).rowcount


def update(
    api: psycopg.Connection[Any], table: str, row: dict[str, Any], identifier: UUID
) -> int:
    """Run PostgREST's UPDATE of one row by its id, and return the number of rows."""
    columns = sorted(row)
    sets = [sql.SQL("{0} = body.{0}").format(sql.Identifier(name)) for name in columns]
    statement = sql.SQL("UPDATE {} SET {} FROM {} WHERE {}.id = %s RETURNING 1").format(
        sql.Identifier(table),
        sql.SQL(", ").join(sets),
        body(table, columns, api),
        sql.Identifier(table),
    )
    return api.execute(statement, [json.dumps([row], default=str), identifier]).rowcount


def call_insert_patient(_platform: Platform, api: psycopg.Connection[Any]) -> None:
    assert insert(api, "patients", [{"id": uuid4(), "full_name": "Meera"}]) == 1


def call_update_patient(platform: Platform, api: psycopg.Connection[Any]) -> None:
    assert (
        update(api, "patients", {"phone": "+919876543210"}, platform.ours["patients"])
        == 1
    )


def call_upsert_patient(_platform: Platform, api: psycopg.Connection[Any]) -> None:
    new = uuid4()
    assert (
        insert(api, "patients", [{"id": new, "full_name": "Meera"}], upsert="ignore")
        == 1
    )
    assert (
        insert(api, "patients", [{"id": new, "full_name": "Meera"}], upsert="ignore")
        == 0
    )


def call_insert_sessions(platform: Platform, api: psycopg.Connection[Any]) -> None:
    """Send null for a missing key, and then nothing, as with ``defaultToNull: false``."""
    people = {
        "patient_id": platform.ours["patients"],
        "therapist_id": platform.ours["therapists"],
        "scheduled_at": "2999-01-01",
    }
    with pytest.raises(psycopg.errors.NotNullViolation), api.transaction():
        insert(api, "sessions", [people | {"status": "completed"}, people])
    for row in (people | {"status": "completed"}, people):
        assert insert(api, "sessions", [row]) == 1


def call_embed_in_sessions(platform: Platform, api: psycopg.Connection[Any]) -> None:
    rows = api.execute("""
        SELECT sessions.id, p.full_name, t.full_name
        FROM sessions
        LEFT JOIN LATERAL (SELECT full_name FROM patients WHERE patients.org_id = sessions.org_id AND patients.id = sessions.patient_id) p ON true
        LEFT JOIN LATERAL (SELECT full_name FROM therapists WHERE therapists.org_id = sessions.org_id AND therapists.id = sessions.therapist_id) t ON true
    """).fetchall()
    assert rows == [(platform.ours["sessions"], "Meera", "Dr. Rao")]


def call_embed_in_patients(platform: Platform, _api: psycopg.Connection[Any]) -> None:
    query = """
        SELECT conrelid::regclass::text, confrelid::regclass::text, cardinality(conkey) FROM pg_constraint
        WHERE conname = 'patients_assigned_therapist_id_fkey'
    """
    assert platform.owner.execute(query).fetchall() == [("patients", "therapists", 2)]


def call_approve(platform: Platform, api: psycopg.Connection[Any]) -> None:
    note = platform.ours["clinical_notes"]
    read = "SELECT updated_at FROM clinical_notes WHERE id = %s"
    ((seen,),) = api.execute(read, [note]).fetchall()
    approve = "UPDATE clinical_notes SET approved_by_therapist = true WHERE id = %s AND updated_at = %s"
    assert api.execute(approve, [note, "2001-01-01"]).rowcount == 0
    assert api.execute(approve, [note, seen]).rowcount == 1


def call_nothing(_platform: Platform, _api: psycopg.Connection[Any]) -> None:
    """Do nothing: this line sends no request to the Data API."""


def call_upsert_wearable_data(platform: Platform, api: psycopg.Connection[Any]) -> None:
    sample = {
        "patient_id": platform.ours["patients"],
        "data_type": "hrv",
        "metrics": {"ms": 40},
    }
    rows = [
        {"id": uuid4(), "recorded_at": f"2030-01-01T00:{n:02}:00Z"} | sample
        for n in range(10)
    ]
    key = {"upsert": "ignore", "key": "org_id, id"}
    assert insert(api, "wearable_data", rows, **key) == 10
    assert insert(api, "wearable_data", rows, **key) == 0


def call_revoke(platform: Platform, api: psycopg.Connection[Any]) -> None:
    consent = add(
        api,
        "consent_records",
        patient_id=platform.ours["patients"],
        purpose="treatment",
    )
    slow = "SELECT (granted_at - interval '5 seconds')::text FROM consent_records WHERE id = %s"
    ((clients_time,),) = api.execute(slow, [consent]).fetchall()
    with pytest.raises(psycopg.errors.CheckViolation) as error, api.transaction():
        update(api, "consent_records", {"revoked_at": clients_time}, consent)
    assert error.value.diag.constraint_name == "check_consent_revoked_after_granted"
    assert update(api, "consent_records", {"revoked_at": "now"}, consent) == 1


def call_record(platform: Platform, api: psycopg.Connection[Any]) -> None:
    consent = add(
        api,
        "consent_records",
        patient_id=platform.ours["patients"],
        purpose="recording",
        expires_at="2999-01-01",
    )
    row = {"session_id": platform.ours["sessions"], "consent_record_id": consent}
    with pytest.raises(psycopg.IntegrityError), api.transaction():
        insert(api, "session_recordings", [row | {"recorded_at": "2001-01-01"}])
    assert insert(api, "session_recordings", [row]) == 1


CALLS = {
    "await supabase.from('patients').insert({": call_insert_patient,
    "await supabase.from('patients').update({": call_update_patient,
    "await supabase.from('patients').upsert({": call_upsert_patient,
    "await supabase.from('sessions').select('id, scheduled_at, patients(full_name), therapists(full_name)')": call_embed_in_sessions,
    "await supabase.from('patients').select('full_name, therapists!patients_assigned": call_embed_in_patients,
    "await supabase.from('clinical_notes').update({ approved_by_therapist: true })": call_approve,
    "await supabase.from('sessions').insert(rows, { defaultToNull: false })": call_insert_sessions,
    "const rows = samples.map(": call_nothing,
    "await supabase.realtime.setAuth()": call_nothing,
    "await supabase.from('wearable_data').upsert(rows, {": call_upsert_wearable_data,
    "await supabase.from('consent_records').update({ revoked_at: 'now' })": call_revoke,
    "await supabase.from('session_recordings').insert({ session_id, consent_record_id })": call_record,
}
STATEMENTS = re.findall(
    r"^(?:await|const).*", "\n".join(blocks("With supabase-js", "js")), re.MULTILINE
)


@pytest.mark.parametrize("line", STATEMENTS)
def test_call_works_as_documented(platform: Platform, line: str) -> None:
    (call,) = [call for start, call in CALLS.items() if line.startswith(start)]
    with platform.request(claims=platform.own()) as api:
        call(platform, api)


def test_guide_contains_every_tested_call() -> None:
    assert len(STATEMENTS) == len(CALLS)
    assert [
        start
        for start in CALLS
        if not any(line.startswith(start) for line in STATEMENTS)
    ] == []


def test_calls_documented_as_refused_are_refused(platform: Platform) -> None:
    with platform.request(claims=platform.own()) as api:
        row = {"id": platform.ours["patients"], "full_name": "Meera"}
        with pytest.raises(psycopg.errors.InsufficientPrivilege), api.transaction():
            insert(api, "patients", [row], upsert="merge")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), api.transaction():
            update(api, "patients", row, platform.ours["patients"])
        with pytest.raises(psycopg.errors.UniqueViolation), api.transaction():
            insert(api, "patients", [row])
    single = "SELECT conname FROM pg_constraint WHERE contype = 'f' AND cardinality(conkey) = 1 AND confrelid <> 'organizations'::regclass"
    assert (
        platform.owner.execute(single).fetchall() == []
    )  # so PostgREST cannot find the relationship by a column's name


def test_comparison_with_current_date_is_not_leakproof(platform: Platform) -> None:
    query = """
        SELECT oprright::regtype::text, proleakproof FROM pg_operator JOIN pg_proc ON pg_proc.oid = oprcode
        WHERE oprname = '>=' AND oprleft = 'timestamptz'::regtype AND oprright IN ('date'::regtype, 'timestamptz'::regtype)
    """
    assert dict(platform.owner.execute(query).fetchall()) == {
        "date": False,
        "timestamp with time zone": True,
    }


# What the audit log sees, what a delete removes and keeps, privacy


def with_ids(text: str, platform: Platform) -> str:
    """Replace the guide's placeholders with ids."""
    ids = {
        "ORG_ID": platform.ours["organizations"],
        "PATIENT_ID": platform.ours["patients"],
        "USER_ID": uuid4(),
    }
    return re.sub(r"\b(?:ORG|PATIENT|USER)_ID\b", lambda name: str(ids[name[0]]), text)


def test_audit_queries_for_record_history_server_rows_and_retention(
    own_platform: Platform,
) -> None:
    touched, added_by_server, retention = blocks("What the audit log sees")
    owner = own_platform.owner
    with own_platform.api.transaction():
        own_platform.api.execute("SET LOCAL ROLE service_role")
        own_platform.api.execute(with_ids(added_by_server, own_platform))
    rows = owner.execute(with_ids(touched, own_platform)).fetchall()
    assert [action for _, action, *_ in rows] == ["read", "INSERT"]
    before = count(owner, "audit_logs")
    owner.execute(retention)
    assert count(owner, "audit_logs") == before  # no row is that old
    everything = retention.replace("'8 years'", "'-1 second'")
    with psycopg.connect(own_platform.url) as changing:
        changing.execute("UPDATE patients SET phone = '1'")  # it writes the log too
        owner.execute("SET lock_timeout = '2s'")
        owner.execute(everything.replace("LIMIT 50000", "LIMIT 3"))
        assert count(owner, "audit_logs") == 0
        changing.commit()
    assert count(owner, "audit_logs") == 2
    owner.execute(everything)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        add(owner, "audit_logs", org_id=own_platform.ours["organizations"], action="x")
        owner.execute("DELETE FROM audit_logs")


def test_departing_therapist_keeps_past_sessions(
    own_platform: Platform,
) -> None:
    (leaving,) = blocks("What a delete removes and keeps")
    ids, owner = own_platform.ours, own_platform.owner
    successor = add(
        owner, "therapists", org_id=ids["organizations"], full_name="Dr. Sen"
    )
    people = {"patient_id": ids["patients"], "therapist_id": ids["therapists"]}
    past = add(owner, "sessions", scheduled_at="2001-01-01", **people)
    owner.execute(
        leaving.replace("SUCCESSOR", str(successor)).replace(
            "THERAPIST", str(ids["therapists"])
        )
    )
    treated = dict(
        owner.execute(
            "SELECT id, therapist_id FROM sessions WHERE org_id = %s",
            [ids["organizations"]],
        )
    )
    assert treated == {past: ids["therapists"], ids["sessions"]: successor}
    new = add(
        owner,
        "therapists",
        org_id=ids["organizations"],
        full_name="Dr. Rao",
        email="rao@example.org",
    )
    assert new != ids["therapists"]


def test_expired_recordings_are_found_until_erased(
    own_platform: Platform,
) -> None:
    (past,) = blocks("Privacy: what you must know and do")
    recording = own_platform.ours["session_recordings"]
    path = f"{own_platform.ours['organizations']}/1.opus"
    own_platform.owner.execute(
        "UPDATE session_recordings SET storage_path = %s, expires_at = '2001-01-01' WHERE id = %s",
        [path, recording],
    )
    assert own_platform.owner.execute(past).fetchall() == [(recording, path)]
    own_platform.owner.execute(
        "UPDATE session_recordings SET deleted_at = now() WHERE id = %s", [recording]
    )
    assert own_platform.owner.execute(past).fetchall() == []


def test_recordings_no_longer_covered_by_consent_are_found(
    own_platform: Platform,
) -> None:
    found, _ = blocks("What an application writes")
    assert own_platform.owner.execute(found).fetchall() == []
    own_platform.owner.execute("UPDATE consent_records SET revoked_at = granted_at")
    rows = own_platform.owner.execute(found).fetchall()
    assert {row[0] for row in rows} == {
        own_platform.ours["session_recordings"],
        own_platform.theirs["session_recordings"],
    }


def test_user_can_access_only_files_in_own_folder(
    own_platform: Platform,
) -> None:
    """Create Supabase's storage tables with the columns that the policy uses."""
    platform = own_platform
    own, other = (
        str(each["organizations"]) for each in (platform.ours, platform.theirs)
    )
    platform.owner.execute("""
        CREATE SCHEMA storage;
        CREATE TABLE storage.objects (bucket_id text, name text);
        ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
        CREATE FUNCTION storage.foldername(name text) RETURNS text[] LANGUAGE sql
            AS $$SELECT (string_to_array(name, '/'))[1:cardinality(string_to_array(name, '/')) - 1]$$;
        GRANT USAGE ON SCHEMA storage TO authenticated;
        GRANT ALL ON storage.objects TO authenticated;
    """)
    _, policy = blocks("What an application writes")
    platform.owner.execute(policy)
    add_file = "INSERT INTO storage.objects VALUES ('records', %s)"
    platform.owner.execute(add_file, [f"{other}/sessions/1.opus"])
    with platform.request(claims=platform.own()) as api:
        api.execute(add_file, [f"{own}/sessions/1.opus"])
        seen = api.execute("SELECT name FROM storage.objects").fetchall()
        assert seen == [(f"{own}/sessions/1.opus",)]
        for change in (
            "UPDATE storage.objects SET bucket_id = 'x'",
            "DELETE FROM storage.objects",
        ):
            assert api.execute(change).rowcount == 0
        for path in (f"{other}/2.opus", "2.opus", f"x/{own}/2.opus"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), api.transaction():
                api.execute(add_file, [path])


def test_values_are_those_that_the_checks_allow(platform: Platform) -> None:
    (paragraph,) = re.findall(
        r"\*\*Values\.\*\* (.*?)\n\n", section("What an application writes"), re.DOTALL
    )
    documented = {}
    for sentence in re.split(r"(?<=\.)\s+", paragraph):
        if "any text" not in sentence:
            column, *values = re.findall(r"`(\w+)`", sentence)
            default = re.findall(r"`(\w+)`\s+\(the\s+default\)", sentence)
            documented[column] = (sorted(values), default)
    rows = platform.owner.execute("""
        SELECT attname, pg_get_constraintdef(c.oid), pg_get_expr(adbin, adrelid)
        FROM pg_constraint AS c
        JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE contype = 'c' AND connamespace = 'public'::regnamespace AND pg_get_constraintdef(c.oid) ~ 'ANY .*ARRAY'
    """).fetchall()
    words = re.compile(r"'(\w+)'")
    allowed = {}
    for column, definition, default in rows:
        allowed[column] = (
            sorted(words.findall(definition)),
            words.findall(default or ""),
        )
    assert documented == allowed
    assert len(allowed) == 4


def test_announcement_has_the_id_only_and_reaches_own_clinic_only(
    own_platform: Platform,
) -> None:
    platform = own_platform
    platform.owner.execute((SQL / "setup" / "supabase.sql").read_bytes())
    (announce,) = blocks("With supabase-js")
    platform.owner.execute(announce)
    clinic, patient = (
        str(platform.ours[table]) for table in ("organizations", "patients")
    )
    messages = "SELECT payload, event, topic, private FROM realtime.messages"
    join = "SELECT set_config('realtime.topic', %s, true)"
    change = "UPDATE patients SET phone = '1' WHERE id = %s"
    with platform.request(claims=platform.own()) as api:
        api.execute(change, [patient])
        api.execute(join, [f"clinic:{clinic}"])
        assert api.execute(messages).fetchall() == [
            ({"id": patient}, "UPDATE", f"clinic:{clinic}", True)
        ]
        with pytest.raises(psycopg.errors.InsufficientPrivilege), api.transaction():
            api.execute("SELECT announce_patient()")
    platform.owner.execute("DELETE FROM patients WHERE id = %s", [patient])
    message = ({"id": patient}, "DELETE", f"clinic:{clinic}", True)
    for claims, seen in ((platform.own(), [message]), (platform.other(), [])):
        with platform.request(claims=claims) as api:
            api.execute(join, [f"clinic:{clinic}"])
            assert api.execute(messages).fetchall() == seen


# Backup and restore


@pytest.mark.parametrize(
    "how", ["all of it", "data alone, as the guide says", "data alone, without"]
)
def test_restore_keeps_audit_log_only_with_documented_options(
    own_platform: Platform, supabase: str, tmp_path: Path, how: str
) -> None:
    name = f"restored_{os.getpid()}_{next(NUMBERS)}"
    dump, file = embedded.programs() / "pg_dump", tmp_path / "data.sql"
    arguments = (
        []
        if how == "all of it"
        else ["--data-only", "--exclude-table=schema_migrations"]
    )
    if arguments:
        assert f"pg_dump {' '.join(arguments)} -f data.sql" in section(
            "Backup and restore"
        )
    subprocess.run([dump, *arguments, "-f", file, own_platform.url], check=True)
    with psycopg.connect(supabase, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            with psycopg.connect(supabase, dbname=name, autocommit=True) as restored:
                if how != "all of it":
                    for up in sorted(SQL.glob("*.up.sql")):
                        restored.pgconn.exec_(up.read_bytes())
                (lines,) = blocks("Backup and restore", "sh")
                options = (
                    re.findall(r"PGOPTIONS='(.*?)'", lines)[0]
                    if how == "data alone, as the guide says"
                    else ""
                )
                stop = [] if how == "data alone, without" else ["-v", "ON_ERROR_STOP=1"]
                psql = [
                    str(embedded.programs() / "psql"),
                    "-qX",
                    *stop,
                    "-f",
                    str(file),
                    url_of(restored),
                ]
                environment = os.environ | {"PGOPTIONS": options}
                subprocess.run(psql, check=True, env=environment, capture_output=True)
                trail = "SELECT * FROM audit_logs ORDER BY id"
                same = (
                    restored.execute(trail).fetchall()
                    == own_platform.owner.execute(trail).fetchall()
                )
                assert same is (how != "data alone, without")
                if same:
                    for table in TABLES:
                        rows = sql.SQL("SELECT * FROM {} ORDER BY id").format(
                            sql.Identifier(table)
                        )
                        assert (
                            restored.execute(rows).fetchall()
                            == own_platform.owner.execute(rows).fetchall()
                        )
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
