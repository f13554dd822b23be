"""Running steps: each in turn with its row in the ledger, beside any number of other runners."""

import random
import re
import select
import time
from bisect import insort
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import generators

from sqlmig import files, plan
from sqlmig.database import Connection, Refused, rollback, send
from sqlmig.envelope import Piece, cut, envelope, explained, joined, messages, ours, piece
from sqlmig.errors import SqlmigError, place
from sqlmig.ledger import Ledger, literal
from sqlmig.plan import Applied, Row, Wish
from sqlmig.scan import Script, load
from sqlmig.session import Overtaken, Session

_TRY_AGAIN = ("55P03", "40P01", "40001")  # a lock timeout, a deadlock, a serialization failure
# What a pooler that shares its sessions would hand to other clients.
_SESSION_STATE = re.compile(
    rb"(?:set\s+(?!local\b|transaction\b|constraints\b)|listen\b|load\b|prepare\b|create\s+(?:local\s+)?temp)",
    re.IGNORECASE,
)


class Step(NamedTuple):
    """A migration to apply, or to revert where it is applied, with the script that does it."""

    row: Row
    script: Script


def steps_of(session: Session, wish: Wish, done: int = 0) -> list[Step]:
    """Return the steps of a wish, of which so many are done. All files are read: one that must not run stops all."""
    rows, up = session.wanted(wish, done), wish.verb == "applied"
    if session.applied is None:
        send(session.connection, session.ledger.sql("refuse_sqlx").encode())
    paths = {row.version: row.migration.up if up else row.migration.down for row in rows if row.migration}
    made = session.scripts
    scripts = {version: made.get(path) or made.setdefault(path, load(path)) for version, path in paths.items() if path}
    if up:
        _ = [row.migration.undo for row in rows if row.migration]  # read now: what cannot be kept stops all
    kept = {row.version: row.label for row in rows if row.applied and row.applied.has_copy}
    if bare := ", ".join(str(version) for version in kept.keys() - scripts.keys()):
        query = session.ledger.sql("copies", versions=bare)
        copies: list[Any] = session.connection.execute(query.encode()).fetchall()
        for version, text in copies:
            scripts[version] = load(Path(f"the ledger's copy of {kept[version]}.down.sql"), text.encode())
    if names := ", ".join(row.label for row in rows if row.version not in scripts):
        raise SqlmigError(f"nothing was reverted: there is no down file for {names}")
    for row in rows:
        if not up and (why := scripts[row.version].irreversible) is not None:
            raise SqlmigError(f"nothing was reverted: {row.label} is irreversible: {why}")
    return [Step(row, scripts[row.version]) for row in rows]


def run(session: Session, wish: Wish) -> Iterator[tuple[Step, float]]:
    """Do what is wished, planned anew where the ledger has changed; yield each committed step, and its seconds."""
    done = tries = 0
    todo = steps_of(session, wish)[::-1]
    _refuse_pooler(session, todo)
    while todo:
        step, begun = todo[-1], time.monotonic()
        label = step.row.label
        try:
            with session.watch(session, label):
                _apply(session, step)
        except Overtaken as overtaken:
            session.catch_up(overtaken)
            todo = steps_of(session, wish, done)[::-1]
        except Refused as refused:
            tries += 1
            _pause(session, step, refused, tries)
        except psycopg.OperationalError as error:
            lost = f"the connection was lost while {label} ran: it may have been committed"
            raise SqlmigError(f"{lost}; `sqlmig status` tells\n{str(error).strip()}") from None
        except KeyboardInterrupt as error:
            raise type(error)(str(error) or _after_interrupt(session, step)) from None
        else:
            todo.pop()
            done, tries = done + 1, 0
            yield step, time.monotonic() - begun


def _pause(session: Session, step: Step, refused: Refused, tries: int) -> None:
    """Wait before a step is tried again, or raise the error that it is not tried again after."""
    retries, error = session.settings.retries, refused.error
    # Two who write one row of a catalog, of a function that many tenants' files make, say.
    clash = "tuple concurrently" in str(error) or (error.sqlstate == "23505" and error.diag.schema_name == "pg_catalog")
    if not (clash or error.sqlstate in _TRY_AGAIN) or tries > retries:
        raise refused
    pause = min(5.0, 0.1 * 2 ** min(tries, 9)) * random.uniform(0.5, 1)  # a thousand tries are no float
    # What it was told once it need not be told again.
    problem = f"{refused}\nrolled back" if tries == 1 else f"{step.row.label}: no lock yet"
    session.say(f"{problem}; trying again in {pause:.1f} s ({tries} of {retries})")
    session.sleep(pause)


def _apply(session: Session, step: Step) -> None:
    """Run a step and record it; raise Overtaken before it ran, Refused when it is rolled back."""
    script = step.script
    if session.applied is None and not script.in_transaction:
        write(session)
    (lock, settings, *guard), record = beginning(session, step), record_of(session, step)
    if script.in_transaction:
        around = envelope(script)
        before, after = [*around.opening, lock, settings, *guard], [*around.reset, record, around.closing]
        transmit(session.connection, [*before, around.body, *after])
    else:
        with session.connect(session.ledger.worker) as worker:
            worker.tick = session.connection.tick
            _apply_each(session, worker, script, guard, record)
    applied = session.applied = session.applied or []
    if step.row.applied is None:
        insort(applied, Applied(step.row.version, step.row.name, "", ""))  # only the newest version is asked for
    else:
        applied.pop()


def write(session: Session, *records: str) -> None:
    """Write into the ledger, which is made where there is none. Raises Overtaken before that."""
    record, commit = ours("record", ";".join(records)), ours("commit", "COMMIT")
    transmit(session.connection, [ours("begin", "BEGIN"), *beginning(session), record, commit])
    session.applied = session.applied or []


def beginning(session: Session, step: Step | None = None) -> list[Piece]:
    """Return what stands before a script: the lock, what it runs under, and the guard (and what makes the ledger)."""
    ledger, applied, timeout = session.ledger, session.applied, literal(session.settings.lock_timeout)
    early = ""
    if step and step.script.own_kind and applied is not None:
        early = ledger.sql("lock_before_a_snapshot", lock_timeout=timeout)
    under = f"SET LOCAL lock_timeout = {timeout};{ledger.sql('path_first', local=True) if ledger.named else ''}"
    before = [ours("lock", early + ledger.sql("lock")), ours("settings", under)]
    if applied is None:
        return [*before, ours("guard", ledger.sql("missing")), ours("ledger", ledger.definition())]
    guard = ledger.sql("guard", newest=applied[-1].version if applied else "NULL")
    if step and step.row.state == "out-of-order":
        guard += ledger.sql("guard_between", version=step.row.version)
    return [*before, ours("guard", guard)]


def record_of(session: Session, step: Step) -> Piece:
    """Return what writes the step in the ledger; the file's own settings are gone by then."""
    row, ledger, timeout = step.row, session.ledger, literal(session.settings.lock_timeout)
    record = ledger.sql("delete", version=row.version)
    if row.migration and row.applied is None:  # what ran, whatever the file holds by now
        record = ledger.write(row.migration, files.checksum(step.script.text))
    return ours("record", f"SET LOCAL lock_timeout = {timeout};{record}")


def transmit(connection: Connection, pieces: Sequence[Piece]) -> None:
    """Send the pieces of a transaction. Raises Refused with the place; Overtaken where our own statements say so."""
    file = next((one.script for one in pieces if one.script), None)
    for number, message in enumerate(messages(pieces, connection.largest)):
        for name, needed in (("standard_conforming_strings", "on"), ("client_encoding", "UTF8")):
            if number and file and connection.info.parameter_status(name) != needed:
                rollback(connection)
                size = f"a file of more than {connection.largest:,} bytes" if connection.largest else "on Citus a file"
                raise SqlmigError(f"{file.path}: {size} must not change {name}")
        try:
            send(connection, joined(message))
        except Refused as refused:
            part, words = explained(refused.error.diag, len(refused.before), message, file)
            # A lock and a guard say no by a text that is no integer (22P02, see ledger.sql).
            if (part, refused.error.sqlstate) in (("lock", "22P02"), ("guard", "22P02"), ("record", "23505")):
                raise Overtaken(words if part == "record" else "") from None
            raise Refused(refused.error, refused.before, words) from None
        file = next((one.script for one in reversed(message) if one.script), file)


def _apply_each(session: Session, worker: Connection, script: Script, guard: list[Piece], record: Piece) -> None:
    """Run a script statement by statement over ``worker``; the session's connection holds the lock, and records it."""
    # Meanwhile that one asks nothing, not even a catalog: what it leaves locked, or a snapshot, a VACUUM FULL or a
    # CREATE INDEX CONCURRENTLY would wait for.
    ledger, holder = session.ledger, session.connection
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = 0"
    begin += "; SET LOCAL transaction_timeout = 0" if holder.info.server_version >= 170000 else ""
    transmit(holder, [ours("begin", begin), ours("lock", ledger.sql("lock"))])
    try:
        _set_up(worker, script, ledger)
        transmit(worker, [ours("lock", ledger.sql("no_orphan")), *guard])
        send_each(worker, script)
        if _invalid_indexes(session, script):  # by now nothing waits for it
            raise SqlmigError(f"{script.path}: all of it ran, but is not recorded")
        try:
            transmit(holder, [record, ours("commit", "COMMIT")])
        except (Refused, Overtaken, psycopg.OperationalError) as error:
            raise SqlmigError(f"{script.path}: all of it ran, but may not be recorded: {str(error).strip()}") from None
    except (SqlmigError, KeyboardInterrupt) as error:
        rollback(holder)
        raise _ended(error, "\n".join([str(error), *_invalid_indexes(session, script)])) from None
    finally:
        rollback(holder)


def _ended(error: BaseException, words: str) -> BaseException:
    return (type(error) if isinstance(error, KeyboardInterrupt) else SqlmigError)(words)


def send_each(worker: Connection, script: Script) -> None:
    """Send a script statement by statement. Raises SqlmigError, or KeyboardInterrupt, with words for what stays."""
    kept, count = 0, len(script.starts)
    for done, one in enumerate(cut(piece(script, 0, len(script.text)), 0) if count else ()):
        if worker.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            kept = done
        undone = f", {done - kept} were rolled back" if done > kept else ""
        stays = f"{kept} of {count} statements ran and stay{undone}, this one failed, {count - done - 1} did not run"
        try:
            transmit(worker, [one])
        except (Refused, psycopg.OperationalError, KeyboardInterrupt) as error:
            where = "" if isinstance(error, Refused) else f"{place(script.path, script.text, one.begin)}: "
            raise _ended(error, f"{where}{str(error).strip() or 'interrupted'}\n{stays}") from None
    if worker.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise SqlmigError(f"{script.path}: it leaves a transaction open, which was rolled back; end it with COMMIT")


def _set_up(worker: Connection, script: Script, ledger: Ledger) -> None:
    """See that there is a second connection, and set what the statements run under."""
    worker.pgconn.send_query(b"SELECT pg_backend_pid()")
    if not select.select([worker], [], [], 10)[0]:
        worker.close()
        needs = "a no-transaction file needs two of a pooler"
        raise SqlmigError(f"{script.path}: no second connection within 10 s; {needs}")
    pid = worker.wait(generators.fetch_many(worker.pgconn))[0].get_value(0, 0)
    if pid == b"%d" % worker.info.backend_pid:  # else a pooler would hand it to other clients
        send(worker, f"SET lock_timeout = 0;{ledger.sql('path_first', local=False) if ledger.named else ''}".encode())


def _refuse_pooler(session: Session, steps: Sequence[Step]) -> None:
    """Refuse, before anything runs, what a pooler would hand to other clients, where it shares a session with them."""
    alone, remedy = [step.script for step in steps if not step.script.in_transaction], "connect to the server itself"
    own = [(session.connection.info.backend_pid,)]
    for file in alone if alone and session.connection.execute("SELECT pg_backend_pid()").fetchall() != own else ():
        if session.ledger.named:
            raise SqlmigError(f"{file.path}: --schema cannot be kept for a no-transaction file by a pooler; {remedy}")
        for start in file.starts:
            if _SESSION_STATE.match(file.text, start):
                where = place(file.path, file.text, start)
                raise SqlmigError(f"{where}: a pooler would hand this setting to other clients; {remedy}")


def _invalid_indexes(session: Session, script: Script) -> list[str]:
    """Return a line for each index that the script names and that is INVALID, with the remedy."""
    with suppress(psycopg.Error):
        found = session.connection.execute(session.ledger.sql("invalid_indexes").encode()).fetchall()
        return [str(line) for line, name in found if str(name).encode() in script.text]
    return []


def _after_interrupt(session: Session, step: Step) -> str:
    label, verb = step.row.label, "reverted" if step.row.applied else "applied"
    rollback(session.connection)
    try:
        session.read()
    except (SqlmigError, psycopg.Error):
        return f"interrupted while {label} ran; `sqlmig status` tells whether it was {verb}"
    done = any(row.version == step.row.version for row in session.applied or ()) == (verb == "applied")
    return f"interrupted; {label} was {'' if done else 'not '}{verb}"


def to_stamp(session: Session, version: int) -> dict[str, str]:
    """Return what records everything up to a version without running it: a statement for each line that tells it."""
    todo = plan.stamp(session.rows(), version)
    return {f"recorded {one.label}": session.ledger.write(one, one.checksum) for one in todo}


def to_repair(session: Session, versions: Sequence[int]) -> dict[str, str]:
    """Return what records changed files anew and takes missing ones out, of these versions or of all: as to_stamp."""
    rows, ledger, records = session.rows(), session.ledger, dict[str, str]()
    plan.check_version(rows, *versions)
    for row in rows:
        if row.state in ("changed", "missing") and (not versions or row.version in versions):
            if one := row.migration:
                records[f"record {row.label} anew; nothing of it is run"] = ledger.write(one, one.checksum, "update")
            else:
                gone = f"take {row.label} out of the ledger; what it made stays"
                records[gone] = ledger.sql("delete", version=row.version)
    return records
