"""The files, commands, options, targets, directives and links on the pages exist. Their lines fit a window."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click
import pytest

from sqlmig.cli.group import group
from sqlmig.cli.options import SHARED_NAMES
from sqlmig.core.errors import ScanError
from sqlmig.core.sqlfile import DIRECTIVES, scan
from tests.support.pages import (
    COMMANDS,
    MANUAL,
    PAGES,
    README,
    ROOT,
    Page,
    problems_of,
)

if TYPE_CHECKING:
    from tests.support.project import Project

WIDTH = 120
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
CODE = "".join(
    path.read_text()
    for directory in ("sqlmig", "tests")
    for path in (ROOT / directory).rglob("*.py")
)


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        ("sqlmig check --scratch embedded:", []),
        ("sqlmig --wait 60s up --to 7 --json", []),
        ("A=1 sqlmig up > all.sql", []),
        ("sqlmig up --too 7", ["option --too"]),
        ("sqlmig upp", ["command upp"]),
        ("sqlmig status && make tset", ["make tset"]),
        ("make up DATABASE_URL=x", []),
        ("python -m sqlmig.embedded psql -c 'x'", []),
        ("python -m sqlmig.nothing", ["module sqlmig.nothing"]),
        (".venv/bin/python -m pytest tests/nowhere.py", ["tests/nowhere.py"]),
        ("dropdb shop", ["program dropdb"]),
    ],
)
def test_unknown_names_in_command_are_found(line: str, problems: list[str]) -> None:
    assert problems_of(line) == problems


@every_page
def test_every_name_in_commands_exists(page: Page) -> None:
    commands = page.commands()
    assert commands
    assert {line: problems_of(line) for line in commands if problems_of(line)} == {}


@every_page
def test_options_variables_and_functions_in_sentences_exist(
    page: Page,
) -> None:
    options = {"--help", "-h"}
    for command in [group, *COMMANDS.values()]:
        for parameter in command.params:
            options.update(parameter.opts)
    for span in page.spans:
        if re.fullmatch(r"--?[a-z][a-z-]*(?: .*)?", span):
            assert span.split()[0] in options, span
        if re.fullmatch(r"(?:SQLMIG|TEST)_\w+", span):
            assert span in CODE, span
        if re.fullmatch(r"@?_\w+", span):
            assert re.search(rf"\b{span.lstrip('@')}\(", CODE), span


@every_page
def test_every_project_file_named_exists(page: Page) -> None:
    found = 0
    for span in page.spans:
        if re.fullmatch(r"(?:sqlmig|tests|\.github)/[\w./]+", span):
            assert (ROOT / span).exists(), span
            found += 1
    for block in page.of(""):
        for line in block.text.splitlines():
            if re.match(r"(?:sqlmig|tests)/", line):
                names = re.split(r"\s{2,}", line)[0].split(", ")
                for name in names:
                    is_whole = name.startswith(("sqlmig/", "tests/"))
                    path = name if is_whole else f"sqlmig/{name}"
                    assert (ROOT / path).exists(), line
                    found += 1
    assert found or page is not README


@every_page
def test_every_link_has_a_target(page: Page) -> None:
    assert page.links
    for target in page.links:
        if re.match(r"https://", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.path.parent / file) if file else page.path
        assert path.exists(), target
        if anchor:
            assert anchor in Page(path).anchors, target
    # A label without an address is not a link. Markdown shows it in its brackets.
    text = re.sub(r"^    .*|(`+)(?s:.)*?\1", "", page.text, flags=re.MULTILINE)
    labels = set(re.findall(r"^\[([^\]]+)\]: ", text, re.MULTILINE))
    for label in re.findall(r"\]\[([^\]]+)\]|\[([^\]]+)\](?![(:\[])", text):
        assert "".join(label) in labels, label


@every_page
def test_every_directive_is_valid(page: Page) -> None:
    for span in page.spans:
        if span.startswith("-- sqlmig:"):
            try:
                filled = span.replace("FIRST", "1").replace("LAST", "40")
                filled = filled.replace("CHECKSUM", "0" * 64)
                scan(f"{filled}\nUPDATE t SET n = 1".encode())
            except ScanError as error:
                pytest.fail(f"{span}: {error.problem}")


def test_the_manual_explains_each_directive() -> None:
    for directive in DIRECTIVES:
        assert f"| `-- sqlmig: {directive}` |" in MANUAL.text


@every_page
def test_lines_fit_a_window(page: Page) -> None:
    text = re.sub(r"^( *`{3,}).*?^\1", "", page.text, flags=re.MULTILINE | re.DOTALL)
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []


def test_the_front_page_and_the_manual_are_short() -> None:
    assert len(README.text.splitlines()) <= 160
    assert len(MANUAL.text.splitlines()) <= 900


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_and_each_option_of_it_is_explained(name: str) -> None:
    command = COMMANDS[name]
    assert re.search(rf"\bsqlmig {name}\b", MANUAL.text), (
        f'sqlmig/README.md does not name "sqlmig {name}"'
    )
    explained = MANUAL.text
    for block in MANUAL.of("console"):
        for line, shown in block.steps():
            if line.endswith("--help"):
                explained = explained.replace(shown, "")
    for option in command.params:
        own = isinstance(option, click.Option) and option.name not in SHARED_NAMES
        if own and "--help" not in option.opts:
            assert any(opt in explained for opt in option.opts), (
                f"sqlmig/README.md does not explain {option.opts[-1]} of {name}"
            )
    words = command.get_help(click.Context(command, info_name=f"sqlmig {name}"))
    assert f"  Examples:\n    sqlmig {name}" in words
    assert "Exit codes: 0 done, 1 " in words
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help
            if isinstance(option.default, (int, str)) and option.default is not False:
                assert f"default: {option.default}" in words


def test_the_lists_of_commands_are_complete() -> None:
    with_json = set()
    for name, command in COMMANDS.items():
        if any("--json" in option.opts for option in command.params):
            with_json.add(name)
    (listed,) = re.findall(r"((?:`\w+`(?:,|\sand)?\s)+)have\s`--json`", MANUAL.text)
    assert set(re.findall(r"`(\w+)`", listed)) == with_json
    _, _, changes = MANUAL.text.partition("## Changes")
    assert [name for name in COMMANDS if f"`{name}`" not in changes] == []


def test_front_page_diagram_matches_keys_of_database(
    therapyflow: Project,
) -> None:
    therapyflow.run("up")
    keys = therapyflow.query("""
        SELECT
            referenced.relname,
            referring.relname,
            string_agg(attname, ', ' ORDER BY array_position(conkey, attnum)),
            bool_or(NOT attnotnull)
        FROM pg_constraint
        JOIN pg_class AS referring ON referring.oid = conrelid
        JOIN pg_class AS referenced ON referenced.oid = confrelid
        JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
        WHERE contype = 'f'
        GROUP BY pg_constraint.oid, referenced.relname, referring.relname
    """)
    expected = []
    for parent, child, columns, may_be_null in keys:
        at_most_one = "|o" if may_be_null else "||"
        expected.append(f'{parent} {at_most_one}--o{{ {child} : "{columns}"')
    (diagram,) = README.of("mermaid")
    lines = [line.strip() for line in diagram.text.splitlines()[1:]]
    boxes = [line for line in lines if line.endswith("}")]
    assert sorted(set(lines) - set(boxes)) == sorted(expected)

    ids = therapyflow.query("""
        SELECT relname, string_agg(
            format('uuid %s %s', attname, CASE attname WHEN 'id' THEN 'PK' ELSE 'FK' END), ' ' ORDER BY attnum
        )
        FROM pg_class
        JOIN pg_attribute ON attrelid = pg_class.oid
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations'
            AND EXISTS (SELECT FROM pg_constraint WHERE conrelid = attrelid AND contype IN ('p', 'f') AND attnum = ANY (conkey))
        GROUP BY relname
    """)
    assert sorted(boxes) == sorted(f"{table} {{ {words} }}" for table, words in ids)


def test_the_projects_own_workflow_does_what_the_manual_recommends() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    recommended = MANUAL.of("yaml")
    lines = [
        line
        for block in recommended
        if block.heading == "In CI"
        for line in re.findall(r"run: (sqlmig [^#\n]*)", block.text)
    ]
    assert [line.split()[1] for line in lines] == ["check", "up", "docs"]
    for line in lines:
        for words in line.replace(" origin/main", "").split(" --"):
            assert words.strip() in workflow, line
