"""Compare a run over a thousand schemas with one psql session and with a shell loop. Run by ``make bench``."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from statistics import median
from urllib.parse import parse_qs, urlsplit

import psycopg

from sqlmig import embedded
from tests.benchmarks.runner import PYTHON, ROUNDS, Figures, Place, measured

HERE = Path(".cache/bench-schemas").absolute()
COUNT = int(os.environ.get("SCHEMAS", "1000"))
FIRST = "CREATE TABLE a (id int PRIMARY KEY, v text);\nCREATE INDEX a_v ON a (v);\n"
SECOND = "CREATE TABLE b (id int PRIMARY KEY, v text);\nCREATE INDEX b_v ON b (v);\nALTER TABLE a ADD w text;\n"


def main() -> None:
    """Measure, and print the ratios."""
    shutil.rmtree(HERE / "files", ignore_errors=True)
    one, both = HERE / "files" / "one", HERE / "files" / "both"
    for directory, files in (
        (one, {"1_a": FIRST}),
        (both, {"1_a": FIRST, "2_b": SECOND}),
    ):
        directory.mkdir(parents=True)
        for name, text in files.items():
            (directory / f"{name}.up.sql").write_text(text)
    names = [f"t_{n}" for n in range(COUNT)]
    every = [word for name in names for word in ("--schema", name)]
    record = "CREATE TABLE IF NOT EXISTS done (n int PRIMARY KEY); INSERT INTO done VALUES (2);"
    (HERE / "all.sql").write_text(
        "".join(
            f"BEGIN; SET LOCAL search_path = {n};\n{SECOND}{record}\nCOMMIT;\n"
            for n in names
        )
    )
    figures: dict[str, Figures] = {}
    with embedded.server(
        HERE / "server", {"fsync": "off", "max_locks_per_transaction": "256"}
    ) as url:
        place = Place("bench", parse_qs(urlsplit(url).query)["host"][0])
        sqlmig = [PYTHON, "-m", "sqlmig", "-d", place.url(), "--dir"]
        loop = f"for n in $(seq 0 99); do {shlex.join(sqlmig)} {both} --schema t_$n up; done"
        todo = {
            "the first file": [*sqlmig, str(one), "up", *every],
            "one new file": [*sqlmig, str(both), "up", "--schema", "t_*"],
            "nothing to do": [*sqlmig, str(both), "up", "--schema", "t_*"],
            "status": [*sqlmig, str(both), "status", "--schema", "t_*"],
            "nothing to do in one": [*sqlmig, str(both), "up", "--schema", "t_0"],
            "status of one": [*sqlmig, str(both), "status", "--schema", "t_0"],
        }
        with psycopg.connect(url, autocommit=True) as connection:
            for _ in range(ROUNDS):
                for run in (
                    todo,
                    {
                        "psql": [
                            str(embedded.programs() / "psql"),
                            "-qXf",
                            str(HERE / "all.sql"),
                            place.url(),
                        ]
                    },
                ):
                    connection.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")
                    connection.execute("CREATE DATABASE bench")
                    if run is not todo:
                        measured(todo["the first file"], Figures())
                    for name, command in run.items():
                        measured(command, figures.setdefault(name, Figures()))
            for name, count in (("a loop over a hundred", 100),):
                connection.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")
                connection.execute("CREATE DATABASE bench")
                measured([*todo["the first file"][: -2 * (COUNT - count)]], Figures())
                measured(["sh", "-c", loop], figures.setdefault(name, Figures()))
    wall = {name: median(figure.wall) for name, figure in figures.items()}
    for name, seconds in wall.items():
        print(f"{name}: {seconds:.2f} s, {median(figures[name].memory):.0f} MB")
    print("\n| target | is | at most |\n| --- | --- | --- |")
    print(
        f"| one new file in {COUNT:,} schemas / psql, one session | {wall['one new file'] / wall['psql']:.2f} | 1.0 |"
    )
    for name, one_name in (
        ("nothing to do", "nothing to do in one"),
        ("status", "status of one"),
    ):
        print(
            f"| {name} in {COUNT:,} schemas / in one | {wall[name] / wall[one_name]:.2f} | 2.0 |"
        )
    print(
        f"| one new file in {COUNT:,} schemas, MB | {median(figures['one new file'].memory):.0f} | 90 |"
    )
    print(
        f"| one new file in a schema / in a shell loop | {wall['one new file'] / COUNT * 100 / wall['a loop over a hundred']:.2f} | |"
    )


if __name__ == "__main__":
    main()
