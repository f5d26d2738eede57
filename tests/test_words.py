"""What people read is plain English: these words are kept out of the documents and of every message and help text."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNWANTED = re.compile(
    r"\b(anew|whoever|whatever|whichever|of which|all the same|talked nonsense|will not do|has gone:|bury|buried|doom"
    r"|hungry|census|in company)\b",
    re.IGNORECASE,
)
ALLOWED = 'Do not write "whoever", "whatever", "of which" or "anew".'  # the rule itself
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
SOURCES = sorted(ROOT.glob("jobd/**/*.py"))


def texts_of(source: str) -> list[tuple[int, str]]:
    """(line, text) of each string in a program with more than one word, without docstrings that are no help of a
    command."""
    tree = ast.parse(source)
    kept = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _is_command(node)]
    helps = [(node.lineno, ast.get_docstring(node) or "") for node in kept]
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    strings = [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]
    return helps + [(line, text) for line, text in strings if " " in text]


def _is_command(function: ast.FunctionDef) -> bool:
    return any("command" in ast.unparse(decorator) for decorator in function.decorator_list)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_is_in_plain_words(document: Path) -> None:
    text = document.read_text().replace(ALLOWED, "")
    assert [found[0] for found in UNWANTED.finditer(text)] == []


def test_messages_and_help_are_in_plain_words() -> None:
    found = [
        f"{source.relative_to(ROOT)}:{line}: {text}"
        for source in SOURCES
        for line, text in texts_of(source.read_text())
        if UNWANTED.search(text)
    ]
    assert found == []


def test_an_unwanted_word_in_a_message_is_found() -> None:
    assert texts_of('x = f"{1} begins anew"\n') == [(1, " begins anew")]
