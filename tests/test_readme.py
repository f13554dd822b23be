"""The README, read and typed: every transcript in it is what the commands say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from sqlmig import embedded
from sqlmig.cli.commands import group
from tests.support.project import SQL

if TYPE_CHECKING:
    from tests.support.project import Project

README = (SQL.parent / "README.md").read_text()
MAKE, *TRANSCRIPTS = [
    text
    for _, text in re.findall(
        r"^(`{3,})console\n(.*?)^\1$", README, re.MULTILINE | re.DOTALL
    )
]


def steps(transcript: str) -> list[tuple[str, str]]:
    """Return a transcript's commands, each with what it says."""
    return re.findall(r"^\$ ([^\n]*)\n((?:(?!\$ )[^\n]*\n)*)", transcript, re.MULTILINE)


def bare(text: str) -> str:
    """Take out what differs each time: durations, times of day, the database, white space at a line's end."""
    text = re.sub(
        r"sqlmig_empty_\w+ on (?:this machine|[\w.]+)(?:, port \d+)?",
        "shop on this machine",
        text,
    )
    text = re.sub(r"\b(?:\d+ ms|\d+\.\d s)\b", "SOME TIME", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "THEN", text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def agree(shown: str, said: str) -> bool:
    """Say whether a command says what is shown of it; a line of “…” stands for any number of lines."""
    pattern = re.escape(bare(shown)).replace("…\\\n", r"(?:[^\n]*\n)*")
    return bool(re.fullmatch(pattern, bare(said)))


def test_a_transcript_that_is_not_true_is_found() -> None:
    assert agree(
        "applied 1 (3 ms)\n…\ndone\n", "applied 1 (1.2 s)\nmore\nand more\ndone\n"
    )
    assert not agree("applied 1 (3 ms)\n", "applied 2 (3 ms)\n")
    assert not agree("applied 1 (3 ms)\n", "applied 1 (3 ms)\nmore\n")


def test_the_transcripts_are_true(project: Project) -> None:
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), str(embedded.programs()), os.environ["PATH"]]
    )
    environment = os.environ | {"DATABASE_URL": project.url, "PATH": path}
    here = project.directory.parent
    done = 0
    for command, shown in [
        step for transcript in TRANSCRIPTS for step in steps(transcript)
    ]:
        if command.startswith("cat "):  # what the reader writes
            (here / command.removeprefix("cat ")).write_text(shown)
            continue
        ran = subprocess.run(
            ["sh", "-c", command],
            cwd=here,
            env=environment,
            stdout=-1,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert agree(shown, ran.stdout), (
            f"$ {command}\n{ran.stdout}\nThe README has:\n{shown}"
        )
        done += 1
    assert done > 15


def test_make_up_says_what_the_first_transcript_shows(tmp_path: Path) -> None:
    ((command, shown),) = steps(MAKE)
    place = tmp_path / ".postgres"
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKE", "MFLAGS"))
    }
    line = [*command.split(), f"DATABASE_URL=embedded:{place}"]
    ran = subprocess.run(
        line,
        cwd=SQL.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert agree(shown, ran.stdout.replace(str(place), ".postgres")), ran.stdout


@pytest.mark.parametrize("name", sorted(group.commands))
def test_each_command_and_each_option_of_it_is_explained(name: str) -> None:
    command = group.commands[name]
    assert f"sqlmig {name}" in README
    words = command.get_help(click.Context(command, info_name=f"sqlmig {name}"))
    assert f"  Examples:\n    sqlmig {name}" in words
    assert "Exit codes: 0 done, 1 " in words
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help
            if isinstance(option.default, (int, str)) and option.default is not False:
                assert f"default: {option.default}" in words


def test_every_link_in_the_readme_leads_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif "://" not in target:
            assert (SQL.parent / target).exists(), target
    labels = set(re.findall(r"^\[([^\]]+)\]: https://", README, re.MULTILINE))
    assert set(re.findall(r"(?<=\]\[)[^\]]+", README)) <= labels


@pytest.mark.parametrize(
    ("shell", "word"),
    [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --")],
)
def test_completion_is_as_click_gives_it(
    project: Project, shell: str, word: str
) -> None:
    completing = {"_SQLMIG_COMPLETE": f"{shell}_source"}
    process = project.start(env=os.environ | completing)
    assert word in process.communicate()[0]
    assert process.returncode == 0
    process = project.start(
        env=os.environ
        | {
            "_SQLMIG_COMPLETE": "bash_complete",
            "COMP_WORDS": "sqlmig st",
            "COMP_CWORD": "1",
        }
    )
    assert process.communicate()[0].split() == ["plain,stamp", "plain,status"]
