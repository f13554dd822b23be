"""Collect every message of sqlmig that a user may see, from its code: errors, warnings, hints, questions, help.

A message is a text with two words or more that is not a docstring and not SQL. Values that are
known only when it is printed stay in braces, as the code has them.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support.project import SQL

PACKAGE = SQL.parent / "sqlmig"
PAGE = Path(__file__).parents[1] / "pages" / "messages.txt"

# SQL, names of clauses, formats, and the text of programs that sqlmig writes or starts.
_NO_MESSAGE = re.compile(
    r"(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|SET|RESET|WITH|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|LOCK|"
    r"PREPARE|EXECUTE|EXPLAIN|DECLARE|FETCH|CLOSE|GRANT|REVOKE|COMMENT|COPY|DO|AND|OR|FROM|WHERE|SHOW|RAISE|OWNER|"
    r"TEMPLATE|SECURITY|DEALLOCATE|DISCARD|VALUES|EXCEPTION|WHEN|PERFORM|LANGUAGE|UNION|ON|NOT EXISTS|CASE)\b(?!:)"
    r"|.*(?:\(\?[:P]|\\[bs]|\[\^)"  # regular expressions
)
_WORDS = re.compile(r"[a-z]{2,}\W+[a-z]{2,}", re.IGNORECASE)


def messages_of(path: Path) -> list[str]:
    """Return the messages of a module or an SQL file, in the order of its lines."""
    if path.suffix == ".sql":
        code = re.sub("--.*", "", path.read_text())
        texts = re.findall("'((?:[^']|'')*)'", code)
        return [" ".join(text.split()) for text in texts if is_message(text)]
    tree = ast.parse(path.read_text())
    docstrings = set()
    found = []
    for node in ast.walk(tree):
        if isinstance(
            node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        ):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings.add(first.value)
                if _is_help(node):
                    found.append((first.lineno, str(first.value.value)))
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside.update(node.values)
        if node in docstrings or node in inside:
            continue
        if isinstance(node, (ast.JoinedStr, ast.Constant)):
            found.append((node.lineno, _text(node)))
    return [" ".join(text.split()) for _, text in sorted(found) if is_message(text)]


def _is_help(node: ast.AST) -> bool:
    """Return whether a docstring is the help of a command."""
    decorators = getattr(node, "decorator_list", [])
    return any(
        "command(" in ast.unparse(each) or "group" in ast.unparse(each)
        for each in decorators
    )


def _text(node: ast.JoinedStr | ast.Constant) -> str:
    """Return a text with the names of its values in braces. Other constants have none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    text = ""
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            text += f"{{{ast.unparse(part.value)}}}"
        else:
            assert isinstance(part, ast.Constant)
            text += str(part.value)
    return text


def is_message(text: str) -> bool:
    """Return whether a text is for people."""
    plain = re.sub(r"\{.*?\}", "x", text.strip())
    return bool(_WORDS.search(plain)) and " " in plain and not _NO_MESSAGE.match(plain)


def page() -> str:
    """Return the page of all messages, grouped by module."""
    lines = [
        "Every message of sqlmig, by module. `make messages` writes this page. Read its changes as an editor does."
    ]
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.sql")]):
        messages = messages_of(path)
        if messages:
            lines += ["", str(path.relative_to(PACKAGE.parent))]
            lines += [f"    {message}" for message in messages]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
