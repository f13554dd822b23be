"""Parse the project's Markdown pages into blocks, code spans, links and headings."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click
from markdown_it import MarkdownIt

from sqlmig.cli.group import command_names, group
from tests.support.project import SQL

ROOT = SQL.parent
# Other programs that the pages may use. Their options and files are not checked.
OTHER_PROGRAMS = {
    *(".", "command", "cat", "cp", "echo", "eval", "export", "git", "mkdir", "rm"),
    *("pg_dump", "pip", "psql", "python3", "ruff"),
}


@dataclass(frozen=True)
class Block:
    """A code block: its language, its text, and the heading above it."""

    language: str
    text: str
    heading: str

    def steps(self) -> list[tuple[str, str]]:
        """Return a transcript's commands, each with its output."""
        return re.findall(
            r"^\$ ([^\n]*)\n((?:(?!\$ )[^\n]*\n)*)", self.text, re.MULTILINE
        )


class Page:
    """The contents of a page, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text()
        self.blocks: list[Block] = []
        self.spans: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        heading = ""
        tokens = MarkdownIt("commonmark").enable("table").parse(self.text)
        for before, token in zip([None, *tokens], tokens, strict=False):
            if before and before.type == "heading_open":
                heading = token.content
                self.anchors.add(_anchor(heading))
            if token.type in ("fence", "code_block"):
                self.blocks.append(Block(token.info.strip(), token.content, heading))
            for child in token.children or []:
                if child.type == "code_inline":
                    self.spans.append(child.content)
                if child.type == "link_open":
                    self.links.append(str(child.attrs["href"]))

    def of(self, language: str) -> list[Block]:
        """Return the blocks of a language. Indented code has the language ""."""
        return [block for block in self.blocks if block.language == language]

    def commands(self) -> list[str]:
        """Return each command that a reader may type: in transcripts, in shell blocks, and in sentences."""
        lines = []
        for block in self.of("console"):
            lines += [command for command, _ in block.steps()]
        for block in [*self.of("sh"), *self.of("")]:
            lines += [line for line in block.text.splitlines() if _is_for_a_shell(line)]
        for block in self.of("yaml"):
            for line in re.findall(r"(?:run|command): (.*)", block.text):
                is_list = line.startswith("[")
                lines.append(line.strip("[]").replace(",", "") if is_list else line)
        for span in self.spans:
            if re.match(r"(?:sqlmig|make|python3?|\.venv/bin/\S+) ", span):
                lines.append(span)
        return lines


def _commands() -> dict[str, click.Command]:
    """Load every command."""
    found = {}
    for name in command_names():
        command = group.get_command(click.Context(group), name)
        assert command
        found[name] = command
    return found


COMMANDS = _commands()


def _anchor(heading: str) -> str:
    """Return GitHub's anchor for a heading."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def _is_for_a_shell(line: str) -> bool:
    """Return whether a line is a command, not part of a listing such as a directory layout."""
    return bool(line.strip()) and not re.match(r"(?:sqlmig|tests)/|\s", line)


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def problems_of(line: str) -> list[str]:
    """Return the names in a command that do not exist: programs, commands, options, targets, files."""
    problems: list[str] = []
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    command: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";&|"):
            problems += _problems_of_one(command)
            command = []
        else:
            command.append(word)
    return problems


def _problems_of_one(words: list[str]) -> list[str]:
    while words and re.match(r"\w+=", words[0]):
        words = words[1:]
    for redirection in (">", ">>"):
        if redirection in words:
            words = words[: words.index(redirection)]
    if not words:
        return []
    program, *arguments = words
    program = program.removeprefix(".venv/bin/")
    if program == "sqlmig":
        return _problems_of_sqlmig(arguments)
    if program == "make":
        return [f"make {word}" for word in arguments if _is_no_target(word)]
    if program == "python" and arguments[:1] == ["-m"]:
        return _problems_of_module(arguments[1:])
    return [] if program in OTHER_PROGRAMS else [f"program {program}"]


def _is_no_target(word: str) -> bool:
    return "=" not in word and word not in targets()


def _problems_of_module(arguments: list[str]) -> list[str]:
    module, *others = arguments
    if module == "pytest":
        return [path for path in others if not (ROOT / path).exists()]
    if module == "sqlmig.embedded":
        return _problems_of_one(others)
    return [f"module {module}"]


def _problems_of_sqlmig(arguments: list[str]) -> list[str]:
    """Check each argument the way click does: options of the group, the command's name, and its options."""
    options = {name: one for one in group.params for name in one.opts}
    options["-h"] = options["--help"] = click.Option(["--help"], is_flag=True)
    command: click.Command | None = None
    problems = []
    waiting = 0
    for word in arguments:
        name, _, value = word.partition("=")
        if waiting:
            waiting -= 1
        elif word.startswith("-"):
            option = options.get(name)
            if option is None:
                problems.append(f"option {name}")
            elif isinstance(option, click.Option) and not option.is_flag and not value:
                waiting = 1
        elif command is None:
            command = COMMANDS.get(word)
            if command is None and word != "COMMAND":
                problems.append(f"command {word}")
            if command:
                options |= {name: one for one in command.params for name in one.opts}
    return problems


README = Page(ROOT / "README.md")
MANUAL = Page(ROOT / "sqlmig" / "README.md")
GUIDE = Page(ROOT / "sql" / "GUIDE.md")
GROWTH = Page(ROOT / "sql" / "GROWTH.md")
PAGES = {"README": README, "manual": MANUAL, "guide": GUIDE, "growth": GROWTH}
