"""The documentation keeps up with the program: its reference pages, its examples, and the README's first steps."""

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from jobd.cli.group import COMMANDS, cli
from tests.installation import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "decisions").glob("*.md"))]
NAMES = [name for name in COMMANDS if name != "ls"]
SEPARATORS = {"&&", "||", ";", "|", ">", ">>", "<", "2>&1", "&"}


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


@pytest.mark.parametrize("page", ["commands", "api"])
def test_the_reference_pages_match_the_programs_help(page: str) -> None:
    """Where this fails, `make docs` writes the page."""
    written = runpy.run_path(str(ROOT / "docs" / "reference.py"))[page]()
    assert (ROOT / "docs" / f"{page}.md").read_text("utf-8") == written


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_each_of_its_options_has_a_help_text(name: str) -> None:
    assert command(name).help
    options = [each for each in command(name).params if isinstance(each, click.Option) and not each.hidden]
    assert [each.name for each in options if not each.help] == []


def test_every_command_is_used_or_explained_in_a_handwritten_page() -> None:
    written = "".join(page.read_text("utf-8") for page in PAGES if page.name != "commands.md")
    assert [name for name in NAMES if not re.search(rf"jobd {name}\b", written)] == []


def examples() -> Iterator[tuple[str, str]]:
    """Each call of jobd in a code block, with its page. In the pages of help, two blanks separate it from a remark."""
    for page in PAGES:
        for line in re.findall(r"^(?: {4}|\t|  (?=  jobd ))(.*)$", page.read_text("utf-8"), re.MULTILINE):
            for words in commands_of(re.split(r"(?<=\S) {2,}(?=[^#])", line)[0]):
                yield page.name, shlex.join(words)


def mentions() -> Iterator[tuple[str, str]]:
    """Each `jobd …` in the text of a page. It need not be complete."""
    for page in PAGES:
        for text in re.findall(r"`(jobd [^`]+)`", page.read_text("utf-8")):
            for words in commands_of(text):
                yield page.name, shlex.join(words)


def commands_of(line: str) -> Iterator[list[str]]:
    """The calls of jobd in a line of the shell."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return  # a line of another language
    while words:
        until = next((place for place, word in enumerate(words) if word in SEPARATORS), len(words))
        part, words = words[:until], words[until + 1 :]
        while part and part[0] in ("$", "sudo"):
            part = part[1:]
        if len(part) > 1 and part[0].rpartition("/")[2] == "jobd" and part[1][:1].isalpha() and part[1].islower():
            yield part[1:]


@pytest.mark.parametrize(("page", "example"), sorted(set(examples())))
def test_every_example_is_accepted_by_the_command_line(page: str, example: str) -> None:
    words = shlex.split(example)
    assert words[0] in COMMANDS, f"{page} names a command that does not exist"
    with cli.make_context("jobd", [], resilient_parsing=True) as context:
        command(words[0]).make_context(words[0], words[1:], parent=context)


@pytest.mark.parametrize(("page", "mention"), sorted(set(mentions())))
def test_every_command_and_option_that_a_page_mentions_exists(page: str, mention: str) -> None:
    name, *words = shlex.split(mention)
    assert name in COMMANDS, f"{page} names a command that does not exist"
    own = words[: words.index("--")] if "--" in words else words
    known = {text for each in command(name).params for text in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}
    assert {word.partition("=")[0] for word in own if word.startswith("-") and len(word) > 1} <= known


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:\w[\w.-]*/)+[\w.-]+\.(?:py|sh|md|txt|pml))`", page.read_text("utf-8"))
    assert [
        name for name in named if not any((root / name).exists() for root in (ROOT, ROOT / "jobd", page.parent))
    ] == []


def test_the_first_steps_of_the_readme_work_as_they_are_written(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text("utf-8").partition("## A job of your own\n")[2]
    block = re.match(r"\n((?: {4}.*\n|\n)+)", text)
    assert block is not None
    lines = [line[4:] for line in block[1].splitlines() if "pip install" not in line]
    script = "\n".join(["set -e", *lines, "jobd history report --json", "jobd stop"])
    environment = {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"result":3' in done.stdout.replace(" ", "")
