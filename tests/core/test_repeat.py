"""A repeated file runs in one transaction per run, until a run changes no row. Committed runs stay."""

from __future__ import annotations

import os
import random
import re
import signal
from typing import TYPE_CHECKING

import psycopg
import pytest

from sqlmig.core.migrations import checksum
from tests.support.project import LOCK, until

if TYPE_CHECKING:
    from tests.support.project import Project
    from tests.support.proxy import Proxy

ROWS = int(os.environ.get("SQLMIG_TEST_ROWS", "20000"))
TABLE = f"""
    CREATE TABLE t AS SELECT id, NULL::int AS twice FROM generate_series(1, {ROWS}) AS id;
    ALTER TABLE t ADD PRIMARY KEY (id);
    CREATE INDEX ON t (id) WHERE twice IS NULL;
    CREATE TABLE runs (rows int);
"""
FILL = f"""-- sqlmig: repeat
UPDATE t SET twice = id * 2
WHERE id IN (SELECT id FROM t WHERE twice IS NULL ORDER BY id LIMIT {ROWS // 100});
"""


@pytest.fixture
def backfill(project: Project) -> Project:
    """Return a project with a second file that fills a column of an existing table."""
    project.write(up_1_t=TABLE, up_2_fill=FILL)
    project.run("up", "--to", "1")
    return project


def filled(project: Project) -> int:
    ((count,),) = project.query("SELECT count(*) FROM t WHERE twice = id * 2")
    return int(count)


def test_file_repeats_until_a_run_changes_no_row(backfill: Project) -> None:
    output = backfill.run("up")
    assert re.fullmatch(rf"applied 2_fill \(.*, {ROWS:,} rows\)\n", output.out)
    assert filled(backfill) == ROWS
    assert backfill.run("up").out == "nothing to do\n"


def test_each_run_is_a_transaction_of_its_own(backfill: Project) -> None:
    backfill.query("ALTER TABLE t ADD by bigint")
    backfill.file(
        "2_fill.up.sql", FILL.replace("twice = ", "by = txid_current(), twice = ")
    )
    backfill.run("up")
    assert backfill.query("SELECT count(DISTINCT by) FROM t") == [(100,)]


def test_next_run_continues_after_kills_at_random_moments(backfill: Project) -> None:
    """The file completes even if it is killed several times, at random moments."""
    chance = random.Random(26)
    states = set()
    for _ in range(6):
        before = filled(backfill)
        runner = backfill.fork("up")
        until(lambda before=before: filled(backfill) > before)  # type: ignore[misc]
        runner.process.join(chance.uniform(0, 0.05))
        runner.process.kill()
        runner.process.join()
        assert filled(backfill) % (ROWS // 100) == 0
        states.add(backfill.states()[2])
        if backfill.states()[2] == "applied":
            break
    assert "pending" in states
    backfill.run("up")
    assert filled(backfill) == ROWS
    assert backfill.states() == {1: "applied", 2: "applied"}


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_interrupt_stops_endless_file_and_reports_committed_rows(
    backfill: Project, sent: signal.Signals, code: int
) -> None:
    backfill.file("2_fill.up.sql", "-- sqlmig: repeat\nINSERT INTO runs VALUES (1);")
    runner = backfill.fork("up")
    until(lambda: backfill.query("SELECT count(*) FROM runs")[0][0] > 20)
    runner.send(sent)
    said = runner.ended(code)
    stays = re.search(
        r"at least ([\d,]+) rows are committed\. Run sqlmig again to continue\.",
        said,
    )
    assert stays
    assert "2_fill was not applied" in said
    ((count,),) = backfill.query("SELECT count(*) FROM runs")
    # A COMMIT may already be under way when the interrupt arrives.
    assert int(stays[1].replace(",", "")) in (count, count - 1)
    assert backfill.states()[2] == "pending"


def test_each_run_sets_tcp_keepalives(backfill: Project, proxy: Proxy) -> None:
    """The transaction stays open between messages, so the server must notice that the client is gone."""
    proxy.before(backfill).run("up")
    sent = b"".join(proxy.sent)
    assert sent.count(b"SET LOCAL tcp_keepalives_idle = 30") == 101


def test_file_that_changes_the_ledger_is_refused(backfill: Project) -> None:
    before = backfill.query("TABLE schema_migrations")
    backfill.file("2_fill.up.sql", "-- sqlmig: repeat\nDELETE FROM schema_migrations;")
    error = backfill.run("up", code=1).err
    assert "it changes schema_migrations, which is the ledger of sqlmig" in error
    assert backfill.query("TABLE schema_migrations") == before


def test_rows_of_file_finished_elsewhere_are_not_counted_for_next(
    backfill: Project,
) -> None:
    few = FILL.replace(f"LIMIT {ROWS // 100}", "LIMIT 10")
    path = backfill.file("2_fill.up.sql", few)
    backfill.file("3_one.up.sql", "-- sqlmig: repeat\nDELETE FROM t WHERE id = 1;")
    runner = backfill.fork("up")
    until(lambda: filled(backfill) > 20)
    with psycopg.connect(backfill.url) as other:
        other.execute(LOCK)
        other.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES (2, 'fill', %s)",
            [checksum(path.read_bytes())],
        )
    said = runner.ended()
    assert "2_fill" not in said
    assert re.search(r"applied 3_one \(.*, 1 row\)", said), said


def test_lost_connection_reports_committed_rows(
    backfill: Project, proxy: Proxy
) -> None:
    runner = proxy.before(backfill).fork("up")
    until(lambda: filled(backfill) > 0)
    proxy.cut_at = b"UPDATE t SET twice"
    error = runner.ended(1)
    assert "the connection was lost while 2_fill ran" in error
    stays = re.search(r"([\d,]+) rows are committed", error)
    assert stays
    # The last run may or may not have been committed.
    assert filled(backfill) - int(stays[1].replace(",", "")) in (0, ROWS // 100)


def test_failure_keeps_earlier_runs_and_reports_their_rows(backfill: Project) -> None:
    backfill.query(f"ALTER TABLE t ADD CHECK (twice < {ROWS})")
    error = backfill.run("up", code=1).err
    assert "2_fill.up.sql:2:1: ERROR: new row for relation" in error
    half = filled(backfill)
    assert 0 < half < ROWS
    assert f"{half:,} rows are committed" in error
    assert backfill.states()[2] == "pending"
    backfill.query("ALTER TABLE t DROP CONSTRAINT t_twice_check")
    assert f"{ROWS - half:,} rows" in backfill.run("up").out
    assert filled(backfill) == ROWS


def test_concurrent_runners_apply_file_once_before_the_next(
    backfill: Project,
) -> None:
    backfill.write(up_3_end="ALTER TABLE t ALTER twice SET NOT NULL;")
    runners = [backfill.fork("up") for _ in range(3)]
    said = "".join(runner.ended() for runner in runners)
    assert len(re.findall(r"^applied 2_fill", said, re.MULTILINE)) == 1
    assert len(re.findall(r"^applied 3_end", said, re.MULTILINE)) == 1
    assert filled(backfill) == ROWS


def test_rows_written_during_the_backfill_are_filled(
    backfill: Project,
) -> None:
    runner = backfill.fork("up")
    until(lambda: filled(backfill) > 0)
    with psycopg.connect(backfill.url, autocommit=True) as other:
        other.execute(
            f"INSERT INTO t (id) SELECT {ROWS} + n FROM generate_series(1, 500) AS n"
        )
        other.execute("UPDATE t SET twice = NULL WHERE id = 1")
    runner.ended()
    assert filled(backfill) == ROWS + 500


def test_repeat_works_through_a_pooler(backfill: Project, pooled: Project) -> None:
    assert "applied 2_fill" in pooled.run("up").out
    assert filled(backfill) == ROWS


def test_successful_run_resets_lock_retries(backfill: Project) -> None:
    backfill.file("2_fill.up.sql", f"{FILL}SELECT pg_sleep(0.01);")
    runner = backfill.fork("up", "--lock-timeout", "50ms", "--retries", "1")
    for times in range(
        1, 4
    ):  # more failures than --retries allows, but each time another run succeeded before
        before = filled(backfill)
        until(lambda before=before: filled(backfill) > before)  # type: ignore[misc]
        with psycopg.connect(backfill.url) as other:
            other.execute("LOCK TABLE t")
            until(
                lambda times=times: (  # type: ignore[misc]
                    runner.output.read_text().count("(1 of 1)") == times
                )
            )
    runner.ended()
    assert filled(backfill) == ROWS


@pytest.mark.parametrize(
    "body",
    [
        "DO $$BEGIN UPDATE t SET twice = id * 2 WHERE id IN (SELECT id FROM t WHERE twice IS NULL LIMIT 2000); END$$",
        (
            "WITH done AS (UPDATE t SET twice = id * 2 WHERE id IN (SELECT id FROM t WHERE twice IS NULL LIMIT 2000)"
            " RETURNING 1) SELECT count(*) FROM done"
        ),
    ],
)
def test_rows_missing_from_command_tag_are_counted_by_server(
    backfill: Project, body: str
) -> None:
    backfill.file("2_fill.up.sql", f"-- sqlmig: repeat\n{body};")
    assert f"{ROWS:,} rows" in backfill.run("up").out
    assert filled(backfill) == ROWS


def test_do_block_is_refused_if_track_counts_is_off(backfill: Project) -> None:
    backfill.file("2_fill.up.sql", "-- sqlmig: repeat\nDO $$BEGIN NULL; END$$;")
    ((name,),) = backfill.query("SELECT quote_ident(current_database())")
    backfill.query(f"ALTER DATABASE {name} SET track_counts = off")
    assert "track_counts is off" in backfill.run("up", code=1).err
    assert backfill.states()[2] == "pending"
    backfill.file("2_fill.up.sql", FILL)
    backfill.run("up")
    assert filled(backfill) == ROWS


def test_repeat_works_as_first_file_of_new_schema(project: Project) -> None:
    project.query("CREATE TABLE todo AS SELECT n FROM generate_series(1, 30) AS n")
    project.write(
        up_1_x="-- sqlmig: repeat\nDELETE FROM todo WHERE n IN (SELECT n FROM todo LIMIT 10);"
    )
    assert "30 rows" in project.run("up", "--schema", "a").out
    assert project.query("SELECT version FROM a.schema_migrations") == [(1,)]


def test_repeat_works_with_explicit_isolation_level(backfill: Project) -> None:
    text = FILL.replace("UPDATE", "BEGIN ISOLATION LEVEL REPEATABLE READ;\nUPDATE")
    backfill.file("2_fill.up.sql", f"{text}COMMIT;")
    assert f"{ROWS:,} rows" in backfill.run("up").out


def test_a_down_file_may_repeat(backfill: Project) -> None:
    backfill.file(
        "2_fill.down.sql",
        "-- sqlmig: repeat\nUPDATE t SET twice = NULL WHERE id IN (SELECT id FROM t WHERE twice IS NOT NULL LIMIT 5000);",
    )
    backfill.run("up")
    assert "reverted 2_fill (" in backfill.run("down", "--yes").out
    assert filled(backfill) == 0
    assert backfill.states()[2] == "pending"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-- sqlmig: repeat\nSELECT 1;", "this file never changes one"),
        ("-- sqlmig: repeat\n", "this file never changes one"),
        ("-- sqlmig: repeat\nSELECT fill(10000);", "DO around a function that does"),
        (
            "-- sqlmig: repeat\n-- sqlmig: no-transaction\nDELETE FROM t;",
            "“repeat” is for files that run in a transaction",
        ),
        ("-- sqlmig: repeat 5\nDELETE FROM t;", "unknown directive “repeat 5”"),
    ],
)
def test_unrepeatable_file_is_refused_before_anything_runs(
    project: Project, text: str, said: str
) -> None:
    project.write(up_1_a="CREATE TABLE a ();", up_2_b=text)
    assert said in project.run("up", code=1).err
    assert project.tables() == set()


def test_rehearsal_runs_file_once_and_reports_it(backfill: Project) -> None:
    shown = backfill.run("up", "--dry-run").out
    assert "would apply 2_fill (" in shown
    assert "its first run; it repeats until a run changes no row" in shown
    assert filled(backfill) == 0


def test_script_refuses_repeated_file_by_name(backfill: Project) -> None:
    output = backfill.run("script", code=1)
    assert output.out == ""
    assert "2_fill.up.sql: repeats until a run changes no row" in output.err


def test_check_and_drift_accept_repeated_file(backfill: Project) -> None:
    backfill.file("1_t.down.sql", "DROP TABLE t, runs;")
    backfill.file("2_fill.down.sql", "")
    assert backfill.run("check").out.count("ok") == 2
    backfill.run("up")
    assert backfill.run("drift").out == "nothing differs\n"


def test_rows_changed_by_trigger_count_as_progress(
    project: Project,
) -> None:
    project.write(
        up_1_t=(
            "CREATE TABLE t (id int PRIMARY KEY, deleted_at timestamptz);"
            "INSERT INTO t SELECT generate_series(1, 10);"
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN UPDATE t SET deleted_at = now() WHERE id = old.id; RETURN NULL; END $$;"
            "CREATE TRIGGER keep BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION keep();"
        ),
        up_2_d="-- sqlmig: repeat\nDELETE FROM t WHERE id IN (SELECT id FROM t WHERE deleted_at IS NULL LIMIT 3);",
    )
    assert "10 rows" in project.run("up").out
    assert project.query("SELECT count(deleted_at) FROM t") == [(10,)]


def test_check_and_drift_repeat_file_until_done(project: Project) -> None:
    project.write(
        up_1_t="CREATE TABLE t (id int, b int); INSERT INTO t SELECT generate_series(1, 5);",
        down_1_t="DROP TABLE t;",
        up_2_fill="-- sqlmig: repeat\nUPDATE t SET b = 0 WHERE id IN (SELECT id FROM t WHERE b IS NULL LIMIT 2);",
        down_2_fill="UPDATE t SET b = NULL;",
        up_3_n="ALTER TABLE t ALTER b SET NOT NULL;",
        down_3_n="ALTER TABLE t ALTER b DROP NOT NULL;",
    )
    project.run("check")
    project.run("up")
    assert project.run("drift").out == "nothing differs\n"
