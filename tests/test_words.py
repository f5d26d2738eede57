"""What people read is plain English: documents, messages, help, comments and names do without these words."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNWANTED = re.compile(
    r"\b(anew|whoever|whatever|whichever|somebody|of which|all the same|talked nonsense|will not do|has gone:"
    r"|bury|buried|doom|hungry|census|in company)\b",
    re.IGNORECASE,
)
# Words of names, for which the glossary or the field has another one: cycle, record, delete, log, report, user…
UNWANTED_IN_NAMES = re.compile(
    r"\b(anew|bury|buried|census|doom|doomed|forgets?|forgotten|hands|hungry|knock|nap|nemesis|persons?|rage|settle[ds]?"
    r"|story|tells?|told|turns?|vain|whatever|whichever|whoever)\b"
)
ALLOWED = 'Do not write "whoever", "whatever", "of which" or "anew".'  # the rule itself
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
SOURCES = sorted(ROOT.glob("jobd/**/*.py"))
PROGRAMS = sorted(
    path for folder in ("jobd", "plugins", "tests", "benchmarks", "docs") for path in ROOT.glob(f"{folder}/**/*.py")
)


def texts_of(source: str) -> list[tuple[int, str]]:
    """(line, text) of each string with more than one word in a program, without docstrings that are no help text."""
    tree = ast.parse(source)
    kept = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _is_command(node)]
    helps = [(node.lineno, ast.get_docstring(node) or "") for node in kept]
    docstrings = {id(node.body[0].value) for node in _documented(tree) if isinstance(node.body[0], ast.Expr)}
    strings = [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]
    return helps + [(line, text) for line, text in strings if " " in text]


def prose_of(source: str) -> list[tuple[int, str]]:
    """(line, text) of each docstring, comment and test name in a program."""
    documented = _documented(ast.parse(source))
    docstrings = [(node.body[0].lineno, ast.get_docstring(node) or "") for node in documented]
    names = [
        (node.lineno, node.name.replace("_", " "))
        for node in documented
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]
    return docstrings + names + comments


def names_of(source: str) -> list[tuple[int, str]]:
    """(line, name) of each class, function, parameter and variable, except tests, whose names are sentences."""
    tree = ast.parse(source)
    named = [(node.lineno, node.name) for node in _documented(tree) if not isinstance(node, ast.Module)]
    for node in ast.walk(tree):
        match node:
            case ast.Name():
                named.append((node.lineno, node.id))
            case ast.arg() | ast.keyword():
                named.append((node.lineno, node.arg or ""))
            case ast.Attribute():
                named.append((node.lineno, node.attr))
    return [(line, name) for line, name in named if not name.startswith("test_")]


def spaced(name: str) -> str:
    """The words of an identifier, in lower case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("_", " ")


def _documented(tree: ast.Module) -> list[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(tree) if isinstance(node, kinds) and node.body]


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


def test_docstrings_comments_and_test_names_are_in_plain_words() -> None:
    found = [
        f"{program.relative_to(ROOT)}:{line}: {text}"
        for program in PROGRAMS
        for line, text in prose_of(program.read_text())
        if UNWANTED.search(text)
    ]
    assert found == []


@pytest.mark.parametrize("folder", ["jobd", "plugins", "tests", "benchmarks", "docs"])
def test_names_are_in_plain_words(folder: str) -> None:
    found = {
        f"{program.relative_to(ROOT)}:{line}: {name}"
        for program in ROOT.glob(f"{folder}/**/*.py")
        for line, name in names_of(program.read_text())
        if UNWANTED_IN_NAMES.search(spaced(name))
    }
    assert sorted(found) == []


def test_an_unwanted_word_in_a_message_is_found() -> None:
    assert texts_of('x = f"{1} begins anew"\n') == [(1, " begins anew")]


def test_an_unwanted_word_in_a_docstring_a_comment_or_a_test_name_is_found() -> None:
    source = 'def test_it_begins_anew():\n    """Buried."""\n    x = 1  # whoever\n'
    assert [found[0] for line, text in prose_of(source) for found in UNWANTED.finditer(text)] == [
        "Buried",
        "anew",
        "whoever",
    ]


def test_an_unwanted_word_in_a_name_is_found() -> None:
    source = "class Nemesis:\n    def _settle(self, told=1):\n        self.oneTurn = SETTLED = some(forget=told)\n"
    names = [name for _, name in names_of(source) if UNWANTED_IN_NAMES.search(spaced(name))]
    assert sorted(set(names)) == ["Nemesis", "SETTLED", "_settle", "forget", "oneTurn", "told"]
    assert not UNWANTED_IN_NAMES.search(spaced("return_code"))
