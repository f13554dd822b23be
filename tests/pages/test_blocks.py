"""Every block of YAML, shell and SQL on the pages can be read by the program that it is for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.pages import OTHER_PROGRAMS, ROOT, Block, Page

PAGES = [
    ROOT / "README.md",
    ROOT / "sqlmig" / "README.md",
    ROOT / "sql" / "GUIDE.md",
    ROOT / "sql" / "GROWTH.md",
]
BLOCKS = [
    (
        page.name if page.parent == ROOT else f"{page.parent.name}/{page.name}",
        number,
        block,
    )
    for page in PAGES
    for number, block in enumerate(Page(page).blocks)
]
KNOWN = (
    "",
    "console",
    "js",
    "mermaid",
    "python",
    "sh",
    "shell",
    "sql",
    "ts",
    "yaml",
)


def blocks(*languages: str) -> list[object]:
    """Return the blocks in some languages, as parameters."""
    return [
        pytest.param(block, id=f"{page}-{number}")
        for page, number, block in BLOCKS
        if block.language in languages
    ]


def test_every_block_language_is_known() -> None:
    assert {block.language for _, _, block in BLOCKS} <= set(KNOWN)
    assert blocks("yaml")
    assert any(is_shell(block) for _, _, block in BLOCKS if not block.language)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_yaml_blocks_are_valid(block: Block) -> None:
    read = yaml.safe_load(block.text)
    assert isinstance(read, dict)
    if "services" in read:  # a compose file: each service has its own keys
        assert all(isinstance(service, dict) for service in read["services"].values())
        assert all(
            {"image", "build"} & set(service) for service in read["services"].values()
        )


@pytest.mark.parametrize("path", [*(ROOT / ".github").rglob("*.yml")], ids=str)
def test_workflows_are_valid(path: Path) -> None:
    read = yaml.safe_load(path.read_text())
    for job in read["jobs"].values():
        assert job["runs-on"]
        assert job["steps"]


def is_shell(block: Block) -> bool:
    first = block.text.split()[0].rpartition("/")[2]
    return first in {*OTHER_PROGRAMS, "sqlmig", "make"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(block.text, id=f"{page}-{number}")
        for page, number, block in BLOCKS
        if block.language == "" and is_shell(block)
    ],
)
def test_shell_blocks_are_valid(text: str) -> None:
    ran = subprocess.run(
        ["bash", "-n"], input=text, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
