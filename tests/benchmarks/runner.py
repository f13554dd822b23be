"""Compare sqlmig with its floors and its peers: time, the client's CPU, the client's memory. Run by ``make bench``.

Each contender runs each command in turn, round after round, on a fresh database. The figures are medians.
The floors: an interpreter that imports what sqlmig imports; psql in one session, one transaction per file; and twenty
lines of psycopg that send each file with its row in a ledger.
"""

from __future__ import annotations

import compileall
import math
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import psycopg

import sqlmig
from sqlmig import embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = int(os.environ.get("ROUNDS", "5"))
HERE = Path(".cache/bench-runner").absolute()
PEERS = Path(".cache/peers").absolute()
PYTHON = sys.executable
IN_THE_MANUAL = (
    "nothing to do, 10 files",
    "nothing to do, 1,000 files",
    "up, 10 files",
    "up, 100 files",
    "up, 1,000 files",
    "down, 1,000 files",
    "up, 20 MB, 170,000 statements",
)
SLOW = 8.0  # seconds: slower commands run once

# The launcher must be small: a child's peak memory starts at the size of its parent when it forks.
LAUNCHER = """
import os, sys, time
begun = time.perf_counter()
child = os.fork()
if not child:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execvp(sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(child, 0)
print(time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""

TWENTY_LINES = """
import os, sys
from pathlib import Path
import psycopg
import click
verb, directory = sys.argv[1:]
connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
connection.execute("CREATE TABLE IF NOT EXISTS ledger (name text PRIMARY KEY)")
done = {name for (name,) in connection.execute("SELECT name FROM ledger")}
names = sorted({path.name.split(".")[0] for path in Path(directory).iterdir()}, reverse=verb == "down")
for name in names:
    if (name in done) == (verb == "down"):
        text = Path(directory, f"{name}.{verb}.sql").read_text()
        record = f"INSERT INTO ledger VALUES ('{name}')" if verb == "up" else f"DELETE FROM ledger WHERE name = '{name}'"
        connection.execute(f"BEGIN; {text}; {record}; COMMIT")
        click.echo(name)
"""

ENV_PY = """
from alembic import context
from sqlalchemy import create_engine
with create_engine(context.config.get_main_option("sqlalchemy.url")).connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""


@dataclass(frozen=True)
class Place:
    """A database: its name, and the directory of the server's socket."""

    name: str
    host: str

    def url(self, scheme: str = "postgresql") -> str:
        """Return its URL."""
        return f"{scheme}://postgres@/{self.name}?host={self.host}"


@dataclass(frozen=True)
class File:
    """A migration."""

    version: int
    up: str
    down: str


@dataclass(frozen=True)
class Contender:
    """A program to measure: how to write its files, and the command for each measurement."""

    name: str
    write: Callable[[Path, list[File]], None]
    commands: Callable[[Path, Place, int], dict[str, list[str]]]


@dataclass
class Figures:
    """The measurements of one command: seconds, seconds of the client's CPU, MB."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def write_pairs(directory: Path, files: list[File]) -> None:
    for file in files:
        (directory / f"{file.version:04}_t.up.sql").write_text(file.up)
        (directory / f"{file.version:04}_t.down.sql").write_text(file.down)


def write_psql(directory: Path, files: list[File]) -> None:
    write_pairs(directory, files)
    for verb, order in (("up", 1), ("down", -1)):
        record = {
            "up": "INSERT INTO ledger VALUES ({})",
            "down": "DELETE FROM ledger WHERE version = {}",
        }[verb]
        lines = [
            "SET client_min_messages = warning;",
            "CREATE TABLE IF NOT EXISTS ledger (version int PRIMARY KEY);",
        ]
        for file in files[::order]:
            path = directory / f"{file.version:04}_t.{verb}.sql"
            lines += [
                "BEGIN;",
                f"\\i {path}",
                f"{record.format(file.version)};",
                "COMMIT;",
            ]
        (directory / f"{verb}.psql").write_text("\n".join(lines))


def write_dbmate(directory: Path, files: list[File]) -> None:
    for file in files:
        text = f"-- migrate:up\n{file.up}\n-- migrate:down\n{file.down}\n"
        (directory / f"{file.version:04}_t.sql").write_text(text)


def write_node(directory: Path, files: list[File]) -> None:
    for file in files:
        text = f"-- Up Migration\n{file.up}\n-- Down Migration\n{file.down}\n"
        (directory / f"{file.version:04}_t.sql").write_text(text)


def write_yoyo(directory: Path, files: list[File]) -> None:
    for file in files:
        (directory / f"{file.version:04}_t.sql").write_text(file.up)
        (directory / f"{file.version:04}_t.rollback.sql").write_text(file.down)


def write_pyway(directory: Path, files: list[File]) -> None:
    for file in files:
        (directory / f"V01_{file.version:04}__t.sql").write_text(file.up)


def write_jetbase(directory: Path, files: list[File]) -> None:
    (directory / "migrations").mkdir()
    for file in files:
        text = f"-- upgrade\n{file.up}\n-- rollback\n{file.down}\n"
        (directory / "migrations" / f"V{file.version:04}__t.sql").write_text(text)


def write_supabase(directory: Path, files: list[File]) -> None:
    migrations = directory / "supabase" / "migrations"
    migrations.mkdir(parents=True)
    for file in files:
        (migrations / f"{file.version:04}_t.sql").write_text(file.up)


def write_alembic(directory: Path, files: list[File]) -> None:
    (directory / "versions").mkdir()
    (directory / "env.py").write_text(ENV_PY)
    for file in files:
        before = f"{file.version - 1:04}" if file.version > 1 else None
        (directory / "versions" / f"{file.version:04}_t.py").write_text(
            f"from alembic import op\nrevision, down_revision = '{file.version:04}', {before!r}\n"
            f"def upgrade(): op.execute({file.up!r})\ndef downgrade(): op.execute({file.down!r})\n"
        )


def sqlmig_commands(directory: Path, place: Place, _: int) -> dict[str, list[str]]:
    sqlmig = [
        str(Path(PYTHON).with_name("sqlmig")),
        "-d",
        place.url(),
        "--dir",
        str(directory),
    ]
    verbs = {
        "up": ["up"],
        "nothing to do": ["up"],
        "status": ["status"],
        "down": ["down", "--all", "--yes"],
    }
    return {
        what: [*sqlmig, *verb]
        for what, verb in (verbs | {"check": ["check"], "script": ["script"]}).items()
    }


def psql_commands(directory: Path, place: Place, _: int) -> dict[str, list[str]]:
    psql = [
        str(embedded.programs() / "psql"),
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        place.url(),
    ]
    return {
        verb: [*psql, "-f", str(directory / f"{verb}.psql")] for verb in ("up", "down")
    }


def twenty_commands(directory: Path, place: Place, _: int) -> dict[str, list[str]]:
    program = ["env", f"DATABASE_URL={place.url()}", PYTHON, "-c", TWENTY_LINES]
    return {
        what: [*program, verb, str(directory)]
        for what, verb in (("up", "up"), ("nothing to do", "up"), ("down", "down"))
    }


def dbmate_commands(directory: Path, place: Place, _: int) -> dict[str, list[str]]:
    program = next(PEERS.glob("js/node_modules/@dbmate/*/bin/dbmate"))
    options = [
        "--url",
        place.url("postgres") + "&sslmode=disable",
        "--migrations-dir",
        str(directory),
        "--no-dump-schema",
    ]
    verbs = {
        "up": "up",
        "nothing to do": "up",
        "status": "status",
    }  # no "down": it reverts only one migration per call
    return {what: [str(program), *options, verb] for what, verb in verbs.items()}


def yoyo_commands(directory: Path, place: Place, _: int) -> dict[str, list[str]]:
    end = ["--batch", "--database", place.url("postgresql+psycopg"), str(directory)]
    verbs = {
        "up": ["apply"],
        "nothing to do": ["apply"],
        "status": ["list"],
        "down": ["rollback", "--all"],
    }
    return {
        what: [str(PEERS / "py/bin/yoyo"), *verb, *end] for what, verb in verbs.items()
    }


def alembic_commands(directory: Path, place: Place, _: int) -> dict[str, list[str]]:
    url = place.url("postgresql+psycopg")
    (directory / "alembic.ini").write_text(
        f"[alembic]\nscript_location = %(here)s\nsqlalchemy.url = {url}\n"
    )
    alembic = [str(PEERS / "py/bin/alembic"), "-c", str(directory / "alembic.ini")]
    up = [*alembic, "upgrade", "head"]
    return {
        "up": up,
        "nothing to do": up,
        "status": [*alembic, "current"],
        "down": [*alembic, "downgrade", "base"],
    }


def pyway_commands(directory: Path, place: Place, _: int) -> dict[str, list[str]]:
    options = {
        "type": "postgres",
        "host": place.host,
        "port": "5432",
        "name": place.name,
        "username": "postgres",
    }
    options |= {"password": "none", "migration-dir": str(directory), "table": "pyway"}
    pyway = [
        str(PEERS / "py/bin/pyway"),
        *(
            word
            for key, value in options.items()
            for word in (f"--database-{key}", value)
        ),
    ]
    return {
        what: [*pyway, verb]
        for what, verb in (
            ("up", "migrate"),
            ("nothing to do", "migrate"),
            ("status", "info"),
        )
    }


def node_commands(directory: Path, place: Place, count: int) -> dict[str, list[str]]:
    url = f"DATABASE_URL=socket://postgres@{place.host}?db={place.name}"
    node = [
        "env",
        url,
        str(PEERS / "js/node_modules/.bin/node-pg-migrate"),
        "-m",
        str(directory),
    ]
    return {
        "up": [*node, "up"],
        "nothing to do": [*node, "up"],
        "down": [*node, "down", str(count)],
    }


def jetbase_commands(directory: Path, place: Place, count: int) -> dict[str, list[str]]:
    url = place.url("postgresql+psycopg")
    (directory / "env.py").write_text(f"sqlalchemy_url = {url!r}\n")
    jetbase = ["env", "-C", str(directory), str(PEERS / "py/bin/jetbase")]
    return {
        "up": [*jetbase, "upgrade"],
        "nothing to do": [*jetbase, "upgrade"],
        "status": [*jetbase, "status"],
        "down": [*jetbase, "rollback", "--count", str(count)],
    }


def supabase_commands(directory: Path, place: Place, _: int) -> dict[str, list[str]]:
    program = next(PEERS.glob("js/node_modules/@supabase/cli-*/bin/supabase"))
    url = f"postgresql://postgres:none@localhost/{place.name}?host={place.host}"
    migration = [str(program), "--workdir", str(directory), "migration"]
    up = [*migration, "up", f"--remote={url}", "--yes"]
    return {  # no "down": it resets a local database
        "up": up,
        "nothing to do": up,
        "status": [*migration, "list", f"--remote={url}"],
    }


CONTENDERS = [
    Contender("sqlmig", write_pairs, sqlmig_commands),
    Contender("psql", write_psql, psql_commands),
    Contender("twenty lines", write_pairs, twenty_commands),
    Contender("dbmate", write_dbmate, dbmate_commands),
    Contender("yoyo", write_yoyo, yoyo_commands),
    Contender("alembic", write_alembic, alembic_commands),
    Contender("pyway", write_pyway, pyway_commands),
    Contender("node-pg-migrate", write_node, node_commands),
    Contender("jetbase", write_jetbase, jetbase_commands),
    Contender("supabase", write_supabase, supabase_commands),
]


def small(count: int) -> list[File]:
    """Return migrations that each create a table, an index and a constraint."""
    return [
        File(
            n,
            f"CREATE TABLE t{n} (id int PRIMARY KEY, v text);\nCREATE INDEX t{n}_v ON t{n} (v);\n"
            f"ALTER TABLE t{n} ADD CONSTRAINT t{n}_id CHECK (id > 0);\n",
            f"DROP TABLE t{n};\n",
        )
        for n in range(1, count + 1)
    ]


def one(statements: list[str]) -> list[File]:
    text = "CREATE TABLE t (id int, v text, w text);\n" + "".join(
        f"{statement};\n" for statement in statements
    )
    return [File(1, text, "DROP TABLE t;\n")]


def workloads() -> dict[str, tuple[list[File], list[str]]]:
    """Return the files of each workload and its commands in order."""
    row = "({}, 'it''s a row of some width, as people have them', 'and another column, so that it is wide enough')"
    rows = [row.format(n) for n in range(170_000)]
    every = ["up", "nothing to do", "status", "down"]
    return {
        "10 files": (small(10), every),
        "100 files": (small(100), every),
        "1,000 files": (small(1000), [*every, "check", "script"]),
        "200 statements": (
            one([f"INSERT INTO t VALUES {r}" for r in rows[:200]]),
            ["up"],
        ),
        "20 MB, 4 statements": (
            one(["INSERT INTO t VALUES " + ",\n".join(rows[n::4]) for n in range(4)]),
            ["up"],
        ),
        "20 MB, 170,000 statements": (
            one([f"INSERT INTO t VALUES {r}" for r in rows]),
            ["up"],
        ),
    }


def measured(command: list[str], figures: Figures) -> None:
    """Run a command and add its time, CPU and memory to the figures."""
    done = subprocess.run(
        [PYTHON, "-I", "-S", "-c", LAUNCHER, *command],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{command}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return  # a failed run does not count
    for figure, value in zip(
        (figures.wall, figures.cpu, figures.memory),
        map(float, done.stdout.split()),
        strict=True,
    ):
        figure.append(value)


def measure(
    todo: dict[str, tuple[list[File], list[str]]],
) -> dict[str, dict[str, Figures]]:
    """Measure each contender with each command. A contender that was slow the first time runs only once."""
    results: dict[str, dict[str, Figures]] = defaultdict(lambda: defaultdict(Figures))
    with (
        embedded.server(HERE / "server", {"fsync": "off"}) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        place = Place("bench", parse_qs(urlsplit(url).query)["host"][0])
        for number in range(ROUNDS):
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
            measured(
                [PYTHON, "-c", "import psycopg, click"], results["start"]["bare import"]
            )
            measured(
                [PYTHON, "-m", "sqlmig", "--help"], results["start"]["sqlmig --help"]
            )
            for name, (files, things) in todo.items():
                for contender in CONTENDERS if number % 2 else CONTENDERS[::-1]:
                    so_far = [
                        results[f"{thing}, {name}"][contender.name].wall
                        for thing in things
                    ]
                    if sum(
                        wall[0] for wall in so_far if wall
                    ) > SLOW and contender.name not in ("sqlmig", "psql"):
                        continue
                    connection.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")
                    connection.execute("CREATE DATABASE bench")
                    commands = contender.commands(
                        directory_of(name, contender), place, len(files)
                    )
                    for thing in things:
                        if thing in commands:
                            measured(
                                commands[thing],
                                results[f"{thing}, {name}"][contender.name],
                            )
    return results


def directory_of(workload: str, contender: Contender) -> Path:
    return (
        HERE
        / "files"
        / re.sub(r"\W+", "-", workload)
        / re.sub(r"\W+", "-", contender.name)
    )


def main() -> None:
    """Measure the named workloads, or all of them, and print the table."""
    todo = {
        name: work
        for name, work in workloads().items()
        if name in (sys.argv[1:] or workloads())
    }
    compileall.compile_dir(
        Path(sqlmig.__file__).parent, quiet=1
    )  # an installation compiles it, too
    shutil.rmtree(HERE / "files", ignore_errors=True)
    for name, (files, _) in todo.items():
        for contender in CONTENDERS:
            directory_of(name, contender).mkdir(parents=True)
            contender.write(directory_of(name, contender), files)
    results = measure(todo)
    print(
        f"{ROUNDS} rounds, {os.cpu_count()} cores, Python {sys.version.split()[0]}, {date.today()}.\n"
    )
    print(
        "| what | who | time, s | sqlmig / who | CPU, s | memory, MB |\n| --- | --- | --- | --- | --- | --- |"
    )
    for thing, figures in results.items():
        ours = figures.get("sqlmig") or figures["sqlmig --help"]
        for who, figure in figures.items():
            if figure.wall:
                wall, cpu, memory = (
                    median(values)
                    for values in (figure.wall, figure.cpu, figure.memory)
                )
                print(
                    f"| {thing} | {who} | {wall:.3f} | {median(ours.wall) / wall:.2f} | {cpu:.3f} | {memory:.0f} |"
                )
    if not sys.argv[1:]:
        print_for_the_manual(results)
    bare = median(results["start"]["bare import"].wall)
    print("\n| target | is | at most |\n| --- | --- | --- |")
    for what, is_now, at_most in targets(results, bare):
        print(f"| {what} | {is_now:.2f} | {at_most} |")


def print_for_the_manual(results: dict[str, dict[str, Figures]]) -> None:
    """Print the table of sqlmig/README.md: seconds, with a column for each contender."""
    whos = [one.name for one in CONTENDERS if one.name != "twenty lines"]
    print(f"\n| seconds | {' | '.join(whos)} |")
    print(f"| --- |{' --- |' * len(whos)}")
    for thing in IN_THE_MANUAL:
        cells = []
        for who in whos:
            wall = results[thing][who].wall
            cells.append(f"{median(wall):.2f}" if wall else "")
        print(f"| {thing} | {' | '.join(cells)} |")


def targets(
    results: dict[str, dict[str, Figures]], bare: float
) -> Iterator[tuple[str, float, float]]:
    """Yield each target: its name, the measured ratio, and the limit."""

    def wall(thing: str, who: str = "sqlmig") -> float:
        return (
            median(results[thing][who].wall) if results[thing][who].wall else math.nan
        )

    for what in ("nothing to do", "status"):
        yield f"{what}, 10 files / bare import", wall(f"{what}, 10 files") / bare, 1.0
        yield (
            f"{what}, 1,000 files / 10 files",
            wall(f"{what}, 1,000 files") / wall(f"{what}, 10 files"),
            1.3,
        )
    yield (
        "up, 100 files / psql",
        wall("up, 100 files") / wall("up, 100 files", "psql"),
        1.6,
    )
    yield (
        "up, 1,000 files / psql",
        wall("up, 1,000 files") / wall("up, 1,000 files", "psql"),
        1.1,
    )
    yield (
        "down, 1,000 files / psql",
        wall("down, 1,000 files") / wall("down, 1,000 files", "psql"),
        1.1,
    )
    for thing in ("up, 1,000 files", "down, 1,000 files"):
        yield f"{thing} / twenty lines", wall(thing) / wall(thing, "twenty lines"), 1.1
    for thing in ("up, 20 MB, 4 statements", "up, 20 MB, 170,000 statements"):
        yield f"{thing} / twenty lines", wall(thing) / wall(thing, "twenty lines"), 1.2
        yield f"{thing}, MB", max(results[thing]["sqlmig"].memory, default=math.nan), 90
    both = wall("up, 1,000 files") + wall("down, 1,000 files")
    yield "check, 1,000 files / up and down", wall("check, 1,000 files") / both, 3.0
    cpu = {
        who: median(figures.cpu)
        for who, figures in results["up, 1,000 files"].items()
        if figures.cpu
    }
    yield (
        "up, 1,000 files, CPU / dbmate",
        cpu.get("sqlmig", math.nan) / cpu.get("dbmate", math.nan),
        1.0,
    )


if __name__ == "__main__":
    main()
