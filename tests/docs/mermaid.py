"""Parse the diagrams of the project's pages and of an odd page with the real Mermaid. Run by ``make mermaid``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg

from sqlmig import embedded

MODULES = Path(".cache/mermaid").absolute()
HERE = Path(__file__).parent


def main() -> None:
    """Install Mermaid into a directory, write the odd page, and parse all pages."""
    subprocess.run(
        ["npm", "install", "--silent", "--prefix", MODULES, "mermaid@11", "jsdom"],
        check=True,
    )
    page = MODULES / "odd.md"
    with embedded.server(MODULES / "postgres") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute('DROP SCHEMA IF EXISTS "Odd | Schema", other CASCADE')
            connection.execute((HERE / "odd.sql").read_bytes())
        with page.open("w") as output:
            docs = [
                sys.executable,
                "-m",
                "sqlmig",
                "-d",
                url,
                "docs",
                "--schema",
                "Odd | Schema",
            ]
            subprocess.run(docs, stdout=output, check=True)
    pages: list[str | Path] = ["README.md", "sqlmig/README.md", "sql/README.md", page]
    subprocess.run(["node", HERE / "mermaid.mjs", MODULES, *pages], check=True)


if __name__ == "__main__":
    main()
